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
        let (line, block) = (&head[..line_len], &head[line_len + 1..]);
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
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
