//! The loop's clock: the only place that reads the time.
//!
//! Everything else is told `now_ms`, which is read once a turn.

use std::time::Instant;

/// Milliseconds since the server was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    pub(crate) fn now_ms(self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
