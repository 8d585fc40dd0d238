//! Peers that do not take what is sent to them: what it costs the server, the others, and in the end them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use wsfast::{Closed, Kind, PeerId, Sent, StatusCode};

use crate::support::client::{RawClient, Witness};
use crate::support::flood::{Flood, open_with_rcvbuf};
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, FIN, Frame, PONG};
use crate::support::{DEADLINE, limits};

#[test]
fn a_client_that_never_reads_is_not_read_from_and_loses_nothing() {
    let handled = Arc::new(AtomicU64::new(0));
    let most_queued = Arc::new(AtomicUsize::new(0));
    let server = {
        let (handled, most_queued) = (Arc::clone(&handled), Arc::clone(&most_queued));
        let echo = Hooks::echo().on_message(move |message, cx| {
            let _sent = cx.send(message.kind(), message.payload());
            handled.fetch_add(u64::from(message.kind() == Kind::Binary), Ordering::Relaxed);
            most_queued.fetch_max(cx.queued_bytes(), Ordering::Relaxed);
        });
        TestServer::start(limits(), echo)
    };
    let mut witness = Witness::new(server.addr);
    let mut client = open_with_rcvbuf(server.addr, 64 << 10);
    let flood = Flood::new(&[16 << 10]);
    let end = (64 << 20) / (16 << 10);

    let pushed = flood.push(&client, end, &mut witness);
    assert!(pushed.count < end, "all 64 MiB were taken in");
    let before = handled.load(Ordering::Relaxed);
    for _ in 0..100 {
        witness.round_trip();
    }
    assert_eq!(handled.load(Ordering::Relaxed), before, "it is read from");

    thread::scope(|scope| {
        let stream = client.stream.try_clone().unwrap();
        scope.spawn(|| flood.send_on(&{ stream }, &pushed, end));
        flood.expect(&mut client, 0..end);
    });
    client.expect_echo("all is well");
    assert_eq!(handled.load(Ordering::Relaxed), end);
    // The soft bound, what one read brings, and the message that passes the bound.
    let bound = limits().queue_bytes_soft + (129 << 10) + (17 << 10);
    assert!(most_queued.load(Ordering::Relaxed) <= bound, "{most_queued:?} of {bound}");
    assert_eq!(server.stop().counters.overflowed, 0);
}

/// Lengths on both sides of every threshold, in both orders: partial writes end within headers, corks and payloads.
#[test]
fn every_byte_arrives_in_order_through_small_buffers() {
    let server = TestServer::echo();
    for (rcvbuf, count) in [(2 << 10, 400), (20 << 10, 400), (200 << 10, 1000)] {
        let flood = Flood::new(&[
            0, 1, 125, 126, 300_000, 127, 7, 8191, 8192, 8193, 0, 65_535, 3, 65_536, 65_537, 1000,
            40, 30_000, 9,
        ]);
        check_echo(&server, &flood, rcvbuf, count);
    }
    assert_eq!(server.stop().counters.overflowed, 0);
}

/// An echo never overflows: what a peer is owed for its own messages only pauses it.
#[test]
fn echoes_of_the_largest_messages_never_close_their_sender() {
    let server = TestServer::echo();
    let largest = limits().message_bytes_max;
    let flood =
        Flood::new(&[largest, 50_000, 1, largest, 10, 10, 60_000, largest, 100, largest - 1]);
    check_echo(&server, &flood, 20 << 10, 100);

    let mut limits = limits();
    limits.queue_bytes_max = limits.queue_bytes_soft;
    let small = TestServer::echo_with(limits);
    check_echo(&small, &Flood::new(&[1000, 9000, 10, 40_000]), 20 << 10, 2000);
    check_echo(&small, &flood, 20 << 10, 60);

    assert_eq!(server.stop().counters.overflowed, 0);
    assert_eq!(small.stop().counters.overflowed, 0);
}

#[test]
fn tiny_messages_arrive_in_order_however_many_turns_they_take() {
    let server = TestServer::echo();
    let flood = Flood::new(&[2, 3, 2, 0, 9]);
    check_echo(&server, &flood, 20 << 10, 200_000);
}

/// A replier that makes much of little: the soft bound holds it between two messages of one read, too.
#[test]
fn replies_that_are_larger_than_their_questions_only_pause_their_peer() {
    let reply = vec![b'r'; 20_000];
    let server = {
        let reply = reply.clone();
        TestServer::start(
            limits(),
            Hooks::echo().on_message(move |message, cx| match message.payload() {
                b"?" => assert_ne!(cx.send(Kind::Binary, &reply), Sent::Refused),
                other => assert_ne!(cx.send(Kind::Text, other), Sent::Refused),
            }),
        )
    };
    let mut client = open_with_rcvbuf(server.addr, 20 << 10);
    // Also behind an echo, which leaves from where its message came in.
    client.send([wire::text("!"), wire::text("?").repeat(2000)].concat());
    let mut witness = Witness::new(server.addr);
    witness.round_trip();
    client.expect_text("!");
    for _ in 0..2000 {
        client.expect(&Frame::binary(&reply));
    }
    client.expect_echo("all is well");
    assert_eq!(server.stop().counters.overflowed, 0);
}

#[test]
fn what_others_send_past_the_hard_bound_closes_the_slow_peer() {
    let mut limits = limits();
    limits.queue_bytes_max = 128 << 10;
    let at_the_bound = (128 << 10) - 4 - (100_000 + 10);
    for (lens, sent, received) in [
        // Frames of 2^17 bytes in all fit; a frame of two bytes more does not.
        (
            &[100_000, at_the_bound, 0, 0][..],
            &[Sent::Queued, Sent::Queued, Sent::Refused, Sent::Gone][..],
            2,
        ),
        (&[100_000, at_the_bound + 1, 0], &[Sent::Queued, Sent::Refused, Sent::Gone], 1),
        // Below the soft bound any message fits.
        (&[AT_SOFT, 1 << 20, 0], &[Sent::Queued, Sent::Queued, Sent::Refused], 2),
        (&[1 << 20, 0], &[Sent::Queued, Sent::Refused], 1),
        (&[AT_SOFT + 1, 70_000], &[Sent::Queued, Sent::Refused], 1),
    ] {
        let (hooks, results) = forwarder();
        let server = TestServer::start(limits.clone(), hooks);
        let mut slow = RawClient::open(server.addr);
        server.opened();
        let mut sender = RawClient::open(server.addr);
        sender.send(wire::text(&format!("{lens:?}")));
        sender.expect_text("done");

        assert_eq!(results.recv_timeout(DEADLINE).unwrap(), sent, "{lens:?}");
        for &len in &lens[..received] {
            slow.expect(&Frame::binary(&vec![b'x'; len]));
        }
        assert_eq!(slow.expect_close(1008), "too slow: queued output passed max-queue-bytes");
        slow.send(wire::close(1008, ""));
        slow.expect_eof();
        drop(slow);
        assert_eq!(server.closed(), Closed::ByUs(StatusCode::POLICY_VIOLATION));
        sender.send(wire::text("[]"));
        sender.expect_text("done");
        assert_eq!(server.stop().counters.overflowed, 1, "{lens:?}");
    }
}

#[test]
fn a_broadcast_closes_whoever_never_reads_and_reaches_everyone_else() {
    let mut limits = limits();
    limits.close_timeout_ms = 100;
    let server = TestServer::start(
        limits,
        Hooks::echo().on_message(|message, cx| cx.broadcast(message.kind(), message.payload())),
    );
    let mut sender = RawClient::open(server.addr);
    let mut listener = RawClient::open(server.addr);
    let (_, _) = (server.opened(), server.opened());
    let deaf = open_with_rcvbuf(server.addr, 4 << 10);
    let deaf_id = server.opened();

    let flood = Flood::new(&[60_000]);
    // The kernel takes some MiB for the deaf peer first.
    let end = (32 << 20) / 60_000;
    for number in 0..end {
        sender.send(flood.message(number));
        flood.expect(&mut sender, number..number + 1);
        flood.expect(&mut listener, number..number + 1);
    }
    assert_eq!(server.closed_peer(), (deaf_id, Closed::ByUs(StatusCode::POLICY_VIOLATION)));
    drop(deaf);
    let report = server.stop();
    assert_eq!(report.counters.overflowed, 1);
    assert!(report.closed.iter().all(|&(_, how)| how == Closed::Cut), "{:?}", report.closed);
}

#[test]
fn pings_without_end_cost_one_pong_each_at_most_and_the_latest_is_answered() {
    let (queued_tx, queued) = mpsc::channel();
    let server = TestServer::start(
        limits(),
        Hooks::echo().on_message(move |message, cx| {
            queued_tx.send(cx.queued_bytes()).unwrap();
            let _sent = cx.send(message.kind(), message.payload());
        }),
    );
    let mut client = open_with_rcvbuf(server.addr, 4 << 10);
    let count = 200_000_u32;
    let payload = |number: u32| [&number.to_be_bytes(), &[b'p'; 121][..]].concat();
    for first in (0..count).step_by(1000) {
        let pings: Vec<u8> = (first..first + 1000).flat_map(|n| wire::ping(&payload(n))).collect();
        client.send(pings);
    }
    client.send(wire::text("still here"));
    // A turn's share of pongs at most.
    let bytes = queued.recv_timeout(DEADLINE).unwrap();
    assert!((1..=256 * 127).contains(&bytes), "{bytes} bytes are queued");

    let (mut pongs, mut latest, mut echoed) = (0, None, false);
    while latest != Some(count - 1) || !echoed {
        let frame = client.frame();
        if frame == Frame::text("still here") {
            echoed = true;
            continue;
        }
        assert_eq!((frame.first, frame.payload.len()), (FIN | PONG, 125));
        let number = u32::from_be_bytes(*frame.payload.first_chunk().unwrap());
        assert!(latest < Some(number), "{number} behind {latest:?}");
        latest = Some(number);
        pongs += 1;
    }
    assert!(pongs < count, "all {count} pongs were kept for it");
    client.send(wire::ping(b"again"));
    client.expect(&Frame::pong(b"again"));
    client.expect_echo("all is well");
}

#[test]
fn on_drain_is_called_once_each_time_the_queue_passed_the_soft_bound() {
    let (drained_tx, drained) = mpsc::channel();
    let (hooks, results) = forwarder();
    let hooks = hooks.on_drain(move |cx| drained_tx.send((cx.id(), cx.queued_bytes())).unwrap());
    let server = TestServer::start(limits(), hooks);
    let mut slow = RawClient::open(server.addr);
    let slow_id = server.opened();
    let mut sender = RawClient::open(server.addr);
    let mut forward = |lens: &[usize], slow: &mut RawClient| {
        sender.send(wire::text(&format!("{lens:?}")));
        assert_eq!(results.recv_timeout(DEADLINE).unwrap(), vec![Sent::Queued; lens.len()]);
        for &len in lens {
            slow.expect(&Frame::binary(&vec![b'x'; len]));
        }
        sender.expect_text("done");
    };
    for _ in 0..3 {
        forward(&[30_000, 30_000, 30_000], &mut slow);
        let (id, bytes) = drained.recv_timeout(DEADLINE).unwrap();
        assert_eq!(id, slow_id);
        assert!(bytes <= limits().queue_bytes_soft, "{bytes} bytes are queued");
        // At the bound is not past it.
        forward(&[AT_SOFT], &mut slow);
        forward(&[1], &mut slow);
        assert_eq!(drained.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
}

/// What is queued for a peer that reads is delivered even if that peer says goodbye meanwhile.
#[test]
fn a_slow_peer_that_closes_gets_all_that_was_queued_before_the_answer() {
    let server = TestServer::echo();
    let mut witness = Witness::new(server.addr);
    let mut client = open_with_rcvbuf(server.addr, 20 << 10);
    let flood = Flood::new(&[10_000, 100, 0]);
    let pushed = flood.push(&client, 100_000, &mut witness);
    thread::scope(|scope| {
        let mut stream = client.stream.try_clone().unwrap();
        let (flood, pushed) = (&flood, &pushed);
        scope.spawn(move || {
            flood.send_on(&stream, pushed, pushed.count);
            std::io::Write::write_all(&mut stream, &wire::close(1000, "")).unwrap();
        });
        flood.expect(&mut client, 0..pushed.count);
    });
    client.expect_close(1000);
    client.expect_eof();
}

#[test]
fn a_slow_peer_that_half_closes_gets_all_that_was_queued() {
    let server = TestServer::echo();
    let mut witness = Witness::new(server.addr);
    let mut client = open_with_rcvbuf(server.addr, 20 << 10);
    let flood = Flood::new(&[10_000, 100, 0]);
    let pushed = flood.push(&client, 100_000, &mut witness);
    thread::scope(|scope| {
        let stream = client.stream.try_clone().unwrap();
        let (flood, pushed) = (&flood, &pushed);
        scope.spawn(move || {
            flood.send_on(&stream, pushed, pushed.count);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        flood.expect(&mut client, 0..pushed.count);
    });
    client.expect_eof();
}

/// Sends `count` messages without a pause on a thread, and checks every byte of their echoes.
fn check_echo(server: &TestServer, flood: &Flood, rcvbuf: usize, count: u64) {
    let mut witness = Witness::new(server.addr);
    let mut client = open_with_rcvbuf(server.addr, rcvbuf);
    let pushed = flood.push(&client, count, &mut witness);
    thread::scope(|scope| {
        let stream = client.stream.try_clone().unwrap();
        scope.spawn(|| flood.send_on(&{ stream }, &pushed, count));
        flood.expect(&mut client, 0..count);
    });
    client.expect_echo("all is well");
}

/// Sends the first peer as many bytes a message as a later peer's message lists (`[1, 20]`), and tells the test what
/// became of each, and the later peer that it is done.
fn forwarder() -> (Hooks, mpsc::Receiver<Vec<Sent>>) {
    let (results_tx, results) = mpsc::channel();
    let first = Arc::new(OnceLock::new());
    let target = Arc::clone(&first);
    let hooks = Hooks::echo()
        .on_open(move |cx| {
            let _later = first.set(cx.id());
        })
        .on_message(move |message, cx| {
            let target: PeerId = *target.get().unwrap();
            if target == cx.id() {
                return;
            }
            let list = std::str::from_utf8(message.payload()).unwrap();
            let lens = list.trim_matches(['[', ']']).split_terminator(", ");
            let lens = lens.map(|len| len.parse::<usize>().unwrap());
            let sent = lens.map(|len| cx.send_to(target, Kind::Binary, &vec![b'x'; len]));
            results_tx.send(sent.collect()).unwrap();
            assert_eq!(cx.send(Kind::Text, b"done"), Sent::Now);
        });
    (hooks, results)
}

/// A payload whose frame fills the queue to the soft bound.
const AT_SOFT: usize = (64 << 10) - 4;
