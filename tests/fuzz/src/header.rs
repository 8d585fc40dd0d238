//! Frame headers: a naive reading finds the same; what is parsed is written back as it was; the verdict does not depend on where
//! the bytes end, and a need for bytes is a need of those that a header has.

use wsfast::proto::error::ProtocolError;
use wsfast::proto::header::{
    Fin, HEADER_BYTES_MAX, Header, RESERVED_BITS, RESERVED_BITS_DEFLATE, Role, encode, parse,
    unmasked_len,
};
use wsfast::proto::opcode::Opcode;
use wsfast::proto::parsed::Parsed;

/// Checks it, under each role and with each set of reserved bits.
pub fn check(bytes: &[u8]) {
    for role in [Role::Server, Role::Client] {
        for forbidden_bits in [RESERVED_BITS, RESERVED_BITS_DEFLATE] {
            let whole = parse(bytes, role, forbidden_bits);
            let said = whole.map(|parsed| match parsed {
                Parsed::Done(header, len) => Some((header, len)),
                Parsed::NeedBytes(_) => None,
            });
            assert_eq!(said, naive(bytes, role, forbidden_bits));
            for len in 0..bytes.len().min(HEADER_BYTES_MAX + 1) {
                let cut = parse(&bytes[..len], role, forbidden_bits);
                is_consistent(cut, whole, len);
            }
            if let Ok(Parsed::Done(header, len)) = whole {
                is_written_back(&header, &bytes[..len], role);
            }
        }
    }
}

/// RFC 6455 §5.2, rule by rule and number by number. `None`: more bytes are needed.
fn naive(
    bytes: &[u8],
    role: Role,
    forbidden_bits: u8,
) -> Result<Option<(Header, usize)>, ProtocolError> {
    use ProtocolError::*;
    let rule = |is_kept: bool, error| if is_kept { Ok(()) } else { Err(error) };
    let Some(&first) = bytes.first() else { return Ok(None) };
    let compressed = first & 0x40 != 0;
    let (opcode, is_first) = match first % 16 {
        0 => (Opcode::Continuation, false),
        1 => (Opcode::Text, true),
        2 => (Opcode::Binary, true),
        8 => (Opcode::Close, false),
        9 => (Opcode::Ping, false),
        10 => (Opcode::Pong, false),
        _ => {
            rule(first & forbidden_bits == 0, ReservedBits)?;
            return Err(ReservedOpcode);
        }
    };
    let is_control = first % 16 >= 8;
    rule(first & forbidden_bits == 0 && (!compressed || is_first), ReservedBits)?;
    rule(!is_control || first >= 0x80, FragmentedControl)?;
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let short = second % 0x80;
    rule(!is_control || short <= 125, ControlTooLong)?;
    rule(opcode != Opcode::Close || short != 1, CloseBodyOneByte)?;
    match role {
        Role::Server => rule(second >= 0x80, UnmaskedFrame)?,
        Role::Client => rule(second < 0x80, MaskedFrame)?,
    }
    let (digits, least) = match short {
        126 => (2, 126),
        127 => (8, 65_536),
        _ => (0, 0),
    };
    let there = &bytes[2..bytes.len().min(2 + digits)];
    rule(digits < 8 || there.first().is_none_or(|&byte| byte < 0x80), LengthTopBit)?;
    // What it is at most, whatever the digits that are missing.
    let most =
        (0..digits).fold(0, |most, at| most << 8 | u64::from(*there.get(at).unwrap_or(&255)));
    rule(digits == 0 || most >= least, LengthNotMinimal)?;
    let key_len = if role == Role::Server { 4 } else { 0 };
    let Some(rest) = bytes.get(2 + digits..2 + digits + key_len) else { return Ok(None) };
    let header = Header {
        fin: if first >= 0x80 { Fin::Last } else { Fin::More },
        compressed,
        opcode,
        key: rest.try_into().unwrap_or_default(),
        payload_len: if digits == 0 { short.into() } else { most },
    };
    Ok(Some((header, 2 + digits + key_len)))
}

type Verdict = Result<Parsed<Header>, ProtocolError>;

/// A prefix asks for more, and no more than there turns out to be, or has the final verdict.
fn is_consistent(cut: Verdict, whole: Verdict, len: usize) {
    match (cut, whole) {
        (Ok(Parsed::NeedBytes(need)), Ok(Parsed::Done(_, used))) => {
            assert!(len < need && need <= used, "{need} of {used} with {len}");
        }
        (Ok(Parsed::NeedBytes(need)), _) => assert!(len < need && need <= HEADER_BYTES_MAX),
        (cut, whole) => assert_eq!(cut, whole),
    }
}

fn is_written_back(header: &Header, bytes: &[u8], role: Role) {
    let Header { fin, compressed, opcode, key, payload_len } = *header;
    let Ok(payload_len) = usize::try_from(payload_len) else { return };
    let key = (role == Role::Server).then_some(key);
    let mut encoded = encode(fin, opcode, payload_len, key);
    if compressed {
        encoded = encoded.compressed();
    }
    assert_eq!(encoded.as_bytes(), bytes);
    assert_eq!(bytes.len(), unmasked_len(payload_len) + if key.is_some() { 4 } else { 0 });
}
