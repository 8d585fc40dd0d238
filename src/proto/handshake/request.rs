//! A request (RFC 9112 §3, §5, §6) from its whole head.
//!
//! Borrows everything from the head's bytes. Decides no policy: which paths, hosts and origins are served is the
//! caller's. Reads no body; says only what the head says about one. What a head breaks is found in this order: the
//! request line (its shape, the version, the target), the header lines from the first on, Host, Origin, the body's
//! length.

use memchr::memchr;

use crate::proto::handshake::error::HandshakeError;
use crate::proto::handshake::fields::{self, Fields};
use crate::proto::handshake::head::HeadLimits;
use crate::proto::handshake::list;

/// A well-formed HTTP/1.1 request, its body aside.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: Target<'a>,
    host: &'a str,
    origin: Option<&'a str>,
    body_length: BodyLength,
    fields: Fields<'a>,
}

/// What a head says about the body behind it (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither Content-Length nor Transfer-Encoding: no body.
    None,
    /// Content-Length: this many bytes, perhaps zero. Declared by the peer, checked against no limit.
    Bytes(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// A request target, taken apart (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    raw: &'a str,
    /// Host and port of an absolute-form or authority-form target.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// Parses `head`: exactly the bytes that [`HeadScan`](super::HeadScan) called whole.
    ///
    /// # Errors
    ///
    /// Every [`HandshakeError`] that a request can be, whether it asks for an upgrade or not; on one that
    /// `HeadScan` would have refused, some error.
    pub fn parse(head: &'a [u8], limits: &HeadLimits) -> Result<Self, HandshakeError> {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let line_len = memchr(b'\n', head).ok_or(HandshakeError::HeadNotWhole)?;
        let (line, block) = (&head[..line_len], &head[line_len..][1..]);
        let line = line.strip_suffix(b"\r").ok_or(HandshakeError::BareLf)?;
        let (method, target) = request_line(line)?;
        let fields = Fields::parse(block, limits.headers_max)?;
        let host = fields
            .single("host", HandshakeError::HostDuplicate)?
            .ok_or(HandshakeError::HostMissing)?;
        let host = fields::authority(host).ok_or(HandshakeError::HostInvalid)?;
        let origin = match fields.single("origin", HandshakeError::OriginDuplicate)? {
            None => None,
            Some(value) => Some(fields::printable(value).ok_or(HandshakeError::OriginInvalid)?),
        };
        let body_length = body_length(&fields)?;
        // The target's authority counts where it has one, whatever Host says (RFC 9112 §3.2.2).
        let host = target.authority.unwrap_or(host);
        Ok(Self { method, target, host, origin, body_length, fields })
    }

    /// The method, a token; case matters.
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// The target as it was sent: visible ASCII.
    pub const fn target(&self) -> &'a str {
        self.target.raw
    }

    /// The target's path, still percent-encoded. Starts with `/`; except that it is `*` in `OPTIONS *`, and empty in
    /// CONNECT.
    pub const fn path(&self) -> &'a str {
        self.target.path
    }

    /// The target's query, without the `?`, still percent-encoded.
    pub const fn query(&self) -> Option<&'a str> {
        self.target.query
    }

    /// The host, with its port if one was given: the target's, or else Host's, which may be empty.
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The Origin, printable ASCII; browsers send it, others need not (RFC 6455 §10.2).
    pub const fn origin(&self) -> Option<&'a str> {
        self.origin
    }

    /// What the head says about a body.
    pub const fn body_length(&self) -> BodyLength {
        self.body_length
    }

    /// The first value under `name`, in any case of letters, without the white space around it.
    ///
    /// A value contains no control characters but tabs; it need not be UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.values(name).next()
    }

    /// All values under `name`, in the order of the header lines.
    pub fn headers<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.fields.values(name)
    }

    /// The names of the header lines, in their order.
    pub fn header_names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.fields.names()
    }

    /// The header lines, for the proof of an upgrade.
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        &self.fields
    }
}

/// Method and target of a request line without its CRLF (RFC 9112 §3).
fn request_line(line: &[u8]) -> Result<(&str, Target<'_>), HandshakeError> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HandshakeError::RequestLineInvalid);
    };
    let method = list::token(method).ok_or(HandshakeError::RequestLineInvalid)?;
    match version {
        b"HTTP/1.1" => {}
        // Any major version, with or without a minor one: "HTTP/2", "HTTP/0.9", "HTTP/1.0".
        [b'H', b'T', b'T', b'P', b'/', number @ ..]
            if !number.is_empty()
                && number.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.')) =>
        {
            return Err(HandshakeError::HttpVersionUnsupported);
        }
        _ => return Err(HandshakeError::RequestLineInvalid),
    }
    let target = Target::parse(method, target).ok_or(HandshakeError::TargetInvalid)?;
    Ok((method, target))
}

impl<'a> Target<'a> {
    /// Takes a target apart, if it has a form that `method` can have.
    ///
    /// Characters that RFC 3986 wants encoded but that browsers send as they are (`|`, `{`) are let through; a `#`
    /// is not: RFC 6455 §3 forbids it, and servers disagree on what lies behind it.
    fn parse(method: &str, target: &'a [u8]) -> Option<Self> {
        if target.is_empty() || !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return None;
        }
        let raw = str::from_utf8(target).ok()?;
        match method {
            "CONNECT" => {
                let authority = Some(fields::authority(target)?);
                return Some(Self { raw, authority, path: "", query: None });
            }
            "OPTIONS" if raw == "*" => {
                return Some(Self { raw, authority: None, path: raw, query: None });
            }
            _ => {}
        }
        let (authority, rest) = if raw.starts_with('/') {
            (None, raw)
        } else {
            let (scheme, rest) = raw.split_once("://")?;
            if !["http", "https", "ws", "wss"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
                return None;
            }
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if authority.is_empty() {
                return None;
            }
            (Some(fields::authority(authority.as_bytes())?), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        // An absolute-form target without a path means the root (RFC 9110 §4.2.3).
        let path = if path.is_empty() { "/" } else { path };
        Some(Self { raw, authority, path, query })
    }
}

/// What the header lines say about a body (RFC 9112 §6.1, §6.3), taking nothing that two servers could read twice.
fn body_length(fields: &Fields<'_>) -> Result<BodyLength, HandshakeError> {
    let length = fields.single("content-length", HandshakeError::ContentLengthDuplicate)?;
    let coding = fields.single("transfer-encoding", HandshakeError::TransferEncodingInvalid)?;
    match (length, coding) {
        (None, None) => Ok(BodyLength::None),
        (Some(_), Some(_)) => Err(HandshakeError::ContentLengthWithTransferEncoding),
        (Some(length), None) => content_length(length)
            .map(BodyLength::Bytes)
            .ok_or(HandshakeError::ContentLengthInvalid),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyLength::Chunked),
        (None, Some(_)) => Err(HandshakeError::TransferEncodingInvalid),
    }
}

/// A Content-Length of 1 to 19 digits, and nothing else (RFC 9110 §8.6).
fn content_length(value: &[u8]) -> Option<u64> {
    // Nineteen digits fit a u64, whatever they are.
    if !(1..=19).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method, path, query, host.
    type Parts<'a> = (&'a str, &'a str, Option<&'a str>, &'a str);

    #[test]
    fn request_lines_come_apart() {
        let table: [(&str, Result<Parts<'_>, HandshakeError>); 48] = [
            ("GET / HTTP/1.1", Ok(("GET", "/", None, "a.b:1"))),
            ("GET /any?x=1&y=?/ HTTP/1.1", Ok(("GET", "/any", Some("x=1&y=?/"), "a.b:1"))),
            ("GET /? HTTP/1.1", Ok(("GET", "/", Some(""), "a.b:1"))),
            ("GET //a/../%00|{}\" HTTP/1.1", Ok(("GET", "//a/../%00|{}\"", None, "a.b:1"))),
            ("GET /http://x/y HTTP/1.1", Ok(("GET", "/http://x/y", None, "a.b:1"))),
            ("get / HTTP/1.1", Ok(("get", "/", None, "a.b:1"))),
            ("POST /p HTTP/1.1", Ok(("POST", "/p", None, "a.b:1"))),
            // Absolute-form: the target's authority counts.
            ("GET http://c/x HTTP/1.1", Ok(("GET", "/x", None, "c"))),
            ("GET HTTPS://c:8/x?y HTTP/1.1", Ok(("GET", "/x", Some("y"), "c:8"))),
            ("GET ws://c HTTP/1.1", Ok(("GET", "/", None, "c"))),
            ("GET wss://[::1]:9?q HTTP/1.1", Ok(("GET", "/", Some("q"), "[::1]:9"))),
            ("OPTIONS * HTTP/1.1", Ok(("OPTIONS", "*", None, "a.b:1"))),
            ("OPTIONS / HTTP/1.1", Ok(("OPTIONS", "/", None, "a.b:1"))),
            ("CONNECT c:443 HTTP/1.1", Ok(("CONNECT", "", None, "c:443"))),
            // Shape.
            ("", Err(HandshakeError::RequestLineInvalid)),
            ("GET", Err(HandshakeError::RequestLineInvalid)),
            ("GET /", Err(HandshakeError::RequestLineInvalid)),
            ("GET / ", Err(HandshakeError::RequestLineInvalid)),
            ("GET  / HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("GET /  HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            (" GET / HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("GET / HTTP/1.1 ", Err(HandshakeError::RequestLineInvalid)),
            ("GET / a HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("GET\t/ HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("G,T / HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("GÉT / HTTP/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("GET / http/1.1", Err(HandshakeError::RequestLineInvalid)),
            ("GET / HTTP/", Err(HandshakeError::RequestLineInvalid)),
            ("GET / HTTP/1.1x", Err(HandshakeError::RequestLineInvalid)),
            ("GET / ICY/1.1", Err(HandshakeError::RequestLineInvalid)),
            // Version.
            ("GET / HTTP/1.0", Err(HandshakeError::HttpVersionUnsupported)),
            ("GET / HTTP/0.9", Err(HandshakeError::HttpVersionUnsupported)),
            ("GET / HTTP/1.2", Err(HandshakeError::HttpVersionUnsupported)),
            ("GET / HTTP/2", Err(HandshakeError::HttpVersionUnsupported)),
            ("GET / HTTP/3.0", Err(HandshakeError::HttpVersionUnsupported)),
            ("PRI * HTTP/2.0", Err(HandshakeError::HttpVersionUnsupported)),
            // Target.
            ("GET /\u{1} HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET /\u{7f} HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET /\t HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET /é HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET /a#b HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET any HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET * HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET ftp://c/ HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET http:///x HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET http://u@c/ HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("GET http://c:x/ HTTP/1.1", Err(HandshakeError::TargetInvalid)),
            ("CONNECT /x HTTP/1.1", Err(HandshakeError::TargetInvalid)),
        ];
        for (line, expected) in table {
            let head = format!("{line}\r\nHost: a.b:1\r\n\r\n");
            let request = parse(&head);
            let parts = request
                .as_ref()
                .map_err(|error| *error)
                .map(|request| (request.method(), request.path(), request.query(), request.host()));
            assert_eq!(parts, expected, "{line:?}");
            if let Ok(request) = &request {
                assert_eq!(Some(request.target()), line.split(' ').nth(1));
            }
        }
    }

    #[test]
    fn malformed_header_lines_are_refused() {
        use HandshakeError as E;
        let table: [(&[u8], Option<HandshakeError>); 26] = [
            (b"", None),
            (b"X:\r\n", None),
            (b"X: \t \r\n", None),
            (b"X:y\r\n", None),
            (b"X:\ty \xff\xc3\xa9\tz\r\n", None),
            (b"!#$%&'*+-.^_`|~: y\r\n", None),
            (b"No colon\r\n", Some(E::HeaderNameInvalid)),
            (b"X\r\n", Some(E::HeaderNameInvalid)),
            (b": y\r\n", Some(E::HeaderNameInvalid)),
            (b"X : y\r\n", Some(E::HeaderNameInvalid)),
            (b"X\t: y\r\n", Some(E::HeaderNameInvalid)),
            (b"X\xe9: y\r\n", Some(E::HeaderNameInvalid)),
            (b"X(y): z\r\n", Some(E::HeaderNameInvalid)),
            (b"X\0: y\r\n", Some(E::HeaderNameInvalid)),
            // Folded, before the first line too.
            (b"X: y\r\n z\r\n", Some(E::HeaderNameInvalid)),
            (b"X: y\r\n\tz\r\n", Some(E::HeaderNameInvalid)),
            (b" X: y\r\n", Some(E::HeaderNameInvalid)),
            (b"X: y\r\n \r\n", Some(E::HeaderNameInvalid)),
            (b"X: \x01\r\n", Some(E::HeaderValueInvalid)),
            (b"X: y\x7f\r\n", Some(E::HeaderValueInvalid)),
            (b"X: \x0b\r\n", Some(E::HeaderValueInvalid)),
            (b"X: y\0\r\n", Some(E::HeaderValueInvalid)),
            // The scan refuses these first.
            (b"X: y\rz\r\n", Some(E::HeaderValueInvalid)),
            (b"X: y\n", Some(E::BareLf)),
            (b"\n", Some(E::BareLf)),
            (b"\r\n", Some(E::HeadNotWhole)),
        ];
        for (lines, expected) in table {
            for (before, after) in [("Host: a\r\n", ""), ("", "Host: a\r\n")] {
                let head = [b"GET / HTTP/1.1\r\n", before.as_bytes(), lines, after.as_bytes()];
                let head = [&head.concat()[..], b"\r\n"].concat();
                let result = Request::parse(&head, &HeadLimits::default());
                assert_eq!(result.err(), expected, "{}", head.escape_ascii());
            }
        }
    }

    #[test]
    fn only_a_whole_head_is_parsed() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for len in 0..head.len() {
            let error = Request::parse(&head[..len], &HeadLimits::default()).err();
            assert_eq!(error, Some(HandshakeError::HeadNotWhole), "{len}");
        }
        let table: [(&[u8], Option<HandshakeError>); 6] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
            (
                b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
                Some(HandshakeError::RequestLineInvalid),
            ),
            (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(HandshakeError::BareLf)),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Some(HandshakeError::BareLf)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81", Some(HandshakeError::HeadNotWhole)),
        ];
        for (head, expected) in table {
            let error = Request::parse(head, &HeadLimits::default()).err();
            assert_eq!(error, expected, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn headers_count_up_to_their_limit() {
        for (count, expected) in [(100, None), (101, Some(HandshakeError::TooManyHeaders))] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
            assert_eq!(parse(&head).err(), expected, "{count}");
        }
    }

    #[test]
    fn host_stands_once_and_is_a_host() {
        use HandshakeError as E;
        let table: [(&str, Result<&str, HandshakeError>); 25] = [
            ("Host: a\r\n", Ok("a")),
            ("hOST:a-b_c.example:65535 \r\n", Ok("a-b_c.example:65535")),
            ("Host: 127.0.0.1:19223\r\n", Ok("127.0.0.1:19223")),
            ("Host: [::1]\r\n", Ok("[::1]")),
            ("Host: [::ffff:1.2.3.4]:80\r\n", Ok("[::ffff:1.2.3.4]:80")),
            ("Host: a:\r\n", Ok("a:")),
            ("Host:\r\n", Ok("")),
            ("", Err(E::HostMissing)),
            ("X-Host: a\r\n", Err(E::HostMissing)),
            ("Host: a\r\nHost: a\r\n", Err(E::HostDuplicate)),
            ("Host: a\r\nX: y\r\nhost: b\r\n", Err(E::HostDuplicate)),
            ("Host: a b\r\n", Err(E::HostInvalid)),
            ("Host: a/b\r\n", Err(E::HostInvalid)),
            ("Host: u@a\r\n", Err(E::HostInvalid)),
            ("Host: a?b\r\n", Err(E::HostInvalid)),
            ("Host: a#b\r\n", Err(E::HostInvalid)),
            ("Host: a:b\r\n", Err(E::HostInvalid)),
            ("Host: a:80:80\r\n", Err(E::HostInvalid)),
            ("Host: a:100000\r\n", Err(E::HostInvalid)),
            ("Host: ::1\r\n", Err(E::HostInvalid)),
            ("Host: [::1\r\n", Err(E::HostInvalid)),
            ("Host: [::1]80\r\n", Err(E::HostInvalid)),
            ("Host: []\r\n", Err(E::HostInvalid)),
            ("Host: [::g]\r\n", Err(E::HostInvalid)),
            ("Host: é\r\n", Err(E::HostInvalid)),
        ];
        for (lines, expected) in table {
            let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
            assert_eq!(parse(&head).map(|request| request.host()), expected, "{lines:?}");
        }
    }

    #[test]
    fn origin_stands_at_most_once_and_is_printable() {
        let table: [(&str, Result<Option<&str>, HandshakeError>); 5] = [
            ("", Ok(None)),
            ("Origin: null\r\n", Ok(Some("null"))),
            ("ORIGIN: http://127.0.0.1:32777\r\n", Ok(Some("http://127.0.0.1:32777"))),
            ("Origin: http://é\r\n", Err(HandshakeError::OriginInvalid)),
            ("Origin: http://a\r\nOrigin: http://a\r\n", Err(HandshakeError::OriginDuplicate)),
        ];
        for (lines, expected) in table {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            assert_eq!(parse(&head).map(|request| request.origin()), expected, "{lines:?}");
        }
    }

    #[test]
    fn body_lengths_are_read_strictly() {
        use HandshakeError as E;
        let table: [(&str, Result<BodyLength, HandshakeError>); 29] = [
            ("", Ok(BodyLength::None)),
            ("Content-Length: 0\r\n", Ok(BodyLength::Bytes(0))),
            ("content-length:42 \r\n", Ok(BodyLength::Bytes(42))),
            ("Content-Length: 007\r\n", Ok(BodyLength::Bytes(7))),
            (
                "Content-Length: 9999999999999999999\r\n",
                Ok(BodyLength::Bytes(9_999_999_999_999_999_999)),
            ),
            ("Content-Length: 10000000000000000000\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 00000000000000000001\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length:\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: +1\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: -1\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 0x1\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: a\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 1 1\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 1, 1\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 1.0\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 1\u{661}\r\n", Err(E::ContentLengthInvalid)),
            ("Content-Length: 0\r\nContent-Length: 0\r\n", Err(E::ContentLengthDuplicate)),
            ("Content-Length: 1\r\ncontent-length: 2\r\n", Err(E::ContentLengthDuplicate)),
            ("Transfer-Encoding: chunked\r\n", Ok(BodyLength::Chunked)),
            ("Transfer-Encoding: CHUNKED\r\n", Ok(BodyLength::Chunked)),
            ("Transfer-Encoding: gzip\r\n", Err(E::TransferEncodingInvalid)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(E::TransferEncodingInvalid)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(E::TransferEncodingInvalid)),
            ("Transfer-Encoding: xchunked\r\n", Err(E::TransferEncodingInvalid)),
            ("Transfer-Encoding: identity\r\n", Err(E::TransferEncodingInvalid)),
            ("Transfer-Encoding:\r\n", Err(E::TransferEncodingInvalid)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(E::TransferEncodingInvalid),
            ),
            (
                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                Err(E::ContentLengthWithTransferEncoding),
            ),
            (
                "Transfer-Encoding: x\r\nContent-Length: x\r\n",
                Err(E::ContentLengthWithTransferEncoding),
            ),
        ];
        for (lines, expected) in table {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            assert_eq!(parse(&head).map(|request| request.body_length()), expected, "{lines:?}");
        }
    }

    #[test]
    fn headers_are_found_in_any_case_and_in_order() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Y:  one \r\nZ: \r\nx-y: two\r\n\r\n";
        let request = parse(head).unwrap();
        assert_eq!(request.header("X-y"), Some(&b"one"[..]));
        assert_eq!(request.header("z"), Some(&b""[..]));
        assert_eq!(request.header("x"), None);
        assert_eq!(request.headers("x-Y").collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(request.header_names().collect::<Vec<_>>(), ["Host", "X-Y", "Z", "x-y"]);
    }

    #[test]
    fn the_first_breach_in_the_documented_order_tells() {
        use HandshakeError as E;
        // Each row mends what the row before was refused for.
        let table = [
            ("GET /é HTTP/1.1 x\r\nX \r\nContent-Length: x\r\n\r\n", E::RequestLineInvalid),
            ("GET /é HTTP/1.0\r\nX \r\nContent-Length: x\r\n\r\n", E::HttpVersionUnsupported),
            ("GET /é HTTP/1.1\r\nX \r\nContent-Length: x\r\n\r\n", E::TargetInvalid),
            ("GET / HTTP/1.1\r\nX \r\nContent-Length: x\r\n\r\n", E::HeaderNameInvalid),
            ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", E::HostMissing),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nOrigin: é\r\nContent-Length: x\r\n\r\n",
                E::OriginInvalid,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", E::ContentLengthInvalid),
        ];
        for (head, expected) in table {
            assert_eq!(parse(head).err(), Some(expected), "{head:?}");
        }
    }

    fn parse(head: &str) -> Result<Request<'_>, HandshakeError> {
        Request::parse(head.as_bytes(), &HeadLimits::default())
    }
}
