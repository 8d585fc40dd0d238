//! The process' memory: what is in use, and how much of `--memory-limit` the server may take.
//!
//! Every allocation of the process goes through [`HEAP`], which adds it up. Nothing is refused here; that is
//! `wsfast::Limits::memory`'s.
//! What C code takes for itself, for a TLS session, is not in it; the server adds that up by itself.

use std::fmt;

use wsfast::{Limits, MemoryLimit};

use crate::app::process::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Bytes of the heap that are in use.
pub(crate) fn bytes_in_use() -> usize {
    HEAP.bytes_in_use()
}

/// Has pages of which nothing is in use go back to the system.
pub(crate) fn give_back() {
    HEAP.give_back();
}

/// Where memory is limited: holes of what was large would be resident, and not in use. To be called while there is one thread.
pub(crate) fn keep_large_apart() {
    HEAP.keep_large_apart();
}

/// The bound of the heap that keeps the process within `limit` bytes.
///
/// # Errors
///
/// It is too little for the largest of what `limits` let in.
pub(crate) fn bound(limit: usize, limits: &Limits) -> Result<MemoryLimit, TooLittle> {
    let bytes_max = limit.saturating_sub(FIXED_BYTES) / 8 * 7;
    let least = limits.memory_bytes_least();
    if bytes_max < least {
        return Err(TooLittle { limit, least: least / 7 * 8 + FIXED_BYTES });
    }
    Ok(MemoryLimit { bytes_max, bytes_in_use: || HEAP.bytes_in_use() })
}

/// What the process takes besides its heap, and what events in progress pass its bound by: code, stacks, the allocator's
/// own, four messages of the usual size. An eighth of the rest is what memory in pieces wastes (measured: `tests/it/memory.rs`
/// holds the process to its limit).
const FIXED_BYTES: usize = 12 << 20;

/// A limit below which nothing works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLittle {
    limit: usize,
    least: usize,
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--memory-limit {}M is too little: it must be at least {}M with messages of this size; raise it, or lower \
             --max-message-bytes, --topic-bytes and --max-queue-bytes",
            self.limit >> 20,
            self.least.div_ceil(1 << 20)
        )
    }
}
