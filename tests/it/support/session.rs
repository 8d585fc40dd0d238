//! One client of the Centrifugo protocol, and of its HTTP API.
//!
//! Reads one reply after the other; for thousands of clients there is `crowd`.

use std::net::SocketAddr;

use super::client::RawClient;
use super::wire;

/// The body of the response to a POST.
pub(crate) fn post(addr: SocketAddr, target: &str, body: &str) -> String {
    let mut client = RawClient::connect(addr);
    client.send(super::ask::post(target, body));
    client.response().body
}

/// The offsets of a reply's publications.
pub(crate) fn offsets(reply: &str) -> Vec<u64> {
    let (_, list) = reply.split_once(r#""publications":["#).unwrap();
    let list = &list[..list.find(']').unwrap()];
    let numbers = list.split(r#""offset":"#).skip(1);
    numbers.map(|rest| rest.split('}').next().unwrap().parse().unwrap()).collect()
}

pub(crate) fn connect(addr: SocketAddr) -> RawClient {
    let mut client = open(addr, "/connection/websocket");
    let connected = ask(&mut client, r#"{"connect":{"name":"js"},"id":1}"#);
    assert!(connected.starts_with(r#"{"id":1,"connect":{"client":""#), "{connected}");
    assert!(connected.contains(r#""pong":true"#), "{connected}");
    client
}

pub(crate) fn ask(client: &mut RawClient, command: &str) -> String {
    client.send(wire::text(command));
    client.text()
}

/// So many replies, in whichever messages they come.
pub(crate) fn lines(client: &mut RawClient, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.extend(client.text().lines().map(str::to_owned));
    }
    assert_eq!(lines.len(), count);
    lines
}

pub(crate) fn open(addr: SocketAddr, target: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    client.send(wire::request().replacen("GET /", &format!("GET {target}"), 1));
    client.expect_open(wire::KEY);
    client
}

pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}
