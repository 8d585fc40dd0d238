//! `--memory-limit`: the process stays within it whatever its clients do, says so to those it refuses, and serves the others.
//!
//! Every test asks for several times the limit, in a way of its own; `random` asks in every way.

mod random;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::ask::get;
use crate::support::client::RawClient;
use crate::support::crowd::{Crowd, Event};
use crate::support::flood::connect_with_rcvbuf;
use crate::support::process::{Process, run};
use crate::support::published::{Expected, Form, Published, control_characters};
use crate::support::wire::{self, BINARY, FIN};

const LIMIT: usize = 64 << 20;
const MIB: usize = 1 << 20;

/// What was sent on loopback is there.
const NOW: Duration = Duration::from_millis(1);

#[test]
fn messages_that_never_become_whole() {
    let server = start(&[]);
    let part = vec![0; MIB - (64 << 10)];
    let mut told = 0;
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..200 {
        let mut client = open(server.addr, "/echo");
        client.send_in_vain(wire::header(FIN | BINARY, MIB as u64, [0; 4]));
        client.send_in_vain(&part);
        clients.push(client);
        expect_service(server.addr);
    }
    for client in &mut clients {
        if client.is_readable_within(NOW) {
            let reason = client.expect_close(1013);
            assert_eq!(reason, "the server is out of memory (memory-limit)");
            told += 1;
        }
    }
    assert!((120..190).contains(&told), "{told} were told");
    drop(clients);
    expect_service(server.addr);
    let mut large = open(server.addr, "/echo");
    large.send(wire::binary(&part));
    assert_eq!(large.frame().payload, part);
    within_limit(&server);
}

#[test]
fn bodies_that_never_become_whole() {
    let server = start(&[]);
    let part = vec![b'x'; MIB - (64 << 10)];
    let mut told = 0;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = RawClient::connect(server.addr);
        client.send_in_vain(format!(
            "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MIB}\r\n\r\n"
        ));
        client.send_in_vain(&part);
        clients.push(client);
        expect_service(server.addr);
    }
    for client in &mut clients {
        if client.is_readable_within(NOW) {
            let response = client.response();
            assert_eq!(response.status, 503);
            assert!(response.body.starts_with("the server is out of memory"), "{}", response.body);
            told += 1;
        }
    }
    assert!((120..190).contains(&told), "{told} were told");
    within_limit(&server);
}

#[test]
fn heads_that_never_become_whole() {
    let server = start(&["--max-head-bytes", "1M", "--handshake-timeout", "60s"]);
    let part =
        format!("GET /{} HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(1000), "b".repeat(900 << 10));
    let clients: Vec<RawClient> = (0..200)
        .map(|_| {
            let mut client = RawClient::connect(server.addr);
            client.send_in_vain(&part);
            expect_service(server.addr);
            client
        })
        .collect();
    let refused = clients
        .into_iter()
        .filter_map(|mut client| client.is_readable_within(NOW).then(|| client.response().status));
    let refused: Vec<u16> = refused.collect();
    assert!((120..190).contains(&refused.len()), "{} were told", refused.len());
    assert!(refused.iter().all(|&status| status == 503));
    within_limit(&server);
}

#[test]
fn replies_that_nobody_takes() {
    let server = start(&[]);
    let messages = wire::binary(&vec![7; MIB - 14]).repeat(6);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = connect_with_rcvbuf(server.addr, 4096);
        client.send(wire::request().replacen("GET /", "GET /echo", 1));
        client.expect_open(wire::KEY);
        // The server reads until it is behind with its replies, and the kernel takes some more; the rest is not waited for.
        client.stream.set_nonblocking(true).unwrap();
        let mut left = &messages[..];
        for _ in 0..3 {
            while let Ok(len @ 1..) = client.stream.write(left) {
                left = &left[len..];
            }
            expect_service(server.addr);
        }
        clients.push(client);
    }
    within_limit(&server);
}

/// Each asks for six megabytes, of a message of one: the memory for it is asked for before it is made.
#[test]
fn histories_that_nobody_takes() {
    let server = start(&["--topic-bytes", "2M", "--max-message-bytes", "2M"]);
    let mut poster = RawClient::connect(server.addr);
    post(&mut poster, "/t", &"\u{1}".repeat(MIB));
    assert_eq!(poster.response().status, 200);
    let ask = r#"{"history":{"channel":"t","limit":-1},"id":2}"#;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = connect_with_rcvbuf(server.addr, 4096);
        client.send(wire::request().replacen("GET /", "GET /connection/websocket", 1));
        client.expect_open(wire::KEY);
        client.send(wire::text(&format!("{{\"connect\":{{}},\"id\":1}}\n{ask}\n{ask}")));
        clients.push(client);
        expect_service(server.addr);
    }
    within_limit(&server);
    // They are made as they are taken, for everybody.
    let all = r"\u0001".repeat(MIB);
    for mut client in clients {
        assert!(client.text().starts_with(r#"{"id":1,"connect":"#));
        for _ in 0..2 {
            assert!(client.text().contains(&all));
        }
    }
    within_limit(&server);
}

#[test]
fn history_gives_way() {
    let server = start(&["--history-bytes", "1G"]);
    let mut client = RawClient::connect(server.addr);
    let body = "m".repeat(256 << 10);
    for number in 0..1000 {
        post(&mut client, &format!("/topic-{}", number % 250), &body);
        assert_eq!(client.response().status, 200);
    }
    // What was published last is there.
    client.send("GET /topic-249?since=all HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.response().body.contains(&body));
    within_limit(&server);
}

#[test]
fn topics_without_end() {
    let server = start(&["--max-topics", "1000000"]);
    const COUNT: usize = 80_000;
    for first in (0..COUNT).step_by(100) {
        let mut client = RawClient::connect(server.addr);
        let requests = (first..first + 100).map(|at| {
            let name = format!("{at:0>200}");
            format!("POST /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
        });
        client.send(requests.collect::<String>());
        // The oldest that nobody listens to gives way.
        (0..100).for_each(|_| assert_eq!(client.response().status, 200));
    }
    let mut client = RawClient::connect(server.addr);
    let mut keeps = |at: usize| {
        client
            .send(format!("GET /{at:0>200}?since=all&wait=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client.response().status == 200
    };
    assert!(keeps(COUNT - 1) && keeps(COUNT - 10_000) && !keeps(0));
    within_limit(&server);
}

#[test]
fn subscribers_that_never_read_and_many_topics() {
    let server = start(&["--ping-interval", "0", "--history-bytes", "1G"]);
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut client = connect_with_rcvbuf(server.addr, 4096);
        client.send(wire::request().replacen("GET /", &format!("GET /topic-{number}"), 1));
        client.expect_open(wire::KEY);
        slow.push(client);
    }
    let mut client = RawClient::connect(server.addr);
    let body = "m".repeat(512 << 10);
    for number in 0..200 * 12 {
        post(&mut client, &format!("/topic-{}", number % 200), &body);
        let answer = client.response();
        assert_eq!(answer.status, 200, "message {number}: {}", answer.body);
    }
    expect_service(server.addr);
    within_limit(&server);
}

/// JSON makes control characters six times as long: the answers are larger than the limit, the message is a sixteenth of it.
#[test]
fn a_large_message_of_control_characters_is_asked_for() {
    let args = ["--memory-limit", "128M", "--topic-bytes", "8M", "--max-message-bytes", "8M"];
    ask_for_control_characters(&args, 128 << 20, 8 * MIB, 3);
}

#[test]
fn the_least_limit_and_a_message_of_control_characters() {
    ask_for_control_characters(&["--memory-limit", "22M"], 22 << 20, MIB, 4);
}

/// So many clients ask at once for a message of so many control characters; each gets all of it, or is told that there is no
/// memory for it, and not all are. Nobody is cut off within an answer.
fn ask_for_control_characters(args: &[&str], limit: usize, len: usize, clients: usize) {
    let server = Process::start(args);
    let published = Published::new(server.addr, "t", vec![control_characters(len)]);
    let line = published.message(1, Form::Line);
    let mut crowd = Crowd::new();
    crowd.connect(server.addr, clients, 64 << 10);
    (0..clients).for_each(|at| crowd.say(at, get("/t?since=all", "")));
    let (mut answered, mut refused, mut cut) = (0, 0, 0);
    let mut came = vec![Expected::default(); clients];
    let mut is_refused = vec![false; clients];
    crowd.until(0..clients, |at, event, _| match event {
        Event::Head { status: 200, .. } => false,
        Event::Head { status, head } => {
            assert_eq!(status, 503, "{head}");
            is_refused[at] = true;
            false
        }
        Event::Body(part) => {
            if !is_refused[at] {
                came[at].take(&line, part);
            }
            false
        }
        Event::BodyEnd if is_refused[at] => {
            refused += 1;
            true
        }
        Event::BodyEnd => {
            assert_eq!(came[at].at, line.len());
            answered += 1;
            true
        }
        Event::End => {
            cut += usize::from(!is_refused[at] && came[at].at < line.len());
            true
        }
        other => panic!("{other:?}"),
    });
    let peak = server.peak_rss_bytes();
    println!(
        "{answered} answered, {refused} refused, at most {} of {} KiB",
        peak >> 10,
        limit >> 10
    );
    expect_service(server.addr);
    assert!(answered > 0 && cut == 0);
    assert!(peak <= limit, "{} KiB of {}", peak >> 10, limit >> 10);
}

#[test]
fn a_limit_that_is_too_little_is_refused() {
    let output = run(&["--port", "0", "--memory-limit", "16M"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        output
            .stderr
            .starts_with("wsfast: --memory-limit 16M is too little: it must be at least 22M"),
        "{}",
        output.stderr
    );
}

fn start(args: &[&str]) -> Process {
    Process::start(&[&["--memory-limit", "64M"], args].concat())
}

/// A stranger is served meanwhile, if not with much: a connection that is not refused, and an echo.
fn expect_service(addr: SocketAddr) {
    let mut client = RawClient::connect(addr);
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200, "{}", response.body);
}

fn within_limit(server: &Process) {
    let peak = server.peak_rss_bytes();
    println!("at most {} KiB", peak >> 10);
    assert!(peak < LIMIT, "{} KiB of {}", peak >> 10, LIMIT >> 10);
}

fn open(addr: SocketAddr, target: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    client.send(wire::request().replacen("GET /", &format!("GET {target}"), 1));
    client.expect_open(wire::KEY);
    client
}

fn post(client: &mut RawClient, target: &str, body: &str) {
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
}
