//! Status codes and the body of a Close frame (RFC 6455 §5.5.1, §7.4).
//!
//! Pure values. When a Close may be sent, and what follows it, is `net`'s business.

use crate::proto::error::ProtocolError;
use crate::proto::utf8;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// A status code that may stand in a Close frame: 1000–1003, 1007–1014, 3000–4999 (§7.4, IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCode(u16);

impl StatusCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server that goes down, a browser that left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: a frame that breaks RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint does not take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data inconsistent with its kind, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message, or behaviour, that a policy forbids.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: a condition that keeps the server from fulfilling the request.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts; come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: overloaded; try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The status code `code`, if an endpoint may send it (§7.4.1, §7.4.2).
    ///
    /// 1004, 1005, 1006 and 1015 are reserved for local use; 1016–2999 are undefined; below 1000 and
    /// from 5000 there is nothing.
    pub const fn from_wire(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

impl Saved for StatusCode {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Self::from_wire(u16::restore(from)?).ok_or(Corrupt)
    }
}

/// What a Close frame says: its status code and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseBody<'a> {
    /// Why the sender closes.
    pub code: StatusCode,
    /// For a person who debugs; may be empty, at most 123 bytes.
    pub reason: &'a str,
}

/// Reads the unmasked payload of a Close frame. `None`: it has no body, which is allowed (§5.5.1).
///
/// # Errors
///
/// [`ProtocolError::CloseBodyOneByte`], [`ProtocolError::CloseCodeInvalid`], [`ProtocolError::InvalidUtf8`].
pub fn parse(payload: &[u8]) -> Result<Option<CloseBody<'_>>, ProtocolError> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(ProtocolError::CloseBodyOneByte),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let code = StatusCode::from_wire(code).ok_or(ProtocolError::CloseCodeInvalid)?;
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
    Ok(Some(CloseBody { code, reason }))
}

/// Checks the first bytes of an unmasked payload of which more is to come.
///
/// # Errors
///
/// [`ProtocolError::CloseCodeInvalid`], [`ProtocolError::InvalidUtf8`], as soon as the bytes show it.
pub(crate) fn check_prefix(payload: &[u8]) -> Result<(), ProtocolError> {
    let [high, low, reason @ ..] = payload else { return Ok(()) };
    StatusCode::from_wire(u16::from_be_bytes([*high, *low]))
        .ok_or(ProtocolError::CloseCodeInvalid)?;
    utf8::check_prefix(reason).map(|_| ())
}

/// Appends the payload of a Close frame to `out`: two bytes of `code` and as much of `reason` as 123 bytes
/// hold, cut at a character.
pub fn encode(out: &mut Vec<u8>, code: StatusCode, reason: &str) {
    out.extend_from_slice(&code.to_wire().to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)]);
}

/// A control frame holds 125 bytes (§5.5), of which the status code takes two.
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_accepted() {
        let accepted = |code| StatusCode::from_wire(code).is_some();
        let expected = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for code in 0..=u16::MAX {
            assert_eq!(accepted(code), expected(code), "{code}");
        }
    }

    #[test]
    fn bodies_parse_to_code_and_reason() {
        let body = |code, reason| Ok(Some(CloseBody { code, reason }));
        type Parsed = Result<Option<CloseBody<'static>>, ProtocolError>;
        let table: [(&[u8], Parsed); 7] = [
            (b"", Ok(None)),
            (b"\x03", Err(ProtocolError::CloseBodyOneByte)),
            (b"\x03\xe8", body(StatusCode::NORMAL, "")),
            (b"\x03\xe9bye", body(StatusCode::GOING_AWAY, "bye")),
            (b"\x03\xed", Err(ProtocolError::CloseCodeInvalid)),
            (b"\x00\x00x", Err(ProtocolError::CloseCodeInvalid)),
            (b"\x03\xe8\xff", Err(ProtocolError::InvalidUtf8)),
        ];
        for (payload, expected) in table {
            assert_eq!(parse(payload), expected, "{payload:?}");
        }
    }

    #[test]
    fn a_prefix_is_refused_at_the_byte_that_shows_why() {
        let table: [(&[u8], ProtocolError); 4] = [
            (b"\x03\xed", ProtocolError::CloseCodeInvalid),
            (b"\x13\x88", ProtocolError::CloseCodeInvalid),
            (b"\x03\xe8bye\xc0", ProtocolError::InvalidUtf8),
            (b"\x03\xe8\xe2\x82a", ProtocolError::InvalidUtf8),
        ];
        for (payload, error) in table {
            for len in 0..payload.len() {
                assert_eq!(check_prefix(&payload[..len]), Ok(()), "{:x?}", &payload[..len]);
            }
            assert_eq!(check_prefix(payload), Err(error), "{payload:x?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        encode(&mut out, StatusCode::NORMAL, &"é".repeat(100));
        assert_eq!(out.len(), 2 + 122);
        assert_eq!(parse(&out).unwrap().unwrap().reason, "é".repeat(61));
    }
}
