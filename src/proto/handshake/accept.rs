//! Sec-WebSocket-Key and Sec-WebSocket-Accept (RFC 6455 §4.2.2): the proof that the other end read the key.
//!
//! Pure functions over ASCII. Proves no identity and keeps no secret; SHA-1 is the RFC's choice.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

/// Length of a Sec-WebSocket-Key: the base64 of 16 bytes.
pub(crate) const KEY_LEN: usize = 24;

/// Length of a Sec-WebSocket-Accept: the base64 of 20 bytes.
pub(crate) const ACCEPT_LEN: usize = 28;

/// The Sec-WebSocket-Accept that answers `key`, the key's text as it stood in the request.
pub fn accept_of(key: &[u8; KEY_LEN]) -> [u8; ACCEPT_LEN] {
    let mut sha1 = Sha1::new();
    sha1.update(key);
    sha1.update(GUID);
    let mut accept = [0; ACCEPT_LEN];
    let encoded = STANDARD.encode_slice(sha1.finalize(), &mut accept);
    debug_assert_eq!(encoded, Ok(ACCEPT_LEN), "20 bytes are 28 characters");
    accept
}

/// The key in a header's value, if it is the base64 of 16 bytes.
///
/// The four bits that the last character has too many may be anything: nobody decodes them, RFC 4648 §3.5 leaves
/// them to the reader, and clients that draw 22 random characters exist.
pub(crate) fn key_from_value(value: &[u8]) -> Option<&[u8; KEY_LEN]> {
    let key = value.first_chunk::<KEY_LEN>().filter(|_| value.len() == KEY_LEN)?;
    // The decoder asks for room for the padding too.
    let mut nonce = [0; KEY_LEN / 4 * 3];
    (KEY_BASE64.decode_slice(key, &mut nonce) == Ok(16)).then_some(key)
}

/// Encodes a client's 16-byte nonce as a key.
pub(crate) fn key_of(nonce: [u8; 16]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    let encoded = STANDARD.encode_slice(nonce, &mut key);
    debug_assert_eq!(encoded, Ok(KEY_LEN), "16 bytes are 24 characters");
    key
}

/// Standard alphabet, padding required, trailing bits ignored.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The RFC's constant (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_as_the_rfc_computes_it() {
        let table: [(&[u8; 24], &[u8; 28]); 2] = [
            // RFC 6455 §1.3.
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            // The same sample with the key's bits all zero, checked with openssl.
            (b"AAAAAAAAAAAAAAAAAAAAAA==", b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
        ];
        for (key, accept) in table {
            assert_eq!(&accept_of(key), accept);
        }
    }

    #[test]
    fn keys_are_the_base64_of_sixteen_bytes() {
        let table: [(&[u8], bool); 13] = [
            (b"dGhlIHNhbXBsZSBub25jZQ==", true),
            (b"++++++++++++//////////==", true),
            // Trailing bits that no byte has.
            (b"dGhlIHNhbXBsZSBub25jZR==", true),
            (b"", false),
            (b"dGhlIHNhbXBsZSBub25jZQ=", false),
            (b"dGhlIHNhbXBsZSBub25jZQ", false),
            (b"dGhlIHNhbXBsZSBub25jZQ===", false),
            // 17 and 18 bytes.
            (b"dGhlIHNhbXBsZSBub25jZWU=", false),
            (b"dGhlIHNhbXBsZSBub25jZWVl", false),
            // 15 bytes.
            (b"dGhlIHNhbXBsZSBub25j", false),
            // The URL-safe alphabet, a space, a comma.
            (b"-_hlIHNhbXBsZSBub25jZQ==", false),
            (b"dGhlIHNhbXBs ZSBub25jQ==", false),
            (b"dGhlIHNhbXBs,ZSBub25jQ==", false),
        ];
        for (value, expected) in table {
            assert_eq!(key_from_value(value).is_some(), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_nonce_encodes_to_a_key() {
        assert_eq!(&key_of(*b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }
}
