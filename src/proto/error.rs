//! What a peer can break once the connection is open, and the status code that each breach earns.
//!
//! Breaches of the opening handshake are `handshake::HandshakeError`; they have an HTTP status.

use crate::proto::close::StatusCode;

/// A rule of RFC 6455 that the peer broke, or a bound that it met. Fatal for its connection, never for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A client's frame without a masking key (§5.1).
    UnmaskedFrame,
    /// A server's frame with a masking key (§5.1).
    MaskedFrame,
    /// A reserved bit that no negotiated extension gave a meaning, or one on a frame that may not carry it (§5.2).
    ReservedBits,
    /// Opcode 3 to 7 or 11 to 15 (§5.2).
    ReservedOpcode,
    /// A control frame without FIN (§5.5).
    FragmentedControl,
    /// A control frame with a payload of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A payload length that is not in its shortest form (§5.2).
    LengthNotMinimal,
    /// A 64-bit payload length with its top bit set (§5.2).
    LengthTopBit,
    /// A continuation frame with no message in progress (§5.4).
    UnexpectedContinuation,
    /// A new data frame while a fragmented message is in progress (§5.4).
    ExpectedContinuation,
    /// A Close frame with a body of one byte (§5.5.1).
    CloseBodyOneByte,
    /// A Close frame with a status code that may not be sent (§7.4).
    CloseCodeInvalid,
    /// Text, or a Close frame's reason, that is not UTF-8 (§8.1).
    InvalidUtf8,
    /// A compressed message that is no whole DEFLATE stream, or refers to what was never said (RFC 7692 §7.2.2).
    DeflateInvalid,
    /// A message of more bytes than `message_bytes_max`.
    MessageTooBig,
    /// A message of more fragments than `fragments_max`.
    TooManyFragments,
    /// A compressed message of more bytes than there is memory for; no fault of the peer's.
    OutOfMemory,
}

saved!(enum ProtocolError {
    0 => UnmaskedFrame, 1 => MaskedFrame, 2 => ReservedBits, 3 => ReservedOpcode, 4 => FragmentedControl, 5 => ControlTooLong,
    6 => LengthNotMinimal, 7 => LengthTopBit, 8 => UnexpectedContinuation, 9 => ExpectedContinuation, 10 => CloseBodyOneByte,
    11 => CloseCodeInvalid, 12 => InvalidUtf8, 13 => DeflateInvalid, 14 => MessageTooBig, 15 => TooManyFragments,
    16 => OutOfMemory,
});

impl ProtocolError {
    /// The status code to fail the connection with (§7.4.1).
    pub const fn status_code(self) -> StatusCode {
        match self {
            Self::UnmaskedFrame
            | Self::MaskedFrame
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::CloseBodyOneByte
            | Self::CloseCodeInvalid => StatusCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 | Self::DeflateInvalid => StatusCode::INVALID_PAYLOAD,
            Self::MessageTooBig => StatusCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments => StatusCode::POLICY_VIOLATION,
            Self::OutOfMemory => StatusCode::TRY_AGAIN_LATER,
        }
    }

    /// One line for the Close frame's reason and for the log: at most 123 bytes, no control characters.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::UnmaskedFrame => "frame without a masking key",
            Self::MaskedFrame => "frame with a masking key",
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::FragmentedControl => "fragmented control frame",
            Self::ControlTooLong => "control frame of more than 125 bytes",
            Self::LengthNotMinimal => "payload length not in its shortest form",
            Self::LengthTopBit => "payload length with its top bit set",
            Self::UnexpectedContinuation => "continuation frame without a message to continue",
            Self::ExpectedContinuation => "new message inside a fragmented one",
            Self::CloseBodyOneByte => "close body of one byte",
            Self::CloseCodeInvalid => "close code that may not be sent",
            Self::InvalidUtf8 => "not UTF-8",
            Self::DeflateInvalid => "compressed data that does not inflate",
            Self::MessageTooBig => "message too big",
            Self::OutOfMemory => "out of memory",
            Self::TooManyFragments => "too many fragments in one message",
        }
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_breach_has_its_status_code() {
        use ProtocolError::*;
        let table = [
            (UnmaskedFrame, 1002),
            (MaskedFrame, 1002),
            (ReservedBits, 1002),
            (ReservedOpcode, 1002),
            (FragmentedControl, 1002),
            (ControlTooLong, 1002),
            (LengthNotMinimal, 1002),
            (LengthTopBit, 1002),
            (UnexpectedContinuation, 1002),
            (ExpectedContinuation, 1002),
            (CloseBodyOneByte, 1002),
            (CloseCodeInvalid, 1002),
            (InvalidUtf8, 1007),
            (DeflateInvalid, 1007),
            (MessageTooBig, 1009),
            (TooManyFragments, 1008),
        ];
        for (error, status_code) in table {
            assert_eq!(error.status_code().to_wire(), status_code, "{error:?}");
            assert_eq!(StatusCode::from_wire(status_code), Some(error.status_code()));
            let reason = error.to_string();
            assert!(reason.len() <= 123 && !reason.contains(char::is_control), "{reason}");
        }
    }
}
