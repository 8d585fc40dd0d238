//! A seed's world: the server, its clients, the network and time, and in which order they move.
//!
//! Everything that happens is drawn from the seed. Time moves when the server would sleep, never while somebody who is polite has
//! something under way: so a deadline that passes for them is the server's mistake.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mio::Token;

use crate::config::{Compression, CompressionMode, LagPolicy, Limits, MemoryLimit};
use crate::net::server::{Ended, Server, WAKER};
use crate::net::simulation::app::App;
use crate::net::simulation::arrivals::Arrivals;
use crate::net::simulation::checks::Checks;
use crate::net::simulation::client::{BREACHES, Client, Goes, Plan, Reads, WebSocket};
use crate::net::simulation::http::{Asks, Http};
use crate::net::simulation::random::Random;
use crate::net::simulation::stranger::Stranger;
use crate::net::simulation::trace;
use crate::net::simulation::truth::{SharedTruth, Truth};
use crate::net::simulation::wire::{Ready, SharedWire, Wire};
use crate::net::turn::work::{UNITS_PER_PHASE, Work};

/// See the module.
pub(crate) struct World {
    pub(crate) server: Server<App>,
    pub(crate) truth: SharedTruth,
    pub(crate) wires: Vec<SharedWire>,
    pub(crate) arrivals: Arrivals,
    pub(crate) now_ms: u64,
    random: Random,
    clients: Vec<Box<dyn Client>>,
    /// Who has not connected yet, the next last.
    unborn: Vec<usize>,
    checks: Checks,
    /// Whether the descriptors there are come and go.
    is_starved_of_descriptors: bool,
    ended: Option<Ended>,
}

thread_local! {
    /// What the gauge says is in use.
    static BYTES_IN_USE: Cell<usize> = const { Cell::new(0) };
}

/// Lives a seed through, from the first connection to the end of the drain. Panics where something is wrong.
pub(crate) fn run(seed: u64) {
    let mut world = World::new(seed);
    let steps = world.random.between(10, 60) + 2 * world.clients.len();
    for _ in 0..steps {
        world.step();
        if world.random.once_in(16) {
            world.settle();
            // A while in which only deadlines pass.
            for _ in 0..world.random.below(6) {
                world.sleep();
                world.settle();
            }
        }
    }
    world.drain();
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clients = match random.below(50) {
            0 => random.between(100, 300),
            1..=4 => random.between(30, 100),
            5..=15 => random.between(8, 30),
            _ => random.between(1, 8),
        };
        BYTES_IN_USE.set(0);
        let limits = limits(&mut random);
        trace::note(|| format!("seed {seed}: {clients} clients, {limits:?}"));
        let truth = Truth::new(Random::new(random.next()), clients, &limits);
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let app = App { truth: Rc::clone(&truth) };
        let mut server = Server::bind(&[any_port], limits.clone(), app).unwrap();
        // Most turns' work would not be used up by a handful of clients.
        server.turn.work = Work::new(random.pick(&[1, 5_000, 50_000, UNITS_PER_PHASE]));
        let arrivals = Arrivals::new(Random::new(random.next()));
        server.listeners[0].script = Some(arrivals.clone());
        let wires: Vec<SharedWire> =
            (0..clients).map(|id| Wire::new(id, Random::new(random.next()))).collect();
        let deflates = random.once_in(4);
        let count = clients;
        let clients: Vec<Box<dyn Client>> = (0..count)
            .map(|id| client(&mut random, id, Rc::clone(&wires[id]), &limits, count, deflates))
            .collect();
        if random.once_in(4) {
            truth.borrow_mut().wake_at_ms = Some(random.some(3000) as u64);
        }
        let unborn = (0..clients.len()).rev().collect();
        let checks = Checks::new(clients.len());
        let is_starved_of_descriptors = random.once_in(8);
        let ended = None;
        Self {
            server,
            truth,
            wires,
            arrivals,
            now_ms: 0,
            random,
            clients,
            unborn,
            checks,
            is_starved_of_descriptors,
            ended,
        }
    }

    /// Some clients do something, some bytes arrive, and the server has a turn if there is an event.
    fn step(&mut self) {
        self.truth.borrow_mut().now_ms = self.now_ms;
        self.be_born();
        for _ in 0..self.random.between(1, 12) {
            let at = self.random.below(self.clients.len());
            self.clients[at].act(&mut self.truth.borrow_mut(), true);
            let most = match self.random.below(4) {
                0 => self.random.some(20),
                1 => self.random.some(3000),
                _ => usize::MAX,
            };
            self.wires[at].borrow_mut().carry(most);
        }
        self.now_ms += self.random.some(3) as u64;
        self.meddle();
        self.turn_if_due();
    }

    /// What an operator, or the rest of the machine, does to the server.
    fn meddle(&mut self) {
        if self.random.once_in(20) && self.is_starved_of_descriptors {
            let most = self.random.pick(&[0, 1, 3, 10, usize::MAX]);
            self.arrivals.set_descriptors_max(most);
        }
        if self.random.once_in(400) {
            // It is stopped for a while, and knows nothing of it.
            self.now_ms += self.random.some(60_000) as u64;
            self.truth.borrow_mut().has_stalled = true;
        }
        if let Some(memory) = self.server.turn.limits.memory
            && self.random.once_in(10)
        {
            let eighths = self.random.pick(&[0, 0, 0, 7, 8, 9]);
            trace::note(|| format!("  memory in use: {eighths} eighths"));
            BYTES_IN_USE.set(memory.bytes_max / 8 * eighths);
        }
    }

    fn be_born(&mut self) {
        // Now and then all at once.
        let all = self.unborn.len();
        let count = if self.random.once_in(8) { all } else { self.random.below(4) };
        for _ in 0..count {
            let Some(id) = self.unborn.pop() else { return };
            self.arrivals.connect(Rc::clone(&self.wires[id]));
            self.clients[id].act(&mut self.truth.borrow_mut(), true);
        }
    }

    /// What epoll_wait would do: returns at once if there are events, or if it is told not to wait.
    fn turn_if_due(&mut self) {
        let ready = self.events();
        if !ready.is_empty() || self.server.wait_for() == Some(Duration::ZERO) {
            self.turn(ready);
        }
    }

    fn turn(&mut self, ready: Vec<Ready>) {
        if self.ended.is_some() {
            return;
        }
        trace::note(|| {
            let keys: Vec<usize> = ready.iter().map(|it| it.token.0).collect();
            format!("turn at {} ms: {keys:?}", self.now_ms)
        });
        self.truth.borrow_mut().now_ms = self.now_ms;
        self.checks.before_turn(&self.wires, &ready);
        self.ended = self.server.turn(self.now_ms, ready.into_iter());
        if let Some(ended) = self.ended {
            self.truth.borrow_mut().was_cut_short = ended != Ended::Drained;
            self.server.cut_all();
        }
        let Self { server, truth, wires, arrivals, checks, .. } = self;
        checks.after_turn(server, &truth.borrow(), wires, arrivals);
    }

    /// The events that are due, in any order, and now and then one that tells nothing new.
    fn events(&mut self) -> Vec<Ready> {
        let Self { wires, random, .. } = self;
        let mut ready = Vec::new();
        for wire in wires.iter() {
            let mut wire = wire.borrow_mut();
            if wire.has_edge() || random.once_in(200) {
                ready.extend(wire.take_event());
            }
        }
        if self.arrivals.take_edge() {
            ready.push(listener_event(self.server.listeners.first().map(|it| it.token)));
        }
        for at in (1..ready.len()).rev() {
            ready.swap(at, random.below(at + 1));
        }
        ready
    }

    /// Until nothing moves any more: what is under way arrives, and who reads, reads.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "it does not come to rest");
            for (client, wire) in self.clients.iter_mut().zip(&self.wires) {
                client.act(&mut self.truth.borrow_mut(), false);
                wire.borrow_mut().carry(usize::MAX);
            }
            let ready = self.events();
            let is_due = self.server.wait_for() == Some(Duration::ZERO);
            if !ready.is_empty() || is_due {
                self.turn(ready);
            } else if !self.is_under_way() {
                break;
            }
            if self.ended.is_some() {
                return;
            }
        }
        let truth = self.truth.borrow();
        for client in &self.clients {
            client.check_settled(&truth);
        }
        drop(truth);
        self.accept_all();
    }

    /// Who waits is let in once there is a descriptor, without a new connect that wakes the listener.
    fn accept_all(&mut self) {
        let waiting = self.arrivals.waiting_count();
        if waiting == 0 || !self.arrivals.has_descriptor() || self.ended.is_some() {
            return;
        }
        let wait = self.server.wait_for().map(|wait| wait.as_millis());
        assert!(
            wait.is_some_and(|wait| wait <= 100),
            "{waiting} wait, and nobody looks for {wait:?}"
        );
        self.now_ms = self.now_ms.max(self.server.turn.now_ms + 100);
        self.turn(Vec::new());
        assert!(self.arrivals.waiting_count() < waiting, "{waiting} wait, and nobody is let in");
        self.settle();
    }

    fn is_under_way(&self) -> bool {
        let moves = |wire: &SharedWire| {
            let wire = wire.borrow();
            wire.is_carrying() || wire.has_edge()
        };
        self.wires.iter().any(moves) || self.arrivals.has_edge()
    }

    /// Time passes, until the server wants to be woken, or something else happens.
    fn sleep(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let Some(wait) = self.server.wait_for() else {
            self.now_ms += self.random.some(10_000) as u64;
            return;
        };
        // It is measured from the start of the last turn.
        let wake_ms = self.server.turn.now_ms + u64::try_from(wait.as_millis()).unwrap();
        let at_ms = self.now_ms + self.random.some(5000) as u64;
        if self.random.once_in(3) && at_ms < wake_ms {
            self.now_ms = at_ms;
        } else {
            self.now_ms = self.now_ms.max(wake_ms);
            self.turn(Vec::new());
        }
    }

    /// The server is told to end, and does so by its deadline.
    fn drain(&mut self) {
        let drains_at_ms = self.now_ms;
        self.server.remote().drain();
        let ready = Ready {
            token: WAKER,
            readable: true,
            writable: false,
            read_closed: false,
            error: false,
        };
        self.arrivals.refuse_all();
        self.truth.borrow_mut().is_draining = true;
        self.turn(vec![ready]);
        for round in 0.. {
            if self.ended.is_some() {
                break;
            }
            assert!(round < ROUNDS_MAX, "the drain does not end");
            if self.random.once_in(2) {
                self.unborn.clear();
                self.step();
            }
            self.settle();
            self.sleep();
        }
        let took_ms = self.now_ms - drains_at_ms;
        trace::note(|| format!("drained in {took_ms} ms: {:?}", self.ended));
        let is_in_time = took_ms <= self.server.turn.limits.drain_ms + 50;
        assert!(is_in_time || self.truth.borrow().has_stalled, "the drain took {took_ms} ms");
        for client in &mut self.clients {
            client.act(&mut self.truth.borrow_mut(), false);
        }
        self.checks.at_the_end(&self.server, &self.truth.borrow(), &self.wires);
    }
}

fn listener_event(token: Option<Token>) -> Ready {
    let token = token.unwrap_or(Token(usize::MAX));
    Ready { token, readable: true, writable: false, read_closed: false, error: false }
}

fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits::default();
    limits.peers_max = if random.once_in(6) { random.between(1, 40) } else { 1000 };
    limits.message_bytes_max = random.pick(&[125, 4000, 70_000, 1 << 20]);
    limits.fragments_max = u32::try_from(random.pick(&[2, 9, 1000])).unwrap();
    limits.handshake_timeout_ms = random.between(200, 10_000) as u64;
    limits.keep_alive_ms = random.between(200, 30_000) as u64;
    limits.ping_interval_ms = random.pick(&[0, 500, 5_000, 25_000]);
    limits.pong_timeout_ms = random.between(300, 10_000) as u64;
    limits.close_timeout_ms = random.between(200, 5_000) as u64;
    limits.drain_ms = random.pick(&[0, 100, 3_000, 10_000]);
    limits.queue_bytes_soft = random.pick(&[500, 4_000, 64 << 10]);
    limits.queue_bytes_max = limits.queue_bytes_soft * random.between(1, 16);
    limits.topics.history_messages = random.pick(&[1, 4, 32, 1024]);
    limits.topics.topic_bytes_max = random.pick(&[1 << 12, 1 << 16, 1 << 20]);
    limits.topics.history_ttl_ms = random.pick(&[1_000, 10_000, 300_000]);
    limits.topics.subscriptions_max = random.between(1, 4);
    if random.once_in(3) {
        limits.topics.lag = LagPolicy::Latest;
    }
    let mode =
        random.pick(&[CompressionMode::Off, CompressionMode::Shared, CompressionMode::Dedicated]);
    if random.once_in(4) {
        limits.topics.topics_max = random.between(1, 4);
        limits.topics.topics_per_owner_max = Some(random.between(1, 3));
    }
    let bytes_min = random.pick(&[1, 100, 512]);
    limits.compression = Compression { mode, bytes_min, ..Compression::default() };
    if random.once_in(10) {
        let bytes_max = limits.memory_bytes_least() * random.between(1, 4);
        limits.memory = Some(MemoryLimit { bytes_max, bytes_in_use: || BYTES_IN_USE.get() });
    }
    limits
}

/// Most speak WebSocket.
fn client(
    random: &mut Random,
    id: usize,
    wire: SharedWire,
    limits: &Limits,
    others: usize,
    deflates: bool,
) -> Box<dyn Client> {
    let own = Random::new(random.next());
    let topic = random.some(3);
    let asks = match random.below(12) {
        0 => Asks::Pages,
        1 => Asks::Stream { topic },
        2 => Asks::Polls { topic, wait_ms: random.some(20_000) as u64 },
        3 => {
            trace::note(|| format!("  client {id}: a stranger"));
            let lasts_ms = limits.handshake_timeout_ms + limits.close_timeout_ms + 100;
            return Box::new(Stranger::new(id, wire, own, lasts_ms));
        }
        _ => {
            let plan = plan(random, limits, others, deflates);
            trace::note(|| format!("  client {id}: {plan:?}"));
            return Box::new(WebSocket::new(id, wire, own, plan));
        }
    };
    trace::note(|| format!("  client {id}: {asks:?}"));
    Box::new(Http::new(id, wire, own, asks, limits.message_bytes_max))
}

fn plan(random: &mut Random, limits: &Limits, others: usize, deflates: bool) -> Plan {
    let is_hub = random.once_in(2);
    let reads = match random.below(12) {
        0 => Reads::Little,
        1 => Reads::Later,
        2 => Reads::Never,
        _ => Reads::All,
    };
    let goes = match random.below(12) {
        0 => Goes::Fin,
        1 => Goes::Reset,
        2 => Goes::Breach(random.pick(BREACHES)),
        3..=6 => Goes::Stays,
        7 => Goes::Close(None),
        _ => Goes::Close(Some(random.pick(&[1000, 1001, 3000, 4999]))),
    };
    Plan {
        is_hub,
        topic: random.some(3),
        reads,
        goes,
        offers_deflate: deflates && random.once_in(2),
        message_bytes_max: limits.message_bytes_max,
        fragments_max: usize::try_from(limits.fragments_max).unwrap(),
        turns: random.some(12),
        others,
    }
}

/// Far more than any seed needs.
const ROUNDS_MAX: usize = 100_000;
