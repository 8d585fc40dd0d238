//! The server's answers to an opening handshake (RFC 6455 §4.2.2): 101, or a refusal that closes the connection.
//!
//! Appends to a buffer; sends nothing. Nothing reaches a header that is not a constant, a number, or checked here
//! byte by byte.

use crate::proto::handshake::accept::ACCEPT_LEN;
use crate::proto::handshake::error::Status;
use crate::proto::handshake::{fields, list};

/// Appends the 101 that opens the connection.
///
/// `accept` is what [`Upgrade::accept`](super::Upgrade::accept) gave. `subprotocol` is one of those offered;
/// `extensions` is the value of a Sec-WebSocket-Extensions line. What is not a token, or not printable ASCII, is
/// left out together with its header.
pub fn encode_accept(
    out: &mut Vec<u8>,
    accept: &[u8; ACCEPT_LEN],
    subprotocol: Option<&str>,
    extensions: Option<&str>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept);
    if let Some(name) = subprotocol.and_then(|name| list::token(name.as_bytes())) {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(name.as_bytes());
    }
    if let Some(value) = extensions.and_then(|value| fields::printable(value.as_bytes())) {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends a refusal; the caller closes the connection behind it (RFC 9112 §9.6).
///
/// `reason` is for a person who debugs; it becomes the body, as one line of plain text. `further` header lines take the place
/// of those of their name that the status comes with; one whose value is not printable ASCII is left out.
pub fn encode_refusal(
    out: &mut Vec<u8>,
    status: Status,
    reason: &str,
    further: &[(&'static str, String)],
) {
    let body_len = reason.len().saturating_add(1);
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {body_len}\r\nConnection: {}\r\n",
        status.code(),
        status.phrase(),
        connection_of(status),
    );
    out.reserve(head.len().saturating_add(body_len));
    out.extend_from_slice(head.as_bytes());
    let further = || further.iter().map(|(name, value)| (*name, &**value));
    let is_replaced = |name: &str| further().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let own = headers_of(status).iter().copied().filter(|(name, _)| !is_replaced(name));
    for (name, value) in own.chain(further()) {
        if fields::printable(value.as_bytes()).is_some() {
            [name, ": ", value, "\r\n"]
                .iter()
                .for_each(|part| out.extend_from_slice(part.as_bytes()));
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(reason.as_bytes());
    out.push(b'\n');
}

/// The value of Connection: a sender of Upgrade lists it there too (RFC 9110 §7.8).
const fn connection_of(status: Status) -> &'static str {
    match status {
        Status::UpgradeRequired => "close, Upgrade",
        Status::Ok
        | Status::NoContent
        | Status::BadRequest
        | Status::Unauthorized
        | Status::Forbidden
        | Status::NotFound
        | Status::MethodNotAllowed
        | Status::RequestTimeout
        | Status::LengthRequired
        | Status::ContentTooLarge
        | Status::UriTooLong
        | Status::TooManyRequests
        | Status::RequestHeaderFieldsTooLarge
        | Status::InternalServerError
        | Status::ServiceUnavailable
        | Status::HttpVersionNotSupported => "close",
    }
}

/// The header lines that a status must or should come with (RFC 9110 §15.5, §15.6; RFC 6455 §4.4).
const fn headers_of(status: Status) -> &'static [(&'static str, &'static str)] {
    match status {
        Status::Unauthorized => &[("WWW-Authenticate", "Bearer")],
        Status::MethodNotAllowed => &[("Allow", "GET")],
        Status::UpgradeRequired => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        Status::ServiceUnavailable | Status::TooManyRequests => &[("Retry-After", "1")],
        Status::Ok
        | Status::NoContent
        | Status::BadRequest
        | Status::Forbidden
        | Status::NotFound
        | Status::RequestTimeout
        | Status::LengthRequired
        | Status::ContentTooLarge
        | Status::UriTooLong
        | Status::RequestHeaderFieldsTooLarge
        | Status::InternalServerError
        | Status::HttpVersionNotSupported => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &[u8; ACCEPT_LEN] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn the_accept_is_written_as_the_rfc_shows_it() {
        let start = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        let table = [
            (None, None, ""),
            (Some("chat"), None, "Sec-WebSocket-Protocol: chat\r\n"),
            (
                Some("mqtt"),
                Some("permessage-deflate; server_max_window_bits=10"),
                "Sec-WebSocket-Protocol: mqtt\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
            ),
            // What would break the head, or the list, is left out.
            (Some(""), None, ""),
            (Some("a\r\nSet-Cookie: b"), Some("a\r\nSet-Cookie: b"), ""),
            (Some("a, b"), Some("é"), ""),
            (Some("a\0"), Some("a\0"), ""),
        ];
        for (subprotocol, extensions, lines) in table {
            let mut out = b"kept".to_vec();
            encode_accept(&mut out, ACCEPT, subprotocol, extensions);
            let expected = format!("kept{start}{lines}\r\n");
            assert_eq!(out.escape_ascii().to_string(), expected.escape_debug().to_string());
        }
    }

    #[test]
    fn refusals_say_why_and_close() {
        let table = [
            (
                Status::BadRequest,
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\
                 Connection: close\r\n\r\nbecause\n",
            ),
            (
                Status::UpgradeRequired,
                "HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\
                 Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\nbecause\n",
            ),
            (
                Status::MethodNotAllowed,
                "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\
                 Connection: close\r\nAllow: GET\r\n\r\nbecause\n",
            ),
            (
                Status::ServiceUnavailable,
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\
                 Connection: close\r\nRetry-After: 1\r\n\r\nbecause\n",
            ),
            (
                Status::Unauthorized,
                "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 8\r\n\
                 Connection: close\r\nWWW-Authenticate: Bearer\r\n\r\nbecause\n",
            ),
        ];
        for (status, expected) in table {
            let mut out = Vec::new();
            encode_refusal(&mut out, status, "because", &[]);
            assert_eq!(str::from_utf8(&out), Ok(expected));
        }
    }

    #[test]
    fn further_lines_join_those_of_the_status_or_take_their_place() {
        let further = [
            ("Allow", "POST".to_owned()),
            ("Vary", "Origin".to_owned()),
            ("X", "a\r\nSet-Cookie: b".to_owned()),
        ];
        for (status, lines) in [
            (Status::MethodNotAllowed, "Allow: POST\r\nVary: Origin\r\n"),
            (Status::ServiceUnavailable, "Retry-After: 1\r\nAllow: POST\r\nVary: Origin\r\n"),
            (Status::TooManyRequests, "Retry-After: 1\r\nAllow: POST\r\nVary: Origin\r\n"),
        ] {
            let mut out = Vec::new();
            encode_refusal(&mut out, status, "because", &further);
            let out = String::from_utf8(out).unwrap();
            let expected = format!("\r\nConnection: close\r\n{lines}\r\nbecause\n");
            assert!(out.ends_with(&expected), "{out}");
        }
    }

    /// The reason is the body, and the body's length is counted in bytes.
    #[test]
    fn a_reason_never_reaches_the_head() {
        let mut out = Vec::new();
        encode_refusal(&mut out, Status::NotFound, "é\r\n\r\nHTTP/1.1 200 OK", &[]);
        let out = String::from_utf8(out).unwrap();
        let (head, body) = out.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nContent-Length: 22\r\n"), "{head}");
        assert_eq!(body, "é\r\n\r\nHTTP/1.1 200 OK\n");
    }
}
