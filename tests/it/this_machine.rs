//! What "this machine" means to a server on loopback without keys and tokens: who asks by a proxy, or under another name, is not
//! there, and neither is anyone once an origin from elsewhere is allowed. The real proxies are in `tests/proxies`.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::watch::{listen, upgrade};
use crate::support::wire;

const KEY: &str = "the-key-of-the-operator";

/// What proxies and tunnels write, each alone, in any case of letters.
const SIGNS: &[&str] = &[
    "Forwarded: for=192.0.2.1",
    "Forwarded:",
    "X-Forwarded-For: 192.0.2.1",
    "x-forwarded-for: 127.0.0.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: chat.example",
    "X-Forwarded-Anything: 1",
    "X-Forwarded: 1",
    "X-Real-IP: 127.0.0.1",
    "x-real-ip: 192.0.2.1",
    "Via: 1.1 varnish",
    "VIA: 2.0 Caddy",
    "CF-Connecting-IP: 192.0.2.1",
    "Cf-Ray: 8f",
    "CDN-Loop: cloudflare",
    "True-Client-IP: 192.0.2.1",
    "X-Client-IP: 192.0.2.1",
    "X-Cluster-Client-IP: 192.0.2.1",
    "X-Original-URL: /t",
    "X-Original-Forwarded-For: 192.0.2.1",
    "x-envoy-expected-rq-timeout-ms: 15000",
    "X-Envoy-External-Address: 192.0.2.1",
    "Fly-Client-IP: 192.0.2.1",
    "Tailscale-User-Login: ann@example.com",
    "X-Amzn-Trace-Id: Root=1",
    "Proxy-Connection: keep-alive",
    "Proxy-Client-IP: 192.0.2.1",
    "WL-Proxy-Client-IP: 192.0.2.1",
    "CloudFront-Viewer-Address: 192.0.2.1:1",
    "X-Source-IP: 192.0.2.1",
    "X-Via: 1.1 a",
    "Remote-User: ann",
    "X-Auth-Request-User: ann",
    "Client-Cert: :AA==:",
    "Early-Data: 1",
    // A client may ask a proxy to take out what it put in (hop-by-hop, RFC 9110 §7.6.1).
    "Connection: X-Forwarded-For",
];

#[test]
fn a_request_that_shows_a_proxy_publishes_nothing_without_credentials() {
    let server = Process::start(&[]);
    for sign in SIGNS {
        expect_open_to_listen_alone(server.addr, "localhost", &format!("{sign}\r\n"));
    }
    // What looks like one and is none: programs here say these, too.
    for other in ["X-Request-Id: 1", "X-Requested-With: curl", "Viaduct: 1", "X-Forward: 1"] {
        expect_open(server.addr, "localhost", &format!("{other}\r\n"));
    }
}

/// A proxy that adds nothing passes on the name that it is known by.
#[test]
fn a_request_under_another_name_publishes_nothing_without_credentials() {
    let server = Process::start(&[]);
    for host in [
        "chat.example",
        "chat.example:8002",
        "192.0.2.1",
        "0.0.0.0:8002",
        "localhost.chat.example",
        "localhost.",
        "",
    ] {
        let mut client = RawClient::connect(server.addr);
        client.send(format!("POST /t HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi"));
        assert_eq!(client.response().status, 403, "{host}");
        expect_refused_by_message(server.addr, host, "");
    }
    for host in ["localhost", "127.0.0.1:1", "127.9.9.9", "[::1]:2", "a.localhost", "LOCALHOST"] {
        expect_open(server.addr, host, "");
    }
    // A target in absolute form says one name, and Host another.
    for (target, host) in
        [("http://127.0.0.1/t", "chat.example"), ("http://chat.example/t", "localhost")]
    {
        let mut client = RawClient::connect(server.addr);
        client
            .send(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi"));
        assert_eq!(client.response().status, 403, "{target} {host}");
    }
}

/// Pages from there come by a proxy, and nobody else need show it.
#[test]
fn a_server_that_allows_an_origin_from_elsewhere_is_not_open() {
    for origin in
        ["https://chat.example", "*", "null", "http://192.0.2.1:3000", "capacitor://localhost"]
    {
        let server = Process::start(&["--allow-origin", origin]);
        expect_open_to_listen_alone(server.addr, "localhost", "");
    }
    for origin in
        ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:1", "http://a.localhost"]
    {
        let server = Process::start(&["--allow-origin", origin]);
        expect_open(server.addr, "localhost", "");
    }
}

#[test]
fn credentials_and_client_publish_count_behind_a_proxy() {
    let proxied = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n";
    let shown = format!("{proxied}X-API-Key: {KEY}\r\n");
    for origin in [&[][..], &["--allow-origin", "https://chat.example"]] {
        let server = Process::start(&[origin, &["--publish-key", KEY]].concat());
        expect_open(server.addr, "localhost", &shown);
        expect_statuses(server.addr, "localhost", proxied, [401, 401]);
        let server = Process::start(&[origin, &["--client-publish", "on"]].concat());
        expect_statuses(server.addr, "localhost", proxied, [403, 403]);
        expect_taken_by_message(server.addr, "localhost", proxied);
        let server = Process::start(&[origin, &["--client-publish", "off"]].concat());
        expect_refused_by_message(server.addr, "localhost", "");
    }
}

/// What a connection showed when it opened goes with it: to other settings, and to another image of the program.
#[test]
fn who_came_by_a_proxy_stays_elsewhere() {
    let server = Process::start(&["-v"]);
    let mut bare = RawClient::connect(server.addr);
    upgrade(&mut bare, "/t", "X-Forwarded-For: 192.0.2.1\r\n");
    let mut session = centrifugo(server.addr, "localhost", "Via: 1.1 x\r\n");
    let mut near = listen(server.addr, "t", "websocket");
    server.signal(Signal::USR2);
    while !server.next_log_line().contains("restarted") {}
    near.send(wire::text("from here"));
    near.expect_text("from here");
    bare.expect_text("from here");
    bare.send(wire::text("from afar"));
    bare.expect_close(1008);
    expect_denied(&mut session);
}

#[test]
fn the_start_up_lines_say_what_this_machine_means() {
    for (args, http, message, warns) in [
        (&[][..], "this machine", "this machine", true),
        (&["--client-publish", "off"], "this machine", "nobody", true),
        (&["--client-publish", "on"], "this machine", "anyone", true),
        (&["--allow-origin", "https://chat.example"], "nobody", "nobody", false),
        (&["--allow-origin", "http://localhost:3000"], "this machine", "this machine", true),
        (&["--publish-key", KEY], "who has a key", "who has a key", false),
    ] {
        let server = Process::start(args);
        server.signal(Signal::TERM);
        let told = server.wait().stdout;
        let who = format!(
            "to publish over HTTP: {http} (--publish-key, --jwt-secret); by message: {message} ("
        );
        assert!(told.contains(&who), "{args:?}: {told}");
        assert!(!told.contains("this machine only"), "{told}");
        let warning = "\n\"this machine\" is what comes without a sign of a proxy";
        assert_eq!(told.contains(warning), warns, "{args:?}: {told}");
    }
}

/// Everything is as on this machine.
fn expect_open(addr: SocketAddr, host: &str, lines: &str) {
    expect_statuses(addr, host, lines, [200, 200]);
    expect_taken_by_message(addr, host, lines);
}

/// Listening is open, on every transport, and nothing else.
fn expect_open_to_listen_alone(addr: SocketAddr, host: &str, lines: &str) {
    expect_statuses(addr, host, lines, [403, 403]);
    expect_refused_by_message(addr, host, lines);
    for (accept, status) in
        [("*/*", 200), ("text/event-stream", 200), ("application/x-ndjson", 200)]
    {
        let mut client = RawClient::connect(addr);
        let accept = format!("Accept: {accept}\r\n{lines}");
        client.send(format!("GET /listened?since=all HTTP/1.1\r\nHost: {host}\r\n{accept}\r\n"));
        let told = client.response().status;
        assert!(told == status || told == 204, "{lines}: {told}");
    }
}

/// Of publishing over HTTP, and of each method of the API.
fn expect_statuses(addr: SocketAddr, host: &str, lines: &str, [publish, api]: [u16; 2]) {
    let message = r#"{"channel":"t","data":1}"#;
    for (target, body, status) in [
        ("POST /t", "hi", publish),
        ("PUT /t", "hi", publish),
        ("POST /api/publish", message, api),
        ("POST /api/broadcast", r#"{"channels":["t"],"data":1}"#, api),
        ("POST /api/history", r#"{"channel":"t","limit":1}"#, api),
        ("POST /api/history_remove", r#"{"channel":"t"}"#, api),
        ("POST /api/presence", r#"{"channel":"t"}"#, api),
        ("POST /api/presence_stats", r#"{"channel":"t"}"#, api),
        ("POST /api/disconnect", r#"{"user":"nobody"}"#, api),
        ("POST /api/info", "{}", api),
    ] {
        let mut client = RawClient::connect(addr);
        client.send(format!(
            "{target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n{lines}\r\n{body}",
            body.len()
        ));
        let response = client.response();
        assert_eq!(response.status, status, "{target} {host} {lines}: {}", response.body);
    }
}

fn expect_taken_by_message(addr: SocketAddr, host: &str, lines: &str) {
    let mut bare = open(addr, "/by-message", host, lines);
    bare.send(wire::text("hi"));
    bare.expect_text("hi");
    let mut session = centrifugo(addr, host, lines);
    session.send(wire::text(PUBLISH));
    assert_eq!(text_of(&mut session), r#"{"id":2,"publish":{}}"#, "{host} {lines}");
}

fn expect_refused_by_message(addr: SocketAddr, host: &str, lines: &str) {
    for subprotocol in ["", "Sec-WebSocket-Protocol: wsfast.meta\r\n"] {
        let mut bare = open(addr, "/t", host, &format!("{lines}{subprotocol}"));
        bare.send(wire::text("hi"));
        bare.expect_close(1008);
    }
    expect_denied(&mut centrifugo(addr, host, lines));
}

fn expect_denied(session: &mut RawClient) {
    session.send(wire::text(PUBLISH));
    let reply = text_of(session);
    assert!(reply.starts_with(r#"{"id":2,"error":{"code":103,"#), "{reply}");
}

fn open(addr: SocketAddr, target: &str, host: &str, lines: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    let request = wire::request_with(lines).replacen("GET /", &format!("GET {target}"), 1);
    client.send(request.replacen("Host: localhost", &format!("Host: {host}"), 1));
    client.expect_open(wire::KEY);
    client
}

/// A session that has said connect.
fn centrifugo(addr: SocketAddr, host: &str, lines: &str) -> RawClient {
    let mut client = open(addr, "/connection/websocket", host, lines);
    client.send(wire::text(r#"{"connect":{},"id":1}"#));
    client.frame();
    client
}

fn text_of(client: &mut RawClient) -> String {
    String::from_utf8(client.frame().payload).unwrap()
}

const PUBLISH: &str = r#"{"publish":{"channel":"t","data":1},"id":2}"#;
