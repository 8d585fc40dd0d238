//! UTF-8 (RFC 3629, RFC 6455 §8.1), whole and as it arrives.
//!
//! Keeps no state: the bytes of a message lie in one buffer, so all that is remembered between arrivals is
//! how far they were checked.

use crate::proto::error::ProtocolError;

/// Checks that `bytes` is UTF-8 from its first byte to its last.
///
/// # Errors
///
/// [`ProtocolError::InvalidUtf8`].
pub fn check(bytes: &[u8]) -> Result<(), ProtocolError> {
    simdutf8::basic::from_utf8(bytes).map(|_| ()).map_err(|_| ProtocolError::InvalidUtf8)
}

/// Checks a prefix of a text: all whole characters, and that what remains can still become one.
///
/// Returns how many bytes are whole characters; at most three are left, and belong in front of the next call.
///
/// # Errors
///
/// [`ProtocolError::InvalidUtf8`] as soon as no continuation could make the text valid.
pub fn check_prefix(bytes: &[u8]) -> Result<usize, ProtocolError> {
    let whole = bytes.len() - cut_character_len(bytes);
    check(&bytes[..whole])?;
    match std::str::from_utf8(&bytes[whole..]) {
        Ok(_) => Ok(bytes.len()),
        Err(cut) if cut.error_len().is_none() => Ok(whole),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

/// How many bytes at the end belong to a character whose lead byte promises more than there is.
fn cut_character_len(bytes: &[u8]) -> usize {
    for (back, &byte) in bytes.iter().rev().take(3).enumerate() {
        let promised = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            0x80..=0xBF => continue,
            0x00..=0x7F => return 0,
        };
        return if promised > back + 1 { back + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What std says of a prefix: the whole characters, or that nothing can repair it.
    fn naive(bytes: &[u8]) -> Result<usize, ProtocolError> {
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(bytes.len()),
            Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }

    #[test]
    fn every_prefix_of_every_four_byte_pattern_agrees_with_std() {
        let interesting = [
            0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
            0xE1, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF,
        ];
        for a in interesting {
            for b in interesting {
                for c in interesting {
                    for d in interesting {
                        let bytes = [b'x', a, b, c, d];
                        for len in 0..=5 {
                            assert_eq!(
                                check_prefix(&bytes[..len]),
                                naive(&bytes[..len]),
                                "{:x?}",
                                &bytes[..len]
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_long_text_may_be_cut_anywhere() {
        let text = "κόσμε 日本語 🚀 plain ".repeat(20);
        for cut in 0..=text.len() {
            let whole = check_prefix(&text.as_bytes()[..cut]).unwrap();
            assert!(cut - whole <= 3);
            assert_eq!(check(&text.as_bytes()[whole..]), Ok(()), "cut at {cut}");
        }
    }
}
