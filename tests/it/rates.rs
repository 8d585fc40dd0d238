//! `--message-rate` and `--connect-rate`: who is past them is told so in its protocol's own words, and delays nobody.

use std::time::Instant;

use rustls::version::TLS13;
use serde_json::json;
use wsfast::{Rate, StatusCode};

use crate::support::client::{RawClient, Response};
use crate::support::process::Process;
use crate::support::server::{Hooks, TestServer};
use crate::support::tls::{End, Pair, TlsClient};
use crate::support::watch::{self, request, upgrade};
use crate::support::{DEADLINE, limits, wire};

/// Slow enough that nothing comes back while a test is at it.
const SLOW: &str = "--message-rate=1/20";

#[test]
fn a_websocket_that_says_too_much_is_closed_with_1008() {
    let server = Process::start(&[SLOW]);
    let mut other = RawClient::open(server.addr);
    for target in ["/", "/t?self=0"] {
        let mut client = RawClient::connect(server.addr);
        upgrade(&mut client, target, "");
        client.send(wire::text("hello").repeat(30));
        if target == "/" {
            (0..20).for_each(|_| client.expect_text("hello"));
        }
        assert_eq!(client.expect_close(1008), "too many messages (message-rate)");
        // What it said within its rate was heard, and no more.
        other.expect_echo("undisturbed");
    }
    let kept = request(server.addr, "GET /t?since=all&wait=0", "");
    assert_eq!(kept.body.lines().count(), 20, "{}", kept.body);
}

/// Neither is a message: Pings are answered, and one message takes one however many fragments it has.
#[test]
fn pings_and_fragments_are_not_counted() {
    let server = Process::start(&["--message-rate=1/2"]);
    let mut client = RawClient::open(server.addr);
    for _ in 0..100 {
        client.send(wire::ping(b"?"));
        client.expect(&wire::Frame::pong(b"?"));
    }
    let part = |first, text: &str| wire::masked(first, text.as_bytes());
    client.send([part(wire::TEXT, "a"), part(0, "b").repeat(50), part(wire::FIN, "c")].concat());
    client.expect_text(&format!("a{}c", "b".repeat(50)));
    client.expect_echo("the second");
}

/// On one connection, and over many of one address; a key's holder says what it likes.
#[test]
fn requests_past_the_rate_get_429() {
    let key = "sixteen-or-more-bytes";
    let server = Process::start(&[SLOW, "--publish-key", key, "--client-publish=on"]);
    let ask = |client: &mut RawClient, line: &str, lines: &str| {
        client.send(format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{lines}\r\n"
        ));
        client.response()
    };
    let mut client = RawClient::connect(server.addr);
    (0..20).for_each(|_| assert_eq!(ask(&mut client, "GET /t?wait=0", "").status, 204));
    // What a balancer and a browser ask on their own is not counted.
    assert_eq!(ask(&mut client, "GET /health", "").status, 200);
    assert_eq!(ask(&mut client, "OPTIONS /t", "").status, 204);
    expect_429(&ask(&mut client, "GET /t?wait=0", ""), "too many messages (message-rate)\n");
    client.expect_eof();
    let mut answered = 0;
    let refused = loop {
        let response = ask(&mut RawClient::connect(server.addr), "GET /t?wait=0", "");
        if response.status != 204 {
            break response;
        }
        answered += 1;
        assert!(answered < 1000, "an address has no end");
    };
    // Eight times as much for the address, of which the first had its share, and what came while this went on.
    expect_429(&refused, "too many messages (message-rate)\n");
    assert!(answered >= 7 * 20, "{answered}");
    let with_key = format!("X-API-Key: {key}\r\n");
    for _ in 0..300 {
        assert_eq!(ask(&mut RawClient::connect(server.addr), "POST /t", &with_key).status, 200);
    }
    let mut elsewhere = RawClient::connect_from([127, 0, 0, 2], server.addr);
    assert_eq!(ask(&mut elsewhere, "GET /t?wait=0", "").status, 204);
}

/// Each command counts; what is refused may be repeated, and is served once there is a token.
#[test]
fn commands_past_the_rate_get_error_111() {
    let server = Process::start(&["--message-rate=20/4"]);
    let mut client = RawClient::connect(server.addr);
    upgrade(&mut client, "/connection/websocket", "");
    let command = |id: u32| {
        let what = if id == 1 { "connect" } else { "ping" };
        format!("{}\n", json!({ "id": id, what: {} }))
    };
    // Pongs do not count.
    client.send(wire::text(&format!("{}{}", (1..=4).map(command).collect::<String>(), "{}\n{}\n")));
    assert_eq!(
        client.frame().payload.split(|&byte| byte == b'\n').filter(|it| !it.is_empty()).count(),
        4
    );
    let ask = |client: &mut RawClient| -> serde_json::Value {
        client.send(wire::text(&command(9)));
        serde_json::from_slice(&client.frame().payload).unwrap()
    };
    client.send(wire::text(&command(5).repeat(100)));
    let replies = String::from_utf8(client.frame().payload).unwrap();
    let refused = r#"{"error":{"code":111,"message":"too many requests","temporary":true},"id":5}"#;
    let refused: serde_json::Value = serde_json::from_str(refused).unwrap();
    let replies =
        replies.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(replies.filter(|reply| *reply == refused).count() > 50);
    let began = Instant::now();
    while ask(&mut client).get("error").is_some() {
        assert!(began.elapsed() < DEADLINE, "its rate does not come back");
    }
    // Others of the same address are not concerned.
    watch::listen(server.addr, "t", "centrifugo");
}

#[test]
fn an_address_that_connects_too_often_gets_429() {
    let server = Process::start(&["--connect-rate=1/5"]);
    let connect = |from: [u8; 4]| {
        let mut client = RawClient::connect_from(from, server.addr);
        client.send_in_vain("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.response()
    };
    let responses: Vec<_> = (0..10).map(|_| connect([127, 0, 0, 1])).collect();
    let reason = "too many new connections from this address (connect-rate)\n";
    assert!(responses[..5].iter().all(|response| response.status == 200));
    let refused: Vec<_> = responses[5..].iter().filter(|response| response.status != 200).collect();
    // One may come in the second that this takes.
    assert!(refused.len() >= 3, "{}", refused.len());
    refused.into_iter().for_each(|response| expect_429(response, reason));
    assert_eq!(connect([127, 0, 0, 2]).status, 200);
}

/// Whom a proxy names counts, and not the proxy.
#[test]
fn connections_behind_a_proxy_are_counted_by_whom_it_names() {
    let server =
        Process::start(&["--connect-rate=1/2", "--proxy-protocol=v1", "--trust-proxy=127.0.0.0/8"]);
    let connect = |name: &str| {
        let mut client = RawClient::connect(server.addr);
        client.send_in_vain(format!("PROXY TCP4 {name} 192.0.2.1 1 2\r\n"));
        client.send_in_vain("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.response().status
    };
    for name in 1..=5 {
        let name = format!("198.51.100.{name}");
        let statuses: Vec<u16> = (0..6).map(|_| connect(&name)).collect();
        assert_eq!(statuses[..2], [200, 200], "{name}");
        assert!(statuses[2..].contains(&429), "{statuses:?}");
    }
}

/// There is no way to say why before TLS is set up.
#[test]
fn over_tls_a_connection_past_the_rate_is_just_ended() {
    let pair = Pair::new();
    let mut limits = limits();
    limits.connect_rate = Some(Rate::new(1, 3));
    let server = TestServer::start_with(limits, Hooks::echo(), Some(pair.server()));
    let (tls, config) = (server.tls_addr().unwrap(), pair.client(&TLS13));
    let clients: Vec<_> = (0..3).map(|_| TlsClient::open(tls, &config)).collect();
    TlsClient::begin(tls, &config).expect_end(End::Cut);
    drop(clients);
    assert!(server.stop().counters.over_rate >= 1);
}

#[test]
fn rates_change_while_the_server_runs() {
    let hooks = Hooks::echo().on_message(|message, cx| match cx.take_message() {
        true => {
            let _sent = cx.send(message.kind(), message.payload());
        }
        false => cx.close(StatusCode::POLICY_VIOLATION, "enough"),
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::open(server.addr);
    (0..50).for_each(|_| client.expect_echo("as much as I like"));
    let mut limits = limits();
    limits.message_rate = Some(Rate::new(1, 2));
    server.remote.set_limits(limits.clone()).unwrap();
    (0..2).for_each(|_| client.expect_echo("twice"));
    client.send(wire::text("and again").repeat(3));
    while client.frame() == wire::Frame::text("and again") {}
    limits.message_rate = None;
    server.remote.set_limits(limits).unwrap();
    let mut client = RawClient::open(server.addr);
    (0..50).for_each(|_| client.expect_echo("as much as I like"));
}

fn expect_429(response: &Response, reason: &str) {
    assert_eq!((response.status, &*response.body), (429, reason), "{}", response.head);
    assert_eq!(response.values("retry-after"), ["1"]);
    assert_eq!(response.values("connection"), ["close"]);
}
