//! The client's half of the opening handshake (RFC 6455 §4.1): the request, and the proof of the response.
//!
//! Draws no random numbers: the caller gives the nonce. Knows one extension, permessage-deflate; a response that names
//! another is refused. Follows no redirect. A response head's end is found by [`HeadScan`](super::HeadScan).

use memchr::memchr;

use crate::proto::deflate::{self, Agreed, Offer, ResponseError};
use crate::proto::handshake::accept::{self, KEY_LEN};
use crate::proto::handshake::error::HandshakeError;
use crate::proto::handshake::fields::{self, Fields};
use crate::proto::handshake::list;

/// A Sec-WebSocket-Key: unpredictable, and used for one connection only (RFC 6455 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey([u8; KEY_LEN]);

impl ClientKey {
    /// The key of a nonce of 16 random bytes.
    pub fn from_nonce(nonce: [u8; 16]) -> Self {
        Self(accept::key_of(nonce))
    }

    /// The key as it stands in the request: base64.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Host, and port unless it is the scheme's own.
    pub host: &'a str,
    /// Path and query: starts with `/`, visible ASCII.
    pub target: &'a str,
    /// Proves that the response belongs to this request.
    pub key: &'a ClientKey,
    /// Who asks, where a browser would say so.
    pub origin: Option<&'a str>,
    /// Tokens, the preferred one first.
    pub subprotocols: &'a [&'a str],
    /// What to offer of permessage-deflate (RFC 7692); `None`: nothing.
    pub deflate: Option<Offer>,
    /// Further headers, name and value; none of those that the handshake has a say in.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What a response agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response<'a> {
    /// One of those offered, or none.
    pub subprotocol: Option<&'a str>,
    /// How messages are compressed, if they are.
    pub deflate: Option<Agreed>,
}

/// Why a request can't be sent, or what a response broke. Fatal for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// A host that is empty, or not a host and perhaps a port.
    HostInvalid,
    /// A target that does not start with `/`, or contains what is not visible ASCII, or `#`.
    TargetInvalid,
    /// An origin that is empty or not printable ASCII.
    OriginInvalid,
    /// A subprotocol that is not a token, or is offered twice.
    SubprotocolInvalid,
    /// A further header whose name is not a token.
    HeaderNameInvalid,
    /// A further header whose value is not printable ASCII.
    HeaderValueInvalid,
    /// A further header that the handshake itself writes, or that would give the request a body.
    HeaderReserved,
    /// The response's head is not HTTP/1.1.
    Head(HandshakeError),
    /// The response's first line is not a version and a three-digit status.
    StatusLineInvalid,
    /// Refused: another status than 101, with its number.
    Refused(u16),
    /// No Upgrade header that lists `websocket`.
    UpgradeMissing,
    /// No Connection header that lists `upgrade`.
    ConnectionNotUpgrade,
    /// No Sec-WebSocket-Accept, more than one, or that of another key: nobody read the request.
    AcceptWrong,
    /// An extension that was not offered.
    ExtensionNotOffered,
    /// permessage-deflate with a parameter that is malformed or was not offered, or without one that was asked for.
    DeflateNotAsOffered,
    /// A subprotocol that was not offered, or more than one.
    SubprotocolNotOffered,
}

impl ClientError {
    /// One line: ASCII, no control characters, nothing from the response.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HostInvalid => "invalid host",
            Self::TargetInvalid => "invalid target",
            Self::OriginInvalid => "invalid origin",
            Self::SubprotocolInvalid => "invalid subprotocol",
            Self::HeaderNameInvalid => "invalid header name",
            Self::HeaderValueInvalid => "invalid header value",
            Self::HeaderReserved => "header that the handshake itself writes",
            Self::Head(error) => error.reason(),
            Self::StatusLineInvalid => "malformed status line",
            Self::Refused(_) => "status is not 101",
            Self::UpgradeMissing => "no Upgrade: websocket",
            Self::ConnectionNotUpgrade => "no Connection: Upgrade",
            Self::AcceptWrong => "wrong Sec-WebSocket-Accept",
            Self::ExtensionNotOffered => "extension that was not offered",
            Self::DeflateNotAsOffered => "permessage-deflate not as it was offered",
            Self::SubprotocolNotOffered => "subprotocol that was not offered",
        }
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())?;
        match self {
            Self::Refused(code) => write!(f, " but {code}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<HandshakeError> for ClientError {
    fn from(error: HandshakeError) -> Self {
        Self::Head(error)
    }
}

impl From<ResponseError> for ClientError {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Extension => Self::ExtensionNotOffered,
            ResponseError::Parameter | ResponseError::Exceeded => Self::DeflateNotAsOffered,
        }
    }
}

/// Appends the request to `out`; nothing of it on an error.
///
/// # Errors
///
/// What `request` can't say without breaking RFC 9112: [`ClientError::HostInvalid`] to
/// [`ClientError::HeaderReserved`].
pub fn encode_request(out: &mut Vec<u8>, request: &ClientRequest<'_>) -> Result<(), ClientError> {
    check_request(request)?;
    let mut line = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    };
    line("GET ", request.target);
    line(" HTTP/1.1\r\nHost: ", request.host);
    line("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13", "");
    if let Some(origin) = request.origin {
        line("\r\nOrigin: ", origin);
    }
    for (at, subprotocol) in request.subprotocols.iter().enumerate() {
        line(if at == 0 { "\r\nSec-WebSocket-Protocol: " } else { ", " }, subprotocol);
    }
    if let Some(offer) = request.deflate {
        line("\r\nSec-WebSocket-Extensions: ", &offer.to_value());
    }
    for (name, value) in request.headers {
        line("\r\n", name);
        line(": ", value);
    }
    out.extend_from_slice(b"\r\nSec-WebSocket-Key: ");
    out.extend_from_slice(request.key.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

/// Whether `request` can be written without breaking a line or repeating one.
fn check_request(request: &ClientRequest<'_>) -> Result<(), ClientError> {
    if request.host.is_empty() || fields::authority(request.host.as_bytes()).is_none() {
        return Err(ClientError::HostInvalid);
    }
    let is_target_byte = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !request.target.starts_with('/') || !request.target.bytes().all(is_target_byte) {
        return Err(ClientError::TargetInvalid);
    }
    if let Some(origin) = request.origin
        && (origin.is_empty() || fields::printable(origin.as_bytes()).is_none())
    {
        return Err(ClientError::OriginInvalid);
    }
    for (at, subprotocol) in request.subprotocols.iter().enumerate() {
        let is_repeated = request.subprotocols[..at].contains(subprotocol);
        if is_repeated || list::token(subprotocol.as_bytes()).is_none() {
            return Err(ClientError::SubprotocolInvalid);
        }
    }
    for (name, value) in request.headers {
        if list::token(name.as_bytes()).is_none() {
            return Err(ClientError::HeaderNameInvalid);
        }
        if fields::printable(value.as_bytes()).is_none() {
            return Err(ClientError::HeaderValueInvalid);
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(ClientError::HeaderReserved);
        }
    }
    Ok(())
}

/// Proves that the response in `head`, whole and nothing behind it, accepts the request with `key` (RFC 6455 §4.1).
///
/// `subprotocols` and `offer` are what the request offered.
///
/// # Errors
///
/// The first that applies, in the order of [`ClientError`]'s variants from [`ClientError::Head`] on. A status other
/// than 101 is told before anything that its headers break.
pub fn check_response<'a>(
    head: &'a [u8],
    key: &ClientKey,
    subprotocols: &[&str],
    offer: Option<Offer>,
) -> Result<Response<'a>, ClientError> {
    let line_len = memchr(b'\n', head).ok_or(HandshakeError::HeadNotWhole)?;
    let (line, block) = (&head[..line_len], &head[line_len..][1..]);
    let line = line.strip_suffix(b"\r").ok_or(HandshakeError::BareLf)?;
    match status_code(line).ok_or(ClientError::StatusLineInvalid)? {
        101 => {}
        code => return Err(ClientError::Refused(code)),
    }
    // The scan that found the head's end has counted its lines.
    let fields = Fields::parse(block, usize::MAX)?;
    if !fields.values("upgrade").any(|value| list::lists(value, "websocket")) {
        return Err(ClientError::UpgradeMissing);
    }
    if !fields.values("connection").any(|value| list::lists(value, "upgrade")) {
        return Err(ClientError::ConnectionNotUpgrade);
    }
    let accept = accept::accept_of(key.as_bytes());
    let mut accepts = fields.values("sec-websocket-accept");
    if accepts.next() != Some(&accept) || accepts.next().is_some() {
        return Err(ClientError::AcceptWrong);
    }
    let extensions = fields.values("sec-websocket-extensions");
    let deflate = match offer {
        Some(offer) => deflate::check_response(extensions, offer)?,
        None if extensions.flat_map(list::elements).next().is_some() => {
            return Err(ClientError::ExtensionNotOffered);
        }
        None => None,
    };
    let mut chosen = fields.values("sec-websocket-protocol");
    let subprotocol = match (chosen.next(), chosen.next()) {
        (None, _) => None,
        (Some(value), None) => Some(
            list::token(value)
                .filter(|name| subprotocols.contains(name))
                .ok_or(ClientError::SubprotocolNotOffered)?,
        ),
        (Some(_), Some(_)) => return Err(ClientError::SubprotocolNotOffered),
    };
    Ok(Response { subprotocol, deflate })
}

/// The code of a status line without its CRLF; a missing phrase is forgiven (RFC 9112 §4).
fn status_code(line: &[u8]) -> Option<u16> {
    let (code, phrase) = line.strip_prefix(b"HTTP/1.1 ")?.split_first_chunk::<3>()?;
    if !code.iter().all(u8::is_ascii_digit) || !matches!(phrase, [] | [b' ', ..]) {
        return None;
    }
    str::from_utf8(code).ok()?.parse().ok()
}

/// Headers that the handshake writes itself, or that would give the request a body.
const RESERVED: [&str; 11] = [
    "host",
    "upgrade",
    "connection",
    "origin",
    "content-length",
    "transfer-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::handshake::{HeadLimits, HeadScan, Request, encode_accept};

    const SAMPLE: ClientKey = ClientKey(*b"dGhlIHNhbXBsZSBub25jZQ==");
    const PLAIN: ClientRequest<'_> = ClientRequest {
        host: "a:80",
        target: "/chat?x",
        key: &SAMPLE,
        origin: None,
        subprotocols: &[],
        deflate: None,
        headers: &[],
    };

    #[test]
    fn requests_are_written_in_full() {
        assert_eq!(ClientKey::from_nonce(*b"the sample nonce"), SAMPLE);
        let table = [
            (
                PLAIN,
                "GET /chat?x HTTP/1.1\r\nHost: a:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
            (
                ClientRequest {
                    origin: Some("http://b"),
                    subprotocols: &["v1", "v2"],
                    deflate: Some(Offer::FULL),
                    headers: &[("X", "y"), ("Z", "")],
                    ..PLAIN
                },
                "GET /chat?x HTTP/1.1\r\nHost: a:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nOrigin: http://b\r\nSec-WebSocket-Protocol: v1, v2\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nX: y\r\nZ: \r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
        ];
        for (request, expected) in table {
            let mut out = Vec::new();
            assert_eq!(encode_request(&mut out, &request), Ok(()));
            assert_eq!(str::from_utf8(&out), Ok(expected));
        }
    }

    #[test]
    fn what_would_break_a_line_is_not_sent() {
        use ClientError as E;
        let table = [
            (ClientRequest { host: "", ..PLAIN }, E::HostInvalid),
            (ClientRequest { host: "a\r\nX: y", ..PLAIN }, E::HostInvalid),
            (ClientRequest { host: "u@a", ..PLAIN }, E::HostInvalid),
            (ClientRequest { target: "", ..PLAIN }, E::TargetInvalid),
            (ClientRequest { target: "chat", ..PLAIN }, E::TargetInvalid),
            (ClientRequest { target: "/a b", ..PLAIN }, E::TargetInvalid),
            (ClientRequest { target: "/a\r\nX: y", ..PLAIN }, E::TargetInvalid),
            (ClientRequest { target: "/é", ..PLAIN }, E::TargetInvalid),
            (ClientRequest { target: "/#a", ..PLAIN }, E::TargetInvalid),
            (ClientRequest { origin: Some(""), ..PLAIN }, E::OriginInvalid),
            (ClientRequest { origin: Some("a\nb"), ..PLAIN }, E::OriginInvalid),
            (ClientRequest { subprotocols: &[""], ..PLAIN }, E::SubprotocolInvalid),
            (ClientRequest { subprotocols: &["a, b"], ..PLAIN }, E::SubprotocolInvalid),
            (ClientRequest { subprotocols: &["a", "b", "a"], ..PLAIN }, E::SubprotocolInvalid),
            (ClientRequest { headers: &[("", "y")], ..PLAIN }, E::HeaderNameInvalid),
            (ClientRequest { headers: &[("X:", "y")], ..PLAIN }, E::HeaderNameInvalid),
            (ClientRequest { headers: &[("X", "y\rz")], ..PLAIN }, E::HeaderValueInvalid),
            (ClientRequest { headers: &[("X", "\0")], ..PLAIN }, E::HeaderValueInvalid),
            (ClientRequest { headers: &[("hOST", "y")], ..PLAIN }, E::HeaderReserved),
            (ClientRequest { headers: &[("Content-Length", "1")], ..PLAIN }, E::HeaderReserved),
        ];
        for (request, expected) in table {
            let mut out = b"kept".to_vec();
            assert_eq!(encode_request(&mut out, &request), Err(expected), "{request:?}");
            assert_eq!(out, b"kept");
        }
    }

    #[test]
    fn a_response_is_proven_rule_by_rule() {
        use ClientError as E;
        let agreed = |subprotocol| Ok(Response { subprotocol, deflate: None });
        let table: [(&str, &str, Result<Response<'_>, ClientError>); 35] = [
            ("", "", agreed(None)),
            (" Switching Protocols", "", agreed(None)),
            ("Switching Protocols", "", agreed(None)),
            ("Switching Protocols", "Oui", agreed(None)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: v2\r\n\r\n", agreed(Some("v2"))),
            ("Upgrade: websocket", "upgrade:WEBSOCKET ", agreed(None)),
            ("Connection: Upgrade", "Connection: keep-alive, upgrade", agreed(None)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: \r\n\r\n", agreed(None)),
            ("HTTP/1.1", "HTTP/1.0", Err(E::StatusLineInvalid)),
            ("101", "1010", Err(E::StatusLineInvalid)),
            ("101", "10", Err(E::StatusLineInvalid)),
            ("101", "+10", Err(E::StatusLineInvalid)),
            ("101", " 101", Err(E::StatusLineInvalid)),
            ("101", "200", Err(E::Refused(200))),
            ("101", "426", Err(E::Refused(426))),
            ("101", "503", Err(E::Refused(503))),
            ("Upgrade: websocket", "X: y", Err(E::UpgradeMissing)),
            ("Upgrade: websocket", "Upgrade: h2c", Err(E::UpgradeMissing)),
            ("Connection: Upgrade", "X: y", Err(E::ConnectionNotUpgrade)),
            ("Connection: Upgrade", "Connection: close", Err(E::ConnectionNotUpgrade)),
            ("Sec-WebSocket-Accept", "X", Err(E::AcceptWrong)),
            ("s3pPLMBiTxaQ", "S3pPLMBiTxaQ", Err(E::AcceptWrong)),
            ("xOo=", "xOo", Err(E::AcceptWrong)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Accept: x\r\n\r\n", Err(E::AcceptWrong)),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                Err(E::ExtensionNotOffered),
            ),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: v3\r\n\r\n", Err(E::SubprotocolNotOffered)),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: V1\r\n\r\n", Err(E::SubprotocolNotOffered)),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Protocol: v1, v2\r\n\r\n",
                Err(E::SubprotocolNotOffered),
            ),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol:\r\n\r\n", Err(E::SubprotocolNotOffered)),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Protocol: v1\r\nSec-WebSocket-Protocol: v1\r\n\r\n",
                Err(E::SubprotocolNotOffered),
            ),
            ("\r\n\r\n", "\r\n", Err(E::Head(HandshakeError::HeadNotWhole))),
            ("\r\n\r\n", "\r\n\r\n\x01", Err(E::Head(HandshakeError::HeadNotWhole))),
            ("\r\nUpgrade", "\nUpgrade", Err(E::Head(HandshakeError::BareLf))),
            ("Upgrade:", "Upgrade :", Err(E::Head(HandshakeError::HeaderNameInvalid))),
            ("Upgrade: ", "Upgrade: \x01", Err(E::Head(HandshakeError::HeaderValueInvalid))),
        ];
        for (part, replacement, expected) in table {
            let head = RESPONSE.replacen(part, replacement, 1);
            assert_eq!(check(&head), expected, "{head:?}");
        }
    }

    #[test]
    fn a_refusal_shows_its_status() {
        assert_eq!(ClientError::Refused(503).to_string(), "status is not 101 but 503");
        assert_eq!(
            ClientError::from(HandshakeError::Nul).to_string(),
            HandshakeError::Nul.reason()
        );
    }

    /// Both halves of this crate understand each other.
    #[test]
    fn a_request_is_accepted_and_the_response_proven() {
        let limits = HeadLimits::default();
        let offer = ["v1", "v2"];
        let mut stream = Vec::new();
        let client = ClientRequest {
            origin: Some("http://b"),
            subprotocols: &offer,
            deflate: Some(Offer::FULL),
            ..PLAIN
        };
        encode_request(&mut stream, &client).unwrap();
        assert_eq!(HeadScan::new().scan(&stream, &limits), Ok(Some(stream.len())));
        let request = Request::parse(&stream, &limits).unwrap();
        assert_eq!((request.path(), request.query()), ("/chat", Some("x")));
        assert_eq!((request.host(), request.origin()), ("a:80", Some("http://b")));
        let upgrade = request.upgrade().unwrap();
        let mut answer = Vec::new();
        let terms = deflate::Terms { takeover: true, window_bits: 15 };
        let (agreed, extensions) = deflate::accept(upgrade.extensions(), terms).unwrap();
        let (accept, subprotocol) = (upgrade.accept(), upgrade.subprotocols().last());
        encode_accept(&mut answer, &accept, subprotocol, Some(&extensions));
        assert_eq!(HeadScan::new().scan(&answer, &limits), Ok(Some(answer.len())));
        let response = check_response(&answer, &SAMPLE, &offer, client.deflate);
        assert_eq!(response, Ok(Response { subprotocol: Some("v2"), deflate: Some(agreed) }));
        let other = ClientKey::from_nonce([0; 16]);
        let response = check_response(&answer, &other, &offer, client.deflate);
        assert_eq!(response, Err(ClientError::AcceptWrong));
        let response = check_response(&answer, &SAMPLE, &offer, None);
        assert_eq!(response, Err(ClientError::ExtensionNotOffered));
        let no_takeover = Offer { server_takeover: false, ..Offer::FULL };
        let response = check_response(&answer, &SAMPLE, &offer, Some(no_takeover));
        assert_eq!(response, Err(ClientError::DeflateNotAsOffered));
    }

    fn check(head: &str) -> Result<Response<'_>, ClientError> {
        check_response(head.as_bytes(), &SAMPLE, &["v1", "v2"], None)
    }

    /// RFC 6455 §1.3's, without its subprotocol.
    const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
}
