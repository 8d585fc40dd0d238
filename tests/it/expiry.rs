//! What ends at a time of its own: subscriptions when their token does, and sessions that do not begin.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::wire;

#[test]
fn a_silent_subscriber_ends_with_its_token_on_every_transport() {
    let server = Process::start(&["--jwt-secret", SECRET, "--ping-interval", "0"]);
    let end_s = now_ms() / 1000 + 3;
    let (short, long) = (token(end_s), token(end_s + 1000));
    let mut bare = open(server.addr, &format!("/t?token={short}"));
    let mut session = connect(server.addr, &short);
    let mut stays = open(server.addr, &format!("/t?token={long}"));
    let [mut events, mut lines] = ["text/event-stream", "application/x-ndjson"].map(|accept| {
        let mut stream = RawClient::connect(server.addr);
        stream.send(get("/t", &short, &format!("Accept: {accept}\r\n")));
        assert_eq!(stream.response().status, 200);
        stream
    });
    let mut poll = RawClient::connect(server.addr);
    poll.send(get("/t?wait=300", &short, ""));
    assert!(now_ms() < end_s * 1000, "the machine is too slow for this test");

    assert_eq!(bare.expect_close(1008), "the token is no longer valid");
    let ended_ms = now_ms();
    assert_eq!(session.expect_close(3005), "connection expired");
    assert_eq!(events.read_to_eof(), b":\n\n");
    assert_eq!(lines.read_to_eof(), b"\n");
    assert_eq!(poll.response().status, 204);
    assert!(ended_ms >= end_s * 1000, "{} ms early", end_s * 1000 - ended_ms);
    assert!(ended_ms < end_s * 1000 + 5000, "{} ms late", ended_ms - end_s * 1000);
    // Its connection may be used again, but not with that token.
    poll.send(get("/t?wait=300", &short, ""));
    assert_eq!(poll.response().status, 401);
    stays.send(wire::text("still here"));
    stays.expect_text("still here");
}

/// Who leaves before leaves nothing behind that would end others of its place.
#[test]
fn who_left_in_time_is_not_ended_in_another_s_place() {
    let server = Process::start(&["--jwt-secret", SECRET]);
    let end_s = now_ms() / 1000 + 2;
    let (short, long) = (token(end_s), token(end_s + 1000));
    for _ in 0..20 {
        let mut leaves = open(server.addr, &format!("/t?token={short}"));
        leaves.send(wire::close(1000, ""));
        leaves.expect_close(1000);
        leaves.expect_eof();
    }
    let mut stays: Vec<_> =
        (0..5).map(|_| open(server.addr, &format!("/t?token={long}"))).collect();
    let mut last = open(server.addr, &format!("/t?token={short}"));
    last.expect_close(1008);
    stays[0].send(wire::text("still here"));
    stays.iter_mut().for_each(|stays| stays.expect_text("still here"));
}

#[test]
fn a_session_that_does_not_say_connect_is_ended() {
    let server = Process::start(&["--handshake-timeout", "300ms"]);
    let mut connected = connect(server.addr, "");
    let mut silent = open(server.addr, "/connection/websocket");
    // Below 3500: a slow network is no reason to stay away for good.
    assert_eq!(silent.expect_close(3000), "no connect in time");
    connected.send(wire::text(r#"{"ping":{},"id":2}"#));
    assert_eq!(text(&mut connected), r#"{"id":2,"ping":{}}"#);
}

fn connect(addr: SocketAddr, token: &str) -> RawClient {
    let mut client = open(addr, &format!("/connection/websocket?token={token}"));
    client.send(wire::text(r#"{"connect":{"name":"js"},"id":1}"#));
    assert!(text(&mut client).starts_with(r#"{"id":1,"connect":{"client":""#));
    client
}

fn text(client: &mut RawClient) -> String {
    String::from_utf8(client.frame().payload).unwrap()
}

fn open(addr: SocketAddr, target: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    client.send(wire::request().replacen("GET /", &format!("GET {target}"), 1));
    client.expect_open(wire::KEY);
    client
}

fn get(target: &str, token: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
    )
}

/// For every topic, up to that second since 1970.
fn token(end_s: u64) -> String {
    let exp = end_s - LEEWAY_S;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = format!(r#"{{"sub":"anna","exp":{exp},"subscribe":["*"],"publish":["*"]}}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

const SECRET: &str = "a secret of more than sixteen bytes";

/// What the server adds to `exp`, for clocks that differ.
const LEEWAY_S: u64 = 10;
