//! `--stdin`: what comes in by a pipe leaves as messages.

use std::io::Write as _;
use std::process::{ChildStdin, Stdio};
use std::thread;

use crate::support::client::RawClient;
use crate::support::process::{Process, command};
use crate::support::wire::{self, Frame};

/// More lines than a pipe, a batch or a turn holds.
#[test]
fn every_line_is_heard_in_order_at_once_and_later() {
    const COUNT: usize = 100_000;
    let (server, mut stdin) =
        start(&["--history", "100000", "--topic-bytes", "64M", "--history-bytes", "256M"]);
    let mut live = open(&server, "/a%20topic");
    let writer = thread::spawn(move || {
        for number in 0..COUNT {
            writeln!(stdin, "line {number}").unwrap();
        }
    });
    let check = |client: &mut RawClient| {
        for number in 0..COUNT {
            client.expect_text(&format!("line {number}"));
        }
    };
    check(&mut live);
    writer.join().unwrap();
    let log = server.next_log_line();
    assert!(
        log.contains("standard input ended; the server goes on topic=\"a topic\" published=100000")
    );
    check(&mut open(&server, "/a%20topic?since=all"));
}

#[test]
fn a_line_is_text_if_it_can_be_and_ends_with_its_bytes() {
    let (server, mut stdin) = start(&["--topic-bytes", "1K"]);
    let mut client = open(&server, "/a%20topic");
    let longest = "x".repeat(1024);
    stdin.write_all(b"one\r\n\n\xFF\0\ntw\ro\n").unwrap();
    client.expect_text("one");
    client.expect_text("");
    client.expect(&Frame::binary(b"\xFF\0"));
    client.expect_text("tw\ro");
    for end in ["\n", "\r\n", "x\n", "xx\n"] {
        write!(stdin, "{longest}{end}").unwrap();
    }
    client.expect_text(&longest);
    client.expect_text(&longest);
    let log = server.next_log_line();
    assert!(
        log.contains("WARN") && log.contains("has more than 1024 bytes (--topic-bytes"),
        "{log}"
    );
    // A line may come in parts, and the last one has no end.
    for part in ["h", "\u{e9}", "ll"] {
        stdin.write_all(part.as_bytes()).unwrap();
    }
    drop(stdin);
    client.expect_text("héll");
    let log = server.next_log_line();
    assert!(log.contains("published=7 skipped=2 refused=0"), "{log}");
    // Nothing is left of the pipe, and all goes on.
    client.send(wire::text("hello"));
    client.expect_text("hello");
}

/// The pipe is left full while the loop is busy, so that a producer without end costs no memory.
#[test]
fn a_flood_costs_no_memory() {
    let (server, mut stdin) = start(&["--history", "16"]);
    let chunk = format!("{}\n", "x".repeat(1023)).repeat(1024);
    stdin.write_all(chunk.as_bytes()).unwrap();
    let before = server.rss_bytes();
    for _ in 0..128 {
        stdin.write_all(chunk.as_bytes()).unwrap();
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "grown by {grown} bytes");
    drop(stdin);
    let log = server.next_log_line();
    assert!(log.contains("published=132096 "), "{log}");
}

/// The server, and the writing end of its standard input.
fn start(args: &[&str]) -> (Process, ChildStdin) {
    let mut command = command(&["--port", "0", "--stdin", "/a topic"]);
    let mut server = Process::spawn(command.args(args).stdin(Stdio::piped()));
    let stdin = server.take_stdin();
    (server, stdin)
}

fn open(server: &Process, target: &str) -> RawClient {
    let mut client = RawClient::connect(server.addr);
    client.send(wire::request().replacen("GET /", &format!("GET {target}"), 1));
    client.expect_open(wire::KEY);
    client
}
