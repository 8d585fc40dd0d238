//! Bounds that no other file is about, each at its limit and one past it: connections of an address, HTTP bodies and idle
//! connections, what the flags set, what a peer only declares.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustls::version::TLS13;
use wsfast::proto::proxy_protocol::Versions;
use wsfast::{Limits, Listen, Over, ProxyProtocol};

use crate::support::client::{RawClient, Response, Witness};
use crate::support::process::Process;
use crate::support::server::{Hooks, TestServer};
use crate::support::tls::{End, Pair, TlsClient};
use crate::support::watch::{get, request as ask, upgrade};
use crate::support::wire::{self, BINARY, FIN};
use crate::support::{DEADLINE, limits};

#[test]
fn an_address_has_as_many_connections_as_its_limit_and_no_more() {
    let server = proxied(two_per_ip(), None);
    // Who has one count, and who has another.
    for (count, same, other) in [
        ("TCP4 192.0.2.7", "TCP4 192.0.2.7", "TCP4 192.0.2.8"),
        ("TCP4 192.0.2.9", "TCP6 ::ffff:192.0.2.9", "TCP4 192.0.2.10"),
        ("TCP6 2001:db8::1", "TCP6 2001:db8::2:2:2:2", "TCP6 2001:db8:0:1::1"),
    ] {
        let first = open_as(server.addr, count);
        let mut second = open_as(server.addr, same);
        let _other = open_as(server.addr, other);
        for how in ["close", "fin", "reset"] {
            let mut third = connect_as(server.addr, same);
            third.send(wire::request());
            expect_refusal(&third.response());
            third.expect_eof();
            second.expect_echo("undisturbed");
            match how {
                "close" => {
                    second.send(wire::close(1000, ""));
                    second.expect_close(1000);
                    second.expect_eof();
                    drop(second);
                }
                "fin" => drop(second),
                _ => second.reset(),
            }
            server.closed();
            second = open_as(server.addr, count);
        }
        drop((first, second));
    }
    assert_eq!(server.stop().counters.over_per_ip, 9);
}

/// Nobody said how many an address may have.
#[test]
fn an_address_leaves_some_places_to_others() {
    let mut limits = limits();
    limits.peers_max = 20;
    let server = proxied(limits, None);
    let connect = |name: &str| {
        let mut client = connect_as(server.addr, name);
        client.send_in_vain(wire::request());
        let response = client.response();
        (client, response)
    };
    let crowd: Vec<_> = (0..25).map(|_| connect("TCP4 192.0.2.7")).collect();
    let count = crowd.iter().filter(|(_, response)| response.status == 101).count();
    assert_eq!(count, 17);
    crowd[17..].iter().for_each(|(_, response)| expect_refusal(response));
    assert_eq!(connect("TCP4 192.0.2.8").1.status, 101);
    assert_eq!(server.stop().counters.over_capacity, 0);
}

/// A proxy's own checks, whom it cannot name, and this machine are not one address' clients.
#[test]
fn loopback_and_the_nameless_have_no_limit() {
    let server = proxied(two_per_ip(), None);
    for name in ["TCP4 127.0.0.1", "TCP6 ::1", "UNKNOWN"] {
        let _clients: Vec<RawClient> = (0..5).map(|_| open_as(server.addr, name)).collect();
    }
    let direct = TestServer::echo_with(two_per_ip());
    let _clients: Vec<RawClient> = (0..5).map(|_| RawClient::open(direct.addr)).collect();
    assert_eq!(direct.stop().counters.over_per_ip, 0);
}

/// However the header is cut, and whether its client has said something or not.
#[test]
fn one_too_many_is_refused_as_soon_as_its_proxy_names_it() {
    let server = proxied(two_per_ip(), None);
    let _clients = [open_as(server.addr, "TCP4 192.0.2.7"), open_as(server.addr, "TCP4 192.0.2.7")];
    let mut client = RawClient::connect(server.addr);
    for byte in header("TCP4 192.0.2.7").bytes() {
        client.send([byte]);
    }
    expect_refusal(&client.response());
    client.expect_eof();
}

/// Their refusals cost places of the reserve, not those of clients; past it they are cut.
#[test]
fn a_crowd_of_one_address_takes_no_place_from_others() {
    let mut limits = two_per_ip();
    limits.peers_max = 4;
    let server = proxied(limits, None);
    let first = [(); 2].map(|()| open_as(server.addr, "TCP4 192.0.2.7"));
    let mut crowd = Vec::new();
    for _ in 0..REFUSALS_MAX {
        // Until it has said who it is, a connection has a place like any other.
        let mut client = connect_as(server.addr, "TCP4 192.0.2.7");
        expect_refusal(&client.response());
        crowd.push(client);
    }
    for _ in 0..20 {
        let mut cut = connect_as(server.addr, "TCP4 192.0.2.7");
        assert!(cut.is_over_within(DEADLINE));
    }
    let mut others =
        [open_as(server.addr, "TCP4 192.0.2.8"), open_as(server.addr, "TCP4 192.0.2.9")];
    others.iter_mut().for_each(|client| client.expect_echo("there is room"));
    drop((first, crowd));
    let counters = server.stop().counters;
    assert_eq!(counters.over_per_ip, REFUSALS_MAX as u64 + 20);
    assert_eq!(counters.over_capacity, 0);
}

/// However a connection ends, in whatever phase, it is counted no more: in the end there is room for exactly the limit.
#[test]
fn the_count_of_an_address_outlives_every_kind_of_end() {
    const IP: &str = "TCP4 192.0.2.7";
    let mut limits = limits();
    limits.peers_per_ip_max = Some(8);
    let server = proxied(limits, None);
    let mut witness = open_as(server.addr, "UNKNOWN");
    for round in 0..100 {
        let mut in_proxys_header = RawClient::connect(server.addr);
        in_proxys_header.send(&header(IP)[..20]);
        in_proxys_header.reset();
        connect_as(server.addr, IP).reset();
        let mut in_head = connect_as(server.addr, IP);
        in_head.send(&wire::request()[..50]);
        in_head.reset();
        let mut refused = connect_as(server.addr, IP);
        refused.send("BAD\r\n\r\n");
        assert_eq!(refused.response().status, 400);
        drop(refused);
        let mut in_frame = open_as(server.addr, IP);
        in_frame.send(&wire::text("never to be whole")[..9]);
        in_frame.reset();
        let mut breaks = open_as(server.addr, IP);
        breaks.send(b"\x83\x80");
        breaks.expect_close(1002);
        breaks.expect_eof();
        let mut closes = open_as(server.addr, IP);
        closes.send(wire::close(1000, ""));
        closes.expect_close(1000);
        drop((breaks, closes));
        // So that no more are open at a time than may be.
        for _ in 0..3 {
            server.closed();
        }
        witness.expect_echo(&format!("round {round}"));
    }
    let clients = [(); 8].map(|()| open_as(server.addr, IP));
    expect_refusal(&connect_as(server.addr, IP).response());
    drop(clients);
    assert_eq!(server.stop().counters.over_per_ip, 1);
}

/// There is no way to say why before TLS is set up.
#[test]
fn over_tls_one_too_many_is_just_ended() {
    let pair = Pair::new();
    let server = proxied(two_per_ip(), Some(&pair));
    let config = pair.client(&TLS13);
    let connect = || {
        let mut client = TlsClient::begin(server.addr, &config);
        std::io::Write::write_all(&mut client.stream.sock, header("TCP4 192.0.2.7").as_bytes())
            .unwrap();
        client
    };
    let _clients = [(); 2].map(|()| {
        let mut client = connect();
        client.send(wire::request());
        client.expect_open();
        client
    });
    connect().expect_end(End::Cut);
    assert_eq!(server.stop().counters.over_per_ip, 1);
}

/// Where there is no proxy it is the connection's own address that counts.
#[test]
fn without_a_proxy_the_connection_s_own_address_counts() {
    let Some(own) = own_address() else {
        return eprintln!("not tested: this machine has no address but loopback");
    };
    let listen = Listen::from(SocketAddr::new(own.ip(), 0));
    let server = TestServer::listen(vec![listen], two_per_ip(), Hooks::echo());
    let _first = RawClient::open(server.addr);
    let second = RawClient::open(server.addr);
    let mut third = RawClient::connect(server.addr);
    expect_refusal(&third.response());
    third.expect_eof();
    second.reset();
    server.closed();
    RawClient::open(server.addr).expect_echo("there is room");
}

#[test]
fn a_body_may_be_as_long_as_a_message_and_is_refused_before_it_comes() {
    let server = Process::start(&["--max-message-bytes", "1000"]);
    let mut client = RawClient::connect(server.addr);
    post(&mut client, 1000);
    client.send([b'x'; 1000]);
    assert_eq!(client.response().status, 200);
    for len in [1001, u64::MAX >> 1] {
        let mut client = RawClient::connect(server.addr);
        post(&mut client, len);
        let response = client.response();
        assert_eq!((response.status, response.values("connection")), (413, vec!["close"]), "{len}");
        client.expect_eof();
    }
}

#[test]
fn a_body_that_stalls_is_told_408() {
    let server = Process::start(&["--handshake-timeout", "150ms"]);
    for part in ["", "x"] {
        let began = Instant::now();
        let mut client = RawClient::connect(server.addr);
        post(&mut client, 2);
        client.send(part);
        assert_eq!(client.response().status, 408);
        assert!(began.elapsed() >= Duration::from_millis(150));
        client.expect_eof();
    }
    // One that trickles: every byte is in time, the body is not.
    let mut client = RawClient::connect(server.addr);
    post(&mut client, 100_000);
    while !client.is_readable_within(Duration::from_millis(5)) {
        client.send("x");
    }
    assert_eq!(client.response().status, 408);
    client.expect_eof();
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let server = Process::start(&["--keep-alive", "150ms", "--handshake-timeout", "1h"]);
    let mut client = RawClient::connect(server.addr);
    for _ in 0..3 {
        get(&mut client, "/health", "");
        assert_eq!(client.response().status, 200);
    }
    let began = Instant::now();
    client.expect_eof();
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
}

/// Behind a request that waits there is room for as much as a head may have.
#[test]
fn what_comes_behind_a_request_that_waits_is_bounded() {
    let server = Process::start(&["--max-head-bytes", "256"]);
    for (len, is_too_much) in [(256, false), (257, true), (100_000, true)] {
        // Behind it in the same segment, and in one of its own.
        for is_one in [true, false] {
            let mut client = RawClient::connect(server.addr);
            let wait = "GET /t?wait=25 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let behind = "x".repeat(len);
            if is_one {
                client.send(format!("{wait}{behind}"));
            } else {
                client.send(wait);
                Witness::new(server.addr).round_trip();
                client.send_in_vain(behind);
            }
            Witness::new(server.addr).round_trip();
            if !is_too_much {
                let published = ask(server.addr, "POST /t", "Content-Length: 0\r\n");
                assert_eq!(published.status, 200);
            }
            let expected = if is_too_much { 429 } else { 200 };
            assert_eq!(client.response().status, expected, "{len} {is_one}");
        }
    }
}

#[test]
fn flags_set_the_limits_of_a_request() {
    let server = Process::start(&["--max-headers", "8", "--max-head-bytes", "256"]);
    // Host is the eighth.
    let lines = "X:\r\n".repeat(7);
    assert_eq!(ask(server.addr, "GET /health", &lines).status, 200);
    assert_eq!(ask(server.addr, "GET /health", &format!("{lines}X:\r\n")).status, 431);
    let long = format!("X: {}\r\n", "x".repeat(256));
    assert_eq!(ask(server.addr, "GET /health", &long).status, 431);
    assert_eq!(ask(server.addr, &format!("GET /{}", "x".repeat(256)), "").status, 414);
}

#[test]
fn flags_set_the_limits_of_commands_and_names() {
    let server = Process::start(&[
        "--max-json-depth=8",
        "--max-commands=2",
        "--max-topic-name-bytes=16",
        "--max-subscriptions=1",
    ]);
    let (longest, too_long) = ("n".repeat(16), "n".repeat(17));
    let post = |topic: &str| ask(server.addr, &format!("POST /{topic}"), "Content-Length: 0\r\n");
    assert_eq!(post(&longest).status, 200);
    let refused = post(&too_long);
    let reason = "the topic's name is longer than max-topic-name-bytes\n";
    assert_eq!((refused.status, &*refused.body), (400, reason));
    // Bytes count, and not how they were written.
    assert_eq!(post(&"%C3%A9".repeat(8)).status, 200);
    assert_eq!(post(&"%C3%A9".repeat(9)).status, 400);
    let mut client = RawClient::connect(server.addr);
    client.send(wire::request().replacen("GET /", &format!("GET /{too_long}"), 1));
    assert_eq!(client.response().status, 400);

    let mut client = centrifugo(server.addr);
    let mut ask = |command: &str| {
        client.send(wire::text(command));
        String::from_utf8(client.frame().payload).unwrap()
    };
    let subscribe = |topic: &str| format!(r#"{{"subscribe":{{"channel":"{topic}"}},"id":2}}"#);
    assert!(ask(&subscribe(&too_long)).contains(r#""code":107"#));
    assert!(ask(&subscribe(&longest)).starts_with(r#"{"id":2,"subscribe":"#));
    assert!(ask(&subscribe("another")).contains(r#""code":106"#));
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        format!(r#"{{"publish":{{"channel":"c","data":{open}{close}}},"id":4}}"#)
    };
    assert_eq!(ask(&deep(8)), r#"{"id":4,"publish":{}}"#);
    let bad_request = r#"{"id":4,"error":{"code":107,"message":"bad request"}}"#;
    assert_eq!(ask(&deep(9)), bad_request);
    // A message has as many commands as its bytes are, a broadcast as many channels as the flag says.
    let ping = "{\"ping\":{},\"id\":3}\n";
    assert_eq!(ask(&ping.repeat(1000)).lines().count(), 1000);
    let mut api = RawClient::connect(server.addr);
    for (channels, reply) in [
        (r#"["a","b"]"#, r#"{"result":{"responses":"#),
        (r#"["a","b","c"]"#, r#"{"error":{"code":106,"#),
    ] {
        let body = format!(r#"{{"channels":{channels},"data":1}}"#);
        api.send(format!(
            "POST /api/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let response = api.response();
        assert!(response.body.starts_with(reply), "{channels}: {}", response.body);
    }
}

/// The largest that the flags take.
#[test]
fn depth_and_commands_hold_at_their_hard_limits() {
    let server = Process::start(&["--max-json-depth=1024", "--max-commands=10000"]);
    let mut client = centrifugo(server.addr);
    let (open, close) = ("[".repeat(1022), "]".repeat(1022));
    let deep = format!(r#"{{"publish":{{"channel":"c","data":{open}{close}}},"id":4}}"#);
    client.send(wire::text(&deep));
    client.expect_text(r#"{"id":4,"publish":{}}"#);
    client.send(wire::text(&"{\"ping\":{},\"id\":3}\n".repeat(10_000)));
    let mut replies = 0;
    while replies < 10_000 {
        let payload = client.frame().payload;
        replies += payload.split(|&byte| byte == b'\n').filter(|it| !it.is_empty()).count();
    }
    assert_eq!(replies, 10_000);
}

/// 200 frames and 200 bodies that declare a megabyte each, and bring a byte of it.
#[test]
fn what_is_declared_reserves_nothing() {
    let server = Process::start(&["--memory-limit", "64M", "--admin", "127.0.0.1:0"]);
    let admin = server.admin();
    let in_use = || {
        let metrics = ask(admin, "GET /metrics", "").body;
        let name = "wsfast_memory_in_use_bytes ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.parse::<usize>().unwrap()
    };
    let mut witness = Witness::new(server.addr);
    let frames: Vec<RawClient> = (0..200).map(|_| RawClient::open(server.addr)).collect();
    let bodies: Vec<RawClient> = (0..200).map(|_| RawClient::connect(server.addr)).collect();
    witness.round_trip();
    let before = in_use();
    let mut declared = (frames, bodies);
    for client in &mut declared.0 {
        client.send([wire::header(FIN | BINARY, 1 << 20, [0; 4]), vec![7]].concat());
    }
    for client in &mut declared.1 {
        client.send("POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048576\r\n\r\nx");
    }
    witness.round_trip();
    let grown = in_use().saturating_sub(before);
    assert!(grown < 400 * 1024, "{grown} bytes for 400 that declared 400 MiB");
}

/// A megabyte of list elements in each header that is a list: linear, it is milliseconds; else it would be many minutes.
#[test]
fn lists_are_read_in_linear_time() {
    let server = Process::start(&["--max-head-bytes", "1M"]);
    let long = |part: &str| part.repeat((1 << 20) / part.len() - 300);
    let began = Instant::now();
    for (name, value) in [
        ("Sec-WebSocket-Extensions", long("permessage-deflate; unknown, ")),
        ("Sec-WebSocket-Extensions", long("permessage-deflate; server_max_window_bits=99,")),
        ("Sec-WebSocket-Extensions", long(";")),
        (
            "Sec-WebSocket-Extensions",
            format!("permessage-deflate{}", long("; client_max_window_bits")),
        ),
        ("Sec-WebSocket-Extensions", format!("a; b=\"{}", long("\\\""))),
        ("Sec-WebSocket-Extensions", long(" \t,")),
        ("Sec-WebSocket-Protocol", long("a,") + "b"),
        ("Connection", long("a,") + "b"),
        ("Upgrade", long("a,") + "b"),
    ] {
        let mut client = RawClient::connect(server.addr);
        client.send(wire::request_with(&format!("{name}: {value}\r\n")));
        let response = client.expect_open(wire::KEY);
        assert_eq!(response.values("sec-websocket-extensions"), [""; 0], "{name}");
        client.expect_echo(name);
    }
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}

/// Connections past a limit that are told so; `net::server` cuts those beyond.
const REFUSALS_MAX: usize = 64;

fn two_per_ip() -> Limits {
    let mut limits = limits();
    limits.peers_per_ip_max = Some(2);
    limits
}

/// An echo that believes a proxy on this machine.
fn proxied(limits: Limits, pair: Option<&Pair>) -> TestServer {
    let mut listen = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let trusted = ["127.0.0.0/8".parse().unwrap()].into();
    listen.proxy = Some(ProxyProtocol { versions: Versions::Auto, trusted });
    if let Some(pair) = pair {
        listen.over = Over::Tls(pair.server());
    }
    TestServer::listen(vec![listen], limits, Hooks::echo())
}

/// What a proxy says of `name`: family and address, or that it does not know.
fn header(name: &str) -> String {
    match name.split_once(' ') {
        Some((family, ip)) => format!("PROXY {family} {ip} {ip} 40000 443\r\n"),
        None => format!("PROXY {name}\r\n"),
    }
}

fn connect_as(addr: SocketAddr, name: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    client.send_in_vain(header(name));
    client
}

fn open_as(addr: SocketAddr, name: &str) -> RawClient {
    let mut client = connect_as(addr, name);
    client.send(wire::request());
    client.expect_open(wire::KEY);
    client
}

/// A 503 that says when to come back, and why, in one line.
fn expect_refusal(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.head);
    assert_eq!(response.values("connection"), ["close"]);
    let retry_after = response.values("retry-after");
    assert!(retry_after.len() == 1 && retry_after[0].parse::<u32>().is_ok(), "{retry_after:?}");
    assert_eq!(response.body, "too many connections from this address\n");
}

/// The address that this machine would speak to others from. Nothing is sent to find out.
fn own_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    let own = socket.local_addr().ok()?;
    (!own.ip().is_loopback() && !own.ip().is_unspecified()).then_some(own)
}

/// The head of a request that publishes.
fn post(client: &mut RawClient, len: u64) {
    client.send(format!("POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n"));
}

/// A session that has said connect.
fn centrifugo(addr: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(addr);
    upgrade(&mut client, "/connection/websocket", "");
    client.send(wire::text(r#"{"connect":{},"id":1}"#));
    client.frame();
    client
}
