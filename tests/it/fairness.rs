//! What a busy peer takes from the others: its share of a turn and no more.
//!
//! Proved by the order in which the handler is called. The loop is held inside a handler while the clients' bytes
//! arrive, so that every byte waits when the turns begin.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use wsfast::PeerId;

use crate::support::client::{RawClient, Witness};
use crate::support::flood::Flood;
use crate::support::server::{Hooks, TestServer};
use crate::support::wire;
use crate::support::{DEADLINE, limits};

#[test]
fn peers_with_endless_messages_take_turns_of_256_frames() {
    let held = Held::start();
    let (mut first, _) = held.open();
    let (mut second, _) = held.open();
    let flood = Flood::new(&[8]);
    let count = 10 * FRAMES_PER_TURN as u64;
    let all: Vec<u8> = (0..count).flat_map(|number| flood.message(number)).collect();

    held.while_held(|| {
        first.send(&all);
        second.send(&all);
    });
    flood.expect(&mut first, 0..count);
    flood.expect(&mut second, 0..count);

    // They alternate, so that each has half of the runs.
    let lens: Vec<usize> = held.runs().iter().map(|(_, len)| *len).collect();
    assert_eq!(lens, [FRAMES_PER_TURN; 20]);
}

/// Bytes that arrive while an earlier share is left over must not earn their peer a second share in one turn.
#[test]
fn new_bytes_do_not_add_to_a_share_that_is_left_over() {
    let held = Held::start();
    let (mut busy, busy_id) = held.open();
    let (mut other, other_id) = held.open();
    let messages = |count: usize| wire::text("m").repeat(count);

    held.while_held(|| {
        // In the second turn, while the first peer still has a share left over, the loop is held again.
        busy.send(messages(FRAMES_PER_TURN + 10));
        busy.send(wire::text("hold"));
        busy.send(messages(FRAMES_PER_TURN * 3));
        other.send(messages(FRAMES_PER_TURN * 4));
    });
    held.while_holding_itself(|| busy.send(messages(FRAMES_PER_TURN * 3)));
    for (client, count) in
        [(&mut busy, FRAMES_PER_TURN * 7 + 11), (&mut other, FRAMES_PER_TURN * 4)]
    {
        for _ in 0..count {
            client.frame();
        }
    }

    let runs = held.runs();
    let last_of_other = runs.iter().rposition(|(id, _)| *id == other_id).unwrap();
    for (id, len) in &runs[..last_of_other] {
        assert_eq!(*len, FRAMES_PER_TURN, "{runs:?}, busy is {busy_id}, this is {id}");
    }
}

/// Once many took all that a turn reads in full shares, the rest of them wait, and whoever has little to say does not.
#[test]
fn who_says_little_does_not_wait_for_hundreds_who_say_much() {
    let held = Held::start();
    let message = wire::binary(&[7; MUCH_BYTES]);
    let in_one_turn = BYTES_PER_PHASE.div_ceil(MUCH_BYTES);
    let mut many: Vec<RawClient> = (0..in_one_turn + 40).map(|_| held.open().0).collect();
    let (mut modest, modest_id) = held.open();

    held.while_held(|| {
        for client in &mut many {
            client.send(&message);
        }
        modest.send(wire::text("excuse me"));
    });
    modest.expect_text("excuse me");
    for client in &mut many {
        assert_eq!(client.frame().payload.len(), MUCH_BYTES);
    }

    let order: Vec<PeerId> = held.order.try_iter().collect();
    assert_eq!(order.len(), many.len() + 1);
    let before = order.iter().position(|id| *id == modest_id).unwrap();
    assert!(before <= in_one_turn, "{before} of {} were served before it", many.len());
}

#[test]
fn a_fresh_client_is_served_at_once_whatever_the_others_do() {
    let server = TestServer::echo();
    let tiny = Busy::start(server.addr, &Flood::new(&[1, 2, 0, 3]));
    let large = Busy::start(server.addr, &Flood::new(&[256 << 10]));
    for _ in 0..20 {
        let begun = Instant::now();
        let mut fresh = RawClient::open(server.addr);
        fresh.expect_echo("hello");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        tiny.wait_for_more();
        large.wait_for_more();
    }
    tiny.stop();
    large.stop();
    assert_eq!(server.stop().counters.protocol_errors, 0);
}

#[test]
fn deadlines_and_new_connections_are_served_under_load() {
    let mut limits = limits();
    limits.handshake_timeout_ms = 50;
    let server = TestServer::echo_with(limits);
    let busy = Busy::start(server.addr, &Flood::new(&[1, 2, 0, 3]));
    let mut idle = RawClient::connect(server.addr);
    assert_eq!(idle.response().status, 408);
    idle.expect_eof();
    Witness::new(server.addr).round_trip();
    busy.stop();
}

/// Frames of one peer that are handled in one turn.
const FRAMES_PER_TURN: usize = 256;

/// A message that the socket of a new connection holds, and that is more than the smallest share of a turn.
const MUCH_BYTES: usize = 60_000;

/// Bytes that are read in full shares in one phase of a turn (`net::turn`).
const BYTES_PER_PHASE: usize = 16 << 20;

/// An echo whose loop the test can hold, and which notes whose message came when.
struct Held {
    server: TestServer,
    /// Who holds the loop tells it here.
    holding: Receiver<()>,
    release: Sender<()>,
    order: Receiver<PeerId>,
    holder: std::cell::RefCell<RawClient>,
}

impl Held {
    fn start() -> Self {
        let (holding_tx, holding) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let (order_tx, order) = mpsc::channel();
        let server = TestServer::start(
            limits(),
            Hooks::echo().on_message(move |message, cx| {
                if message.payload() == b"hold" {
                    holding_tx.send(()).unwrap();
                    released.recv_timeout(DEADLINE).unwrap();
                }
                order_tx.send(cx.id()).unwrap();
                let _sent = cx.send(message.kind(), message.payload());
            }),
        );
        let holder = RawClient::open(server.addr).into();
        server.opened();
        Self { server, holding, release, order, holder }
    }

    fn open(&self) -> (RawClient, PeerId) {
        (RawClient::open(self.server.addr), self.server.opened())
    }

    /// Runs `act` while the loop does nothing; all that it sends arrives before the next turn.
    fn while_held(&self, act: impl FnOnce()) {
        let mut holder = self.holder.borrow_mut();
        holder.send(wire::text("hold"));
        self.while_holding_itself(act);
        holder.expect_text("hold");
        assert_ne!(self.order.recv_timeout(DEADLINE), Err(mpsc::RecvTimeoutError::Timeout));
    }

    /// The same, when a message that holds the loop is on its way.
    fn while_holding_itself(&self, act: impl FnOnce()) {
        self.holding.recv_timeout(DEADLINE).unwrap();
        act();
        self.release.send(()).unwrap();
    }

    /// Whose messages came, and how many of each in a row.
    fn runs(&self) -> Vec<(PeerId, usize)> {
        let order: Vec<PeerId> = self.order.try_iter().collect();
        order.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
    }
}

/// A client that sends without end on one thread and reads on another.
struct Busy {
    stream: TcpStream,
    /// One for each read that brought something.
    read: Receiver<()>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Busy {
    fn start(addr: SocketAddr, flood: &Flood) -> Self {
        let client = RawClient::open(addr);
        let batch: Vec<u8> = (0..64).flat_map(|number| flood.message(number)).collect();
        let (mut writing, mut reading) =
            (client.stream.try_clone().unwrap(), client.stream.try_clone().unwrap());
        let (read_tx, read) = mpsc::sync_channel(1);
        let threads = vec![
            thread::spawn(move || while std::io::Write::write_all(&mut writing, &batch).is_ok() {}),
            thread::spawn(move || {
                let mut room = vec![0; 256 << 10];
                while reading.read(&mut room).is_ok_and(|len| len > 0) {
                    let _one_is_enough = read_tx.try_send(());
                }
            }),
        ];
        Self { stream: client.stream, read, threads }
    }

    /// Returns once more of its echoes came.
    fn wait_for_more(&self) {
        self.read.recv_timeout(DEADLINE).unwrap();
    }

    fn stop(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
