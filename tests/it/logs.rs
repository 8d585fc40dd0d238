//! The log and the server: a reader that does not read holds nobody up, and one that reads gets every line.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write as _, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Instant;

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::DEADLINE;
use crate::support::client::RawClient;
use crate::support::process::{Process, command, lines};
use crate::support::watch::{json, request};
use crate::support::wire;

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    for args in [&["-v"][..], &["-vv"], &["-v", "--log", "json"]] {
        let (server, log) = start_unread(args);
        come_and_go(server.addr, 2000);
        RawClient::open(server.addr).expect_echo("a stranger");
        server.signal(Signal::TERM);
        assert_eq!(server.wait().status.code(), Some(0), "{args:?}");
        drop(log);
    }
}

#[test]
fn connections_that_are_cut_end_a_server_whose_log_nobody_reads() {
    let (server, log) = start_unread(&["-v", "--drain", "200ms", "--close-timeout", "1h"]);
    come_and_go(server.addr, 2000);
    let mut mute = RawClient::open(server.addr);
    server.signal(Signal::TERM);
    mute.expect_close(1001);
    assert_eq!(server.wait().status.code(), Some(0));
    drop(log);
}

/// Each line is read or counted, in the log and in the metric.
#[test]
fn lines_that_nobody_read_in_time_are_counted() {
    for format in ["text", "json"] {
        let (server, log) = start_unread(&[SMALL, ADMIN, &["-v", "--log", format]].concat());
        let admin = server.admin();
        come_and_go(server.addr, 6000);
        let dropped = dropped(admin);
        assert!(dropped > 0, "nothing was dropped");
        let log = lines(log);
        let mut read = Read::default();
        while read.told == 0 {
            read.take(&log.recv_timeout(DEADLINE).expect("a line that tells what was dropped"));
        }
        come_and_go(server.addr, 10);
        assert_eq!(metric(admin, DROPPED), dropped);
        server.signal(Signal::TERM);
        assert_eq!(server.wait().status.code(), Some(0));
        log.iter().for_each(|line| read.take(&line));
        assert_eq!(read, Read { closed: 6010 - dropped, told: dropped, notices: 1 }, "{format}");
    }
}

#[test]
fn a_log_that_is_read_is_whole() {
    let server = Process::start(&["-v"]);
    come_and_go(server.addr, 3000);
    server.signal(Signal::TERM);
    let mut read = Read::default();
    let output = server.wait();
    output.stderr.lines().for_each(|line| read.take(line));
    assert_eq!(read, Read { closed: 3000, told: 0, notices: 0 });
    assert!(output.stderr.contains("draining"), "{}", output.stderr);
}

#[test]
fn a_restart_loses_no_line() {
    let server = Process::start(&[ADMIN, &["-v"]].concat());
    let mut read = Read::default();
    for _ in 0..3 {
        come_and_go(server.addr, 1000);
        server.signal(Signal::USR2);
        loop {
            let line = server.next_log_line();
            read.take(&line);
            if line.contains("restarted") {
                break;
            }
        }
    }
    server.signal(Signal::TERM);
    server.wait().stderr.lines().for_each(|line| read.take(line));
    assert_eq!(read, Read { closed: 3000, told: 0, notices: 0 });
}

/// It does not wait for the reader, and what was not written by then is counted by the new image.
#[test]
fn a_server_whose_log_nobody_reads_is_restarted() {
    let (server, log) = start_unread(&[SMALL, ADMIN, &["-v"]].concat());
    let admin = server.admin();
    let mut client = RawClient::open(server.addr);
    come_and_go(server.addr, 6000);
    let before = dropped(admin);
    assert!(before > 0, "nothing was dropped");
    server.signal(Signal::USR2);
    let deadline = Instant::now() + DEADLINE;
    let after = loop {
        let after = metric(admin, DROPPED);
        if after > before {
            break after;
        }
        assert!(Instant::now() < deadline, "it is not restarted");
    };
    client.expect_echo("on we go");
    server.signal(Signal::TERM);
    client.expect_close(1001);
    drop(client);
    let log = lines(log);
    assert_eq!(server.wait().status.code(), Some(0));
    let mut read = Read::default();
    log.iter().for_each(|line| read.take(&line));
    assert_eq!(read, Read { closed: 6001 - after, told: after, notices: 1 });
}

/// Who shares stderr with the server may have made it non-blocking: a reader that is slow then gets its lines all the same.
#[test]
fn a_log_that_does_not_block_is_whole() {
    let (log, end) = pipe().unwrap();
    ioctl_fionbio(&end, true).unwrap();
    let server = start_with_log(end, &["-v", "--admin", "127.0.0.1:0"]);
    come_and_go(server.addr, 3000);
    assert_eq!(dropped(server.admin()), 0);
    let log = lines(log);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    let mut read = Read::default();
    log.iter().for_each(|line| read.take(&line));
    assert_eq!(read, Read { closed: 3000, told: 0, notices: 0 });
}

/// What cannot be written is as good as dropped; once there is room again, a line tells.
#[test]
fn lines_for_a_full_disk_are_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = command(&["--port", "0", "-v", "--admin", "127.0.0.1:0"]);
    let server = Process::spawn(command.stderr(full));
    come_and_go(server.addr, 100);
    let deadline = Instant::now() + DEADLINE;
    let admin = server.admin();
    while dropped(admin) < 100 {
        assert!(Instant::now() < deadline, "{} were dropped", dropped(admin));
    }
    assert_eq!(dropped(admin), 100);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn start_up_lines_that_nobody_reads_keep_it_neither_from_serving_nor_from_ending() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let (_unread, stdout) = full_pipe();
    let (_unread_too, stderr) = full_pipe();
    let mut command = command(&["-v", "--port", &port.to_string()]);
    let mut server = Killed(command.stdout(stdout).stderr(stderr).spawn().unwrap());
    let addr = ([127, 0, 0, 1], port).into();
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect_timeout(&addr, DEADLINE).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        thread::yield_now();
    }
    RawClient::open(addr).expect_echo("a stranger");
    kill_process(Pid::from_child(&server.0), Signal::TERM).unwrap();
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_server_that_cannot_start_ends_even_if_nobody_reads_why() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (_unread, stderr) = full_pipe();
    let mut command: Command = command(&["--port", &port]);
    let mut server = Killed(command.stderr(stderr).spawn().unwrap());
    assert_eq!(server.ended().code(), Some(2));
}

/// By the names that `/connections` has for it, in words and numbers, in text and in JSON.
#[test]
fn a_line_about_a_connection_names_it_as_the_admin_side_does() {
    let ends: [(&str, End, &str, Option<u64>); 5] = [
        ("closed", close, "the client closed it", Some(1000)),
        ("closed", close_without_code, "the client closed it", None),
        ("closed", RawClient::reset, "the connection ended without a closing handshake", None),
        ("failed", send_unmasked, "frame without a masking key", Some(1002)),
        ("closed", |_| (), "the server closed it", Some(1008)),
    ];
    for format in ["text", "json"] {
        let server = Process::start(&[ADMIN, &["-v", "--log", format]].concat());
        let admin = server.admin();
        for (message, end, why, code) in &ends {
            let mut client = RawClient::open(server.addr);
            let listed = &json(admin, "/connections")["connections"][0];
            let (id, address) =
                (listed["id"].as_str().unwrap(), listed["address"].as_str().unwrap());
            assert_eq!(address, client.stream.local_addr().unwrap().to_string());
            if *code == Some(1008) {
                request(admin, &format!("DELETE /connections/{id}"), "");
                client.expect_close(1008);
                client.send(wire::close(1008, ""));
                client.expect_eof();
            }
            end(client);
            let line = server.next_log_line();
            let expected = [
                ("level", Value::from("DEBUG")),
                ("message", (*message).into()),
                ("id", id.into()),
                ("address", address.into()),
                ("code", (*code).into()),
                ("why", (*why).into()),
            ];
            check_line(&line, format, &expected);
        }
        server.signal(Signal::TERM);
        let output = server.wait();
        assert!(output.stderr.contains("SIGTERM"), "{}", output.stderr);
    }
}

/// Behind a proxy the address is the client's, and a restart changes neither.
#[test]
fn a_connection_keeps_its_names() {
    let proxied = ["--proxy-protocol", "v1", "--trust-proxy", "127.0.0.1"];
    let server = Process::start(&[ADMIN, &["-v", "--allow-origin", "*"], &proxied].concat());
    let mut client = RawClient::connect(server.addr);
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 40000 80\r\n");
    client.send(wire::request());
    client.expect_open(wire::KEY);
    let listed = &json(server.admin(), "/connections")["connections"][0];
    let id = listed["id"].as_str().unwrap();
    assert_eq!(listed["address"], "192.0.2.7:40000");
    let line = server.next_log_line();
    assert!(
        line.contains(&format!("proxied id={id} address=192.0.2.7:40000 proxy=127.0.0.1:")),
        "{line}"
    );
    server.signal(Signal::USR2);
    let line = server.next_log_line();
    assert!(line.contains("restarted"), "{line}");
    close(client);
    let line = server.next_log_line();
    assert!(line.contains(&format!("closed id={id} address=192.0.2.7:40000 code=1000")), "{line}");
    // Without the header there is no name but the proxy's.
    let mut other = RawClient::connect(server.addr);
    other.send(wire::request());
    let line = server.next_log_line();
    let expected = "does not begin with a PROXY header";
    assert!(line.contains("no PROXY header id=") && line.contains(expected), "{line}");
}

/// The server refuses the first, its handler the second.
#[test]
fn a_line_about_a_refusal_names_the_connection() {
    for (request, expected) in [
        ("BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", "status=405 why=\""),
        (
            "GET /t HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n\r\n",
            "origin=\"https://a.example\" status=403 why=\"",
        ),
        ("\x16\x03\x01 this is TLS", "dropped id="),
    ] {
        let server = Process::start(&["-v"]);
        let mut client = RawClient::connect(server.addr);
        client.send(request);
        let address = client.stream.local_addr().unwrap();
        let line = server.next_log_line();
        assert!(line.contains(&format!(" id=0.1 address={address} ")), "{line}");
        assert!(line.contains(expected), "{line}");
    }
}

/// How a connection ends, if it is the client who ends it.
type End = fn(RawClient);

fn close(mut client: RawClient) {
    client.send(wire::close(1000, ""));
    client.expect_close(1000);
}

fn close_without_code(mut client: RawClient) {
    client.send([0x88, 0x80, 0, 0, 0, 0]);
    client.frame();
}

fn send_unmasked(mut client: RawClient) {
    client.send([0x81, 1, b'a']);
    client.expect_close(1002);
}

/// It has these fields in this order, behind the time, and no others; of those that are null there is nothing.
#[track_caller]
fn check_line(line: &str, format: &str, expected: &[(&str, Value)]) {
    let expected = expected.iter().filter(|(_, value)| !value.is_null());
    if format == "json" {
        let Value::Object(mut fields) = line.parse().unwrap() else { panic!("{line}") };
        assert!(fields.remove("timestamp").is_some() && fields.remove("target").is_some());
        let expected = expected.map(|(name, value)| ((*name).to_owned(), value.clone()));
        return assert_eq!(fields, expected.collect());
    }
    let mut text = String::new();
    for (name, value) in expected {
        text += &match (*name, value.as_str()) {
            ("level" | "message", Some(value)) => format!(" {value}"),
            ("id" | "address", Some(value)) => format!(" {name}={value}"),
            _ => format!(" {name}={value}"),
        };
    }
    let (_time, line) = line.split_once(' ').unwrap();
    assert_eq!(line.trim_end(), text.trim_start());
}

/// The heap's bound is low, and so is the log's.
const SMALL: &[&str] = &["--memory-limit", "32M"];

const ADMIN: &[&str] = &["--admin", "127.0.0.1:0"];

const DROPPED: &str = "wsfast_log_lines_dropped_total";

/// What was found in a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// Lines about the end of a connection.
    closed: u64,
    /// Lines that were dropped, as other lines tell.
    told: u64,
    /// These lines.
    notices: u64,
}

impl Read {
    fn take(&mut self, line: &str) {
        if line.contains("lines of the log were dropped") {
            let (_, count) = line.split_once("lines=").or(line.split_once("\"lines\":")).unwrap();
            self.told += count
                .split(|at: char| !at.is_ascii_digit())
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap();
            self.notices += 1;
        } else if line.contains("closed") {
            self.closed += 1;
        }
    }
}

/// Starts the binary with its stderr in a pipe that nobody reads until the caller does.
fn start_unread(args: &[&str]) -> (Process, PipeReader) {
    let (log, end) = pipe().unwrap();
    (start_with_log(end, args), log)
}

fn start_with_log(end: PipeWriter, args: &[&str]) -> Process {
    Process::spawn(command(&["--port", "0"]).args(args).stderr(end))
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// As many connections are opened and closed, one after the other: a line each.
fn come_and_go(addr: SocketAddr, count: usize) {
    for _ in 0..count {
        let mut client = RawClient::open(addr);
        client.send(wire::close(1000, ""));
        client.expect_close(1000);
        client.reset();
    }
}

/// The lines that were dropped once no client is left to log about.
fn dropped(admin: SocketAddr) -> u64 {
    let deadline = Instant::now() + DEADLINE;
    while metric(admin, "wsfast_clients") > 1 {
        assert!(Instant::now() < deadline, "clients are left");
    }
    metric(admin, DROPPED)
}

fn metric(admin: SocketAddr, name: &str) -> u64 {
    let scrape = request(admin, "GET /metrics", "Connection: close\r\n").body;
    let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Killed {
    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
