//! UTF-8 (RFC 3629, RFC 6455 §8.1), whole and as it arrives.
//!
//! Keeps no state: the bytes of a message lie in one buffer, so all that is remembered between arrivals is
//! how far they were checked.

#![expect(clippy::arithmetic_side_effects, reason = "places in slices, which their lengths bound")]

#[cfg(target_arch = "x86_64")]
pub(crate) mod cjk;

#[cfg(target_arch = "x86_64")]
use crate::proto::avx2::Avx2;
use crate::proto::error::ProtocolError;

/// Checks that `bytes` is UTF-8 from its first byte to its last.
///
/// # Errors
///
/// [`ProtocolError::InvalidUtf8`].
pub fn check(bytes: &[u8]) -> Result<(), ProtocolError> {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= RUNS_FROM
        && let Some(avx2) = Avx2::detect()
    {
        return check_by_runs(bytes, avx2);
    }
    check_any(bytes)
}

/// As [`check`], with a shorter way for runs of three-byte characters. Only with AVX2: in narrower vectors looking for
/// runs costs many times what it saves (`proto::avx2` has the figures).
#[cfg(target_arch = "x86_64")]
fn check_by_runs(bytes: &[u8], avx2: Avx2) -> Result<(), ProtocolError> {
    let (mut rest, mut general_len) = (bytes, GENERAL_BYTES_MIN);
    while rest.len() >= RUNS_FROM {
        let run_len = avx2.cjk_run_len(rest);
        rest = &rest[run_len..];
        // Where there are no runs, the looks for them become rare.
        general_len = if run_len > 0 { GENERAL_BYTES_MIN } else { 2 * general_len };
        rest = &rest[check_characters(rest, general_len.min(rest.len()))?..];
    }
    check_any(rest)
}

#[cfg(target_arch = "x86_64")]
/// Checks all characters that start in the first `len` bytes; how many bytes they are.
fn check_characters(bytes: &[u8], len: usize) -> Result<usize, ProtocolError> {
    let mut end = len;
    while bytes.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
        end += 1;
        if end > len + 3 {
            return Err(ProtocolError::InvalidUtf8);
        }
    }
    check_any(&bytes[..end])?;
    Ok(end)
}

fn check_any(bytes: &[u8]) -> Result<(), ProtocolError> {
    simdutf8::basic::from_utf8(bytes).map(|_| ()).map_err(|_| ProtocolError::InvalidUtf8)
}

#[cfg(target_arch = "x86_64")]
/// Texts from this size on are looked through for runs.
const RUNS_FROM: usize = 256;

#[cfg(target_arch = "x86_64")]
/// How much is checked in general behind a run, before the next look for one.
const GENERAL_BYTES_MIN: usize = 256;

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

    /// The wide code is the safe twin's, compiled once more.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_forms_end_a_run_at_the_same_place() {
        let Some(avx2) = Avx2::detect() else { return };
        let run = "中文字한글かな".repeat(40).into_bytes();
        for at in 0..run.len() {
            for byte in [0x00, 0x7F, 0x80, 0xE0, 0xED, 0xF0, 0xFF] {
                let mut bytes = run.clone();
                bytes[at] = byte;
                assert_eq!(avx2.cjk_run_len(&bytes), cjk::run_len(&bytes), "{byte} at {at}");
            }
        }
    }

    /// Every kind of character between, before and behind runs of three bytes, at every distance; and each byte spoilt.
    #[test]
    fn runs_of_three_bytes_change_nothing() {
        for between in ["", "a", "é", "\u{0800}", "\u{D7FF}", "\u{E000}", "🚀", "\u{FFFD}x"] {
            for (before, behind) in [(0, 200), (31, 100), (32, 64), (40, 33), (120, 400), (400, 0)]
            {
                let run = "中文字한글かな".repeat(60);
                let text = format!("{}{between}{}", &run[..3 * before], &run[..3 * behind]);
                assert_eq!(check(text.as_bytes()), Ok(()), "{between} {before} {behind}");
                for at in (0..text.len()).step_by(31).chain(text.len() - 3..text.len()) {
                    for byte in [0x00, 0x80, 0xBF, 0xC0, 0xE0, 0xE5, 0xED, 0xF0, 0xFF] {
                        let mut bytes = text.clone().into_bytes();
                        bytes[at] = byte;
                        let expected = std::str::from_utf8(&bytes).is_ok();
                        assert_eq!(
                            check(&bytes).is_ok(),
                            expected,
                            "{between} {before} {at} {byte}"
                        );
                        assert_eq!(check_prefix(&bytes), naive(&bytes));
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
