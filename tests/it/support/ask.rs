//! What clients say to the hub, as bytes: requests, opening handshakes, and the first commands of the Centrifugo protocol.
//!
//! Reads nothing but what a session must have read before it can go on.

use std::net::SocketAddr;
use std::ops::Range;

use super::crowd::{Crowd, Event};
use super::published::Form;
use super::wire;

/// A GET; each line of `headers` has its end.
pub(crate) fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// An opening handshake.
pub(crate) fn upgrade(target: &str, headers: &str) -> String {
    wire::request_with(headers).replacen("GET /", &format!("GET {target}"), 1)
}

/// The request that listens in a form.
pub(crate) fn listen(form: Form, target: &str) -> String {
    match form {
        Form::Bare => upgrade(target, ""),
        Form::Meta => upgrade(target, "Sec-WebSocket-Protocol: wsfast.meta\r\n"),
        Form::Event => get(target, "Accept: text/event-stream\r\n"),
        Form::Line => get(target, "Accept: application/x-ndjson\r\n"),
        Form::Publication => unreachable!("sessions subscribe"),
    }
}

/// What a stream begins with.
pub(crate) const fn sign_of_life(form: Form) -> &'static [u8] {
    match form {
        Form::Event => b":\n\n",
        Form::Line => b"\n",
        Form::Bare | Form::Meta | Form::Publication => b"",
    }
}

/// A call of the HTTP API.
pub(crate) fn api(method: &str, body: &str) -> Vec<u8> {
    post(&format!("/api/{method}"), body).into_bytes()
}

/// A POST.
pub(crate) fn post(target: &str, body: &str) -> String {
    let len = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n{body}")
}

/// So many more clients of the Centrifugo protocol that have said connect; `headers` are those of their handshake.
pub(crate) fn sessions(
    crowd: &mut Crowd,
    addr: SocketAddr,
    clients: usize,
    rcvbuf: usize,
    headers: &str,
) -> Range<usize> {
    let those = crowd.open(addr, clients, rcvbuf, |_| upgrade("/connection/websocket", headers));
    those.clone().for_each(|at| crowd.say(at, wire::text(r#"{"connect":{},"id":1}"#)));
    crowd.until(those.clone(), |_, event, _| {
        reply(event, 1);
        true
    });
    those
}

/// The message that comes.
#[track_caller]
pub(crate) fn message(event: Event<'_>) -> &[u8] {
    match event {
        Event::Message(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The message that comes is the answer to this command, and no error.
#[track_caller]
pub(crate) fn reply(event: Event<'_>, id: usize) -> &[u8] {
    let text = message(event);
    let start = format!("{{\"id\":{id},");
    let is_it =
        text.starts_with(start.as_bytes()) && !text[start.len()..].starts_with(b"\"error\"");
    assert!(is_it, "{}", text[..200.min(text.len())].escape_ascii());
    text
}
