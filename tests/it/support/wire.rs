//! Frames and handshakes as bytes, written from RFC 6455 and not from `wsfast::proto`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// The masking key of every frame here, but for those that say otherwise.
pub(crate) const MASKING_KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The Sec-WebSocket-Key of every handshake here (RFC 6455 §1.3).
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A client's whole text message.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    masked(FIN | TEXT, payload.as_bytes())
}

/// A client's whole binary message.
pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    masked(FIN | BINARY, payload)
}

pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    masked(FIN | PING, payload)
}

pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    masked(FIN | PONG, payload)
}

/// A client's Close frame with a status code and a reason.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    masked(FIN | CLOSE, &close_body(code, reason))
}

/// A client's Close frame without a body.
pub(crate) fn empty_close() -> Vec<u8> {
    masked(FIN | CLOSE, b"")
}

/// A client's frame: `first` is its first byte (FIN, reserved bits, opcode).
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_with(MASKING_KEY, first, payload)
}

pub(crate) fn masked_with(key: [u8; 4], first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64, key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A client's frame header that declares `len` payload bytes, in the shortest form.
pub(crate) fn header(first: u8, len: u64, key: [u8; 4]) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(0x80 | u8::try_from(len).unwrap()),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(len.to_be_bytes());
        }
    }
    header.extend(key);
    header
}

pub(crate) fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A frame that the server sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, reserved bits, opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(payload: &str) -> Self {
        Self { first: FIN | TEXT, payload: payload.into() }
    }

    pub(crate) fn binary(payload: &[u8]) -> Self {
        Self { first: FIN | BINARY, payload: payload.into() }
    }

    pub(crate) fn empty_ping() -> Self {
        Self { first: FIN | PING, payload: Vec::new() }
    }

    pub(crate) fn pong(payload: &[u8]) -> Self {
        Self { first: FIN | PONG, payload: payload.into() }
    }

    pub(crate) fn close(code: u16, reason: &str) -> Self {
        Self { first: FIN | CLOSE, payload: close_body(code, reason) }
    }

    pub(crate) fn empty_close() -> Self {
        Self { first: FIN | CLOSE, payload: Vec::new() }
    }

    /// The first frame in `bytes`, and its length, once it is whole.
    ///
    /// # Panics
    ///
    /// If it is not what a server may send: masked, or of a length that is not in its shortest form.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], _) = bytes.split_first_chunk()?;
        assert_eq!(second & 0x80, 0, "a server masked a frame");
        let (len, at) = match second {
            126 => {
                let len = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                assert!(len > 125, "length {len} in two bytes");
                (usize::from(len), 4)
            }
            127 => {
                let len = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                assert!(len > 0xFFFF, "length {len} in eight bytes");
                (usize::try_from(len).unwrap(), 10)
            }
            len => (usize::from(len), 2),
        };
        let payload = bytes.get(at..at + len)?.to_vec();
        Some((Self { first, payload }, at + len))
    }
}

/// As an assertion should show it: a megabyte by its length and its first bytes.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(60)];
        write!(f, "{:#04x} len {} {}", self.first, self.payload.len(), shown.escape_ascii())
    }
}

/// A request that is in order.
pub(crate) fn request() -> String {
    request_with("")
}

/// The same with `lines`, each ended by CRLF, behind the usual ones.
pub(crate) fn request_with(lines: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// The Sec-WebSocket-Accept that proves that `key` was read (RFC 6455 §4.2.2).
pub(crate) fn accept_of(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}
