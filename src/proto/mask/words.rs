//! Masking in safe code, eight bytes at a time; the compiler makes vectors of it.
//!
//! Every function is inlined always, so that `proto::avx2` can have it compiled a second time, for wider vectors. Who is called
//! when is `mask`'s to say.

/// Bytes that fill a few vector registers.
const BLOCK: usize = 64;

/// See [`super::unmask`]; the phase is in the key.
#[inline(always)] // Compiled twice; see the module's header.
pub(crate) fn unmask(payload: &mut [u8], key: [u8; 4]) {
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

/// See [`super::unmask_is_ascii`]; the phase is in the key.
#[inline(always)] // Compiled twice.
pub(crate) fn unmask_is_ascii(payload: &mut [u8], key: [u8; 4]) -> bool {
    let wide = widen(key);
    // No blocks: with an accumulator, the compiler turns this loop into vectors, but a block into single words
    // (`benches/inbound.rs`: a text of 16 KiB in 330 ns here, 530 ns by blocks).
    let (words, tail) = payload.as_chunks_mut();
    let mut seen = 0;
    for word in words {
        seen |= unmask_word(word, wide);
    }
    unmask_tail(tail, key);
    seen & HIGH_BITS == 0 && tail.is_ascii()
}

/// See [`super::unmask_down`].
#[inline(always)] // Compiled twice.
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
    unmask_down_rest(bytes, at, gap, len, key);
}

/// See [`super::unmask_down_is_ascii`]. In vectors only where they have room for eight accumulators: with AVX2.
#[inline(always)] // Compiled twice.
pub(crate) fn unmask_down_is_ascii(
    bytes: &mut [u8],
    from: usize,
    to: usize,
    len: usize,
    key: [u8; 4],
) -> bool {
    let wide = widen(key);
    let gap = from - to;
    let bytes = &mut bytes[to..from + len];
    let (mut at, mut seen) = (0, [0; BLOCK / 8]);
    while let Some(&(mut block)) = block_of::<BLOCK>(bytes, at, gap, len) {
        for (word, seen) in block.as_chunks_mut().0.iter_mut().zip(&mut seen) {
            *seen |= unmask_word(word, wide);
        }
        bytes[at..at + BLOCK].copy_from_slice(&block);
        at += BLOCK;
    }
    unmask_down_rest(bytes, at, gap, len, key);
    let seen = seen.into_iter().fold(0, |all, seen| all | seen);
    seen & HIGH_BITS == 0 && bytes[at..len].is_ascii()
}

/// What no block holds: fewer than 64 bytes, from `at` on.
#[inline(always)] // Compiled twice.
fn unmask_down_rest(bytes: &mut [u8], mut at: usize, gap: usize, len: usize, key: [u8; 4]) {
    let wide = widen(key);
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
#[inline(always)] // Compiled twice.
fn block_of<const N: usize>(bytes: &[u8], at: usize, gap: usize, len: usize) -> Option<&[u8; N]> {
    if len - at < N { None } else { bytes[at + gap..].first_chunk() }
}

/// Unmasks eight bytes, and returns them.
#[inline(always)] // Compiled twice.
fn unmask_word(bytes: &mut [u8; 8], key: u64) -> u64 {
    let word = u64::from_ne_bytes(*bytes) ^ key;
    *bytes = word.to_ne_bytes();
    word
}

/// Unmasks up to seven bytes: half a word, then at most three single ones.
#[inline(always)] // Compiled twice.
fn unmask_tail(tail: &mut [u8], key: [u8; 4]) {
    let (halves, bytes) = tail.as_chunks_mut();
    for half in halves {
        *half = (u32::from_ne_bytes(*half) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    for (byte, key) in bytes.iter_mut().zip(key) {
        *byte ^= key;
    }
}

const fn widen(key: [u8; 4]) -> u64 {
    let word = u32::from_ne_bytes(key);
    (word as u64) | (word as u64) << 32
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
