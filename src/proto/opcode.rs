//! Opcodes (RFC 6455 §5.2, §11.8): what a frame is for.
//!
//! Knows nothing of where an opcode is allowed; that is `header`'s (stateless rules) and
//! `inbound`'s (the order of frames) business.

/// The opcode of a frame: four bits on the wire, six values with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message in progress.
    Continuation = 0x0,
    /// The first or only fragment of a text message.
    Text = 0x1,
    /// The first or only fragment of a binary message.
    Binary = 0x2,
    /// The closing handshake (§5.5.1).
    Close = 0x8,
    /// Asks for a Pong (§5.5.2).
    Ping = 0x9,
    /// Answers a Ping, or is sent unasked as a heartbeat (§5.5.3).
    Pong = 0xA,
}

impl Opcode {
    /// The opcode in the low four bits of a frame's first byte; `None` for the reserved ones.
    pub const fn from_wire(first_byte: u8) -> Option<Self> {
        match first_byte & 0x0F {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// The four bits as they stand on the wire.
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// Whether this is a control frame's opcode (§5.5): whole, at most 125 bytes, allowed between fragments.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_of_sixteen_opcodes_have_a_meaning() {
        let known: Vec<u8> = (0..16).filter(|&bits| Opcode::from_wire(bits).is_some()).collect();
        assert_eq!(known, [0x0, 0x1, 0x2, 0x8, 0x9, 0xA]);
        for bits in known {
            let opcode = Opcode::from_wire(0xF0 | bits).unwrap();
            assert_eq!((opcode.to_wire(), opcode.is_control()), (bits, bits >= 8));
        }
    }
}
