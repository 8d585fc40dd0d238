//! Frame headers: what is parsed is written back as it was, the verdict does not depend on where the bytes end, and a need for
//! bytes is a need of those that a header has.

use wsfast::proto::error::ProtocolError;
use wsfast::proto::header::{
    HEADER_BYTES_MAX, Header, RESERVED_BITS, RESERVED_BITS_DEFLATE, Role, encode, parse,
    unmasked_len,
};
use wsfast::proto::parsed::Parsed;

/// Checks it, under each role and with each set of reserved bits.
pub fn check(bytes: &[u8]) {
    for role in [Role::Server, Role::Client] {
        for forbidden_bits in [RESERVED_BITS, RESERVED_BITS_DEFLATE] {
            let whole = parse(bytes, role, forbidden_bits);
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
