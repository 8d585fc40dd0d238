//! Responses to requests that are no opening handshake (RFC 9112 §4, §6; RFC 9110 §8.6, §9.3.2).
//!
//! Appends to a buffer; sends nothing. Refusals, which end the connection, are `handshake`'s.

use crate::proto::handshake::Status;

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// Further header lines, name and value; not those of the connection or the body's length.
    pub headers: Vec<(&'static str, String)>,
    /// The body, or of a stream its first part.
    pub body: Vec<u8>,
}

/// How a response's end is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By Content-Length, and another request may follow.
    KeepAlive,
    /// By Content-Length, and the connection ends behind it.
    Close,
    /// By the end of the connection.
    Stream,
}

saved!(enum End { 0 => KeepAlive, 1 => Close, 2 => Stream });
saved!(enum Body { 0 => Sent, 1 => LeftOut });

/// Whether the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It is.
    Sent,
    /// It is not, since HEAD asked: the head is what it would be otherwise.
    LeftOut,
}

impl Response {
    /// A response with a body of this media type.
    pub fn new(status: Status, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// A response without a body.
    pub const fn empty(status: Status) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// The same with one more header line. A value that is not printable ASCII is left out with its line.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Bytes(usize),
    /// It comes in chunks, each with its length (RFC 9112 §7.1).
    Chunked,
}

/// Appends `response`.
pub fn encode(out: &mut Vec<u8>, response: &Response, end: End, body: Body) {
    encode_head(out, response, Length::Bytes(response.body.len()), end);
    if body == Body::Sent {
        out.extend_from_slice(&response.body);
    }
}

/// Appends the head of `response`, whose body, of this length, follows or is left out.
pub fn encode_head(out: &mut Vec<u8>, response: &Response, length: Length, end: End) {
    let Response { status, headers, body: _ } = response;
    let mut line =
        |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    line(&["HTTP/1.1 ", &status.code().to_string(), " ", status.phrase(), "\r\n"]);
    for (name, value) in headers {
        if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            line(&[name, ": ", value, "\r\n"]);
        }
    }
    // RFC 9110 §8.6: a 204 has no length to tell.
    if end != End::Stream && *status != Status::NoContent {
        match length {
            Length::Bytes(len) => line(&["Content-Length: ", &len.to_string(), "\r\n"]),
            Length::Chunked => line(&["Transfer-Encoding: chunked\r\n"]),
        }
    }
    line(&[if end == End::KeepAlive { "\r\n" } else { "Connection: close\r\n\r\n" }]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_written_in_full() {
        let page = Response::new(Status::Ok, "text/plain", "hello").with("ETag", "\"a:1\"");
        let table: [(&Response, End, Body, &str); 5] = [
            (
                &page,
                End::KeepAlive,
                Body::Sent,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"a:1\"\r\nContent-Length: 5\r\n\r\nhello",
            ),
            (
                &page,
                End::Close,
                Body::LeftOut,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"a:1\"\r\nContent-Length: 5\r\n\
                 Connection: close\r\n\r\n",
            ),
            (
                &page,
                End::Stream,
                Body::Sent,
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"a:1\"\r\nConnection: close\r\n\r\nhello",
            ),
            (
                &Response::empty(Status::NoContent),
                End::KeepAlive,
                Body::Sent,
                "HTTP/1.1 204 No Content\r\n\r\n",
            ),
            (
                &Response::empty(Status::NotFound).with("X", "a\r\nY: b"),
                End::KeepAlive,
                Body::Sent,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            ),
        ];
        for (response, end, body, expected) in table {
            let mut out = Vec::new();
            encode(&mut out, response, end, body);
            assert_eq!(str::from_utf8(&out), Ok(expected));
        }
    }
}
