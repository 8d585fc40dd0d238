//! Masking (RFC 6455 §5.3), word at a time.
//!
//! Safe code only: XOR over blocks of 32 bytes compiles to SSE2, at 58 GB/s from 1 KiB on
//! (`benches/mask.rs`). Choosing a key is the sender's business.

/// Removes the masking key from `payload`, or applies it: the two are the same (§5.3).
///
/// `phase` is how many payload bytes of this frame came before; only its low two bits count. Calling it
/// twice with the same arguments restores the input.
pub fn unmask(payload: &mut [u8], key: [u8; 4], phase: usize) {
    let key = rotate(key, phase);
    let wide = widen(key);
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        for word in block.as_chunks_mut().0 {
            unmask_word(word, wide);
        }
    }
    let (words, tail) = rest.as_chunks_mut();
    for word in words {
        unmask_word(word, wide);
    }
    unmask_tail(tail, key);
}

/// As [`unmask`]; says whether all of the unmasked `payload` is ASCII, and so needs no second pass to be UTF-8.
pub(crate) fn unmask_is_ascii(payload: &mut [u8], key: [u8; 4], phase: usize) -> bool {
    let key = rotate(key, phase);
    let wide = widen(key);
    // No blocks: with an accumulator, the compiler turns this loop into vectors, but a block into single words
    // (`benches/inbound.rs`: a text of 16 KiB in 330 ns here, 530 ns by blocks).
    let (words, tail) = payload.as_chunks_mut();
    let mut seen = 0;
    for word in words {
        seen |= unmask_word(word, wide);
    }
    unmask_tail(tail, key);
    seen & 0x8080_8080_8080_8080 == 0 && tail.is_ascii()
}

const fn widen(key: [u8; 4]) -> u64 {
    let word = u32::from_ne_bytes(key);
    (word as u64) | (word as u64) << 32
}

/// Unmasks eight bytes, and returns them.
fn unmask_word(bytes: &mut [u8; 8], key: u64) -> u64 {
    let word = u64::from_ne_bytes(*bytes) ^ key;
    *bytes = word.to_ne_bytes();
    word
}

/// Unmasks up to seven bytes: half a word, then at most three single ones.
fn unmask_tail(tail: &mut [u8], key: [u8; 4]) {
    let (halves, bytes) = tail.as_chunks_mut();
    for half in halves {
        *half = (u32::from_ne_bytes(*half) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    for (byte, key) in bytes.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Moves the `len` bytes at `from` down to `to`, removing the masking key on the way (§5.3); `to` is at most `from`.
///
/// One pass where moving and unmasking would take two. Bytes between the two places are left as they fall.
#[inline] // As `unmask`, it is worth its place in the loop over small frames: `benches/inbound.rs`.
pub(crate) fn unmask_down(bytes: &mut [u8], from: usize, to: usize, len: usize, key: [u8; 4]) {
    let wide = widen(key);
    let gap = from - to;
    let bytes = &mut bytes[to..from + len];
    let mut at = 0;
    // A block is read whole before its place is written, and that place ends before the next block's source.
    while let Some(&(mut block)) = block_of::<BLOCK>(bytes, at, gap, len) {
        for word in block.as_chunks_mut().0 {
            unmask_word(word, wide);
        }
        bytes[at..at + BLOCK].copy_from_slice(&block);
        at += BLOCK;
    }
    while let Some(&(mut word)) = block_of::<8>(bytes, at, gap, len) {
        unmask_word(&mut word, wide);
        bytes[at..at + 8].copy_from_slice(&word);
        at += 8;
    }
    for at in at..len {
        bytes[at] = bytes[at + gap] ^ key[at & 3];
    }
}

/// The `N` bytes that go to `at`, unless fewer are left of `len`.
fn block_of<const N: usize>(bytes: &[u8], at: usize, gap: usize, len: usize) -> Option<&[u8; N]> {
    if len - at < N { None } else { bytes[at + gap..].first_chunk() }
}

/// Bytes that fill a few vector registers.
const BLOCK: usize = 64;

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
        for len in 0..100 {
            let mut ascii = vec![0x7F; len];
            byte_loop(&mut ascii, KEY, 1);
            assert!(unmask_is_ascii(&mut ascii, KEY, 1));
            assert_eq!(ascii, vec![0x7F; len]);
            for at in 0..len {
                let mut beyond = vec![0; len];
                beyond[at] = 0x80;
                byte_loop(&mut beyond, KEY, 2);
                assert!(!unmask_is_ascii(&mut beyond, KEY, 2), "{at} of {len}");
                assert_eq!(beyond[at], 0x80);
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

    #[test]
    fn moving_down_equals_unmasking_and_then_moving() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for gap in [0, 1, 4, 7, 8, 63, 64, 65, 200] {
            for len in (0..200).chain([1000]) {
                let bytes: Vec<u8> = (0..2000_u32).map(|i| (i * 37 % 251) as u8).collect();
                let (mut down, mut naive) = (bytes.clone(), bytes);
                unmask_down(&mut down, 10 + gap, 10, len, key);
                unmask(&mut naive[10 + gap..10 + gap + len], key, 0);
                naive.copy_within(10 + gap..10 + gap + len, 10);
                assert!(down[..10 + len] == naive[..10 + len], "gap {gap} len {len}");
                assert!(down[10 + gap + len..] == naive[10 + gap + len..], "gap {gap} len {len}");
            }
        }
    }
}
