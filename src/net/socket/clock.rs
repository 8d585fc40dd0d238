//! The loop's clock: the only place that reads the time.
//!
//! Everything else is told `now_ms`, which is read once a turn.

use std::time::Instant;

/// Milliseconds since the server was made, be it in an earlier image of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// What it showed then.
    ahead_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::go_on(0)
    }

    /// One that shows `ahead_ms` now.
    pub(crate) fn go_on(ahead_ms: u64) -> Self {
        Self { start: Instant::now(), ahead_ms }
    }

    /// The time now.
    pub(crate) fn now_ms(self) -> u64 {
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.saturating_add(elapsed_ms)
    }
}

/// Microseconds of the clock that all images of a process share, from whenever.
pub(crate) fn shared_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (s, ns) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    s.unwrap_or(0) * 1_000_000 + ns.unwrap_or(0) / 1000
}
