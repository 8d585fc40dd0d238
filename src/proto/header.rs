//! Frame headers (RFC 6455 §5.2): parsing and writing the 2 to 14 bytes before a payload.
//!
//! ```text
//! byte 0   FIN | RSV1 RSV2 RSV3 | opcode (4 bits)
//! byte 1   MASK | payload length 0..=125, or 126: 2 more bytes follow, or 127: 8 more
//! then     the extended length, big-endian; then 4 bytes of masking key if MASK is set
//! ```
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

saved!(enum Role { 0 => Server, 1 => Client });
saved!(enum Fin { 0 => More, 1 => Last });

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

/// The longest header without a masking key.
pub const UNMASKED_BYTES_MAX: usize = HEADER_BYTES_MAX - 4;

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
// `benches/inbound.rs`: 64 B frames cost 10 ns where it is called, 7 ns where it is inlined.
#[expect(clippy::arithmetic_side_effects, reason = "sums of 2, 4 and 10")]
#[inline(always)]
pub fn parse(
    input: &[u8],
    role: Role,
    forbidden_bits: u8,
) -> Result<Parsed<Header>, ProtocolError> {
    let &[first, second, ref rest @ ..] = input else {
        if let Some(&first) = input.first() {
            check_first_byte(first, forbidden_bits)?;
        }
        return Ok(Parsed::NeedBytes(2));
    };
    let opcode = check_first_byte(first, forbidden_bits)?;
    check_second_byte(second, opcode, role)?;
    let key_len = match role {
        Role::Server => 4,
        Role::Client => 0,
    };
    let (payload_len, key_at) = match second & 0x7F {
        126 => {
            let Some(&bytes) = rest.first_chunk() else {
                return Ok(Parsed::NeedBytes(4 + key_len));
            };
            (medium_length(bytes)?, 4)
        }
        127 => {
            let Some(&bytes) = rest.first_chunk() else {
                check_cut_length(rest)?;
                return Ok(Parsed::NeedBytes(10 + key_len));
            };
            (long_length(bytes)?, 10)
        }
        short => (u64::from(short), 2),
    };
    let header_len = key_at + key_len;
    let Some(key) = input.get(key_at..header_len) else { return Ok(Parsed::NeedBytes(header_len)) };
    let header = Header {
        fin: if first & 0x80 == 0 { Fin::More } else { Fin::Last },
        compressed: first & 0x40 != 0,
        opcode,
        key: key.try_into().unwrap_or_default(),
        payload_len,
    };
    Ok(Parsed::Done(header, header_len))
}

/// The rules that the first byte can break (RFC 6455 §5.2, §5.5; RFC 7692 §6.1: RSV1 only on a message's first frame).
pub(crate) fn check_first_byte(first: u8, forbidden_bits: u8) -> Result<Opcode, ProtocolError> {
    if first & forbidden_bits != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = Opcode::from_wire(first).ok_or(ProtocolError::ReservedOpcode)?;
    let starts_message = matches!(opcode, Opcode::Text | Opcode::Binary);
    if !starts_message && first & RESERVED_BITS != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    if opcode.is_control() && first & 0x80 == 0 {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok(opcode)
}

/// The rules that the second byte can break (§5.1, §5.5).
fn check_second_byte(second: u8, opcode: Opcode, role: Role) -> Result<(), ProtocolError> {
    let length = second & 0x7F;
    if opcode.is_control() && usize::from(length) > CONTROL_BYTES_MAX {
        return Err(ProtocolError::ControlTooLong);
    }
    if opcode == Opcode::Close && length == 1 {
        return Err(ProtocolError::CloseBodyOneByte);
    }
    match (role, second & 0x80 != 0) {
        (Role::Server, false) => Err(ProtocolError::UnmaskedFrame),
        (Role::Client, true) => Err(ProtocolError::MaskedFrame),
        (Role::Server, true) | (Role::Client, false) => Ok(()),
    }
}

/// A 16-bit length (§5.2: in its shortest form).
fn medium_length(bytes: [u8; 2]) -> Result<u64, ProtocolError> {
    match u16::from_be_bytes(bytes) {
        0..=125 => Err(ProtocolError::LengthNotMinimal),
        length => Ok(u64::from(length)),
    }
}

/// A 64-bit length (§5.2: in its shortest form, top bit clear).
fn long_length(bytes: [u8; 8]) -> Result<u64, ProtocolError> {
    match u64::from_be_bytes(bytes) {
        0..=0xFFFF => Err(ProtocolError::LengthNotMinimal),
        length if length >> 63 != 0 => Err(ProtocolError::LengthTopBit),
        length => Ok(length),
    }
}

/// What the first bytes of a 64-bit length can break: the top bit is set, or even the greatest length that
/// they can still become has a shorter form.
fn check_cut_length(arrived: &[u8]) -> Result<(), ProtocolError> {
    let mut greatest = (u64::MAX >> 1).to_be_bytes();
    greatest[..arrived.len()].copy_from_slice(arrived);
    long_length(greatest).map(|_| ())
}

/// The payload length of a header that breaks no rule and whose key may not be there yet; `None` if its length is not.
pub(crate) fn payload_len(input: &[u8]) -> Option<u64> {
    let &[_, second, ref rest @ ..] = input else { return None };
    match second & 0x7F {
        126 => rest.first_chunk().map(|&bytes| u64::from(u16::from_be_bytes(bytes))),
        127 => rest.first_chunk().map(|&bytes| u64::from_be_bytes(bytes)),
        short => Some(u64::from(short)),
    }
}

/// Bytes of an unmasked header for a payload of `payload_len` bytes: 2, 4 or 10.
pub const fn unmasked_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
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

    /// The same with RSV1 set: the message is compressed (RFC 7692 §6). Only for the first frame of a data message.
    #[must_use]
    pub const fn compressed(mut self) -> Self {
        self.bytes[0] |= RESERVED_BITS & !RESERVED_BITS_DEFLATE;
        self
    }

    /// Writes a header without a masking key at the start of `place`, which must have room for it.
    ///
    /// One store for each of the three lengths, where a copy of so few bytes would be a call.
    pub(crate) fn write_unmasked(&self, place: &mut [u8]) {
        match self.len {
            2 => place[..2].copy_from_slice(&self.bytes[..2]),
            4 => place[..4].copy_from_slice(&self.bytes[..4]),
            _ => place[..10].copy_from_slice(&self.bytes[..10]),
        }
    }
}

/// Encodes a header without reserved bits; `key` is the masking key, where the sender is a client.
#[expect(clippy::arithmetic_side_effects, reason = "at most 14")]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6455 §5.7; its last two examples stand for their first bytes.
    #[test]
    fn the_rfc_examples_parse() {
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        type Row = (&'static [u8], Fin, Opcode, Option<[u8; 4]>, u64);
        let table: [Row; 8] = [
            (b"\x81\x05Hello", Fin::Last, Opcode::Text, None, 5),
            (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", Fin::Last, Opcode::Text, key, 5),
            (b"\x01\x03Hel", Fin::More, Opcode::Text, None, 3),
            (b"\x80\x02lo", Fin::Last, Opcode::Continuation, None, 2),
            (b"\x89\x05Hello", Fin::Last, Opcode::Ping, None, 5),
            (b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", Fin::Last, Opcode::Pong, key, 5),
            (b"\x82\x7e\x01\x00", Fin::Last, Opcode::Binary, None, 256),
            (b"\x82\x7f\0\0\0\0\0\x01\0\0", Fin::Last, Opcode::Binary, None, 65_536),
        ];
        for (input, fin, opcode, key, payload_len) in table {
            let role = if key.is_some() { Role::Server } else { Role::Client };
            let Ok(Parsed::Done(header, len)) = parse(input, role, RESERVED_BITS) else {
                panic!("{input:x?}");
            };
            let expected = Header {
                fin,
                compressed: false,
                opcode,
                key: key.unwrap_or_default(),
                payload_len,
            };
            assert_eq!(header, expected, "{input:x?}");
            let encoded = encode(fin, opcode, usize::try_from(payload_len).unwrap(), key);
            assert_eq!(encoded.as_bytes(), &input[..len]);
        }
    }

    /// Each breach shows at the last byte of its row, and not one byte earlier, and stays whatever follows.
    #[test]
    fn a_breach_is_told_at_the_byte_that_shows_it() {
        use ProtocolError::*;
        let table: [(&[u8], Role, u8, ProtocolError); 27] = [
            (b"\xc2", Role::Server, RESERVED_BITS, ReservedBits),
            (b"\xa2", Role::Server, RESERVED_BITS, ReservedBits),
            (b"\x92", Role::Server, RESERVED_BITS, ReservedBits),
            (b"\xa1", Role::Server, RESERVED_BITS_DEFLATE, ReservedBits),
            (b"\x91", Role::Server, RESERVED_BITS_DEFLATE, ReservedBits),
            (b"\xc0", Role::Server, RESERVED_BITS_DEFLATE, ReservedBits),
            (b"\xc8", Role::Server, RESERVED_BITS_DEFLATE, ReservedBits),
            (b"\xc9", Role::Server, RESERVED_BITS_DEFLATE, ReservedBits),
            (b"\xca", Role::Server, RESERVED_BITS_DEFLATE, ReservedBits),
            (b"\x83", Role::Server, RESERVED_BITS, ReservedOpcode),
            (b"\x07", Role::Client, RESERVED_BITS, ReservedOpcode),
            (b"\x8b", Role::Server, RESERVED_BITS, ReservedOpcode),
            (b"\x0f", Role::Client, RESERVED_BITS, ReservedOpcode),
            (b"\x08", Role::Server, RESERVED_BITS, FragmentedControl),
            (b"\x09", Role::Server, RESERVED_BITS, FragmentedControl),
            (b"\x0a", Role::Client, RESERVED_BITS, FragmentedControl),
            (b"\x89\xfe", Role::Server, RESERVED_BITS, ControlTooLong),
            (b"\x88\x7f", Role::Client, RESERVED_BITS, ControlTooLong),
            (b"\x88\x81", Role::Server, RESERVED_BITS, CloseBodyOneByte),
            (b"\x82\x05", Role::Server, RESERVED_BITS, UnmaskedFrame),
            (b"\x82\x85", Role::Client, RESERVED_BITS, MaskedFrame),
            (b"\x82\xfe\x00\x7d", Role::Server, RESERVED_BITS, LengthNotMinimal),
            (b"\x82\x7e\x00\x00", Role::Client, RESERVED_BITS, LengthNotMinimal),
            (b"\x82\xff\x80", Role::Server, RESERVED_BITS, LengthTopBit),
            (b"\x82\x7f\xff", Role::Client, RESERVED_BITS, LengthTopBit),
            (b"\x82\xff\0\0\0\0\0\0", Role::Server, RESERVED_BITS, LengthNotMinimal),
            (b"\x82\x7f\0\0\0\0\0\0", Role::Client, RESERVED_BITS, LengthNotMinimal),
        ];
        for (input, role, forbidden_bits, error) in table {
            for len in 0..input.len() {
                let parsed = parse(&input[..len], role, forbidden_bits);
                assert!(matches!(parsed, Ok(Parsed::NeedBytes(_))), "{:x?}", &input[..len]);
            }
            for filler in [0x00, 0x7F, 0xFF] {
                let mut longer = input.to_vec();
                for _ in 0..HEADER_BYTES_MAX {
                    assert_eq!(parse(&longer, role, forbidden_bits), Err(error), "{longer:x?}");
                    longer.push(filler);
                }
            }
        }
    }

    #[test]
    fn lengths_are_taken_up_to_the_last_that_has_no_top_bit() {
        let table: [(&[u8], u64); 8] = [
            (b"\x82\x00", 0),
            (b"\x82\x7d", 125),
            (b"\x82\x7e\x00\x7e", 126),
            (b"\x82\x7e\xff\xff", 65_535),
            (b"\x82\x7f\0\0\0\0\0\x01\0\0", 65_536),
            (b"\x82\x7f\0\0\0\x01\0\0\0\0", 1 << 32),
            (b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xf2", (1 << 63) - 14),
            (b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", (1 << 63) - 1),
        ];
        for (input, expected) in table {
            let Ok(Parsed::Done(header, len)) = parse(input, Role::Client, RESERVED_BITS) else {
                panic!("{input:x?}");
            };
            assert_eq!((header.payload_len, len), (expected, input.len()));
        }
    }

    #[test]
    fn rsv1_means_compressed_where_deflate_was_negotiated() {
        for (first, compressed) in [(0xC1, true), (0x42, true), (0x81, false), (0x02, false)] {
            let parsed = parse(&[first, 0], Role::Client, RESERVED_BITS_DEFLATE);
            let Ok(Parsed::Done(header, 2)) = parsed else { panic!("{parsed:?}") };
            assert_eq!(header.compressed, compressed, "{first:x}");
        }
    }

    proptest! {
        /// A header that was written is read back, from no fewer bytes than it has and regardless of what follows.
        #[test]
        fn what_encode_writes_parse_reads(
            last: bool,
            opcode in prop::sample::select(&[Opcode::Continuation, Opcode::Text, Opcode::Binary][..]),
            payload_len in prop_oneof![0..300_usize, 65_000..66_000_usize, 0..usize::MAX >> 1],
            key: Option<[u8; 4]>,
            behind: Vec<u8>,
        ) {
            let fin = if last { Fin::Last } else { Fin::More };
            let role = if key.is_some() { Role::Server } else { Role::Client };
            let mut bytes = encode(fin, opcode, payload_len, key).as_bytes().to_vec();
            let header_len = bytes.len();
            for len in 0..header_len {
                match parse(&bytes[..len], role, RESERVED_BITS) {
                    Ok(Parsed::NeedBytes(need)) => prop_assert!(need > len && need <= header_len),
                    other => prop_assert!(false, "{other:?} of {len} bytes"),
                }
            }
            bytes.extend_from_slice(&behind);
            let header = Header {
                fin,
                compressed: false,
                opcode,
                key: key.unwrap_or_default(),
                payload_len: payload_len as u64,
            };
            let parsed = parse(&bytes, role, RESERVED_BITS);
            prop_assert_eq!(parsed, Ok(Parsed::Done(header, header_len)));
        }

        /// No bytes make it panic, and what it says of them does not depend on where they were cut.
        #[test]
        fn a_verdict_does_not_change_with_more_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..20),
            server: bool,
            deflate: bool,
        ) {
            let role = if server { Role::Server } else { Role::Client };
            let forbidden_bits = if deflate { RESERVED_BITS_DEFLATE } else { RESERVED_BITS };
            let whole = parse(&bytes, role, forbidden_bits);
            for len in 0..bytes.len() {
                match parse(&bytes[..len], role, forbidden_bits) {
                    Ok(Parsed::NeedBytes(need)) => prop_assert!(need > len),
                    verdict => prop_assert_eq!(verdict, whole),
                }
            }
        }
    }
}
