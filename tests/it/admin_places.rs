//! Who can take the places of the admin side: no page of another origin, and nobody all of them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::DEADLINE;
use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::watch::{Watch, get, listen, request};
use crate::support::wire;

const ADMIN: &[&str] = &["--admin", "127.0.0.1:0"];

/// What all browsers say of a request, and no page can change: `<img>` sends no Origin.
#[test]
fn no_page_of_another_origin_asks_for_anything() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    for (site, status) in [
        ("none", 200),
        ("same-origin", 200),
        ("same-site", 403),
        ("cross-site", 403),
        ("Cross-Site", 403),
        ("", 403),
        ("anything", 403),
        ("none\r\nSec-Fetch-Site: cross-site", 403),
    ] {
        for mode in ["no-cors", "navigate", "cors", "websocket"] {
            let lines = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\n");
            for line in ["GET /ready", "GET /metrics", "GET /topics", "GET /connections"] {
                assert_eq!(request(admin, line, &lines).status, status, "{line} {lines}");
            }
            let waits = if status == 200 { 204 } else { status };
            assert_eq!(request(admin, "GET /events?wait=0", &lines).status, waits, "{lines}");
            let opens = if status == 200 { 101 } else { status };
            let mut client = RawClient::connect(admin);
            client.send(wire::request_with(&lines).replacen("GET /", "GET /events", 1));
            assert_eq!(client.response().status, opens, "{lines}");
        }
    }
}

/// Those who listen to the events, on any transport, take twelve of the sixteen places together.
#[test]
fn who_listens_leaves_places_for_who_asks() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut kept = Vec::new();
    for (transport, status) in LISTENING.iter().cycle().take(12) {
        let (client, told) = listen_to_events(admin, transport);
        assert_eq!(told, *status, "{transport}");
        kept.push(client);
    }
    for (transport, _) in LISTENING {
        assert_eq!(listen_to_events(admin, transport).1, Some(503), "{transport}");
    }
    for _ in 0..40 {
        assert_eq!(request(admin, "GET /ready", "").status, 200);
        assert_eq!(request(admin, "GET /metrics", "").status, 200);
    }
    // A place that is given up is another's.
    drop(kept.pop());
    let (mut next, _) = loop {
        let (next, told) = listen_to_events(admin, "websocket");
        if told == Some(101) {
            break (next, told);
        }
    };
    // Those who listen are as they were: what happens now reaches them.
    let _joined = listen(server.addr, "t", "sse");
    for client in kept.iter_mut().chain([&mut next]) {
        assert!(client.is_readable_within(DEADLINE));
    }
    assert!(String::from_utf8(next.frame().payload).unwrap().contains("occupied"));
}

/// Connections that ask for nothing, that asked, and that ask for half of something: the oldest of them gives way.
#[test]
fn who_asks_is_served_whoever_else_holds_a_connection() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut watch = Watch::start(admin);
    let holders: [fn(SocketAddr) -> RawClient; 4] = [silent, idle, half, refused];
    for holder in holders {
        let held: Vec<RawClient> = (0..64).map(|_| holder(admin)).collect();
        for _ in 0..4 {
            assert_eq!(request(admin, "GET /ready", "").status, 200);
            assert_eq!(request(admin, "GET /metrics", "").status, 200);
        }
        drop(held);
    }
    // Who listens has not been among those who gave way.
    let _next = listen(server.addr, "t", "sse");
    watch.expect_first("t", "sse");
}

/// All at once, each with its request: nobody is dropped in favour of who came a moment later.
#[test]
fn a_burst_of_requests_is_answered_one_and_all() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut clients: Vec<RawClient> = (0..200)
        .map(|_| {
            let mut client = RawClient::connect(admin);
            get(&mut client, "/ready", "Connection: close\r\n");
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

fn silent(admin: SocketAddr) -> RawClient {
    RawClient::connect(admin)
}

fn idle(admin: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(admin);
    get(&mut client, "/ready", "");
    assert_eq!(client.response().status, 200);
    client
}

fn half(admin: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(admin);
    client.send("GET /ready HTTP/1.1\r\nHost: local");
    client
}

fn refused(admin: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(admin);
    get(&mut client, "/events?wait=300", "Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(client.response().status, 403);
    client
}

/// How to listen to the events, and the status that comes at once if one may.
const LISTENING: &[(&str, Option<u16>)] =
    &[("wait", None), ("sse", Some(200)), ("websocket", Some(101))];

/// Asks for the events; and the status, if there is one by the time that the server has looked at the request.
fn listen_to_events(admin: SocketAddr, transport: &str) -> (RawClient, Option<u16>) {
    let mut client = RawClient::connect(admin);
    match transport {
        "wait" => get(&mut client, "/events?wait=300", ""),
        "sse" => get(&mut client, "/events", "Accept: text/event-stream\r\n"),
        _ => client.send(wire::request().replacen("GET /", "GET /events", 1)),
    }
    // The loop serves events in their order.
    assert_eq!(request(admin, "GET /ready", "").status, 200);
    let told = client.is_readable_within(Duration::from_millis(1)).then(|| client.response());
    if let Some(refused) = told.as_ref().filter(|it| it.status == 503) {
        assert!(refused.body.contains("/ready and /metrics"), "{}", refused.body);
    }
    if transport == "sse" {
        client.buf.clear();
    }
    let status = told.map(|it| it.status);
    (client, status)
}
