//! More connections than there is room for: by the limit, by the descriptors, and by mere number.
//!
//! Looks into other processes and limits them, which is Linux's way alone.

#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};
use wsfast::Closed;

use crate::support::client::{RawClient, Witness};
use crate::support::process::Process;
use crate::support::server::TestServer;
use crate::support::wire::{self, Frame};
use crate::support::{DEADLINE, limits};

#[test]
fn one_connection_past_the_limit_is_told_so() {
    let server = echo_for(2);
    let mut first = RawClient::open(server.addr);
    let mut second = RawClient::open(server.addr);
    let mut third = RawClient::connect(server.addr);
    third.send(wire::request());
    expect_refusal(&mut third);
    third.expect_eof();
    first.expect_echo("not");
    second.expect_echo("disturbed");
    let counters = server.stop().counters;
    assert_eq!(
        (counters.accepted, counters.opened, counters.refused, counters.over_capacity),
        (3, 2, 1, 1)
    );
}

#[test]
fn a_slot_is_free_as_soon_as_its_connection_is_over() {
    let server = echo_for(1);
    for how in ["close", "fin", "reset"] {
        let mut client = RawClient::open(server.addr);
        expect_refusal(&mut RawClient::connect(server.addr));
        match how {
            "close" => {
                client.send(wire::close(1000, ""));
                client.expect_close(1000);
                client.expect_eof();
                drop(client);
            }
            "fin" => drop(client),
            _ => client.reset(),
        }
        server.closed();
    }
    RawClient::open(server.addr).expect_echo("there is room");
}

/// Whoever was refused may keep its end open; that must not take the place of a connection.
#[test]
fn those_who_were_refused_hold_no_slot() {
    let server = echo_for(2);
    let mut first = RawClient::open(server.addr);
    let second = RawClient::open(server.addr);
    let mut refused: Vec<RawClient> =
        (0..REFUSALS_MAX).map(|_| RawClient::connect(server.addr)).collect();
    for client in &mut refused {
        expect_refusal(client);
    }
    drop(second);
    server.closed();
    let mut third = RawClient::open(server.addr);
    third.expect_echo("there was room");
    first.expect_echo("for me, too");
    expect_cut(&mut RawClient::connect(server.addr));
    drop(refused);
}

/// Refusals cost descriptors, of which the reserve has so many; the rest is cut without a word.
#[test]
fn connections_past_the_refusal_reserve_are_cut() {
    let server = echo_for(1);
    let mut first = RawClient::open(server.addr);
    let mut refused: Vec<RawClient> =
        (0..REFUSALS_MAX).map(|_| RawClient::connect(server.addr)).collect();
    for client in &mut refused {
        expect_refusal(client);
    }
    for _ in 0..100 {
        expect_cut(&mut RawClient::connect(server.addr));
    }
    first.expect_echo("undisturbed");
    // They leave, and the next is told again.
    drop(refused);
    first.expect_echo("they are gone");
    expect_refusal(&mut RawClient::connect(server.addr));
    let counters = server.stop().counters;
    let refusals = REFUSALS_MAX as u64 + 1;
    assert_eq!((counters.opened, counters.refused), (1, refusals));
    assert_eq!(counters.over_capacity, refusals + 100);
    assert_eq!(counters.accepted, 1 + refusals + 100);
}

#[test]
fn a_full_server_does_not_spin() {
    let server = Process::start(&["--max-connections", "2", "--ping-interval", "400ms"]);
    let mut clock = RawClient::open(server.addr);
    let mut other = RawClient::open(server.addr);
    let mut refused: Vec<RawClient> =
        (0..REFUSALS_MAX + 10).map(|_| RawClient::connect(server.addr)).collect();
    for client in &mut refused[..REFUSALS_MAX] {
        expect_refusal(client);
    }
    for client in &mut refused[REFUSALS_MAX..] {
        expect_cut(client);
    }
    assert_idle_for_a_ping(&server, &mut clock);
    other.expect_echo_behind_pings("undisturbed");
}

/// The descriptors run out below a running server: its limit is lowered to what it has open, and one more.
#[test]
fn without_descriptors_accepting_pauses_and_resumes_without_a_new_connect() {
    let server = Process::start(&["--ping-interval", "400ms"]);
    let mut clock = RawClient::open(server.addr);
    let used = server.descriptors();
    let second_free = (0..).filter(|number| !used.contains(number)).nth(1);
    let limit = Rlimit { current: second_free, maximum: second_free };
    prlimit(Some(server.pid()), Resource::Nofile, limit).unwrap();

    let mut last = RawClient::open(server.addr);
    // The kernel completes these connections; the server cannot take them.
    let mut waiting: Vec<RawClient> = (0..3).map(|_| RawClient::connect(server.addr)).collect();
    for client in &mut waiting {
        client.send(wire::request());
    }
    last.expect_echo_behind_pings("they wait");
    last.expect_echo_behind_pings("and I do not notice");
    assert_idle_for_a_ping(&server, &mut clock);
    waiting.iter().for_each(expect_nothing);

    for mut client in waiting {
        // Each takes the descriptor that the one before it gives back.
        drop(last);
        client.expect_open(wire::KEY);
        client.expect_echo_behind_pings("my turn");
        last = client;
    }
    clock.expect_echo_behind_pings("undisturbed");
}

/// Connections that are reset in every phase: each is accounted for, and none is left behind.
#[test]
fn nothing_is_left_of_connections_that_are_reset() {
    let server = echo_for(8);
    let mut witness = Witness::new(server.addr);
    let rounds = 500;
    for round in 0..rounds {
        RawClient::connect(server.addr).reset();

        let mut in_head = RawClient::connect(server.addr);
        in_head.send(&wire::request()[..50]);
        in_head.reset();

        let mut behind_head = RawClient::connect(server.addr);
        behind_head.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        if round % 2 == 0 {
            assert_eq!(behind_head.response().status, 426);
        }
        behind_head.reset();

        let open = RawClient::open(server.addr);
        open.reset();

        let mut in_frame = RawClient::open(server.addr);
        in_frame.send(&wire::text("never to be whole")[..9]);
        in_frame.reset();

        let mut with_echo_due = RawClient::open(server.addr);
        with_echo_due.send(wire::binary(&[0; 1000]).repeat(20));
        with_echo_due.reset();
        // So that the limit is never passed, whatever the order of resets.
        witness.round_trip();
    }
    // All slots but the witness's are free.
    let mut room: Vec<RawClient> = (0..7).map(|_| RawClient::open(server.addr)).collect();
    for client in &mut room {
        client.expect_echo("there is room");
    }
    expect_refusal(&mut RawClient::connect(server.addr));
    drop(room);
    for _ in 0..rounds * 3 + 7 {
        assert_eq!(server.closed(), Closed::Lost);
    }
    witness.round_trip();
    let report = server.stop();
    // The witness.
    assert_eq!(report.closed.iter().map(|&(_, how)| how).collect::<Vec<_>>(), [Closed::Cut]);
    let counters = report.counters;
    assert_eq!(counters.accepted, rounds * 6 + 1 + 7 + 1);
    assert_eq!(counters.opened, rounds * 3 + 1 + 7);
    assert_eq!((counters.lost, counters.over_capacity), (rounds * 3 + 7, 1));
    assert_eq!((counters.protocol_errors, counters.silent, counters.accepts_paused), (0, 0, 0));
}

/// Connections past the limit that are told so; `net::server` cuts those beyond.
const REFUSALS_MAX: usize = 64;

fn echo_for(peers_max: usize) -> TestServer {
    let mut limits = limits();
    limits.peers_max = peers_max;
    TestServer::echo_with(limits)
}

/// A 503 that says when to come back, and why, in one line.
fn expect_refusal(client: &mut RawClient) {
    let response = client.response();
    assert_eq!(response.status, 503, "{}", response.head);
    assert_eq!(response.values("connection"), ["close"]);
    let retry_after = response.values("retry-after");
    assert!(
        matches!(retry_after[..], [seconds] if seconds.parse::<u32>().is_ok()),
        "{retry_after:?}"
    );
    assert_eq!(response.body, "all connections are in use\n");
}

/// The connection ends, in whatever way, without a byte.
fn expect_cut(client: &mut RawClient) {
    client.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    match client.stream.read(&mut [0; 100]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not cut: {other:?}"),
    }
}

/// Nothing came so far.
fn expect_nothing(client: &RawClient) {
    client.stream.set_nonblocking(true).unwrap();
    let error = (&client.stream).read(&mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.stream.set_nonblocking(false).unwrap();
}

/// The process sleeps between two of its Pings, which pace this, instead of running: it uses less than a tenth of that
/// time.
fn assert_idle_for_a_ping(server: &Process, clock: &mut RawClient) {
    let ping = Frame::empty_ping();
    clock.expect(&ping);
    clock.send(wire::pong(b""));
    let (cpu, begun) = (server.cpu_time(), Instant::now());
    clock.expect(&ping);
    let (used, passed) = (server.cpu_time() - cpu, begun.elapsed());
    clock.send(wire::pong(b""));
    assert!(passed > Duration::from_millis(300), "{passed:?}");
    assert!(used * 10 < passed, "{used:?} of {passed:?}");
}
