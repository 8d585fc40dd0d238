//! The memory that a loop may take, and whether there is any left.
//!
//! ```text
//! 0 ─────────────────── 3/4 ────────── 7/8 ───────── bytes_max
//!   all is well          │ tight        │ short        │ nothing more
//!                        │ at a turn's  │ what would   │ connections are
//!                        │ end history  │ be kept is   │ refused
//!                        │ and the most │ refused      │
//!                        │ greedy go    │              │
//! ```
//!
//! So those who take much are told, while there is room for a stranger and for the next message. Counts nothing: how much is in
//! use is asked of whoever counts for the whole process, its allocator.

use std::cell::Cell;
use std::rc::Rc;

use crate::config::MemoryLimit;

/// A bound, and the gauge that is held against it. Without a bound nothing is asked. All clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    limit: Option<MemoryLimit>,
    /// TLS sessions, of which the gauge does not see all.
    sessions: Rc<Cell<usize>>,
}

impl Memory {
    pub(crate) fn new(limit: Option<MemoryLimit>) -> Self {
        Self { limit, sessions: Rc::default() }
    }

    /// One more TLS session is there.
    pub(crate) fn add_session(&self) {
        self.sessions.update(|count| count + 1);
    }

    /// One is gone.
    pub(crate) fn remove_session(&self) {
        self.sessions.update(|count| count - 1);
    }

    /// Whether there is a bound at all.
    pub(crate) const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether so little is left that a turn's end makes room.
    pub(crate) fn is_tight(&self) -> bool {
        self.passes(6, 0)
    }

    /// Whether nothing more may be kept of what peers send or do not take.
    pub(crate) fn is_short(&self) -> bool {
        self.passes(7, 0)
    }

    /// Whether `bytes` more may be kept.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        !self.passes(7, bytes)
    }

    /// How many bytes more may be kept.
    pub(crate) fn room(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| {
            (limit.bytes_max / 8 * 7).saturating_sub(self.bytes_in_use(limit))
        })
    }

    /// Whether there is no room even for one more connection.
    pub(crate) fn is_used_up(&self) -> bool {
        self.passes(8, 0)
    }

    /// `bytes`, but no more than so many hundredths of the bound.
    pub(crate) fn share(&self, percent: usize, bytes: usize) -> usize {
        self.limit.map_or(bytes, |limit| bytes.min(limit.bytes_max / 100 * percent))
    }

    /// Whether what is in use, and `bytes` more, are over so many eighths of the bound.
    fn passes(&self, eighths: usize, bytes: usize) -> bool {
        self.limit.is_some_and(|limit| {
            self.bytes_in_use(limit).saturating_add(bytes) > limit.bytes_max / 8 * eighths
        })
    }

    fn bytes_in_use(&self, limit: MemoryLimit) -> usize {
        (limit.bytes_in_use)().saturating_add(self.sessions.get() * SESSION_BYTES)
    }
}

/// What aws-lc keeps for a session on C's heap. Measured: resident memory less the gauge, with 4,000 and with 7,000 of them.
const SESSION_BYTES: usize = 1400;

/// What a peer is told that is ended or refused for want of memory.
pub(crate) const SHORT_REASON: &str = "the server is out of memory (memory-limit)";
