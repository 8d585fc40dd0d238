//! What the measuring thread tells the other one while it runs: numbers that only it writes, and the phase.
//!
//! Lock-free: one writer, relaxed loads and stores. A reader may see one number before another; it draws a progress
//! bar with them, never a result.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connections are being opened.
    Connect,
    /// Connections are held, and nothing is said.
    Hold,
    /// Load that is not measured.
    Warmup,
    /// Load that is measured.
    Measure,
    /// The last replies are awaited.
    Drain,
    /// Nothing moves any more.
    Done,
}

const PHASES: [Phase; 6] =
    [Phase::Connect, Phase::Hold, Phase::Warmup, Phase::Measure, Phase::Drain, Phase::Done];

impl Phase {
    /// As a document has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Hold => "hold",
            Self::Warmup => "warm-up",
            Self::Measure => "measure",
            Self::Drain => "drain",
            Self::Done => "done",
        }
    }
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one. Only the measuring thread calls it, so a load and a store do, without a locked instruction.
    pub(crate) fn bump(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Replaces the number.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number as last seen.
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the measuring thread tells.
#[derive(Debug)]
pub(crate) struct Live {
    phase: AtomicU8,
    /// Connections that are open, or were.
    pub(crate) opened: Gauge,
    /// Connections that could not be opened.
    pub(crate) failed: Gauge,
    /// Messages sent.
    pub(crate) sent: Gauge,
    /// Replies that came, right or wrong.
    pub(crate) received: Gauge,
    /// Replies that were wrong.
    pub(crate) wrong: Gauge,
    /// How long the measuring thread spun for want of work.
    pub(crate) spun_ns: Gauge,
    /// Response times, in buckets of an eighth of an octave.
    buckets: [Gauge; BUCKETS],
}

/// Eight buckets for each of 40 octaves: up to 18 minutes.
pub(crate) const BUCKETS: usize = 8 * 40;

impl Live {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Connect as u8),
            opened: Gauge::default(),
            failed: Gauge::default(),
            sent: Gauge::default(),
            received: Gauge::default(),
            wrong: Gauge::default(),
            spun_ns: Gauge::default(),
            buckets: std::array::from_fn(|_| Gauge::default()),
        }
    }

    /// Enters a phase. What was told before is seen by whoever sees the phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The phase.
    pub(crate) fn phase(&self) -> Phase {
        let at = usize::from(self.phase.load(Ordering::Acquire));
        PHASES.get(at).copied().unwrap_or(Phase::Done)
    }

    /// Tells a response time.
    pub(crate) fn response(&self, ns: u64) {
        self.buckets[bucket(ns)].bump();
    }

    /// How many response times fell into each bucket so far.
    pub(crate) fn responses(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.buckets[at].read())
    }
}

/// The value at quantile `q` of bucket counts, to an eighth of an octave. `None`: they are empty.
pub(crate) fn quantile_ns(counts: &[u64; BUCKETS], q: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    let at = counts.iter().position(|&count| {
        below += count;
        count > 0 && below as f64 >= q * total as f64
    })?;
    Some(floor_ns(at))
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(8);
    let octave = ns.ilog2() - 3;
    let eighth = ns >> octave & 7;
    let at = u64::from(octave) * 8 + eighth;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
pub(crate) fn floor_ns(bucket: usize) -> u64 {
    (8 + bucket as u64 % 8) << (bucket / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_an_eighth_of_an_octave() {
        for ns in [8, 9, 15, 16, 17, 18, 1_000, 31_000, 1_100_000, 2_000_000_000] {
            let floor = floor_ns(bucket(ns));
            assert!(floor <= ns && ns < floor + floor / 8 + 1, "{ns} in the bucket from {floor}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(0), 0);
    }

    #[test]
    fn quantiles_come_from_what_was_told() {
        let live = Live::new();
        assert_eq!(quantile_ns(&live.responses(), 0.5), None);
        for ns in [1_000, 1_000, 1_000, 64_000] {
            live.response(ns);
        }
        assert_eq!(quantile_ns(&live.responses(), 0.5), Some(960));
        assert_eq!(quantile_ns(&live.responses(), 0.99), Some(61_440));
    }

    #[test]
    fn phases_survive_the_way_through_a_byte() {
        let live = Live::new();
        for phase in PHASES {
            live.enter(phase);
            assert_eq!(live.phase(), phase);
        }
    }
}
