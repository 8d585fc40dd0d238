//! The opening handshake (RFC 6455 §4.2): who is let in, who is refused and how, and what follows either.

use std::path::Path;
use std::time::{Duration, Instant};

use wsfast::proto::handshake::Status;
use wsfast::{Accept, Refusal};

use crate::support::client::{RawClient, Response, Witness};
use crate::support::limits;
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, Frame, KEY, request, request_with};

#[test]
fn the_answer_to_a_request_that_is_in_order_is_exact() {
    let server = TestServer::echo();
    let mut client = RawClient::connect(server.addr);
    client.send(request());
    // RFC 6455 §1.3 has this key and this answer.
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(client.response().head, expected);
    client.expect_echo("hello");
}

#[test]
fn the_request_of_every_known_client_is_accepted() {
    let server = TestServer::echo();
    for Recorded { name, request, key } in recorded_requests() {
        println!("{name}");
        let mut client = RawClient::connect(server.addr);
        client.send(request);
        client.expect_open(&key);
        client.expect_echo(&name);
    }
}

#[test]
fn the_request_of_every_known_client_is_accepted_one_byte_at_a_time() {
    let server = TestServer::echo();
    for Recorded { name, request, key } in recorded_requests() {
        println!("{name}");
        let mut client = RawClient::connect(server.addr);
        for byte in request {
            client.send([byte]);
        }
        client.expect_open(&key);
        client.expect_echo(&name);
    }
}

#[test]
fn no_cut_of_a_request_and_the_frames_behind_it_changes_the_answers() {
    let server = TestServer::echo();
    let mut witness = Witness::new(server.addr);
    let chosen = ["chromium.txt", "firefox.txt", "py_websockets.txt"];
    let mut seen = 0;
    for Recorded { name, request, key } in recorded_requests() {
        if !chosen.contains(&name.as_str()) {
            continue;
        }
        seen += 1;
        let stream = [request, wire::text("first"), wire::ping(b"second")].concat();
        for cut in 1..stream.len() {
            println!("{name} cut at {cut}");
            let mut client = RawClient::connect(server.addr);
            client.send(&stream[..cut]);
            witness.round_trip();
            client.send(&stream[cut..]);
            client.expect_open(&key);
            client.expect_text("first");
            client.expect(&Frame::pong(b"second"));
        }
    }
    assert_eq!(seen, chosen.len());
}

#[test]
fn frames_that_come_with_the_request_are_answered() {
    let server = TestServer::echo();
    let large = vec![7; 100_000];
    let frames = [
        wire::text("first"),
        wire::ping(b"second"),
        wire::binary(&large),
        wire::close(1000, "done"),
    ];
    let mut client = RawClient::connect(server.addr);
    client.send([request().into_bytes(), frames.concat()].concat());
    client.expect_open(KEY);
    client.expect_text("first");
    client.expect(&Frame::pong(b"second"));
    client.expect(&Frame::binary(&large));
    client.expect(&Frame::close(1000, ""));
    client.expect_eof();
}

#[test]
fn a_thousand_frames_that_come_with_the_request_are_answered_in_order() {
    let server = TestServer::echo();
    let mut stream = request().into_bytes();
    for number in 0..1000 {
        stream.extend(wire::text(&number.to_string()));
    }
    let mut client = RawClient::connect(server.addr);
    client.send(stream);
    client.expect_open(KEY);
    for number in 0..1000 {
        client.expect_text(&number.to_string());
    }
}

/// What is unusual but right (RFC 9112 §2.2, §3.2.2; RFC 9110 §5.6.1).
#[test]
fn unusual_forms_of_a_right_request_are_accepted() {
    let table = [
        ("leading CRLF", format!("\r\n{}", request())),
        ("absolute form", request().replace("GET / ", "GET http://localhost/ ")),
        ("absolute form, ws", request().replace("GET / ", "GET WS://localhost:80/?q ")),
        ("query", request().replace("GET / ", "GET /a%20b?c=d&e|f ")),
        ("Connection list", with("Connection: Upgrade", "Connection: keep-alive, \tUPGRADE")),
        ("Connection lines", with("Connection: Upgrade", "Connection: x\r\nConnection: upgrade")),
        ("Connection padded", with("Connection: Upgrade", "Connection:,, upgrade\t ,")),
        ("Upgrade list", with("Upgrade: websocket", "Upgrade: h2c, WebSocket")),
        ("Upgrade lines", with("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket")),
        ("names in capitals", with("Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY")),
        ("no space behind a colon", with("Host: localhost", "Host:localhost")),
        ("empty value", request_with("X-Empty:\r\n")),
        ("value in Latin-1's place", request_with("X-Name: caf\u{e9}\r\n")),
        ("no body, declared", request_with("Content-Length: 0\r\n")),
        ("unknown extension", request_with("Sec-WebSocket-Extensions: x-unknown; a=\"b\"\r\n")),
        ("subprotocols", request_with("Sec-WebSocket-Protocol: a, b\r\n")),
        ("empty Host", with("Host: localhost", "Host:")),
        ("Host with IPv6 and port", with("Host: localhost", "Host: [::1]:8002")),
    ];
    let server = TestServer::echo();
    for (name, request) in table {
        println!("{name}");
        let mut client = RawClient::connect(server.addr);
        client.send(request);
        let response = client.expect_open(KEY);
        assert_eq!(response.values("sec-websocket-extensions"), [""; 0]);
        assert_eq!(response.values("sec-websocket-protocol"), [""; 0]);
        client.expect_echo(name);
    }
}

#[test]
fn malformed_requests_are_refused_with_400() {
    let table = [
        ("malformed request line", request().replace("GET / HTTP", "GET  / HTTP")),
        ("malformed request line", request().replace("GET / HTTP/1.1", "GET /")),
        ("malformed request line", request().replace("GET / HTTP/1.1", "GET / HTTP/1.1 ")),
        ("malformed request line", request().replace("HTTP/1.1", "http/1.1")),
        ("malformed request line", request().replace("GET", "G(T")),
        ("malformed request line", request().replace("GET / ", "GET /a b ")),
        ("first byte cannot begin an HTTP request", format!("\x01{}", request())),
        ("first byte cannot begin an HTTP request", format!("\r\n\r\n{}", request())),
        ("invalid request target", request().replace("GET / ", "GET /caf\u{e9} ")),
        ("invalid request target", request().replace("GET / ", "GET /\x01 ")),
        ("invalid request target", request().replace("GET / ", "GET /\x7F ")),
        ("invalid request target", request().replace("GET / ", "GET /\t ")),
        ("invalid request target", request().replace("GET / ", "GET /#there ")),
        ("invalid request target", request().replace("GET / ", "GET * ")),
        ("invalid request target", request().replace("GET / ", "GET localhost ")),
        ("invalid request target", request().replace("GET / ", "GET ftp://localhost/ ")),
        (NAME, request_with("no colon\r\n")),
        (NAME, request_with(": empty\r\n")),
        (NAME, request_with("na me: x\r\n")),
        (NAME, request_with("na(me: x\r\n")),
        (NAME, request_with("n\u{e9}: x\r\n")),
        (NAME, request_with("Name : x\r\n")),
        (NAME, request_with("Name\t: x\r\n")),
        (NAME, request_with("X: folded\r\n line\r\n")),
        (NAME, request_with("X: folded\r\n\tline\r\n")),
        ("control character in a header value", request_with("X: a\x01b\r\n")),
        ("control character in a header value", request_with("X: a\x7Fb\r\n")),
        ("NUL byte in the head", request_with("X: a\0b\r\n")),
        ("NUL byte in the head", request().replace("GET / ", "GET /\0 ")),
        ("CR without LF", request_with("X: a\rb\r\n")),
        ("CR without LF", request().replace("GET / ", "GET /\r ")),
        ("LF without CR", request_with("X: a\nY: b\r\n")),
        ("LF without CR", request().replace("\r\n", "\n")),
        ("no Host", with("Host: localhost\r\n", "")),
        ("more than one Host", request_with("Host: localhost\r\n")),
        ("invalid Host", with("Host: localhost", "Host: a b")),
        ("invalid Host", with("Host: localhost", "Host: a/b")),
        ("invalid Host", with("Host: localhost", "Host: user@a")),
        ("more than one Origin", request_with("Origin: http://a\r\nOrigin: http://a\r\n")),
        ("invalid Content-Length", request_with("Content-Length: +5\r\n")),
        ("invalid Content-Length", request_with("Content-Length: -5\r\n")),
        ("invalid Content-Length", request_with("Content-Length: 0x5\r\n")),
        ("invalid Content-Length", request_with("Content-Length: 5, 5\r\n")),
        ("invalid Content-Length", request_with("Content-Length:\r\n")),
        ("invalid Content-Length", request_with("Content-Length: 00000000000000000000\r\n")),
        (
            "more than one Content-Length",
            request_with("Content-Length: 0\r\nContent-Length: 0\r\n"),
        ),
        (
            "Content-Length with Transfer-Encoding",
            request_with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        ),
        ("Transfer-Encoding is not chunked", request_with("Transfer-Encoding: gzip\r\n")),
        (
            "Transfer-Encoding is not chunked",
            request_with("Transfer-Encoding: chunked, chunked\r\n"),
        ),
        ("upgrade with a body", request_with("Transfer-Encoding: chunked\r\n")),
        ("upgrade with a body", request_with("Content-Length: 5\r\n")),
        ("more than one Sec-WebSocket-Version", request_with("Sec-WebSocket-Version: 13\r\n")),
        ("invalid Sec-WebSocket-Version", with("Version: 13", "Version: +13")),
        ("invalid Sec-WebSocket-Version", with("Version: 13", "Version: 13, 8")),
        ("invalid Sec-WebSocket-Version", with("Version: 13", "Version:")),
        ("no Sec-WebSocket-Key", with(&format!("Sec-WebSocket-Key: {KEY}\r\n"), "")),
        ("more than one Sec-WebSocket-Key", request_with(&format!("Sec-WebSocket-Key: {KEY}\r\n"))),
        (BAD_KEY, with(KEY, "")),
        (BAD_KEY, with(KEY, "dGhlIHNhbXBsZSBub25j")),
        (BAD_KEY, with(KEY, "dGhlIHNhbXBsZSBub25jZQ")),
        (BAD_KEY, with(KEY, "dGhlIHNhbXBsZSBub25jZQ==AAAA")),
        (BAD_KEY, with(KEY, "dGhlIHNhbXBsZSBub25j_w==")),
        (BAD_KEY, with(KEY, "dGhlIHNhbXBsZSBub25jZQ==, x")),
        ("invalid Sec-WebSocket-Protocol", request_with("Sec-WebSocket-Protocol: a b\r\n")),
        ("invalid Sec-WebSocket-Protocol", request_with("Sec-WebSocket-Protocol: a/b\r\n")),
    ];
    let server = TestServer::echo();
    for (reason, request) in &table {
        refused(&server, request, 400, reason);
    }
    let counters = server.stop().counters;
    assert_eq!((counters.refused, counters.opened), (table.len() as u64, 0));
}

#[test]
fn what_is_no_upgrade_to_version_13_is_refused_with_426() {
    let table = [
        ("no Upgrade: websocket", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
        ("no Upgrade: websocket", with("Upgrade: websocket\r\n", "")),
        ("no Upgrade: websocket", with("Upgrade: websocket", "Upgrade: websockets")),
        ("no Upgrade: websocket", with("Upgrade: websocket", "Upgrade: h2c")),
        (NO_CONNECTION, with("Connection: Upgrade\r\n", "")),
        (NO_CONNECTION, with("Connection: Upgrade", "Connection: keep-alive")),
        ("no Sec-WebSocket-Version", with("Sec-WebSocket-Version: 13\r\n", "")),
        ("Sec-WebSocket-Version is not 13", with("Version: 13", "Version: 8")),
        ("Sec-WebSocket-Version is not 13", with("Version: 13", "Version: 0")),
        ("Sec-WebSocket-Version is not 13", with("Version: 13", "Version: 255")),
    ];
    let server = TestServer::echo();
    for (reason, request) in &table {
        let response = refused(&server, request, 426, reason);
        assert_eq!(response.values("upgrade"), ["websocket"]);
        assert_eq!(response.values("sec-websocket-version"), ["13"]);
        assert_eq!(response.values("connection"), ["close, Upgrade"]);
    }
}

#[test]
fn other_methods_are_refused_with_405_and_the_one_that_is_allowed() {
    let server = TestServer::echo();
    for method in ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "get"] {
        let request = request().replace("GET", method);
        let response = refused(&server, &request, 405, "method is not GET");
        assert_eq!(response.values("allow"), ["GET"]);
    }
    let request = request().replace("GET /", "CONNECT localhost:80");
    refused(&server, &request, 405, "method is not GET");
}

#[test]
fn other_http_versions_are_refused_with_505() {
    let server = TestServer::echo();
    for version in ["HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2", "HTTP/2.0", "HTTP/11"] {
        let request = request().replace("HTTP/1.1", version);
        refused(&server, &request, 505, "HTTP version is not 1.1");
    }
    // The preface, and an empty SETTINGS frame (RFC 9113 §3.4).
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    refused(&server, preface, 505, "HTTP version is not 1.1");
}

#[test]
fn a_tls_client_on_the_plain_port_is_dropped_without_an_answer() {
    let server = TestServer::echo();
    // A handshake record of 512 bytes with a ClientHello of 508.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"[..], &[7; 506]].concat();
    let mut client = RawClient::connect(server.addr);
    client.send(hello);
    client.expect_eof();

    let mut one_byte_at_a_time = RawClient::connect(server.addr);
    one_byte_at_a_time.send(b"\x16");
    Witness::new(server.addr).round_trip();
    one_byte_at_a_time.send(b"\x03");
    one_byte_at_a_time.expect_eof();
    assert_eq!(server.stop().counters.refused, 0);
}

/// A breach is answered where it shows, not where the head ends.
#[test]
fn what_can_never_become_a_request_is_refused_before_its_head_is_whole() {
    let table: [(&str, u16, &str); 5] = [
        ("\x01", 400, "first byte cannot begin an HTTP request"),
        ("GET / HTTP/1.1\n", 400, "LF without CR"),
        ("GET / HTTP/1.1\r\nHost: a\rb", 400, "CR without LF"),
        ("GET /\0", 400, "NUL byte in the head"),
        ("PRI * HTTP/2.0\r\n", 505, "HTTP version is not 1.1"),
    ];
    let server = TestServer::echo();
    for (start, status, reason) in table {
        refused(&server, start, status, reason);
    }
}

#[test]
fn nothing_behind_a_refused_upgrade_is_read() {
    let server = TestServer::echo();
    let refused = with("Version: 13", "Version: 8");
    let behind = [request().into_bytes(), wire::text("smuggled"), wire::ping(b"")].concat();
    let mut client = RawClient::connect(server.addr);
    client.send([refused.as_bytes(), &behind].concat());
    assert_eq!(client.response().status, 426);
    client.send_in_vain(&behind);
    client.expect_eof();

    // The body of a request that must have none.
    let mut client = RawClient::connect(server.addr);
    let with_body = request_with(&format!("Content-Length: {}\r\n", behind.len()));
    client.send([with_body.as_bytes(), &behind].concat());
    assert_eq!(client.response().status, 400);
    client.expect_eof();

    let counters = server.stop().counters;
    assert_eq!((counters.accepted, counters.refused, counters.opened), (2, 2, 0));
}

#[test]
fn a_refused_client_that_sends_on_gets_the_whole_answer() {
    let server = TestServer::echo();
    let mut client = RawClient::connect(server.addr);
    client.send([&b"BAD\r\n\r\n"[..], &vec![b'x'; 400_000]].concat());
    assert_eq!(client.response().body, "malformed request line\n");
    client.expect_eof();
}

#[test]
fn a_head_may_be_as_long_as_its_limit_and_no_longer() {
    let server = TestServer::echo();
    let padded = |len: usize| {
        let request = request_with("X: \r\n");
        let pad = "x".repeat(len - request.len());
        request.replace("X: ", &format!("X: {pad}"))
    };
    let mut client = RawClient::connect(server.addr);
    client.send([padded(HEAD_BYTES_MAX).into_bytes(), wire::text("behind it")].concat());
    client.expect_open(KEY);
    client.expect_text("behind it");

    let mut one_byte_at_a_time = RawClient::connect(server.addr);
    for byte in padded(HEAD_BYTES_MAX).bytes() {
        one_byte_at_a_time.send([byte]);
    }
    one_byte_at_a_time.expect_open(KEY);

    refused(&server, &padded(HEAD_BYTES_MAX + 1), 431, "request head too long");
    // It is refused as soon as it is too long, whole or not.
    refused(&server, &padded(HEAD_BYTES_MAX + 3)[..=HEAD_BYTES_MAX], 431, "request head too long");
}

#[test]
fn a_request_line_longer_than_the_head_may_be_is_refused_with_414() {
    let server = TestServer::echo();
    let target = "x".repeat(HEAD_BYTES_MAX);
    let request = request().replace("GET / ", &format!("GET /{target} "));
    refused(&server, &request, 414, "request line too long");
    refused(&server, &"x".repeat(HEAD_BYTES_MAX + 1), 414, "request line too long");
}

#[test]
fn a_request_may_have_as_many_headers_as_their_limit_and_no_more() {
    let server = TestServer::echo();
    // The request brings five of its own.
    let lines = "X:\r\n".repeat(HEADERS_MAX - 5);
    let mut client = RawClient::connect(server.addr);
    client.send(request_with(&lines));
    client.expect_open(KEY);
    refused(&server, &request_with(&format!("{lines}X:\r\n")), 431, "too many headers");
}

#[test]
fn limits_on_the_head_can_be_set() {
    let mut limits = limits();
    limits.head_bytes_max = 256;
    limits.headers_max = 8;
    let server = TestServer::echo_with(limits);
    RawClient::open(server.addr);
    refused(
        &server,
        &request_with(&format!("X: {}\r\n", "x".repeat(256))),
        431,
        "request head too long",
    );
    refused(&server, &request_with("A:\r\nB:\r\nC:\r\nD:\r\n"), 431, "too many headers");
}

#[test]
fn a_client_that_says_nothing_is_told_408() {
    let server = TestServer::echo_with(short_handshake());
    let start = Instant::now();
    let mut client = RawClient::connect(server.addr);
    timed_out(&mut client, start);
    assert_eq!(server.stop().counters.handshakes_timed_out, 1);
}

#[test]
fn a_client_whose_head_trickles_in_is_told_408_all_the_same() {
    let server = TestServer::echo_with(short_handshake());
    let start = Instant::now();
    let mut client = RawClient::connect(server.addr);
    client.send("GET / HTTP/1.1\r\nX: ");
    // Waiting for the answer is what paces the bytes.
    while !client.is_readable_within(Duration::from_millis(5)) {
        client.send("x");
    }
    timed_out(&mut client, start);
    // The rest comes too late.
    client.send_in_vain(&request()["GET / HTTP/1.1".len()..]);
    Witness::new(server.addr).round_trip();
    client.expect_eof();
    let counters = server.stop().counters;
    assert_eq!((counters.handshakes_timed_out, counters.opened), (1, 1));
}

#[test]
fn a_handshake_in_time_is_not_bound_by_the_handshake_timeout() {
    let server = TestServer::echo_with(short_handshake());
    let mut client = RawClient::open(server.addr);
    // This one's answer comes after the first one's timeout.
    let mut silent = RawClient::connect(server.addr);
    assert_eq!(silent.response().status, 408);
    client.expect_echo("still here");
}

#[test]
fn a_client_that_leaves_in_mid_handshake_is_forgotten() {
    let server = TestServer::echo();
    let mut half_closed = RawClient::connect(server.addr);
    half_closed.send("GET / HTTP/1.1\r\nHos");
    half_closed.half_close();
    half_closed.expect_eof();
    let mut reset = RawClient::connect(server.addr);
    reset.send("GET / HTTP/1.1\r\nHos");
    reset.reset();
    RawClient::open(server.addr);
    let counters = server.stop().counters;
    assert_eq!((counters.accepted, counters.opened, counters.refused), (3, 1, 0));
}

#[test]
fn a_client_that_ends_its_half_behind_the_request_gets_the_answer() {
    let server = TestServer::echo();
    let mut accepted = RawClient::connect(server.addr);
    accepted.send([request().into_bytes(), wire::text("last word")].concat());
    accepted.half_close();
    accepted.expect_open(KEY);
    accepted.expect_text("last word");
    accepted.expect_eof();

    let mut refused = RawClient::connect(server.addr);
    refused.send("GET / HTTP/1.1\r\n\r\n");
    refused.half_close();
    assert_eq!(refused.response().body, "no Host\n");
    refused.expect_eof();
}

#[test]
fn the_handler_may_refuse() {
    let hooks = Hooks::echo().on_upgrade(|request, _| match request.path() {
        "/chat" => Ok(Accept::new(())),
        _ => Err(Refusal { status: Status::NotFound, reason: "try /chat" }),
    });
    let server = TestServer::start(limits(), hooks);
    refused(&server, &request(), 404, "try /chat");
    let mut client = RawClient::connect(server.addr);
    client.send(request().replace("GET / ", "GET /chat "));
    client.expect_open(KEY);
}

#[test]
fn the_handler_may_choose_a_subprotocol() {
    let hooks = Hooks::echo().on_upgrade(|_, upgrade| {
        let offers_mqtt = upgrade.subprotocols().any(|name| name == "mqtt");
        Ok(Accept { state: (), subprotocol: offers_mqtt.then_some("mqtt") })
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::connect(server.addr);
    client.send(request_with("Sec-WebSocket-Protocol: stomp, mqtt\r\n"));
    assert_eq!(client.expect_open(KEY).values("sec-websocket-protocol"), ["mqtt"]);

    let mut client = RawClient::connect(server.addr);
    client.send(request_with("Sec-WebSocket-Protocol: stomp\r\n"));
    assert_eq!(client.expect_open(KEY).values("sec-websocket-protocol"), [""; 0]);
}

/// Sends `request`, which is refused as every refusal must be; returns the answer.
fn refused(server: &TestServer, request: &str, status: u16, reason: &str) -> Response {
    println!("{status} {reason}: {}", request[..request.len().min(200)].escape_debug());
    let mut client = RawClient::connect(server.addr);
    client.send(request);
    let response = client.response();
    assert_eq!((response.status, response.body.as_str()), (status, format!("{reason}\n").as_str()));
    assert_eq!(response.values("content-length"), [(reason.len() + 1).to_string()]);
    let connection = response.values("connection").join(", ");
    assert!(connection.split(", ").any(|option| option == "close"), "Connection: {connection}");
    client.expect_eof();
    response
}

/// The client is told 408, neither before the handshake timeout nor long after it.
fn timed_out(client: &mut RawClient, start: Instant) {
    let response = client.response();
    let took = start.elapsed();
    assert_eq!((response.status, &*response.body), (408, "no complete request head in time\n"));
    assert!((HANDSHAKE_TIMEOUT..HANDSHAKE_TIMEOUT * 20).contains(&took), "after {took:?}");
    client.expect_eof();
}

fn short_handshake() -> wsfast::Limits {
    let mut limits = limits();
    limits.handshake_timeout_ms = HANDSHAKE_TIMEOUT.as_millis().try_into().unwrap();
    limits
}

/// The request that is in order, but for `old`, which becomes `new`.
fn with(old: &str, new: &str) -> String {
    let request = request();
    assert!(request.contains(old), "{old}");
    request.replacen(old, new, 1)
}

/// A client's request as it was on the wire.
struct Recorded {
    name: String,
    request: Vec<u8>,
    key: String,
}

fn recorded_requests() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/handshakes");
    let mut recorded = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let request = std::fs::read(&path).unwrap();
        let text = str::from_utf8(&request).unwrap();
        let key = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
            .map(|(_, key)| key.to_owned())
            .unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        recorded.push(Recorded { name, request, key });
    }
    assert_eq!(recorded.len(), 41);
    recorded
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(150);
const HEAD_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 100;
const NAME: &str = "header line that does not start with a name and a colon";
const NO_CONNECTION: &str = "no Connection: Upgrade; a proxy may have removed it";
const BAD_KEY: &str = "Sec-WebSocket-Key is not the base64 of 16 bytes";
