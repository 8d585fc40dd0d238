//! The binary and its signals: how it says goodbye, and what it outlives.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::DEADLINE;
use crate::support::ask::{get, post};
use crate::support::client::{RawClient, Witness};
use crate::support::flood::{Flood, connect_with_rcvbuf, open_with_rcvbuf};
use crate::support::process::{Process, command};
use crate::support::wire;

#[test]
fn the_first_signal_says_goodbye_to_all_and_refuses_the_rest() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Process::start(PATIENT);
        let addr = server.addr;
        let mut clients: Vec<RawClient> = (0..5).map(|_| RawClient::open(addr)).collect();
        clients[0].expect_echo("before");
        server.signal(signal);
        for client in &mut clients {
            assert_eq!(client.expect_close(1001), GOODBYE);
        }
        let refused = TcpStream::connect_timeout(&addr, DEADLINE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        for client in &mut clients {
            client.send(wire::close(1001, ""));
            client.expect_eof();
        }
        drop(clients);
        assert_eq!(server.wait().status.code(), Some(0), "{signal:?}");
    }
}

#[test]
fn without_connections_it_ends_at_once() {
    let server = Process::start(PATIENT);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

/// Each way to be answered in parts is whole, and the last of its connection.
#[test]
fn an_answer_under_way_is_whole_before_the_goodbye() {
    let server = Process::start(PATIENT);
    let mut poster = RawClient::connect(server.addr);
    for _ in 0..9 {
        poster.send(post("/t", &"m".repeat(100_000)));
        assert_eq!(poster.response().status, 200);
    }
    let mut other = RawClient::open(server.addr);
    let asked = [get("/t?since=all", ""), post("/api/history", r#"{"channel":"t","limit":-1}"#)];
    let mut readers = asked.map(|request| {
        let mut client = connect_with_rcvbuf(server.addr, 4096);
        client.send(request.repeat(2));
        assert!(client.is_readable_within(DEADLINE));
        client
    });
    server.signal(Signal::TERM);
    other.expect_close(1001);
    drop((poster, other));
    for client in &mut readers {
        let body = client.response().body;
        assert_eq!(body.matches(&"m".repeat(100_000)).count(), 9, "{} bytes", body.len());
        let rest = String::from_utf8(client.read_to_eof()).unwrap();
        // The second request is refused, or not answered any more.
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 503 "), "{rest:.60}");
    }
}

#[test]
fn what_a_slow_client_is_owed_comes_before_the_goodbye() {
    let server = Process::start(PATIENT);
    let mut witness = Witness::new(server.addr);
    let mut client = open_with_rcvbuf(server.addr, 20 << 10);
    let mut other = RawClient::open(server.addr);
    let flood = Flood::new(&[9_000, 20, 16_000]);
    let pushed = flood.push(&client, 100_000, &mut witness);
    assert!(pushed.count < 100_000);
    server.signal(Signal::TERM);
    // All goodbyes are queued when the first arrives.
    other.expect_close(1001);

    // It took in whole messages, in order; each of them is answered, and none behind the Close.
    let echoed = thread::scope(|scope| {
        let mut stream = client.stream.try_clone().unwrap();
        let (flood, pushed) = (&flood, &pushed);
        scope.spawn(move || {
            flood.send_on(&stream, pushed, pushed.count);
            stream.write_all(&wire::close(1001, "")).unwrap();
        });
        flood.expect_until_close(&mut client)
    });
    assert!(echoed > 0 && echoed <= pushed.count, "{echoed} of {}", pushed.count);
    assert_eq!(client.expect_close(1001), GOODBYE);
    client.expect_eof();
    drop((client, other, witness));
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_client_that_never_answers_is_not_waited_for_past_the_drain_time() {
    let server = Process::start(&["--drain", "200ms", "--close-timeout", "1h"]);
    let mut mute = RawClient::open(server.addr);
    let mut deaf = open_with_rcvbuf(server.addr, 4 << 10);
    deaf.send_in_vain(wire::binary(&[7; 60_000]).repeat(8));
    server.signal(Signal::TERM);
    assert_eq!(mute.expect_close(1001), GOODBYE);
    let output = server.wait();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
    assert!(output.stderr.contains("connections=2"), "{}", output.stderr);
}

#[test]
fn a_client_that_never_answers_is_cut_after_the_close_time() {
    let server = Process::start(&["--drain", "1h", "--close-timeout", "100ms"]);
    let mut mute = RawClient::open(server.addr);
    server.signal(Signal::TERM);
    assert_eq!(mute.expect_close(1001), GOODBYE);
    mute.expect_eof();
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_handshake_in_progress_is_refused() {
    let server = Process::start(PATIENT);
    let mut silent = RawClient::connect(server.addr);
    let mut in_head = RawClient::connect(server.addr);
    in_head.send(&wire::request()[..40]);
    // Both are accepted.
    Witness::new(server.addr).round_trip();
    server.signal(Signal::TERM);
    for client in [&mut silent, &mut in_head] {
        let response = client.response();
        assert_eq!(response.status, 503);
        assert_eq!(response.values("connection"), ["close"]);
        assert_eq!(response.body, format!("{GOODBYE}\n"));
    }
    // What is left of the request no longer matters.
    in_head.send(&wire::request()[40..]);
    for mut client in [silent, in_head] {
        client.expect_eof();
    }
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::TERM, Signal::INT, 130),
        (Signal::INT, Signal::INT, 130),
        (Signal::INT, Signal::TERM, 143),
    ] {
        let server = Process::start(PATIENT);
        let mut mute = RawClient::open(server.addr);
        server.signal(first);
        mute.expect_close(1001);
        server.signal(second);
        assert_eq!(server.wait().status.code(), Some(code), "{first:?} {second:?}");
    }
}

#[test]
fn peers_that_vanish_while_they_are_written_to_do_not_kill_it() {
    let mut server = Process::start(PATIENT);
    let mut witness = Witness::new(server.addr);
    for _ in 0..50 {
        let mut with_echoes_due = open_with_rcvbuf(server.addr, 4 << 10);
        with_echoes_due.send_in_vain(wire::binary(&[7; 60_000]).repeat(4));
        with_echoes_due.reset();
        let mut half = RawClient::open(server.addr);
        half.send_in_vain(wire::binary(&[7; 1000]).repeat(100));
        half.stream.shutdown(Shutdown::Read).unwrap();
        half.reset();
        witness.round_trip();
    }
    server.signal(Signal::PIPE);
    witness.round_trip();
    assert!(server.is_running());
}

/// Whoever started it may have gone: nobody reads its output, or there is nowhere to write.
#[test]
fn closed_outputs_do_not_kill_it() {
    let port = free_port();
    let exe = command(&[]).get_program().to_owned();
    let mut shell = Command::new("sh");
    let script = r#"exec "$0" -vv --port "$1" >&- 2>&-"#;
    let child = shell.args(["-c", script]).arg(exe).arg(port.to_string()).spawn().unwrap();
    let mut server = Killed(child);
    let addr = ([127, 0, 0, 1], port).into();
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect_timeout(&addr, DEADLINE).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        assert_eq!(server.0.try_wait().unwrap(), None, "it ended");
        thread::yield_now();
    }
    RawClient::open(addr).expect_echo("hello");
    RawClient::open(addr).expect_echo("again");
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn it_listens_again_at_once_after_it_was_killed() {
    let server = Process::start(PATIENT);
    let port = server.addr.port().to_string();
    // One connection that the server ended first, which leaves its port in TIME_WAIT, and some that are open.
    let mut ended = RawClient::open(server.addr);
    ended.send(wire::close(1000, ""));
    ended.expect_close(1000);
    ended.expect_eof();
    drop(ended);
    let mut clients: Vec<RawClient> = (0..3).map(|_| RawClient::open(server.addr)).collect();
    clients[0].expect_echo("before");
    server.signal(Signal::KILL);
    server.wait();

    let again = Process::spawn(&mut command(&["--port", &port]));
    RawClient::open(again.addr).expect_echo("after");
    for client in &mut clients {
        client.expect_eof();
    }
}

/// Time-outs that no test lives to see.
const PATIENT: &[&str] = &["--drain", "1h", "--close-timeout", "1h", "--ping-interval", "0"];

const GOODBYE: &str = "the server is going down";

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
