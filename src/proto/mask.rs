//! Masking (RFC 6455 §5.3), word at a time.
//!
//! `words` is safe code that the compiler makes vectors of; `proto::avx2` has the same code compiled for wider ones, for what is
//! long enough to repay the call. Choosing a key is the sender's business.

#![expect(clippy::arithmetic_side_effects, reason = "places in slices, which their lengths bound")]

pub(crate) mod words;

#[cfg(target_arch = "x86_64")]
use crate::proto::avx2::Avx2;

/// Removes the masking key from `payload`, or applies it: the two are the same (§5.3).
///
/// `phase` is how many payload bytes of this frame came before; only its low two bits count. Calling it
/// twice with the same arguments restores the input.
pub fn unmask(payload: &mut [u8], key: [u8; 4], phase: usize) {
    let key = rotate(key, phase);
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = wide(payload.len()) {
        return avx2.unmask(payload, key);
    }
    words::unmask(payload, key);
}

/// As [`unmask`]; says whether all of the unmasked `payload` is ASCII, and so needs no second pass to be UTF-8.
pub(crate) fn unmask_is_ascii(payload: &mut [u8], key: [u8; 4], phase: usize) -> bool {
    let key = rotate(key, phase);
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = wide(payload.len()) {
        return avx2.unmask_is_ascii(payload, key);
    }
    words::unmask_is_ascii(payload, key)
}

/// Moves the `len` bytes at `from` down to `to`, removing the masking key on the way (§5.3); `to` is at most `from`.
///
/// One pass where moving and unmasking would take two. Bytes between the two places are left as they fall.
pub(crate) fn unmask_down(bytes: &mut [u8], from: usize, to: usize, len: usize, key: [u8; 4]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = wide(len) {
        return avx2.unmask_down(bytes, from, to, len, key);
    }
    words::unmask_down(bytes, from, to, len, key);
}

/// As [`unmask_down`]; says whether all of the unmasked bytes are ASCII.
pub(crate) fn unmask_down_is_ascii(
    bytes: &mut [u8],
    from: usize,
    to: usize,
    len: usize,
    key: [u8; 4],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = wide(len) {
        return avx2.unmask_down_is_ascii(bytes, from, to, len, key);
    }
    if len < WIDE_FROM {
        return words::unmask_down_is_ascii(bytes, from, to, len, key);
    }
    // Two passes in vectors cost less than one in words, and that is what SSE2 has room for.
    bytes.copy_within(from..from + len, to);
    words::unmask_is_ascii(&mut bytes[to..to + len], key)
}

/// Wider vectors, where there are any and `len` bytes are worth the call.
#[cfg(target_arch = "x86_64")]
fn wide(len: usize) -> Option<Avx2> {
    if len < WIDE_FROM { None } else { Avx2::detect() }
}

/// Bytes from which on a call costs less than the wider vectors save.
const WIDE_FROM: usize = 256;

/// The key as it applies to the bytes from `phase` on.
pub(crate) const fn rotate(key: [u8; 4], phase: usize) -> [u8; 4] {
    let at = phase & 3;
    [key[at], key[(at + 1) & 3], key[(at + 2) & 3], key[(at + 3) & 3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6455 §5.7: "Hello" under 37 fa 21 3d.
    #[test]
    fn the_rfc_example_unmasks() {
        let mut payload = *b"\x7f\x9f\x4d\x51\x58";
        unmask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn every_length_phase_and_alignment_equals_the_byte_loop() {
        let bytes: Vec<u8> = (0..200_u8).map(|i| i.wrapping_mul(37)).collect();
        for start in 0..8 {
            for len in 0..150 {
                for phase in 0..5 {
                    let (mut fast, mut naive) = (bytes.clone(), bytes.clone());
                    unmask(&mut fast[start..start + len], KEY, phase);
                    byte_loop(&mut naive[start..start + len], KEY, phase);
                    assert_eq!(fast, naive, "start {start} len {len} phase {phase}");
                }
            }
        }
    }

    /// Every length, and each place that a byte beyond ASCII can have in it.
    #[test]
    fn ascii_is_what_has_no_high_bit_anywhere() {
        for len in (0..100).chain([256, 300, 321]).step_by(if cfg!(miri) { 51 } else { 1 }) {
            let mut ascii = vec![0x7F; len];
            byte_loop(&mut ascii, KEY, 1);
            assert!(unmask_is_ascii(&mut ascii, KEY, 1));
            assert_eq!(ascii, vec![0x7F; len]);
            for at in 0..len {
                let mut beyond = vec![0; len];
                beyond[at] = 0x80;
                byte_loop(&mut beyond, KEY, 2);
                let mut masked = [&[0; 4][..], &beyond].concat();
                assert!(!unmask_is_ascii(&mut beyond, KEY, 2), "{at} of {len}");
                assert_eq!(beyond[at], 0x80);
                assert!(
                    !unmask_down_is_ascii(&mut masked, 4, 0, len, rotate(KEY, 2)),
                    "{at} of {len}"
                );
                assert_eq!(masked[at], 0x80);
            }
        }
    }

    #[test]
    fn only_the_low_two_bits_of_the_phase_count() {
        for phase in [3, 7, usize::MAX] {
            let mut payload = *b"abcdefghijk";
            unmask(&mut payload, KEY, phase);
            unmask(&mut payload, KEY, 3);
            assert_eq!(&payload, b"abcdefghijk");
        }
    }

    proptest! {
        /// A payload that comes in pieces, each with the phase that it starts at, is what it is in one.
        #[test]
        fn pieces_with_their_phases_make_the_whole(
            payload: Vec<u8>,
            key: [u8; 4],
            cuts: [prop::sample::Index; 3],
        ) {
            let (mut pieces, mut naive) = (payload.clone(), payload.clone());
            byte_loop(&mut naive, key, 0);
            let mut ends = cuts.map(|cut| cut.index(payload.len() + 1));
            ends.sort_unstable();
            let mut start = 0;
            for end in ends.into_iter().chain([payload.len()]) {
                unmask(&mut pieces[start..end], key, start);
                prop_assert_eq!(rotate(rotate(key, start), end - start), rotate(key, end));
                start = end;
            }
            prop_assert_eq!(pieces, naive);
        }
    }

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn byte_loop(payload: &mut [u8], key: [u8; 4], phase: usize) {
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[(phase % 4 + i) % 4];
        }
    }

    /// The wide code is the safe twin's, compiled once more; that it does the same is shown all the same.
    #[test]
    fn both_forms_agree_with_the_byte_loop_at_every_length() {
        // Miri takes a thousand times as long.
        let step = if cfg!(miri) { 83 } else { 1 };
        for len in (0..200).chain(250..700).chain([5000]).step_by(step) {
            let masked: Vec<u8> = (0..=250).cycle().step_by(37).take(len + 300).collect();
            for gap in [0, 1, 4, 8, 10, 63, 64, 65, 200] {
                let mut expected = masked.clone();
                byte_loop(&mut expected[10 + gap..10 + gap + len], KEY, 0);
                expected.copy_within(10 + gap..10 + gap + len, 10);
                let is_ascii = expected[10..10 + len].is_ascii();
                let check = |name: &str, moved: &[u8]| {
                    assert!(moved[..10 + len] == expected[..10 + len], "{name} {len} {gap}");
                    assert!(
                        moved[10 + gap + len..] == masked[10 + gap + len..],
                        "{name} {len} {gap}"
                    );
                };
                let mut moved = masked.clone();
                unmask_down(&mut moved, 10 + gap, 10, len, KEY);
                check("as chosen", &moved);
                let mut moved = masked.clone();
                assert_eq!(unmask_down_is_ascii(&mut moved, 10 + gap, 10, len, KEY), is_ascii);
                check("as chosen, text", &moved);
                let mut moved = masked.clone();
                words::unmask_down(&mut moved, 10 + gap, 10, len, KEY);
                check("words", &moved);
                let mut moved = masked.clone();
                let saw = words::unmask_down_is_ascii(&mut moved, 10 + gap, 10, len, KEY);
                assert_eq!(saw, is_ascii);
                check("words, text", &moved);
            }
        }
    }
}
