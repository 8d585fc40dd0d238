//! How long a server may take that says something all the time, and never what it was asked for.
//!
//! Each wait for it ends by itself (`link`); this bounds all of them together. Waits for nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The end of it, by a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    until: Duration,
}

impl Patience {
    /// From now on for so long.
    pub(crate) fn of(length: Duration) -> Self {
        Self { until: now().saturating_add(length) }
    }

    pub(crate) fn is_over(self) -> bool {
        now() >= self.until
    }
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let (s, ns) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    let ns = Duration::from_nanos(ns.unwrap_or_default());
    Duration::from_secs(s.unwrap_or_default()).saturating_add(ns)
}
