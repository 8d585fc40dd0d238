//! Where in a page a large buffer best starts.
//!
//! The kernel copies between a socket and a buffer with `rep movsb`. Where the destination is 1 to 15 bytes ahead of the
//! source, modulo the page, each load seems to depend on the store just before it, and the copy takes several times as
//! long (`benches/placement.rs`, AMD EPYC of the fourth generation: a MiB received in 400 to 540 us instead of 210 to 270,
//! waiting for the sender included). The kernel's own side
//! starts at the start of a page, or a few small messages behind it, and an allocator's 16 bytes behind it, so that a
//! few bytes of header decide. A buffer that starts in the middle of a page is far from both. Knows no sockets.

/// How many bytes of `buffer` to leave unused so that the rest starts in the middle of a page; less than [`PAGE_BYTES`].
#[expect(clippy::arithmetic_side_effects, reason = "a remainder is below the page")]
pub(crate) fn offset(buffer: &[u8]) -> usize {
    (PAGE_BYTES + PAGE_BYTES / 2 - buffer.as_ptr().addr() % PAGE_BYTES) % PAGE_BYTES
}

/// The distance at which addresses look alike to the processor.
pub(crate) const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_starts_in_the_middle_of_a_page() {
        let buffer = vec![0; 3 * PAGE_BYTES];
        for start in 0..=PAGE_BYTES {
            let at = offset(&buffer[start..]);
            assert!(at < PAGE_BYTES);
            assert_eq!(buffer[start + at..].as_ptr().addr() % PAGE_BYTES, 2048);
        }
    }
}
