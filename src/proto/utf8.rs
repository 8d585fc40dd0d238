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
    use proptest::prelude::*;

    use super::*;

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

    /// RFC 3629 §4: the first and last of each row of its table, and what lies just outside.
    #[test]
    fn the_rfc_table_is_the_limit() {
        let table: [(&[u8], Option<usize>); 20] = [
            (b"\x00", None),
            (b"\x7f", None),
            (b"\x80", Some(1)),
            (b"\xc1\xbf", Some(1)),
            (b"\xc2\x80", None),
            (b"\xdf\xbf", None),
            (b"\xe0\x9f\xbf", Some(2)),
            (b"\xe0\xa0\x80", None),
            (b"\xed\x9f\xbf", None),
            (b"\xed\xa0\x80", Some(2)),
            (b"\xee\x80\x80", None),
            (b"\xef\xbf\xbf", None),
            (b"\xf0\x8f\xbf\xbf", Some(2)),
            (b"\xf0\x90\x80\x80", None),
            (b"\xf4\x8f\xbf\xbf", None),
            (b"\xf4\x90\x80\x80", Some(2)),
            (b"\xf5\x80\x80\x80", Some(1)),
            (b"\xe2\x82a", Some(3)),
            (b"\xf0\x9f\x9aa", Some(4)),
            (b"\xff", Some(1)),
        ];
        // Behind ASCII of every length, so that the fault lies at every place of a vector and across two.
        for filler_len in 0..130 {
            for (bytes, shown_at) in table {
                let text = [&vec![b'a'; filler_len], bytes].concat();
                for len in 0..=text.len() {
                    let is_shown = shown_at.is_some_and(|at| len >= filler_len + at);
                    let verdict = check_prefix(&text[..len]);
                    assert_eq!(verdict == Err(ProtocolError::InvalidUtf8), is_shown, "{bytes:x?}");
                    assert_eq!(verdict, naive(&text[..len]));
                }
            }
        }
    }

    proptest! {
        /// Text with a few damaged bytes: the verdict on each prefix is std's, so the fault is told at its byte.
        #[test]
        fn a_fault_is_told_at_the_byte_that_shows_it(
            text in "[ -~éк日🚀]{0,200}",
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes = text.into_bytes();
            for (place, byte) in damage {
                if !bytes.is_empty() {
                    *place.get_mut(&mut bytes[..]) = byte;
                }
            }
            for len in 0..=bytes.len() {
                prop_assert_eq!(check_prefix(&bytes[..len]), naive(&bytes[..len]));
                prop_assert_eq!(check(&bytes[..len]).is_ok(), std::str::from_utf8(&bytes[..len]).is_ok());
            }
        }
    }

    /// What std says of a prefix: the whole characters, or that nothing can repair it.
    fn naive(bytes: &[u8]) -> Result<usize, ProtocolError> {
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(bytes.len()),
            Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }
}
