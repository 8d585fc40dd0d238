//! Churn: connections that are closed and opened again throughout an open loop, as those of users who come and go.
//!
//! ```text
//! old   ── messages ──┤ awaits its replies ─► Close ─► gone
//! new   connects ─────┴─ messages ──────────────────────────►
//! ```
//!
//! The new connection is opened first and takes the old one's turn once it is open, so that no message waits for a
//! handshake: the schedule is what it would be without churn. Opens nothing in place of a connection that broke.

use std::io;

use mio::Events;

use crate::engine::Engine;
use crate::engine::ramp::{Connects, Ramp};
use crate::judge::Judge;
use crate::time::clock::{SECOND_NS, now_ns};
use crate::time::schedule::Rate;
use crate::wire::conn::{Conn, News};

/// Churn under way.
#[derive(Debug)]
pub(crate) struct Churn {
    ramp: Ramp,
    rate: Rate,
    due: u32,
    /// Bounds those that open, and those that retire.
    window: usize,
    /// The turn whose connection is next.
    next_turn: usize,
    successors: Vec<Successor>,
    retiring: Vec<Retiring>,
    /// Places of connections that are gone, and owe nothing.
    vacant: Vec<usize>,
    closed: u32,
}

/// What churn came to.
#[derive(Debug)]
pub(crate) struct Churned {
    /// What was asked for.
    pub(crate) rate: Rate,
    /// Connections that were to be replaced.
    pub(crate) due: u32,
    /// Old connections whose closing handshake was whole, each reply having come.
    pub(crate) closed: u32,
    /// What opening the new ones came to.
    pub(crate) connects: Connects,
}

/// A connection that opens in place of another.
#[derive(Clone, Copy, Debug)]
struct Successor {
    /// Its number in the ramp.
    number: u32,
    turn: usize,
    place: usize,
}

/// A connection that sends no more messages.
#[derive(Clone, Copy, Debug)]
struct Retiring {
    place: usize,
    /// When its Close frame left; `None`: it awaits replies.
    closing_ns: Option<u64>,
}

/// How long a server may take to answer a Close frame.
const CLOSE_NS_MAX: u64 = SECOND_NS;

/// Between looks while as many retire as may.
const LOOK_NS: u64 = SECOND_NS / 1000;

impl Churn {
    /// Churn at `rate` from `start_ns` on, for `span_ns`; each in the middle of its stretch.
    pub(crate) fn new(
        rate: Rate,
        window: usize,
        timeout_ns: u64,
        start_ns: u64,
        span_ns: u64,
    ) -> Self {
        let due = u32::try_from(rate.count_in(span_ns)).unwrap_or(u32::MAX);
        let first_ns = start_ns.saturating_add(rate.span_ns(1) / 2);
        Self {
            ramp: Ramp::new(due, window, Some(rate), timeout_ns, first_ns),
            rate,
            due,
            window,
            next_turn: 0,
            successors: Vec::new(),
            retiring: Vec::new(),
            vacant: Vec::new(),
            closed: 0,
        }
    }

    /// When there is something to do, if no connection has news before.
    pub(crate) fn wake_ns(&self, now: u64) -> u64 {
        let closing = self.retiring.iter().filter_map(|old| old.closing_ns);
        let unclosed_ns = closing.map(|since_ns| since_ns + CLOSE_NS_MAX).min();
        let wake_ns = self.ramp.wake_ns().min(unclosed_ns.unwrap_or(u64::MAX));
        if self.has_room() { wake_ns } else { wake_ns.max(now + LOOK_NS) }
    }

    /// What it came to, once all connections of the run are closed.
    pub(crate) fn into_results<R: Judge>(self, conns: &[Conn<R::Lane>], judge: &R) -> Churned {
        let ended = self.retiring.iter().filter(|old| {
            let conn = &conns[old.place];
            conn.is_closed() && !judge.awaits(&conn.lane)
        });
        let closed = self.closed + u32::try_from(ended.count()).unwrap_or(u32::MAX);
        Churned { rate: self.rate, due: self.due, closed, connects: self.ramp.connects }
    }

    fn has_room(&self) -> bool {
        self.retiring.len() < self.window
    }

    fn successor(&self, is: impl Fn(&Successor) -> bool) -> Option<usize> {
        self.successors.iter().position(is)
    }
}

impl<R: Judge> Engine<'_, R> {
    /// Acts on what connections told, and on the time.
    pub(crate) fn churn(&mut self, churn: &mut Churn, by_turn: &mut [usize], now: u64) {
        for (place, news) in std::mem::take(&mut self.news) {
            let Some(at) = churn.successor(|successor| successor.place == place) else { continue };
            self.take_in(churn, at, news, by_turn, now);
        }
        while let Some(number) = churn.ramp.timed_out(now) {
            let Some(at) = churn.successor(|successor| successor.number == number) else { break };
            let failure = self.conns[churn.successors[at].place].time_out();
            self.take_in(churn, at, News::Failed(failure), by_turn, now);
        }
        self.retire(churn, now);
        while churn.has_room() && churn.ramp.is_due(now) {
            let Some(turn) = self.next_turn(churn, by_turn) else { break };
            let Some(number) = churn.ramp.begin(now) else { break };
            self.begin_successor(churn, number, turn, by_turn, now);
        }
    }

    /// Sees those that are opening to their end, and begins no more.
    ///
    /// # Errors
    ///
    /// What epoll_wait(2) or timerfd_settime(2) say.
    pub(crate) fn end_churn(
        &mut self,
        churn: &mut Churn,
        by_turn: &mut [usize],
        events: &mut Events,
    ) -> io::Result<()> {
        churn.ramp.stop();
        let mut now = now_ns();
        while !churn.ramp.is_over() && !self.is_stopped() {
            now = self.turn(churn.wake_ns(now), now, events)?;
            self.loan.judge.sweep(now);
            self.churn(churn, by_turn, now);
        }
        for successor in churn.successors.drain(..) {
            self.conns[successor.place].end();
        }
        Ok(())
    }

    /// The next turn whose connection is open and has no successor yet.
    fn next_turn(&self, churn: &mut Churn, by_turn: &[usize]) -> Option<usize> {
        for _ in 0..by_turn.len() {
            let turn = churn.next_turn % by_turn.len();
            churn.next_turn = turn + 1;
            let is_taken = churn.successors.iter().any(|successor| successor.turn == turn);
            if !is_taken && self.conns[by_turn[turn]].is_open() {
                return Some(turn);
            }
        }
        None
    }

    fn begin_successor(
        &mut self,
        churn: &mut Churn,
        number: u32,
        turn: usize,
        by_turn: &mut [usize],
        now: u64,
    ) {
        let conn = R::number(&self.conns[by_turn[turn]].lane);
        let place = churn.vacant.pop().unwrap_or(self.conns.len());
        let dialled = self.dial(conn, place);
        let (successor, news) = match dialled {
            Ok(link) => (Conn::new(conn, link, now, &self.loan), News::None),
            Err(failure) => (Conn::stillborn(conn, &self.loan), News::Failed(failure)),
        };
        match self.conns.get_mut(place) {
            Some(vacant) => *vacant = successor,
            None => self.conns.push(successor),
        }
        churn.successors.push(Successor { number, turn, place });
        self.take_in(churn, churn.successors.len() - 1, news, by_turn, now);
    }

    /// Takes in the news of the successor at `at`.
    fn take_in(
        &mut self,
        churn: &mut Churn,
        at: usize,
        news: News,
        by_turn: &mut [usize],
        now: u64,
    ) {
        let Successor { number, turn, place } = churn.successors[at];
        churn.ramp.take_in(number, news, now);
        match news {
            News::None | News::More | News::Ended => return,
            News::Failed(_) => churn.vacant.push(place),
            News::Opened { .. } => {
                let old = self.hand_over(by_turn[turn], place);
                if old != place {
                    by_turn[turn] = place;
                }
                churn.retiring.push(Retiring { place: old, closing_ns: None });
            }
        }
        churn.successors.swap_remove(at);
    }

    /// Has `new` go on where `old` stands; returns which of them retires.
    fn hand_over(&mut self, old: usize, new: usize) -> usize {
        let Ok([from, to]) = self.conns.get_disjoint_mut([old, new]) else { return new };
        // One that broke meanwhile stays broken: what could not leave on it is counted there.
        if !from.is_open() || !to.is_open() {
            return new;
        }
        self.loan.judge.hand_over(&from.lane, &mut to.lane);
        old
    }

    /// Closes those that await no reply, and forgets those that are gone.
    fn retire(&mut self, churn: &mut Churn, now: u64) {
        for old in &mut churn.retiring {
            let conn = &mut self.conns[old.place];
            if conn.is_open() && !self.loan.judge.awaits(&conn.lane) {
                // Its end, if that is what it brings, is seen below.
                conn.close(&mut self.loan);
                old.closing_ns = Some(now);
            }
            if old.closing_ns.is_some_and(|since_ns| since_ns + CLOSE_NS_MAX <= now) {
                conn.end();
            }
        }
        let conns = &self.conns;
        let judge = &self.loan.judge;
        let gone = churn.retiring.extract_if(.., |old| conns[old.place].is_ended());
        for old in gone {
            let conn = &conns[old.place];
            churn.closed += u32::from(conn.is_closed());
            // What was lost with a connection is told of its lane at the end of the run.
            if !judge.awaits(&conn.lane) {
                churn.vacant.push(old.place);
            }
        }
    }
}
