//! The open loop's schedule: when each message is due, and on which connection.
//!
//! Constant rate needs no heap and keeps nothing per message: due(k) = t0 + k/R, in integers. Connections take turns
//! in a random order fixed by a seed. A late message is late; nothing here ever skips one.

use std::sync::Arc;

/// Messages a second, exact to a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Millionths of a message a second; not zero.
    micro: u64,
}

impl Rate {
    /// `per_second` messages a second. `None` unless it is between a millionth and ten million.
    pub(crate) fn new(per_second: f64) -> Option<Self> {
        let in_range = (1e-6..=1e7).contains(&per_second);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        in_range.then(|| Self { micro: (per_second * 1e6).round() as u64 })
    }

    /// Messages a second.
    pub(crate) fn per_second(self) -> f64 {
        self.micro as f64 / 1e6
    }

    /// How long `count` messages take.
    pub(crate) fn span_ns(self, count: u64) -> u64 {
        let ns = u128::from(count) * 1_000_000_000_000_000 / u128::from(self.micro);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// How many messages fall due in `span_ns`, its end not included.
    pub(crate) fn count_in(self, span_ns: u64) -> u64 {
        let count = (u128::from(span_ns) * u128::from(self.micro)).div_ceil(1_000_000_000_000_000);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// When each message of a run is due, and which are measured.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rate: Rate,
    /// When message 0 is due.
    start_ns: u64,
    /// Messages before this one are the warm-up.
    measured_from: u64,
    /// One past the last message.
    end: u64,
    /// Connections that take turns.
    turns: u64,
    /// Messages that are due at once; at least one.
    burst: u64,
    /// When each message is due, from the start on, where that is not even.
    drawn_ns: Option<Arc<[u64]>>,
}

impl Schedule {
    /// A schedule over `turns` connections that starts at `start_ns`.
    pub(crate) fn new(
        rate: Rate,
        start_ns: u64,
        warmup_ns: u64,
        duration_ns: u64,
        turns: u32,
    ) -> Self {
        let measured_from = rate.count_in(warmup_ns);
        let end = measured_from + rate.count_in(duration_ns);
        Self {
            rate,
            start_ns,
            measured_from,
            end,
            turns: u64::from(turns),
            burst: 1,
            drawn_ns: None,
        }
    }

    /// A schedule that begins at `start_ns` and has each of `turns` connections send once, all of it measured.
    pub(crate) fn each_once(start_ns: u64, turns: u32, per_second: u32) -> Self {
        let rate = Rate { micro: u64::from(per_second.max(1)) * 1_000_000 };
        let (turns, end) = (u64::from(turns.max(1)), u64::from(turns));
        Self { rate, start_ns, measured_from: 0, end, turns, burst: 1, drawn_ns: None }
    }

    /// The same at another time.
    pub(crate) fn beginning_at(self, start_ns: u64) -> Self {
        Self { start_ns, ..self }
    }

    /// The same with `burst` messages at once, and whole bursts.
    pub(crate) fn in_bursts(self, burst: u32) -> Self {
        let burst = u64::from(burst.max(1));
        let whole = |messages: u64| messages.div_ceil(burst).saturating_mul(burst);
        let (measured_from, end) = (whole(self.measured_from), whole(self.end));
        Self { burst, measured_from, end, ..self }
    }

    /// The same with as many messages in the warm-up and in the measurement, each due at random: a Poisson process of
    /// which so many events are known, as those of many independent users are.
    pub(crate) fn at_random(self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let warmup_ns = self.rate.span_ns(self.measured_from);
        let end_ns = self.rate.span_ns(self.end);
        let mut drawn_ns = points(&mut random, self.measured_from, 0, warmup_ns);
        let measured = self.end - self.measured_from;
        drawn_ns.extend(points(&mut random, measured, warmup_ns, end_ns));
        Self { drawn_ns: Some(drawn_ns.into()), ..self }
    }

    /// When message 0 is due.
    pub(crate) fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// When message `k` is due.
    pub(crate) fn due_ns(&self, k: u64) -> u64 {
        let drawn = self.drawn_ns.as_deref().zip(usize::try_from(k).ok());
        if let Some(&drawn_ns) = drawn.and_then(|(drawn_ns, k)| drawn_ns.get(k)) {
            return self.start_ns + drawn_ns;
        }
        let first = if self.burst == 1 { k } else { k - k % self.burst };
        self.start_ns + self.rate.span_ns(first)
    }

    /// Which turn message `k` has, below the number of connections.
    pub(crate) fn turn(&self, k: u64) -> usize {
        usize::try_from(k % self.turns).unwrap_or_default()
    }

    /// Which message the connection whose turn is `turn` sends as its number `seq`.
    pub(crate) fn message(&self, turn: u32, seq: u64) -> u64 {
        seq * self.turns + u64::from(turn)
    }

    /// Whether message `k` comes after the warm-up.
    pub(crate) fn is_measured(&self, k: u64) -> bool {
        k >= self.measured_from
    }

    /// The first message that is measured.
    pub(crate) fn measured_from(&self) -> u64 {
        self.measured_from
    }

    /// One past the last message.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Stops the schedule before message `k`: an interrupted run.
    pub(crate) fn cut(&mut self, k: u64) {
        self.end = self.end.min(k);
    }
}

/// So many points between two times, each anywhere with the same likelihood, in order: sums of exponential gaps, scaled.
fn points(random: &mut Random, count: u64, from_ns: u64, to_ns: u64) -> Vec<u64> {
    let mut sum = 0.0;
    let mut gap = || {
        // 53 bits, and never zero.
        let uniform = ((random.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        sum -= uniform.ln();
        sum
    };
    let sums: Vec<f64> = (0..count).map(|_| gap()).collect();
    let scale = to_ns.saturating_sub(from_ns) as f64 / gap().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below to_ns")]
    sums.into_iter().map(|sum| from_ns + (sum * scale) as u64).collect()
}

/// The numbers below `count` in an order that only `seed` decides (Fisher and Yates).
pub(crate) fn shuffled(count: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut random = Random::new(seed);
    for last in (1..order.len()).rev() {
        let below = last as u64 + 1;
        let other = usize::try_from(random.next() % below).unwrap_or(last);
        order.swap(last, other);
    }
    order
}

/// A small generator of random numbers (SplitMix64): for orders, patterns and masking keys, not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }
}

/// Spreads every bit of `z` over all bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn schedule(per_second: f64, warmup_s: u64, duration_s: u64, turns: u32) -> Schedule {
        let rate = Rate::new(per_second).unwrap();
        Schedule::new(rate, 77, warmup_s * SECOND_NS, duration_s * SECOND_NS, turns)
    }

    #[test]
    fn messages_are_due_at_k_over_r_without_drift() {
        let three_a_second = schedule(3.0, 0, 3600, 1);
        assert_eq!(three_a_second.due_ns(0), 77);
        assert_eq!(three_a_second.due_ns(1), 77 + SECOND_NS / 3);
        assert_eq!(three_a_second.due_ns(3 * 3600), 77 + 3600 * SECOND_NS);
        assert_eq!(three_a_second.end(), 3 * 3600);
    }

    #[test]
    fn the_warm_up_is_not_measured() {
        let schedule = schedule(10_000.0, 2, 10, 10_000);
        assert_eq!((schedule.measured_from(), schedule.end()), (20_000, 120_000));
        assert!(!schedule.is_measured(19_999) && schedule.is_measured(20_000));
    }

    #[test]
    fn a_burst_is_due_at_once_and_is_never_cut() {
        let schedule = schedule(100.0, 1, 1, 1).in_bursts(30);
        assert_eq!((schedule.measured_from(), schedule.end()), (120, 210));
        let due = |k| schedule.due_ns(k) - schedule.start_ns();
        assert_eq!([0, 29, 30, 59, 60].map(due), [0, 0, 300_000_000, 300_000_000, 600_000_000]);
    }

    #[test]
    fn random_arrivals_keep_the_count_the_windows_and_the_variance() {
        let schedule = schedule(1000.0, 2, 20, 1).at_random(3);
        let due = |k| schedule.due_ns(k) - schedule.start_ns();
        assert_eq!((schedule.measured_from(), schedule.end()), (2000, 22_000));
        assert!(due(1999) < 2 * SECOND_NS && 2 * SECOND_NS <= due(2000));
        assert!(due(21_999) < 22 * SECOND_NS && due(22_000) == 22 * SECOND_NS);
        assert!((1..22_000).all(|k| due(k - 1) <= due(k)));
        // A Poisson process has gaps whose deviation is their mean; an even one has none.
        let gaps: Vec<f64> = (2001..22_000).map(|k| (due(k) - due(k - 1)) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn each_connection_can_be_asked_once() {
        let schedule = Schedule::each_once(77, 3, 10);
        assert_eq!((schedule.measured_from(), schedule.end()), (0, 3));
        assert_eq!((schedule.turn(2), schedule.due_ns(2)), (2, 77 + SECOND_NS / 5));
        assert_eq!(Schedule::each_once(77, 0, 10).end(), 0);
    }

    #[test]
    fn a_connection_finds_its_messages_again() {
        let schedule = schedule(100.0, 0, 10, 7);
        for k in 0..schedule.end() {
            let turn = u32::try_from(schedule.turn(k)).unwrap();
            assert_eq!(schedule.message(turn, k / 7), k);
        }
    }

    #[test]
    fn rates_out_of_range_are_refused() {
        for per_second in [0.0, -1.0, 1e8, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(per_second), None, "{per_second}");
        }
        let slow = Rate::new(0.1).unwrap();
        assert_eq!((slow.span_ns(1), slow.count_in(10 * SECOND_NS)), (10 * SECOND_NS, 1));
    }

    #[test]
    fn the_order_is_a_permutation_that_the_seed_decides() {
        let order = shuffled(1000, 7);
        assert_eq!(order, shuffled(1000, 7));
        assert_ne!(order, shuffled(1000, 8));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000) && sorted != order);
        assert!(shuffled(0, 1).is_empty());
    }
}
