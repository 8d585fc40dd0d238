//! The modes: which connections send what, and when; each a load on the engine.
//!
//! Reads what the plan says and nothing else. How a message is judged is `judge`'s business.

use std::io;
use std::sync::Arc;

use mio::Events;

use crate::cli::Arrival;
use crate::engine::churn::Churn;
use crate::engine::{Engine, Finished, SENDS_PER_TURN_MAX, Sending, Shared, index_of};
use crate::judge::Judge;
use crate::judge::broadcast::BroadcastJudge;
use crate::judge::echo::{EchoJudge, Pace};
use crate::judge::idle::IdleJudge;
use crate::plan::broadcast::{BroadcastPlan, Topic};
use crate::plan::{LoadPlan, Plan};
use crate::time::clock::{MILLISECOND_NS, now_ns};
use crate::time::live::Phase;
use crate::time::schedule::{Rate, Schedule, shuffled};
use crate::wire::loan::Asks;
use crate::wire::post::PostHead;
use crate::wire::upgrade::Request;

/// What the connections of `plan` ask a server for.
///
/// # Errors
///
/// One line that names what can't stand in a request.
pub(crate) fn asks(plan: &Plan) -> Result<Asks, String> {
    let LoadPlan::Broadcast(broadcast) = &plan.load else {
        let upgrades = vec![Request::new(plan, &plan.target.path)?];
        return Ok(Asks { upgrades, posts: Vec::new() });
    };
    let subscribed = broadcast.topics.iter().map(|topic| &topic.subscribe_path);
    let published = broadcast.topics.iter().map(|topic| &topic.publish_path);
    let upgrades = subscribed.chain(published).map(|path| Request::new(plan, path));
    let post = |topic: &Topic| PostHead::new(plan, &topic.publish_path, &topic.before);
    Ok(Asks {
        upgrades: upgrades.collect::<Result<_, _>>()?,
        posts: broadcast.topics.iter().map(post).collect(),
    })
}

/// Runs the plan to its end.
///
/// # Errors
///
/// What the system says; a connection's troubles are results.
pub(crate) fn run(plan: &Plan, asks: Asks, shared: &Shared) -> io::Result<Finished> {
    let live = Arc::clone(&shared.live);
    match &plan.load {
        LoadPlan::Echo(rate) => Engine::new(plan, asks, shared, EchoJudge::new(plan, live))?
            .run(|engine, events| engine.echo(*rate, events).map(Some)),
        LoadPlan::Throughput(depth) => Engine::new(plan, asks, shared, EchoJudge::new(plan, live))?
            .run(|engine, events| engine.closed_loop(*depth, events).map(|()| None)),
        LoadPlan::Broadcast(broadcast) => {
            let judge = BroadcastJudge::new(plan, broadcast, live, now_ns());
            Engine::new(plan, asks, shared, judge)?
                .run(|engine, events| engine.broadcast(broadcast, events).map(Some))
        }
        LoadPlan::Connect => {
            Engine::new(plan, asks, shared, IdleJudge::new(live, plan.timeout_ns))?
                .run(|_, _| Ok(None))
        }
        LoadPlan::Idle => Engine::new(plan, asks, shared, IdleJudge::new(live, plan.timeout_ns))?
            .run(|engine, events| engine.idle(events).map(Some)),
    }
}

impl Engine<'_, EchoJudge> {
    /// Every connection sends in its turn.
    fn echo(&mut self, rate: Rate, events: &mut Events) -> io::Result<Sending> {
        let mut by_turn = self.turns();
        for (turn, &index) in (0..).zip(&by_turn) {
            self.conns[index].lane.turn = turn;
        }
        let schedule = schedule(self.plan, rate, by_turn.len());
        let (plan, start_ns) = (self.plan, schedule.start_ns());
        let span_ns = schedule.due_ns(schedule.end()).saturating_sub(start_ns);
        self.churn = plan.churn.map(|rate| {
            let (window, timeout_ns) = (plan.connect_window, plan.connect_timeout_ns);
            Churn::new(rate, window, timeout_ns, start_ns, span_ns)
        });
        self.open_loop(schedule, &mut by_turn, events)
    }

    /// Keeps `depth` messages under way on each connection.
    fn closed_loop(&mut self, depth: u32, events: &mut Events) -> io::Result<()> {
        let mut now = now_ns();
        let from_ns = now + self.plan.warmup_ns;
        let end_ns = from_ns + self.plan.duration_ns;
        self.loan.judge.book_mut().window_ns = (from_ns, end_ns);
        self.loan.judge.pace = Pace::Closed { from_ns, end_ns };
        self.enter(Phase::Warmup);
        let mut unprimed = 0;
        while now < end_ns && !self.is_stopped() {
            if self.phase() == Phase::Warmup && from_ns <= now {
                self.enter(Phase::Measure);
            }
            for _ in 0..SENDS_PER_TURN_MAX {
                let Some(conn) = self.conns.get_mut(unprimed) else { break };
                unprimed += 1;
                if conn.is_open() {
                    conn.send(depth, now_ns(), &mut self.loan);
                }
            }
            let is_primed = unprimed == self.conns.len();
            let wake_ns = match (is_primed, now < from_ns) {
                (false, _) => now,
                (true, true) => from_ns,
                (true, false) => end_ns,
            };
            now = self.turn(wake_ns, now, events)?;
            self.news.clear();
        }
        let end_ns = end_ns.min(now.max(from_ns));
        self.loan.judge.book_mut().window_ns.1 = end_ns;
        self.loan.judge.pace = Pace::Closed { from_ns, end_ns };
        Ok(())
    }
}

impl Engine<'_, BroadcastJudge> {
    /// Publishers publish in turn; the others listen.
    fn broadcast(&mut self, broadcast: &BroadcastPlan, events: &mut Events) -> io::Result<Sending> {
        self.hold(broadcast.settle_ns, events)?;
        let mut publishers: Vec<usize> =
            (broadcast.subscribers..broadcast.conns()).map(index_of).collect();
        let schedule = schedule(self.plan, broadcast.rate, publishers.len());
        self.open_loop(schedule, &mut publishers, events)
    }
}

impl Engine<'_, IdleJudge> {
    /// Holds the connections, then sends each a Ping.
    fn idle(&mut self, events: &mut Events) -> io::Result<Sending> {
        self.hold(self.plan.duration_ns, events)?;
        let mut by_turn = self.turns();
        for (turn, &index) in (0..).zip(&by_turn) {
            self.conns[index].lane.turn = turn;
        }
        let turns = u32::try_from(by_turn.len()).unwrap_or(u32::MAX);
        let probes = Schedule::each_once(now_ns() + MILLISECOND_NS, turns, PROBES_PER_SECOND);
        self.open_loop(probes, &mut by_turn, events)
    }
}

/// Pings a second: what hardly any server would be slow at.
const PROBES_PER_SECOND: u32 = 10_000;

impl<R: Judge> Engine<'_, R> {
    /// The open connections in the order of their turns.
    fn turns(&self) -> Vec<usize> {
        let open: Vec<usize> =
            (0..self.conns.len()).filter(|&index| self.conns[index].is_open()).collect();
        let order = shuffled(u32::try_from(open.len()).unwrap_or(u32::MAX), SEED);
        order.iter().map(|&at| open[index_of(at)]).collect()
    }

    /// Says nothing for a while, and answers only what the protocol wants answered. Before a broadcast it lets servers
    /// take in the last subscriptions, which they may do after they said so.
    fn hold(&mut self, span_ns: u64, events: &mut Events) -> io::Result<()> {
        self.enter(Phase::Hold);
        let mut now = now_ns();
        let until_ns = now + span_ns;
        while now < until_ns && !self.is_stopped() {
            now = self.turn(until_ns, now, events)?;
            self.news.clear();
        }
        Ok(())
    }
}

/// The schedule of `plan`, which begins in a moment.
fn schedule(plan: &Plan, rate: Rate, turns: usize) -> Schedule {
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    let even = Schedule::new(rate, now_ns(), plan.warmup_ns, plan.duration_ns, turns);
    let schedule = match plan.arrival {
        // Seeded by the time: two runs are two draws.
        Arrival::Poisson => even.at_random(now_ns()),
        Arrival::Constant | Arrival::Burst => even.in_bursts(plan.burst),
    };
    // Drawing takes a while.
    schedule.beginning_at(now_ns() + MILLISECOND_NS)
}

/// Decides the order of connections, and nothing that has to be secret.
const SEED: u64 = 1;
