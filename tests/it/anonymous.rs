//! With `--jwt-secret`: who shows nothing holds no connection, and no cache keeps what a token was needed for.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::client::{RawClient, Response};
use crate::support::jwt::{SECRET, token};
use crate::support::process::Process;
use crate::support::wire;

const KEY: &str = "the-key-of-the-operator";
const TOKENS: &[&str] = &["--jwt-secret", SECRET, "--publish-key", KEY];

/// On paths that are no topic, and by the Centrifugo protocol, as its own server has it.
#[test]
fn who_shows_nothing_holds_no_connection() {
    let open = Process::start(&[]);
    let closed = Process::start(TOKENS);
    let allowed = Process::start(&[TOKENS, &["--allow-anonymous"]].concat());
    let bearer = format!("Authorization: Bearer {}\r\n", token(r#"{"sub":"anna"}"#));
    let key = format!("X-API-Key: {KEY}\r\n");
    let wrong = "X-API-Key: another-key\r\n";
    for path in ["/", "/echo", "/?a=b", "/health"] {
        for (server, lines, expected) in [
            (&open, "", 101),
            (&open, wrong, 101),
            (&closed, "", 401),
            (&closed, wrong, 401),
            (&closed, &*bearer, 101),
            (&closed, &*key, 101),
            (&allowed, "", 101),
            (&allowed, wrong, 101),
        ] {
            let (mut client, response) = upgrade(server.addr, path, lines);
            assert_eq!(response.status, expected, "{path} {lines}");
            match expected {
                101 => client.expect_echo("hello"),
                _ => assert_eq!(response.values("www-authenticate"), ["Bearer"]),
            }
        }
    }
    for (server, lines, shown, is_taken) in [
        (&open, "", "", true),
        (&closed, "", "", false),
        (&closed, wrong, "", false),
        (&closed, "", &*token(r#"{"sub":"anna"}"#), true),
        (&closed, &*bearer, "", true),
        (&closed, &*key, "", true),
        (&allowed, "", "", true),
    ] {
        let (mut session, _) = upgrade(server.addr, "/connection/websocket", lines);
        let token = if shown.is_empty() { String::new() } else { format!(r#""token":"{shown}""#) };
        session.send(wire::text(&format!(r#"{{"connect":{{{token}}},"id":1}}"#)));
        if is_taken {
            let reply = String::from_utf8(session.frame().payload).unwrap();
            assert!(reply.starts_with(r#"{"id":1,"connect":"#), "{reply}");
        } else {
            // A stock client does not come back with nothing.
            assert_eq!(session.expect_close(3500), "invalid token");
        }
    }
}

/// An echo is for as long as the token that let it in.
#[test]
fn an_echo_ends_with_its_token() {
    let server = Process::start(&[TOKENS, &["--ping-interval", "0"]].concat());
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Ten seconds are for clocks that are off.
    let short = token(&format!(r#"{{"exp":{}}}"#, now_s - 7));
    let long = token(&format!(r#"{{"exp":{}}}"#, now_s + 600));
    let (mut ends, _) = upgrade(server.addr, &format!("/echo?token={short}"), "");
    let (mut stays, _) = upgrade(server.addr, &format!("/echo?token={long}"), "");
    assert_eq!(ends.expect_close(1008), "the token is no longer valid");
    stays.expect_echo("still here");
}

/// An answer that one may have with a token is not another's, be the token in the address or not.
#[test]
fn what_needs_a_token_is_not_stored() {
    let closed = Process::start(TOKENS);
    let open = Process::start(&[]);
    let all = token(r#"{"subscribe":["*"],"publish":["*"]}"#);
    let bearer = format!("Authorization: Bearer {all}\r\n");
    let in_address = format!("GET /t?since=all&token={all}");
    let events = format!("{bearer}Accept: text/event-stream\r\n");
    let lines_of = format!("{bearer}Accept: application/x-ndjson\r\n");
    let key = format!("X-API-Key: {KEY}\r\n");
    for (line, lines, status) in [
        ("POST /t", &*bearer, 200),
        ("POST /t", &*key, 200),
        ("GET /t?since=all", &*bearer, 200),
        (&*in_address, "", 200),
        ("GET /t", &*bearer, 204),
        ("GET /t?wait=1", &*bearer, 204),
        ("GET /t", &*events, 200),
        ("GET /t", &*lines_of, 200),
        ("HEAD /t?since=all", &*bearer, 200),
        ("POST /api/history", &*key, 200),
        ("GET /t", "", 401),
        ("GET /t", "Authorization: Bearer x.y.z\r\n", 401),
        ("POST /t", "", 401),
        ("POST /api/history", "", 401),
    ] {
        let head = ask(closed.addr, line, lines);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
        assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{line}: {head}");
        assert_eq!(head.matches("Cache-Control").count(), 1, "{head}");
        // Without tokens a cache may ask whether there is something new.
        let head = ask(open.addr, line, lines);
        assert_eq!(head.contains("no-store"), line.starts_with("POST"), "{line}: {head}");
    }
    // What anyone may see is as it was.
    let page = ask(closed.addr, "GET /t", "Accept: text/html\r\n");
    assert!(page.contains("\r\nCache-Control: no-cache\r\n"), "{page}");
}

/// The head of what a request is answered with.
fn ask(addr: SocketAddr, line: &str, lines: &str) -> String {
    let body = r#"{"channel":"t","limit":1}"#;
    let body = if line.starts_with("POST") { body } else { "" };
    let mut client = RawClient::connect(addr);
    client.send(format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.until(b"\r\n\r\n")
}

fn upgrade(addr: SocketAddr, target: &str, lines: &str) -> (RawClient, Response) {
    let mut client = RawClient::connect(addr);
    client.send(wire::request_with(lines).replacen("GET / ", &format!("GET {target} "), 1));
    let response = client.response();
    (client, response)
}
