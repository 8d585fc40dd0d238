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
/// `reason` is for a person who debugs; it becomes the body, as one line of plain text.
pub fn encode_refusal(out: &mut Vec<u8>, status: Status, reason: &str) {
    let body_len = reason.len() + 1;
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {body_len}\r\nConnection: {}\r\n{}\r\n",
        status.code(),
        status.phrase(),
        connection_of(status),
        header_of(status),
    );
    out.reserve(head.len() + body_len);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(reason.as_bytes());
    out.push(b'\n');
}

/// The value of Connection: a sender of Upgrade lists it there too (RFC 9110 §7.8).
const fn connection_of(status: Status) -> &'static str {
    match status {
        Status::UpgradeRequired => "close, Upgrade",
        Status::BadRequest
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
const fn header_of(status: Status) -> &'static str {
    match status {
        Status::Unauthorized => "WWW-Authenticate: Bearer\r\n",
        Status::MethodNotAllowed => "Allow: GET\r\n",
        Status::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        Status::ServiceUnavailable => "Retry-After: 1\r\n",
        Status::BadRequest
        | Status::Forbidden
        | Status::NotFound
        | Status::RequestTimeout
        | Status::LengthRequired
        | Status::ContentTooLarge
        | Status::UriTooLong
        | Status::TooManyRequests
        | Status::RequestHeaderFieldsTooLarge
        | Status::InternalServerError
        | Status::HttpVersionNotSupported => "",
    }
}
