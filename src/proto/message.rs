//! Messages (RFC 6455 §5.6) as they are lent to a handler: a borrow of the bytes where they arrived.
//!
//! The borrow is shared, not exclusive: a server that sees its own bytes sent on may leave them where they are, which
//! it could not if the handler were free to change them afterwards.
//!
//! Owns nothing. A handler that wants to keep a message copies it.

use crate::proto::opcode::Opcode;

/// Whether a message is text or binary (§5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes of the application's own making.
    Binary,
}

saved!(enum Kind { 0 => Text, 1 => Binary });

impl Kind {
    /// The opcode of the message's first frame.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A whole message, unmasked and, if it is text, proved to be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(Text<'a>),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Whether it is text or binary.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) => Kind::Binary,
        }
    }

    /// The payload, whatever its kind.
    pub const fn payload(&self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// The payload of a text message: bytes that were proved to be UTF-8 as they arrived.
///
/// Not a `&str`, because a message that came in pieces was checked in pieces, and turning its whole into a
/// `&str` without a second look would need `unsafe`. Who forwards a text needs no `&str`; who reads it
/// pays for [`Text::as_str`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// `bytes` must have been checked.
    pub(crate) fn checked(bytes: &'a [u8]) -> Self {
        debug_assert!(std::str::from_utf8(bytes).is_ok());
        Self(bytes)
    }

    /// The text's bytes; free.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The text as a string slice. Costs one SIMD pass over it (`benches/utf8.rs`: 1 MiB of ASCII 12 µs, of Chinese 57 µs).
    pub fn as_str(&self) -> &'a str {
        // Never the default: `checked` is the only way to make a `Text`.
        simdutf8::basic::from_utf8(self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_its_kind_and_its_bytes() {
        let text = Message::Text(Text::checked("héllo".as_bytes()));
        assert_eq!((text.kind(), text.payload()), (Kind::Text, "héllo".as_bytes()));
        assert_eq!(format!("{text:?}"), "Text(\"héllo\")");
        let bytes = [0xFF, 0];
        let binary = Message::Binary(&bytes);
        assert_eq!((binary.kind(), binary.payload()), (Kind::Binary, &[0xFF, 0][..]));
        let opcodes = (text.kind().opcode(), binary.kind().opcode());
        assert_eq!(opcodes, (Opcode::Text, Opcode::Binary));
    }

    #[test]
    fn a_text_outlives_the_message_that_lent_it() {
        let bytes = "日本語".as_bytes().to_vec();
        let (as_str, as_bytes) = {
            let text = Text::checked(&bytes);
            (text.as_str(), text.as_bytes())
        };
        assert_eq!((as_str, as_bytes), ("日本語", &bytes[..]));
    }
}
