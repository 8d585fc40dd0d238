//! The measuring thread: opens the connections, keeps a schedule, waits for messages, and does nothing else. Which load
//! it is, is `modes`' business.
//!
//! ```text
//! connect ─► warm-up ─► measure ─► drain ─► close
//!             turn: send what is due, at most 64 ─► poll ─► each event
//! ```
//!
//! Waiting ends at the next due message: an absolute timer up to 50 µs before, and from there on polls that do not
//! block, so that a message leaves within a microsecond and a reply is still read when it comes. Where no CPU is free
//! to spin on, the timer is set to the message itself. Draws nothing and reads no file.

pub(crate) mod churn;
pub(crate) mod modes;
pub(crate) mod ramp;

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::engine::churn::{Churn, Churned};
use crate::engine::ramp::{Connects, Ramp};
use crate::judge::Judge;
use crate::judge::reach::Reach;
use crate::judge::stats::Book;
use crate::plan::Plan;
use crate::run::workers::Gate;
use crate::time::clock::{MILLISECOND_NS, SECOND_NS, Timer, now_ns};
use crate::time::live::{Live, Phase};
use crate::time::schedule::{Random, Schedule};
use crate::wire::compressor::Account;
use crate::wire::conn::{Conn, News, Ready};
use crate::wire::link::Link;
use crate::wire::loan::{Asks, Loan};
use crate::wire::upgrade::OpenFailure;

/// What the measuring thread shares with the others.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// What it tells.
    pub(crate) live: Arc<Live>,
    /// True: a person wants the run to end.
    pub(crate) stop: Arc<AtomicBool>,
    /// Woken when the phase changes.
    pub(crate) watcher: Thread,
    /// What a worker waits at until the others have connected, too.
    pub(crate) gate: Option<Arc<Gate>>,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What opening the connections came to.
    pub(crate) connects: Connects,
    /// What the messages came to.
    pub(crate) book: Book,
    /// What replacing connections came to, if that was asked for.
    pub(crate) churned: Option<Churned>,
    /// Whom they reached, in a broadcast.
    pub(crate) reach: Option<Reach>,
    /// What was compressed.
    pub(crate) packed: Account,
    /// How well the schedule was kept; `None` in a closed loop.
    pub(crate) sending: Option<Sending>,
    /// True: a person ended it.
    pub(crate) interrupted: bool,
}

/// How well the schedule was kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sending {
    /// Measured messages that were due.
    pub(crate) due: u64,
    /// Those that left.
    pub(crate) sent: u64,
    /// Messages a second that left, over those that were asked for.
    pub(crate) rate_reached: f64,
}

/// The measuring thread's state.
#[derive(Debug)]
pub(crate) struct Engine<'a, R: Judge> {
    pub(crate) plan: &'a Plan,
    shared: &'a Shared,
    poll: Poll,
    timer: Timer,
    pub(crate) conns: Vec<Conn<R::Lane>>,
    pub(crate) loan: Loan<R>,
    /// Replaces connections while messages flow.
    pub(crate) churn: Option<Churn>,
    /// Connections with more to read than their share of a turn.
    again: Vec<usize>,
    /// What connections told in the last turn.
    pub(crate) news: Vec<(usize, News)>,
    wait: Wait,
}

/// How the wait for a due message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// With polls that do not block, from this time on; until then others want the CPU, and with the timer.
    Spinning {
        /// When to try it again.
        from_ns: u64,
    },
    /// With the timer: there is one CPU, or several workers, and the server may need it.
    Sleeping,
}

impl Wait {
    /// Until when to sleep, if something is due at `wake_ns`. Not after `now`: polls must not block.
    fn sleep_until_ns(self, now: u64, wake_ns: u64) -> u64 {
        match self {
            Self::Spinning { from_ns } if from_ns <= now => {
                let until_ns = wake_ns.saturating_sub(SPIN_NS);
                if until_ns < now + SLEEP_NS_MIN { now } else { until_ns }
            }
            Self::Spinning { .. } | Self::Sleeping => wake_ns,
        }
    }

    /// The thread lost its CPU while it spun: what it spins away now, it lacks when it has work.
    fn back_off(&mut self, now: u64) {
        if let Self::Spinning { from_ns } = self {
            *from_ns = now + BACK_OFF_NS;
        }
    }
}

/// The last part of a wait, which is spun.
const SPIN_NS: u64 = 50_000;

/// A sleep that would be shorter is spun too: a reply that comes meanwhile is not charged for waking this thread.
const SLEEP_NS_MIN: u64 = 100_000;

/// A poll that found nothing and took longer was not spinning: the thread had lost its CPU.
const SPIN_ROUND_NS_MAX: u64 = 10_000;

/// A poll that found nothing and took this long had lost its CPU to another thread, not to an interrupt.
const PREEMPTED_NS_MIN: u64 = 200_000;

/// How long the thread does not spin after it lost its CPU.
const BACK_OFF_NS: u64 = 20 * MILLISECOND_NS;

/// Messages sent before the next poll.
pub(crate) const SENDS_PER_TURN_MAX: u32 = 64;

/// The longest wait, after which `stop` is looked at again.
const WAIT_NS_MAX: u64 = 100 * MILLISECOND_NS;

/// Between looks at the gate.
const GATE_NS: u64 = 5 * MILLISECOND_NS;

/// How long the closing handshakes may take; nothing depends on them.
const CLOSE_NS_MAX: u64 = SECOND_NS;

/// The token of the timer.
const TIMER: Token = Token(usize::MAX);

impl<'a, R: Judge> Engine<'a, R> {
    /// An engine for `plan`, with nothing open.
    ///
    /// # Errors
    ///
    /// What epoll_create(2) and timerfd_create(2) say.
    pub(crate) fn new(
        plan: &'a Plan,
        asks: Asks,
        shared: &'a Shared,
        judge: R,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new()?;
        let fd = timer.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            plan,
            shared,
            poll,
            timer,
            conns: Vec::with_capacity(usize::try_from(plan.conns).unwrap_or(0)),
            // Keys differ from run to run, so that no cache between here and the server can answer.
            loan: Loan::new(judge, asks, Random::new(now_ns()), plan.endpoint.connector().cloned()),
            churn: None,
            again: Vec::new(),
            news: Vec::new(),
            wait: if cpus > 1 && shared.gate.is_none() {
                Wait::Spinning { from_ns: 0 }
            } else {
                Wait::Sleeping
            },
        })
    }

    /// Opens the connections, puts them under `load`, and sees them to their end, or to the person's patience's.
    ///
    /// # Errors
    ///
    /// What epoll_wait(2) or timerfd_settime(2) say; a connection's troubles are results.
    pub(crate) fn run(
        mut self,
        load: impl FnOnce(&mut Self, &mut Events) -> io::Result<Option<Sending>>,
    ) -> io::Result<Finished> {
        let mut events = Events::with_capacity(1024);
        let connects = self.connect(&mut events)?;
        self.wait_for_others(&mut events)?;
        let mut sending = None;
        if connects.opened > 0 && !self.is_stopped() {
            sending = load(&mut self, &mut events)?;
            self.enter(Phase::Drain);
            let drained_ns = self.drain(&mut events)?;
            self.close(&mut events)?;
            let lanes = self.conns.iter().map(|conn| &conn.lane);
            self.loan.judge.give_up(lanes, drained_ns);
        }
        self.enter(Phase::Done);
        let interrupted = self.is_stopped();
        let churned =
            self.churn.take().map(|churn| churn.into_results(&self.conns, &self.loan.judge));
        let packed = self.loan.packer.account;
        let (book, reach) = self.loan.judge.into_results();
        Ok(Finished { connects, book, churned, reach, packed, sending, interrupted })
    }

    /// Opens the connections.
    fn connect(&mut self, events: &mut Events) -> io::Result<Connects> {
        let plan = self.plan;
        let (window, timeout_ns) = (plan.connect_window, plan.connect_timeout_ns);
        let mut now = now_ns();
        let mut ramp = Ramp::new(plan.conns, window, plan.connect_rate, timeout_ns, now);
        while !ramp.is_over() && !self.is_stopped() {
            while let Some(index) = ramp.begin(now) {
                let news = self.begin(index, now);
                ramp.take_in(index, news, now);
            }
            while let Some(index) = ramp.timed_out(now) {
                let failure = self.conns[index_of(index)].time_out();
                ramp.take_in(index, News::Failed(failure), now);
            }
            now = self.turn(ramp.wake_ns(), now, events)?;
            for (index, news) in self.news.drain(..) {
                ramp.take_in(R::number(&self.conns[index].lane), news, now);
            }
            self.shared.live.opened.set(u64::from(ramp.connects.opened));
            self.shared.live.failed.set(u64::from(ramp.connects.failed()));
        }
        Ok(ramp.connects)
    }

    /// Holds the connections until all workers have theirs.
    fn wait_for_others(&mut self, events: &mut Events) -> io::Result<()> {
        let Some(gate) = self.shared.gate.clone() else { return Ok(()) };
        self.enter(Phase::Hold);
        gate.arrive()?;
        while !gate.is_open() && !self.is_stopped() {
            let now = now_ns();
            self.turn(now + GATE_NS, now, events)?;
            self.news.clear();
        }
        Ok(())
    }

    /// Begins connection `index`.
    fn begin(&mut self, index: u32, now: u64) -> News {
        debug_assert_eq!(index_of(index), self.conns.len());
        match self.dial(index, self.conns.len()) {
            Ok(link) => {
                self.conns.push(Conn::new(index, link, now, &self.loan));
                News::None
            }
            Err(failure) => {
                self.conns.push(Conn::stillborn(index, &self.loan));
                News::Failed(failure)
            }
        }
    }

    /// Begins to connect as connection `index`, which will stand at `place`.
    ///
    /// # Errors
    ///
    /// That it can't even begin.
    pub(crate) fn dial(&self, index: u32, place: usize) -> Result<Link, OpenFailure> {
        let mut link = self.plan.endpoint.dial(self.plan.source(index), self.plan.is_stamped)?;
        link.register(self.poll.registry(), Token(place))?;
        Ok(link)
    }

    /// Sends on `schedule`, whatever the server does; `by_turn` names the connections by turn. A client that is behind
    /// by more than the drain when the window ends gives up: it will never reach the rate, and the verdict says so.
    pub(crate) fn open_loop(
        &mut self,
        mut schedule: Schedule,
        by_turn: &mut [usize],
        events: &mut Events,
    ) -> io::Result<Sending> {
        let mut now = now_ns();
        let from = schedule.measured_from();
        self.loan.judge.book_mut().window_ns =
            (schedule.due_ns(from), schedule.due_ns(schedule.end()));
        let lanes = self.conns.iter().map(|conn| (&conn.lane, conn.is_open()));
        self.loan.judge.begin(&schedule, lanes);
        self.enter(Phase::Warmup);
        let give_up_ns = schedule.due_ns(schedule.end()).saturating_add(self.plan.drain_ns);
        let mut last_sent_ns = now;
        let mut churn = self.churn.take();
        let mut k = 0;
        while k < schedule.end() && now < give_up_ns && !self.is_stopped() {
            if self.phase() == Phase::Warmup && schedule.due_ns(from) <= now {
                self.enter(Phase::Measure);
            }
            let mut sends = 0;
            while k < schedule.end() && schedule.due_ns(k) <= now && sends < SENDS_PER_TURN_MAX {
                self.send_scheduled(k, by_turn[schedule.turn(k)], now);
                last_sent_ns = now;
                k += 1;
                sends += 1;
                now = now_ns();
            }
            let churn_ns = churn.as_ref().map_or(u64::MAX, |churn| churn.wake_ns(now));
            now = self.turn(schedule.due_ns(k).min(churn_ns), now, events)?;
            self.loan.judge.sweep(now);
            match &mut churn {
                Some(churn) => self.churn(churn, by_turn, now),
                None => self.news.clear(),
            }
        }
        if self.is_stopped() {
            schedule.cut(k);
        }
        let window = &mut self.loan.judge.book_mut().window_ns;
        window.1 = window.1.min(now.max(window.0));
        if let Some(churn) = &mut churn {
            self.end_churn(churn, by_turn, events)?;
        }
        self.churn = churn;
        Ok(self.sending(&schedule, last_sent_ns))
    }

    fn send_scheduled(&mut self, k: u64, index: usize, now: u64) {
        let conn = &mut self.conns[index];
        if conn.is_open() {
            // Its end, if that is what the send brings, is counted.
            conn.send(1, now, &mut self.loan);
        } else {
            self.loan.judge.unsent(k);
        }
    }

    /// How well `schedule` was kept, if its last message left at `last_sent_ns`.
    fn sending(&self, schedule: &Schedule, last_sent_ns: u64) -> Sending {
        let (from, end) = (schedule.measured_from(), schedule.end());
        let due = end.saturating_sub(from);
        let sent = self.loan.judge.book().latencies.send_lag.len();
        let planned_ns = schedule.due_ns(end).saturating_sub(schedule.due_ns(from));
        let late_ns = last_sent_ns.saturating_sub(schedule.due_ns(end.saturating_sub(1)));
        let left = sent as f64 / due.max(1) as f64;
        let rate_reached = left * planned_ns as f64 / (planned_ns + late_ns).max(1) as f64;
        Sending { due, sent, rate_reached }
    }

    /// Waits for the last replies; returns when it stopped waiting.
    fn drain(&mut self, events: &mut Events) -> io::Result<u64> {
        let mut now = now_ns();
        let patience_ns = if self.is_stopped() { SECOND_NS } else { self.plan.drain_ns };
        let deadline_ns = now + patience_ns.min(self.plan.drain_ns);
        while self.loan.judge.book().awaited > 0 && now < deadline_ns {
            now = self.turn(deadline_ns, now, events)?;
            self.loan.judge.sweep(now);
            self.news.clear();
        }
        Ok(now)
    }

    /// Ends every connection by the closing handshake, so that the server is left with none half open.
    fn close(&mut self, events: &mut Events) -> io::Result<()> {
        let mut now = now_ns();
        let deadline_ns = now + CLOSE_NS_MAX;
        let mut unclosed = 0;
        while now < deadline_ns {
            for _ in 0..SENDS_PER_TURN_MAX {
                let Some(conn) = self.conns.get_mut(unclosed) else { break };
                unclosed += 1;
                if conn.is_open() {
                    conn.close(&mut self.loan);
                }
            }
            if unclosed == self.conns.len() && self.conns.iter().all(Conn::is_ended) {
                break;
            }
            let wake_ns = if unclosed < self.conns.len() { now } else { deadline_ns };
            now = self.turn(wake_ns, now, events)?;
            self.news.clear();
        }
        Ok(())
    }

    /// The phase that the others are told.
    pub(crate) fn phase(&self) -> Phase {
        self.shared.live.phase()
    }

    /// Waits until something comes, or until `wake_ns`; lets connections act on what came. Returns the time.
    pub(crate) fn turn(&mut self, wake_ns: u64, now: u64, events: &mut Events) -> io::Result<u64> {
        let sleep_until_ns =
            self.wait.sleep_until_ns(now, wake_ns).min(now.saturating_add(WAIT_NS_MAX));
        let must_not_sleep = sleep_until_ns <= now || !self.again.is_empty();
        if !must_not_sleep {
            self.timer.set(sleep_until_ns)?;
        }
        match self.poll.poll(events, must_not_sleep.then_some(Duration::ZERO)) {
            Ok(()) => {}
            // A signal: whoever sent it has set `stop`.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(now_ns()),
            Err(error) => return Err(error),
        }
        let mut is_idle = self.again.is_empty();
        for index in std::mem::take(&mut self.again) {
            self.act(index, Ready { readable: true, writable: false, ended: true });
        }
        for event in events.iter() {
            is_idle = false;
            if event.token() != TIMER {
                let ready = Ready {
                    readable: event.is_readable(),
                    writable: event.is_writable(),
                    ended: event.is_read_closed() || event.is_error(),
                };
                self.act(event.token().0, ready);
            }
        }
        let after = now_ns();
        if is_idle && must_not_sleep && now < wake_ns {
            self.account_spin(after - now, after);
        }
        Ok(after)
    }

    /// Accounts for a poll that did not block and found nothing.
    fn account_spin(&mut self, round_ns: u64, now: u64) {
        if round_ns < SPIN_ROUND_NS_MAX {
            let spun_ns = &self.shared.live.spun_ns;
            spun_ns.set(spun_ns.read() + round_ns);
        } else if round_ns >= PREEMPTED_NS_MIN {
            self.wait.back_off(now);
        }
    }

    fn act(&mut self, index: usize, ready: Ready) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        match conn.on_ready(ready, &mut self.loan) {
            News::None => {}
            News::More => self.again.push(index),
            news @ (News::Opened { .. } | News::Failed(_) | News::Ended) => {
                self.news.push((index, news));
            }
        }
    }

    /// Tells the others that a phase begins.
    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.live.enter(phase);
        self.shared.watcher.unpark();
    }

    /// Whether a person wants the run to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }
}

/// A connection's place.
pub(crate) fn index_of(conn: u32) -> usize {
    usize::try_from(conn).unwrap_or(usize::MAX)
}
