//! What a handler can do through its `Context`, and other threads through a `Remote`.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::{
    Accept, Arrival, Closed, Context, Ended, Handler, Kind, Limits, Message, PeerId, Refusal, Sent,
    StatusCode,
};

use crate::support::client::{RawClient, Witness};
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, Frame, KEY, request};
use crate::support::{DEADLINE, limits};

#[test]
fn what_on_open_sends_comes_with_the_handshake() {
    let hooks = Hooks::echo().on_open(|cx| assert_eq!(cx.send(Kind::Text, b"welcome"), Sent::Now));
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::connect(server.addr);
    client.send(request());
    client.expect_open(KEY);
    // The read that brought the 101 brought this too.
    assert_eq!(client.buf, b"\x81\x07welcome");
}

#[test]
fn what_on_open_sends_may_be_large() {
    let hooks = Hooks::echo().on_open(|cx| {
        assert_ne!(cx.send(Kind::Binary, &[7; LARGE_LEN]), Sent::Gone);
        assert_ne!(cx.send(Kind::Text, b"behind"), Sent::Gone);
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::open(server.addr);
    client.expect(&Frame::binary(&[7; LARGE_LEN]));
    client.expect_text("behind");
}

/// The loop sleeps until the handler's time, and not beyond; what the handler does then leaves at once.
#[test]
fn a_handler_is_woken_when_it_asked_to_be() {
    let server = TestServer::start(limits(), Ticker::default());
    let mut client = RawClient::connect(server.addr);
    client.send(request());
    client.expect_open(KEY);
    for tick in 1..=5 {
        client.expect_text(&format!("tick {tick}"));
    }
    assert_eq!(client.expect_close(1000), "that is all");
}

/// Ticks five times once there is a peer, and then ends it.
#[derive(Default)]
struct Ticker {
    wake_at_ms: Option<u64>,
    peer: Option<PeerId>,
    ticks: u32,
}

impl Handler for Ticker {
    type State = ();

    fn on_upgrade(
        &mut self,
        _request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<()>, Refusal> {
        Ok(Accept::new(()))
    }

    fn on_open(&mut self, (): &mut (), cx: &mut Context<'_>) {
        (self.peer, self.wake_at_ms) = (Some(cx.id()), Some(cx.now_ms() + 20));
    }

    fn on_message(&mut self, (): &mut (), _message: Message<'_>, _cx: &mut Context<'_>) {}

    fn wake_at_ms(&self) -> Option<u64> {
        self.wake_at_ms
    }

    fn on_wake(&mut self, cx: &mut Context<'_>) {
        let asked_ms = self.wake_at_ms.take().unwrap();
        assert!(cx.now_ms() >= asked_ms, "woken {} ms early", asked_ms - cx.now_ms());
        let peer = self.peer.unwrap();
        assert_ne!(cx.id(), peer);
        assert_eq!((cx.send(Kind::Text, b"to nobody"), cx.queued_bytes()), (Sent::Gone, 0));
        self.ticks += 1;
        let tick = format!("tick {}", self.ticks);
        match self.ticks {
            1 | 2 => cx.broadcast(Kind::Text, tick.as_bytes()),
            _ => assert_eq!(cx.send_to(peer, Kind::Text, tick.as_bytes()), Sent::Queued),
        }
        match self.ticks {
            5 => cx.close_peer(peer, StatusCode::NORMAL, "that is all"),
            _ => self.wake_at_ms = Some(cx.now_ms() + 20),
        }
    }
}

#[test]
fn a_message_can_be_sent_to_another_peer() {
    let server = TestServer::start(limits(), Switchboard::default());
    let [mut a, mut b] = open(&server);
    a.send(wire::text("to 1 hello"));
    b.expect_text("hello");
    a.expect_text("Queued");
    b.send(wire::text("to 0 hello yourself"));
    a.expect_text("hello yourself");
    b.expect_text("Queued");
}

#[test]
fn a_message_to_oneself_keeps_its_place() {
    let server = TestServer::start(limits(), Switchboard::default());
    let [mut a] = open(&server);
    a.send([wire::text("first"), wire::text("to 0 second"), wire::text("third")].concat());
    for expected in ["first", "second", "Now", "third"] {
        a.expect_text(expected);
    }
}

#[test]
fn a_large_message_can_be_sent_to_another_peer() {
    let server = TestServer::start(limits(), Switchboard::default());
    let [mut a, mut b] = open(&server);
    let large = "x".repeat(LARGE_LEN - 100);
    a.send([wire::text("to 1 before"), wire::text(&format!("to 1 {large}"))].concat());
    b.expect_text("before");
    b.expect_text(&large);
}

#[test]
fn a_broadcast_reaches_every_open_peer_once() {
    let server = TestServer::start(limits(), Switchboard::default());
    let mut opening = RawClient::connect(server.addr);
    opening.send("GET / HTTP/1.1\r\n");
    let mut clients: [RawClient; 20] = open(&server);
    clients[7].send(wire::text("all hello"));
    for client in &mut clients {
        client.expect_text("hello");
    }
    for client in &mut clients {
        client.expect_echo("nothing else came");
    }
    opening.send(&request()["GET / HTTP/1.1\r\n".len()..]);
    opening.expect_open(KEY);
    opening.expect_echo("nothing else came");
}

#[test]
fn another_peer_can_be_closed_behind_what_was_sent_to_it() {
    let server = TestServer::start(limits(), Switchboard::default());
    let [mut a, mut b] = open(&server);
    let commands = ["to 1 before", "close 1 4001 kicked", "to 1 too late", "all everyone"];
    a.send(commands.map(wire::text).concat());
    b.expect_text("before");
    b.expect(&Frame::close(4001, "kicked"));
    for expected in ["Queued", "Gone", "everyone"] {
        a.expect_text(expected);
    }
    b.send([wire::text("all ignored"), wire::close(4001, "")].concat());
    b.expect_eof();
    drop(b);
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::from_wire(4001).unwrap()));
    a.expect_echo("nothing else came");
}

/// The messages of two peers wait for the same turn, and what the first one says closes the second.
#[test]
fn a_peer_that_another_closed_in_the_same_turn_is_not_heard() {
    let (held_tx, held) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (id_tx, id_rx) = mpsc::channel();
    let mut ids = Vec::new();
    let hooks = Hooks::echo().on_open(move |cx| id_tx.send(cx.id()).unwrap()).on_message(
        move |message, cx| {
            ids.extend(id_rx.try_iter());
            match message.payload() {
                b"hold" => {
                    held_tx.send(()).unwrap();
                    released.recv_timeout(DEADLINE).unwrap();
                }
                b"close" => cx.close_peer(ids[1], StatusCode::NORMAL, "closed"),
                text => cx.broadcast(Kind::Text, text),
            }
        },
    );
    let server = TestServer::start(limits(), hooks);
    let [mut a, mut b, mut c] = open(&server);
    c.send(wire::text("hold"));
    held.recv_timeout(DEADLINE).unwrap();
    a.send(wire::text("close"));
    b.send([wire::text("unheard"), wire::ping(b"unheard")].concat());
    release.send(()).unwrap();
    b.expect(&Frame::close(1000, "closed"));
    c.send(wire::text("heard"));
    c.expect_text("heard");
    a.expect_text("heard");
    b.send(wire::close(1000, ""));
    b.expect_eof();
}

#[test]
fn a_peer_can_close_itself_by_its_id() {
    let server = TestServer::start(limits(), Switchboard::default());
    let [mut a] = open(&server);
    a.send([wire::text("close 0 1000 bye"), wire::text("to 0 too late")].concat());
    a.expect(&Frame::close(1000, "bye"));
    a.send(wire::close(1000, ""));
    a.expect_eof();
}

#[test]
fn nothing_can_be_sent_behind_a_close() {
    let (results, sent) = mpsc::channel();
    let hooks = Hooks::echo().on_message(move |_, cx| {
        cx.close(StatusCode::NORMAL, "first");
        cx.close(StatusCode::GOING_AWAY, "second");
        results.send(cx.send(Kind::Text, b"too late")).unwrap();
        results.send(cx.send(Kind::Binary, &[7; LARGE_LEN])).unwrap();
        results.send(cx.send_to(cx.id(), Kind::Text, b"too late")).unwrap();
        cx.broadcast(Kind::Text, b"too late");
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("go"));
    client.expect(&Frame::close(1000, "first"));
    client.send(wire::close(1000, ""));
    client.expect_eof();
    assert_eq!(sent.try_iter().collect::<Vec<_>>(), [Sent::Gone; 3]);
}

#[test]
fn a_gone_peers_id_names_nobody_even_when_its_place_is_taken() {
    let server = TestServer::start(limits(), Switchboard::default());
    let [mut a, mut b] = open(&server);
    let first = [server.opened(), server.opened()][1];
    b.send(wire::close(1000, ""));
    b.expect_close(1000);
    drop(b);
    assert_eq!(server.closed_peer().0, first);
    a.send(wire::text("to 1 anyone there?"));
    a.expect_text("Gone");

    let [mut c] = open(&server);
    let second = server.opened();
    let place = |id: PeerId| id.to_string().split('.').next().unwrap().to_owned();
    assert_eq!(place(second), place(first));
    assert_ne!(second, first);
    a.send([wire::text("to 1 anyone there?"), wire::text("close 1 1000 leave")].concat());
    a.expect_text("Gone");
    server.remote.send(first, Kind::Text, "not for you");
    c.expect_echo("nothing else came");
    server.remote.send(second, Kind::Text, "for you");
    c.expect_text("for you");
}

#[test]
fn on_close_may_tell_others_but_not_its_own_peer() {
    let hooks = Hooks::echo().on_close(|closed, cx| {
        assert_eq!(cx.send(Kind::Text, b"too late"), Sent::Gone);
        assert_eq!(cx.send_to(cx.id(), Kind::Text, b"too late"), Sent::Gone);
        cx.close(StatusCode::NORMAL, "too late");
        cx.broadcast(Kind::Text, format!("one left: {closed:?}").as_bytes());
    });
    let server = TestServer::start(limits(), hooks);
    let [mut a, b, c] = open(&server);
    b.half_close();
    a.expect_text("one left: Lost");
    c.reset();
    a.expect_text("one left: Lost");
    a.expect_echo("nothing else came");
}

/// Closing in `on_close` goes on until nobody is left: handlers do not run inside handlers.
#[test]
fn on_close_may_close_another_peer() {
    let (ids, others) = mpsc::channel();
    let hooks =
        Hooks::echo().on_open(move |cx| ids.send(cx.id()).unwrap()).on_close(move |_, cx| {
            if let Some(other) = others.try_iter().find(|&id| id != cx.id()) {
                cx.close_peer(other, StatusCode::GOING_AWAY, "the next one");
            }
        });
    let mut limits = limits();
    limits.close_timeout_ms = 50;
    let server = TestServer::start(limits, hooks);
    let clients: [RawClient; 10] = open(&server);
    let [first, mut rest @ ..] = clients;
    drop(first);
    for client in &mut rest {
        client.expect(&Frame::close(1001, "the next one"));
        client.send_in_vain(wire::close(1001, ""));
        client.expect_eof();
        client.half_close();
    }
    for _ in 0..10 {
        server.closed();
    }
}

#[test]
fn replies_and_broadcasts_come_in_the_order_of_the_calls() {
    let hooks = Hooks::echo().on_message(|message, cx| {
        let text = String::from_utf8(message.payload().to_vec()).unwrap();
        let _sent = cx.send(Kind::Text, format!("{text} reply").as_bytes());
        cx.broadcast(Kind::Text, format!("{text} broadcast").as_bytes());
        let _sent = cx.send(Kind::Text, format!("{text} again").as_bytes());
    });
    let server = TestServer::start(limits(), hooks);
    let [mut a, mut b] = open(&server);
    let said =
        |who: &str| (0..300).flat_map(|at| wire::text(&format!("{who}{at}"))).collect::<Vec<u8>>();
    // Both at once, so that events of both fall into one turn.
    a.send(said("a"));
    b.send(said("b"));
    for (client, own, other) in [(&mut a, "a", "b"), (&mut b, "b", "a")] {
        let mut own_expected = (0..300).flat_map(|at| {
            [format!("{own}{at} reply"), format!("{own}{at} broadcast"), format!("{own}{at} again")]
        });
        let mut other_expected = (0..300).map(|at| format!("{other}{at} broadcast"));
        for _ in 0..300 * 4 {
            let frame = client.frame();
            let text = str::from_utf8(&frame.payload).unwrap();
            let expected =
                if text.starts_with(own) { own_expected.next() } else { other_expected.next() };
            assert_eq!(Some(text), expected.as_deref());
        }
    }
}

#[test]
fn large_messages_between_small_ones_keep_their_place() {
    let hooks = Hooks::echo().on_message(|_, cx| {
        for round in 0..4u8 {
            for len in MIXED_LENS {
                assert_ne!(cx.send(Kind::Binary, &vec![round; len]), Sent::Refused);
                cx.broadcast(Kind::Binary, &vec![round + 100; len]);
            }
        }
    });
    let mut limits = limits();
    limits.queue_bytes_max = 64 << 20;
    let server = TestServer::start(limits, hooks);
    let [mut a, mut b] = open(&server);
    a.send(wire::text("go"));
    for round in 0..4 {
        for len in MIXED_LENS {
            a.expect(&Frame::binary(&vec![round; len]));
            a.expect(&Frame::binary(&vec![round + 100; len]));
        }
    }
    for round in 0..4 {
        for len in MIXED_LENS {
            b.expect(&Frame::binary(&vec![round + 100; len]));
        }
    }
}

#[test]
fn a_ping_is_answered_at_once_even_when_output_is_due() {
    let hooks = Hooks::echo().on_message(|_, cx| {
        assert_eq!(cx.send(Kind::Binary, &vec![7; 32 << 20]), Sent::Queued);
    });
    let mut limits = limits();
    limits.queue_bytes_soft = 64 << 20;
    limits.queue_bytes_max = 64 << 20;
    let server = TestServer::start(limits, hooks);
    let mut client = RawClient::open(server.addr);
    client.send([wire::text("go"), wire::text("go"), wire::ping(b"1"), wire::ping(b"2")].concat());
    // Ahead of the second message, and only the latest (§5.5.3).
    client.expect(&Frame::binary(&vec![7; 32 << 20]));
    client.expect(&Frame::pong(b"2"));
    client.expect(&Frame::binary(&vec![7; 32 << 20]));
    client.send(wire::ping(b"3"));
    client.expect(&Frame::pong(b"3"));
}

#[test]
fn on_drain_comes_once_the_peer_has_taken_what_was_queued() {
    let (results, drained) = mpsc::channel();
    let hooks = Hooks::echo()
        .on_message(|message, cx| {
            if message.payload() == b"fill" {
                while cx.queued_bytes() <= 8 << 20 {
                    assert_ne!(cx.send(Kind::Binary, &[7; LARGE_LEN]), Sent::Refused);
                }
                let _queued = cx.send(Kind::Text, b"filled");
            } else {
                let _sent = cx.send(message.kind(), message.payload());
            }
        })
        .on_drain(move |cx| {
            results.send(cx.queued_bytes()).unwrap();
            let _sent = cx.send(Kind::Text, b"drained");
        });
    let mut limits = limits();
    limits.queue_bytes_max = 64 << 20;
    let soft = limits.queue_bytes_soft;
    let server = TestServer::start(limits, hooks);
    let mut client = RawClient::open(server.addr);
    for _ in 0..3 {
        client.send(wire::text("fill"));
        loop {
            match client.frame() {
                frame if frame == Frame::text("filled") => break,
                frame => assert_eq!(frame, Frame::binary(&[7; LARGE_LEN])),
            }
        }
        client.expect_text("drained");
        // More than a turn's share, so that the peer is looked at again without an event of its own.
        client.send(wire::text("nothing else came").repeat(1000));
        for _ in 0..1000 {
            client.expect_text("nothing else came");
        }
    }
    let drained: Vec<usize> = drained.try_iter().collect();
    assert_eq!(drained.len(), 3);
    assert!(drained.iter().all(|&bytes| bytes <= soft), "{drained:?}");
}

#[test]
fn the_id_of_a_peer_is_the_same_in_every_call() {
    let (ids, seen) = mpsc::channel();
    let [open, message, close] = [ids.clone(), ids.clone(), ids];
    let hooks = Hooks::echo()
        .on_open(move |cx| open.send((cx.id(), cx.now_ms())).unwrap())
        .on_message(move |_, cx| message.send((cx.id(), cx.now_ms())).unwrap())
        .on_close(move |_, cx| close.send((cx.id(), cx.now_ms())).unwrap());
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("hi"));
    client.half_close();
    server.closed();
    let seen: Vec<(PeerId, u64)> = seen.try_iter().collect();
    assert_eq!(seen.len(), 3);
    let opened = server.opened();
    assert!(seen.iter().all(|&(id, _)| id == opened));
    assert!(seen.is_sorted_by_key(|&(_, now_ms)| now_ms));
}

#[test]
fn other_threads_can_send_and_broadcast() {
    let server = TestServer::echo();
    let mut clients: [RawClient; 3] = open(&server);
    let ids: [PeerId; 3] = std::array::from_fn(|_| server.opened());
    thread::scope(|scope| {
        for sender in 0..4 {
            let remote = server.remote.clone();
            scope.spawn(move || {
                for number in 0..100 {
                    remote.send(ids[1], Kind::Text, format!("{sender} send {number}"));
                    remote.broadcast(Kind::Text, format!("{sender} broadcast {number}"));
                }
            });
        }
    });
    for (at, client) in clients.iter_mut().enumerate() {
        let per_number: &[&str] = if at == 1 { &["send", "broadcast"] } else { &["broadcast"] };
        let mut expected: [_; 4] = std::array::from_fn(|sender| {
            let one = move |number| {
                per_number.iter().map(move |what| format!("{sender} {what} {number}"))
            };
            (0..100).flat_map(one)
        });
        for _ in 0..4 * 100 * per_number.len() {
            let text = String::from_utf8(client.frame().payload).unwrap();
            let sender: usize = text[..1].parse().unwrap();
            assert_eq!(Some(text), expected[sender].next());
        }
        client.expect_echo("nothing else came");
    }
}

#[test]
fn large_messages_from_other_threads_arrive_whole() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    server.remote.broadcast(Kind::Binary, vec![7; LARGE_LEN]);
    client.expect(&Frame::binary(&[7; LARGE_LEN]));
    server.remote.broadcast(Kind::Text, "small");
    client.expect_text("small");
}

#[test]
fn a_drain_says_goodbye_to_everyone_and_ends() {
    let server = TestServer::echo();
    let mut opening = RawClient::connect(server.addr);
    opening.send("GET / HTTP/1.1\r\n");
    let mut clients: [RawClient; 5] = open(&server);
    clients[0].send(masked_start());
    Witness::new(server.addr).round_trip();
    // The witness has left without a Close.
    assert_eq!(server.closed(), Closed::Lost);
    server.remote.drain();
    server.remote.drain();
    let response = opening.response();
    assert_eq!((response.status, &*response.body), (503, "the server is going down\n"));
    assert_eq!(response.values("retry-after"), ["1"]);
    opening.expect_eof();
    drop(opening);
    for client in &mut clients {
        client.expect(&Frame::close(1001, "the server is going down"));
    }
    let refused = TcpStream::connect_timeout(&server.addr, DEADLINE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    for mut client in clients.into_iter().skip(1) {
        client.send(wire::close(1001, ""));
        client.expect_eof();
        drop(client);
        assert_eq!(server.closed(), Closed::ByUs(StatusCode::GOING_AWAY));
    }
    // The first, in mid-message, has left without an answer.
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::GOING_AWAY));
    assert_eq!(server.wait().ended, Ended::Drained);
}

#[test]
fn a_drain_delivers_what_was_accepted_before() {
    let server = TestServer::start(roomy(), Switchboard::default());
    let [mut a, mut b] = open(&server);
    let large = "x".repeat(LARGE_LEN - 100);
    for number in 0..20 {
        a.send(wire::text(&format!("to 1 {number} {large}")));
        a.expect_text("Queued");
    }
    server.remote.broadcast(Kind::Text, "last");
    server.remote.drain();
    for number in 0..20 {
        b.expect_text(&format!("{number} {large}"));
    }
    b.expect_text("last");
    b.expect_close(1001);
}

#[test]
fn a_drain_ends_in_time_though_a_peer_does_not_answer() {
    let mut limits = limits();
    limits.drain_ms = 100;
    let server = TestServer::echo_with(limits);
    let [mut a, mut b] = open(&server);
    server.remote.drain();
    for client in [&mut a, &mut b] {
        client.expect_close(1001);
        // Cut, at the end.
        client.expect_eof();
    }
    assert_eq!(server.wait().ended, Ended::DrainTimedOut(2));
}

#[test]
fn a_stop_ends_the_loop_at_once() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let remote = server.remote.clone();
    assert_eq!(server.stop().ended, Ended::Stopped);
    client.expect_eof();
    // Nobody is left to obey.
    remote.broadcast(Kind::Text, "anyone?");
    remote.drain();
    remote.stop();
}

/// What `Handler` promises: `on_close` exactly once, also for those that the loop's end cuts.
#[test]
fn peers_that_are_cut_by_the_end_of_the_loop_get_their_on_close() {
    let stopped = TestServer::echo();
    let _clients: [RawClient; 3] = open(&stopped);
    let report = stopped.stop();
    assert_eq!(report.closed.iter().map(|&(_, how)| how).collect::<Vec<_>>(), [Closed::Cut; 3]);

    let mut limits = limits();
    limits.drain_ms = 50;
    let drained = TestServer::echo_with(limits);
    let _clients: [RawClient; 2] = open(&drained);
    drained.remote.drain();
    let report = drained.wait();
    assert_eq!(report.ended, Ended::DrainTimedOut(2));
    assert_eq!(report.closed.iter().map(|&(_, how)| how).collect::<Vec<_>>(), [Closed::Cut; 2]);
}

/// Opens that many connections, one after the other.
fn open<const COUNT: usize>(server: &TestServer) -> [RawClient; COUNT] {
    std::array::from_fn(|_| RawClient::open(server.addr))
}

/// An echo that obeys some texts; peers are named by their number, in the order of their arrival.
///
/// `to 1 …` sends to peer 1 and tells what became of it; `all …` broadcasts; `close 1 4000 why` closes.
#[derive(Default)]
struct Switchboard {
    peers: Vec<PeerId>,
}

impl Handler for Switchboard {
    type State = ();

    fn on_upgrade(
        &mut self,
        _request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<()>, Refusal> {
        Ok(Accept::new(()))
    }

    fn on_open(&mut self, (): &mut (), cx: &mut Context<'_>) {
        self.peers.push(cx.id());
    }

    fn on_message(&mut self, (): &mut (), message: Message<'_>, cx: &mut Context<'_>) {
        let text = str::from_utf8(message.payload()).unwrap();
        match text.split_once(' ') {
            Some(("to", rest)) => {
                let (peer, text) = rest.split_once(' ').unwrap();
                let peer = self.peers[peer.parse::<usize>().unwrap()];
                let sent = cx.send_to(peer, Kind::Text, text.as_bytes());
                let _told = cx.send(Kind::Text, format!("{sent:?}").as_bytes());
            }
            Some(("all", text)) => cx.broadcast(Kind::Text, text.as_bytes()),
            Some(("close", rest)) => {
                let [peer, code, reason] = rest.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{rest}")
                };
                let code = StatusCode::from_wire(code.parse().unwrap()).unwrap();
                cx.close_peer(self.peers[peer.parse::<usize>().unwrap()], code, reason);
            }
            _ => {
                let _sent = cx.send(message.kind(), message.payload());
            }
        }
    }
}

/// The first fragment of a message.
fn masked_start() -> Vec<u8> {
    wire::masked(wire::TEXT, b"half a mess")
}

fn roomy() -> Limits {
    let mut limits = limits();
    limits.queue_bytes_max = 64 << 20;
    limits
}

const LARGE_LEN: usize = 1 << 20;
const MIXED_LENS: [usize; 7] = [1, LARGE_LEN, 2, 8192, 8193, 0, 100_000];
