//! Frame headers (RFC 6455 §5.2): parsing and writing the 2 to 14 bytes before a payload.
//!
//!     byte 0   FIN | RSV1 RSV2 RSV3 | opcode (4 bits)
//!     byte 1   MASK | payload length 0..=125, or 126: 2 more bytes follow, or 127: 8 more
//!     then     the extended length, big-endian; then 4 bytes of masking key if MASK is set
//!
//! Pure functions over slices. No I/O, no allocation, no knowledge of messages: whether a continuation is
//! allowed here is `inbound`'s business. Every rule that one header alone can break is checked here, as soon
//! as the byte that breaks it is seen.

use crate::proto::error::ProtocolError;
use crate::proto::opcode::Opcode;
use crate::proto::parsed::Parsed;

/// Which end of the connection the *receiver* of frames is (§5.1: only clients mask).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives masked frames, sends unmasked ones.
    Server,
    /// Receives unmasked frames, sends masked ones.
    Client,
}

/// Whether a frame ends its message (§5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fin {
    /// More fragments follow.
    More,
    /// The last or only fragment.
    Last,
}

/// A frame's header, with every stateless rule checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame ends its message.
    pub fin: Fin,
    /// RSV1: the message is compressed (RFC 7692 §6). Only ever true on a first data frame.
    pub compressed: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The masking key; all zero, which changes nothing, where the role's frames carry none.
    pub key: [u8; 4],
    /// Payload length in bytes, below 2^63.
    pub payload_len: u64,
}

/// The longest header: two bytes, an eight-byte length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (§5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The reserved bits that are an error when no extension was negotiated (§5.2).
pub const RESERVED_BITS: u8 = 0x70;

/// The reserved bits that are an error when permessage-deflate was negotiated (RFC 7692 §6).
pub const RESERVED_BITS_DEFLATE: u8 = 0x30;

/// Parses the header at the start of `input`. `forbidden_bits` is [`RESERVED_BITS`] or [`RESERVED_BITS_DEFLATE`].
///
/// # Errors
///
/// Every [`ProtocolError`] that a single header can be.
pub fn parse(
    input: &[u8],
    role: Role,
    forbidden_bits: u8,
) -> Result<Parsed<Header>, ProtocolError> {
    let &[first, second, ..] = input else { return Ok(Parsed::NeedBytes(2)) };
    let opcode = check_first_bytes(first, second, role, forbidden_bits)?;
    let key_len = match role {
        Role::Server => 4,
        Role::Client => 0,
    };
    let length_len = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let header_len = 2 + length_len + key_len;
    let (Some(length_bytes), Some(key_bytes)) =
        (input.get(2..2 + length_len), input.get(2 + length_len..header_len))
    else {
        // The length's own rules can be broken before the key is there.
        if let Some(bytes) = input.get(2..2 + length_len) {
            extended_length(second, bytes)?;
        }
        return Ok(Parsed::NeedBytes(header_len));
    };
    let payload_len = extended_length(second, length_bytes)?;
    let header = Header {
        fin: if first & 0x80 == 0 { Fin::More } else { Fin::Last },
        compressed: first & 0x40 != 0,
        opcode,
        key: key_bytes.try_into().unwrap_or_default(),
        payload_len,
    };
    Ok(Parsed::Done(header, header_len))
}

/// The rules that the first two bytes can break (§5.1, §5.2, §5.5).
fn check_first_bytes(
    first: u8,
    second: u8,
    role: Role,
    forbidden_bits: u8,
) -> Result<Opcode, ProtocolError> {
    if first & forbidden_bits != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = Opcode::from_wire(first).ok_or(ProtocolError::ReservedOpcode)?;
    if opcode.is_control() || opcode == Opcode::Continuation {
        check_not_first_frame(first, second, opcode)?;
    }
    match (role, second & 0x80 != 0) {
        (Role::Server, false) => Err(ProtocolError::UnmaskedFrame),
        (Role::Client, true) => Err(ProtocolError::MaskedFrame),
        (Role::Server, true) | (Role::Client, false) => Ok(opcode),
    }
}

/// The rules for frames other than a message's first (RFC 6455 §5.5, RFC 7692 §6.1: RSV1 only on the first).
fn check_not_first_frame(first: u8, second: u8, opcode: Opcode) -> Result<(), ProtocolError> {
    if first & RESERVED_BITS != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    if !opcode.is_control() {
        return Ok(());
    }
    if first & 0x80 == 0 {
        return Err(ProtocolError::FragmentedControl);
    }
    if second & 0x7F > 125 {
        return Err(ProtocolError::ControlTooLong);
    }
    Ok(())
}

/// The payload length from the second byte and the 0, 2 or 8 bytes behind it (§5.2: shortest form, top bit clear).
fn extended_length(second: u8, bytes: &[u8]) -> Result<u64, ProtocolError> {
    let (length, longest_of_shorter_form) = match *bytes {
        [high, low] => (u64::from(u16::from_be_bytes([high, low])), 125),
        [a, b, c, d, e, f, g, h] => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 0xFFFF),
        _ => return Ok(u64::from(second & 0x7F)),
    };
    if length >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    if length <= longest_of_shorter_form {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(length)
}

/// An encoded header: at most 14 bytes on the stack.
#[derive(Clone, Copy, Debug)]
pub struct EncodedHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl EncodedHeader {
    /// The header's bytes, 2 to 14.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Encodes a header without reserved bits; `key` is the masking key, where the sender is a client.
pub fn encode(fin: Fin, opcode: Opcode, payload_len: usize, key: Option<[u8; 4]>) -> EncodedHeader {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let fin_bit = match fin {
        Fin::More => 0,
        Fin::Last => 0x80,
    };
    bytes[0] = fin_bit | opcode.to_wire();
    let mut len = 2;
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(short @ 0..=125), _) => bytes[1] = short,
        (_, Ok(medium)) => {
            bytes[1] = 126;
            bytes[2..4].copy_from_slice(&medium.to_be_bytes());
            len = 4;
        }
        _ => {
            bytes[1] = 127;
            bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            len = 10;
        }
    }
    if let Some(key) = key {
        bytes[1] |= 0x80;
        bytes[len..len + 4].copy_from_slice(&key);
        len += 4;
    }
    EncodedHeader { bytes, len }
}
