//! Silence: who is asked whether it is still there, and who is dropped.
//!
//! The passing of time is what these tests are about. None sleeps: the server's own Pings, to this peer or to one that
//! is there for it, tell how late it is.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use wsfast::{Closed, Kind, Limits};

use crate::support::client::RawClient;
use crate::support::flood::open_with_rcvbuf;
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, FIN, Frame, PING, TEXT};
use crate::support::{DEADLINE, limits};

#[test]
fn a_silent_peer_is_asked_and_then_dropped() {
    let server = TestServer::echo_with(times(100, 150));
    let begun = Instant::now();
    let mut silent = RawClient::open(server.addr);
    silent.expect(&ping());
    let asked = Instant::now();
    // The server's clock has whole milliseconds.
    assert!(asked - begun >= Duration::from_millis(99), "{:?}", asked - begun);
    silent.expect_eof();
    assert!(begun.elapsed() >= Duration::from_millis(249), "{:?}", begun.elapsed());
    assert_eq!(server.closed(), Closed::Silent);
    let counters = server.stop().counters;
    assert_eq!((counters.silent, counters.lost), (1, 0));
}

#[test]
fn a_peer_that_answers_stays_and_is_asked_again() {
    let server = TestServer::echo_with(times(50, DEADLINE_MS));
    let mut client = RawClient::open(server.addr);
    for _ in 0..5 {
        client.expect(&ping());
        client.send(wire::pong(b""));
    }
    client.expect_echo("all is well");
    assert_eq!(server.stop().counters.silent, 0);
}

/// A Ping comes only after so much silence, so that each answer was taken as a sign of life if one more Ping comes.
#[test]
fn any_byte_is_a_sign_of_life() {
    let server = TestServer::echo_with(times(50, FOREVER_MS));
    let mut client = RawClient::open(server.addr);
    for byte in wire::masked(FIN | TEXT, b"hi") {
        client.expect(&ping());
        client.send([byte]);
    }
    client.expect_text("hi");
    assert_eq!(server.stop().counters.silent, 0);
}

/// While a peer is behind it is not read from, so that its Pongs lie unread; what it takes tells that it lives.
#[test]
fn a_peer_that_takes_its_output_slowly_is_not_silent() {
    const STEP: usize = 2 << 20;
    let mut limits = times(100, 150);
    limits.message_bytes_max = 12 * STEP;
    let server = TestServer::echo_with(limits);
    let message = wire::binary(&vec![7; 12 * STEP]);
    let mut slow = open_with_rcvbuf(server.addr, 256 << 10);
    slow.send(message);
    let mut clock = RawClient::open(server.addr);
    let mut taken = vec![0; STEP];
    for _ in 0..8 {
        // A tenth of a second at the least; three of them are longer than both times together.
        clock.expect(&ping());
        clock.send(wire::pong(b""));
        std::io::Read::read_exact(&mut slow.stream, &mut taken).unwrap();
        assert!(taken.ends_with(&[7; 1000]));
    }
    assert_eq!(server.stop().counters.silent, 0);
}

#[test]
fn what_is_sent_to_a_peer_is_no_sign_of_its_life() {
    let server = TestServer::start(
        times(100, 200),
        Hooks::echo().on_message(|_, cx| cx.broadcast(Kind::Text, b"news")),
    );
    let mut silent = RawClient::open(server.addr);
    let silent_id = server.opened();
    let mut talker = RawClient::open(server.addr);
    let (mut news, mut pings) = (0, 0);
    // The other's news pace this: it hears of them until it is dropped.
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "it is not dropped");
        talker.send(wire::text("?"));
        talker.expect_text("news");
        let mut room = [0; 1000];
        silent.stream.set_nonblocking(true).unwrap();
        match std::io::Read::read(&mut silent.stream, &mut room) {
            Ok(0) => break,
            Ok(len) => silent.buf.extend_from_slice(&room[..len]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        while let Some((frame, len)) = Frame::parse(&silent.buf) {
            silent.buf.drain(..len);
            let is_ping = frame == ping();
            assert!(is_ping || frame == Frame::text("news"), "{frame:?}");
            pings += usize::from(is_ping);
            news += usize::from(!is_ping);
        }
    }
    assert_eq!(pings, 1);
    assert!(news > 1, "{news} news");
    assert_eq!(server.closed_peer(), (silent_id, Closed::Silent));
    assert_eq!(server.stop().counters.silent, 1);
}

#[test]
fn an_interval_of_zero_never_asks() {
    let server = TestServer::echo_with(times(0, 1));
    let mut client = RawClient::open(server.addr);
    pass_intervals(3);
    client.expect_echo("nothing came before this");
    assert_eq!(server.stop().counters.silent, 0);
}

/// A handler that took long, a stopped process, a machine that slept: nobody could answer what was never asked.
#[test]
fn nobody_is_dropped_unasked_after_a_stall() {
    let (release, released) = mpsc::channel();
    let server = TestServer::start(
        times(100, 1000),
        Hooks::echo().on_message(move |message, cx| {
            if message.payload() == b"stall" {
                released.recv_timeout(DEADLINE).unwrap();
            }
            let _sent = cx.send(message.kind(), message.payload());
        }),
    );
    let mut idle = RawClient::open(server.addr);
    let mut staller = RawClient::open(server.addr);
    staller.send(wire::text("stall"));
    pass_intervals(12);
    release.send(()).unwrap();
    staller.expect_text("stall");
    idle.expect(&ping());
    idle.send(wire::pong(b""));
    idle.expect_echo("still here");
    assert_eq!(server.stop().counters.silent, 0);
}

/// Returns after so many times 100 ms, which another server's Pings tell.
fn pass_intervals(count: usize) {
    let clock = TestServer::echo_with(times(100, FOREVER_MS));
    let mut client = RawClient::open(clock.addr);
    for _ in 0..count {
        client.expect(&ping());
        client.send(wire::pong(b""));
    }
}

fn times(ping_interval_ms: u64, pong_timeout_ms: u64) -> Limits {
    let mut limits = limits();
    limits.ping_interval_ms = ping_interval_ms;
    limits.pong_timeout_ms = pong_timeout_ms;
    limits
}

fn ping() -> Frame {
    Frame { first: FIN | PING, payload: Vec::new() }
}

const DEADLINE_MS: u64 = 10_000;

const FOREVER_MS: u64 = 600_000;
