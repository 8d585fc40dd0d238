//! What must hold after each turn and at the end, whatever the clients do.
//!
//! Looks into the server, but changes nothing. What a client must see is the client's to check.

use crate::net::peer::tx::{Phase, Tx};
use crate::net::server::Server;
use crate::net::simulation::app::App;
use crate::net::simulation::arrivals::Arrivals;
use crate::net::simulation::truth::Truth;
use crate::net::simulation::wire::{Moved, Ready, ServerEnd, SharedWire, Wire};
use crate::net::terms::peer_id::PeerId;

/// What is remembered from turn to turn.
#[derive(Debug)]
pub(crate) struct Checks {
    /// Turns in a row that were called for at once and in which nothing happened.
    idle_turns: usize,
    had_events: bool,
    calls: u64,
    accepted: u64,
    kept_bytes: usize,
    /// How many waited for work.
    waiting: (usize, usize),
    /// By client.
    hungers: Vec<Hunger>,
}

/// How long a client has waited for its turn.
#[derive(Clone, Debug, Default)]
struct Hunger {
    turns: usize,
    kept_bytes: usize,
    /// Its place among those who wait for work, and for how many turns it has had that place.
    place: Option<usize>,
    idle_places: usize,
}

impl Checks {
    pub(crate) fn new(clients: usize) -> Self {
        let hungers = vec![Hunger::default(); clients];
        Self {
            idle_turns: 0,
            had_events: false,
            calls: 0,
            accepted: 0,
            kept_bytes: 0,
            waiting: (0, 0),
            hungers,
        }
    }

    pub(crate) fn before_turn(&mut self, wires: &[SharedWire], ready: &[Ready]) {
        self.had_events = !ready.is_empty();
        for wire in wires {
            wire.borrow_mut().moved = Moved::default();
        }
    }

    pub(crate) fn after_turn(
        &mut self,
        server: &mut Server<App>,
        truth: &Truth,
        wires: &[SharedWire],
        arrivals: &Arrivals,
    ) {
        self.nobody_is_leaked(server, arrivals);
        server.turn.work.check();
        self.nobody_spins(server, truth, wires);
        nothing_is_left_over(server);
        for wire in wires {
            let wire = wire.borrow();
            let ServerEnd::Open(Some(token)) = wire.server else { continue };
            let Some(tx) = server.peers.tx.get(token.0) else {
                panic!("client {}: a socket without a peer", wire.client);
            };
            let rx = &server.peers.rx[token.0];
            nobody_is_forgotten(server, &wire, token.0, tx);
            within_limits(server, wire.client, tx, rx.kept_bytes());
            self.nobody_starves(server, &wire, tx, rx.kept_bytes());
        }
    }

    /// Who is to be looked at again, is: each turn does something for it, and no more than its share.
    fn nobody_starves(&mut self, server: &Server<App>, wire: &Wire, tx: &Tx, kept_bytes: usize) {
        let hunger = &mut self.hungers[wire.client];
        let had_none = wire.moved == Moved::default() && kept_bytes == hunger.kept_bytes;
        // First come, first served: each turn at least one of those who wait for work has it.
        let place = server.turn.work.list().position(|id| tx.is_named(id));
        // Or waits for what is on its way to others, which moves.
        let others_come_first = server.turn.topics.has_put_off();
        let has_moved_up =
            place < hunger.place || place.is_none() || !had_none || others_come_first;
        hunger.idle_places = if has_moved_up { 0 } else { hunger.idle_places + 1 };
        hunger.place = place;
        assert!(hunger.idle_places < 3, "client {}: waits for work that is not done", wire.client);
        hunger.turns = if tx.is_marked_ready() && had_none { hunger.turns + 1 } else { 0 };
        hunger.kept_bytes = kept_bytes;
        assert!(hunger.turns < 3, "client {}: starves", wire.client);
        let read_most = READ_SHARE + server.turn.limits.message_bytes_max;
        assert!(wire.moved.read <= read_most, "client {}: reads without end", wire.client);
        assert!(
            wire.moved.written <= WRITE_SHARE,
            "client {}: is written without end",
            wire.client
        );
    }

    /// Sockets, peers and open connections are the same.
    fn nobody_is_leaked(&self, server: &Server<App>, arrivals: &Arrivals) {
        assert_eq!(server.peers.rx.len(), server.peers.tx.len());
        assert_eq!(server.peers.len(), arrivals.open_count(), "peers and their sockets");
        let excess = server.peers.tx.iter().filter(|(_, tx)| tx.is_excess).count();
        assert_eq!(server.excess_count, excess);
        assert!(server.peers.len() - excess <= server.turn.limits.peers_max);
        assert_eq!(server.admins.len(), 0);
    }

    /// A turn that is called for at once has something to do.
    fn nobody_spins(&mut self, server: &Server<App>, truth: &Truth, wires: &[SharedWire]) {
        let moved = wires.iter().any(|wire| wire.borrow().moved != Moved::default());
        let accepted = server.turn.counters.accepted;
        // Frames behind a Close are stepped over in shares, and nobody hears of them.
        let kept_bytes = server.peers.rx.iter().map(|(_, rx)| rx.kept_bytes()).sum();
        // Ends of connections take turns, and so do topics.
        let waiting = (server.turn.work.waiting(), server.turn.doomed.len());
        let is_idle = !self.had_events
            && waiting == self.waiting
            && !moved
            && truth.calls == self.calls
            && kept_bytes == self.kept_bytes
            && accepted == self.accepted
            && server.wait_for() == Some(std::time::Duration::ZERO);
        self.idle_turns = if is_idle { self.idle_turns + 1 } else { 0 };
        (self.calls, self.accepted, self.kept_bytes) = (truth.calls, accepted, kept_bytes);
        self.waiting = waiting;
        assert!(self.idle_turns < 3, "the loop spins");
    }

    pub(crate) fn at_the_end(&self, server: &Server<App>, truth: &Truth, wires: &[SharedWire]) {
        assert_eq!(server.peers.len(), 0);
        assert_eq!(server.excess_count, 0);
        assert_eq!(server.turn.timers.next_ms(), None, "a deadline of nobody's");
        assert_eq!(server.turn.compressors.granted_bytes(), 0);
        for (id, record) in truth.clients.iter().enumerate() {
            assert_eq!(record.opens, record.closes, "client {id}: on_open and on_close");
            assert!(record.peer.is_none() && record.opens <= 1);
        }
        assert_eq!(server.turn.counters.opened, truth.upgrades);
        for wire in wires {
            assert!(!matches!(wire.borrow().server, ServerEnd::Open(_)), "a socket was leaked");
        }
    }
}

/// Lists that end with their turn are empty, and who is on a list knows it.
fn nothing_is_left_over(server: &mut Server<App>) {
    let turn = &mut server.turn;
    assert!(turn.cork.is_empty() && turn.answered.is_empty());
    assert!(turn.put_back.is_empty());
    assert!(turn.dirty.is_empty(), "queued and not flushed");
    if turn.work.has_live_left() {
        assert!(turn.topics.dirty.is_empty(), "published and not fanned out");
        assert!(turn.doomed.is_empty(), "over and not reaped");
    }
    let listed = |key: usize| {
        let on_list = |id: &&PeerId| {
            id.key as usize == key && id.generation == server.peers.tx[key].generation
        };
        turn.ready.iter().filter(on_list).count()
    };
    for (key, tx) in &server.peers.tx {
        assert_eq!(listed(key), usize::from(tx.is_marked_ready()), "the ready list");
        let waits = turn.work.list().filter(|id| id.key as usize == key && tx.is_named(id)).count();
        assert_eq!(waits, usize::from(tx.awaits_work()), "the list of work");
    }
    turn.topics.audit(&server.peers.tx);
    let granted = server.peers.tx.iter().map(|(_, tx)| (tx.address, tx.packing.granted_bytes()));
    turn.addresses.audit(granted);
}

/// There is a reason to come back to whoever has something left to be done.
fn nobody_is_forgotten(server: &Server<App>, wire: &Wire, key: usize, tx: &Tx) {
    let id = wire.client;
    if tx.phase == Phase::Doomed {
        // Its turn comes.
        let is_listed = server.turn.doomed.iter().any(|&it| it as usize == key);
        return assert!(is_listed, "client {id}: was not reaped");
    }
    let comes_back = wire.has_edge() || tx.is_marked_ready() || tx.awaits_work();
    // What it sends is read once its answer is out.
    let is_held = server.peers.rx[key].reading.is_held() && wire.awaits_room();
    let is_deaf = wire.is_unread() && !comes_back && !tx.is_paused(&server.turn) && !is_held;
    assert!(!is_deaf, "client {id}: unread, and nobody will look ({:?})", tx.phase);
    let is_mute = !tx.is_flushed() && !comes_back && !wire.awaits_room();
    assert!(!is_mute, "client {id}: unsent, and nobody will look ({:?})", tx.phase);
    let is_open = matches!(tx.phase, Phase::Open | Phase::Streaming);
    let has_deadline = server.turn.timers.is_set(key);
    let needs_one = !is_open || server.turn.limits.ping_interval_ms > 0;
    assert!(has_deadline || !needs_one, "client {id}: no deadline ({:?})", tx.phase);
}

fn within_limits(server: &Server<App>, id: usize, tx: &Tx, kept_bytes: usize) {
    let limits = &server.turn.limits;
    let message_most = limits.message_bytes_max.max(limits.topics.topic_bytes_max);
    let queue_most = limits.queue_bytes_max.max(limits.queue_bytes_soft + message_most);
    // The replies to one read leave in one write, which the kernel may refuse.
    let output_most = queue_most + 600_000;
    assert!(
        tx.backlog_bytes() <= output_most,
        "client {id}: {} bytes are queued",
        tx.backlog_bytes()
    );
    // A message, and what was read behind it.
    let input_most = 2 * limits.message_bytes_max + limits.head_bytes_max + 150_000;
    assert!(kept_bytes <= input_most, "client {id}: {kept_bytes} bytes are kept");
}

/// What one peer is read in one turn, a message's rest and one read beyond it.
const READ_SHARE: usize = (512 + 129 + 1) * 1024;

/// What one peer is written in one turn: its share of the queue, of topics, and the replies to what it sent.
const WRITE_SHARE: usize = 4 << 20;
