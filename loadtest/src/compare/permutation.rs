//! Whether two servers differ, by pairs of rounds: the sign-flip permutation test, what it leaves possible, and Holm's
//! correction for asking about several figures at once.
//!
//! If A and B are the same, each round's difference could as well have had the other sign. All 2ⁿ ways to choose the
//! signs are then as likely as the one that came; p is the share of them whose sum is as far from zero. Nothing is
//! assumed of how times are distributed, and p < 0.05 comes in at most one of twenty comparisons of a server with
//! itself: not as an estimate, but by counting.
//!
//! Knows numbers only.

use crate::time::schedule::Random;

/// Up to so many pairs all signs are tried; beyond, a hundred thousand drawn ones.
const EXACT_MAX: usize = 14;

/// Signs drawn where there are too many to try.
const DRAWS: u32 = 100_000;

/// The share of sign choices under which the differences' sum is as far from zero as it is. Small: they do not come
/// from noise. One if there are none.
pub(crate) fn p_value(differences: &[f64]) -> f64 {
    let sum = |signs: u64| -> f64 {
        let signed = differences.iter().enumerate();
        signed.map(|(at, d)| if signs >> (at % 64) & 1 == 1 { -d } else { *d }).sum()
    };
    // What differs in the last bits only is equal.
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    let observed = sum(0).abs() - scale * 1e-12;
    if differences.len() <= EXACT_MAX {
        let all = 1_u64 << differences.len();
        let extreme = (0..all).filter(|&signs| sum(signs).abs() >= observed).count();
        return extreme as f64 / all as f64;
    }
    let mut random = Random::new(SEED);
    let extreme = (0..DRAWS).filter(|_| sum(random.next()).abs() >= observed).count();
    // The one that came is one of those that could have come, so that p is never zero.
    (extreme + 1) as f64 / f64::from(DRAWS + 1)
}

/// Pairs beyond which signs repeat.
pub(crate) const PAIRS_MAX: u32 = 64;

const SEED: u64 = 1;

/// The smallest p that so many pairs can give.
pub(crate) fn p_value_min(pairs: usize) -> f64 {
    0.5_f64.powi(i32::try_from(pairs).unwrap_or(i32::MAX) - 1).min(1.0)
}

/// The shifts of the differences that the test would not reject at `alpha`: a confidence interval. `None`: there are
/// too few pairs to reject any.
pub(crate) fn interval(differences: &[f64], alpha: f64) -> Option<(f64, f64)> {
    if differences.is_empty() || p_value_min(differences.len()) > alpha {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    let holds = |shift: f64| {
        let shifted: Vec<f64> = differences.iter().map(|d| d - shift).collect();
        p_value(&shifted) > alpha
    };
    let spread = differences.iter().map(|d| (d - mean).abs()).fold(0.0, f64::max);
    // Further out than all differences every shift is rejected, since all signs are then equal.
    let bound = |towards: f64| {
        let (mut inside, mut outside) = (mean, mean + towards * spread * 1.001);
        for _ in 0..HALVINGS {
            let between = f64::midpoint(inside, outside);
            if holds(between) { inside = between } else { outside = between }
        }
        inside
    };
    Some((bound(-1.0), bound(1.0)))
}

/// How often a bound is halved: to a millionth of the spread.
const HALVINGS: u32 = 20;

/// Holm's correction: what each p counts for, if it is one of several. No difference at all among the figures is then
/// taken for one in at most the share of cases that is asked for.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut so_far: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        let weight = (p_values.len() - rank) as f64;
        so_far = so_far.max((p_values[at] * weight).min(1.0));
        adjusted[at] = so_far;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise as latencies have it: skewed, with outliers, alike in neighbours.
    fn noise(random: &mut Random) -> f64 {
        let uniform = |random: &mut Random| (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let skewed = -(1.0 - uniform(random)).ln();
        if uniform(random) < 0.1 { skewed * 20.0 } else { skewed }
    }

    #[test]
    fn p_counts_the_signs() {
        assert_eq!(p_value(&[]), 1.0);
        assert_eq!(p_value(&[1.0]), 1.0);
        assert_eq!(p_value(&[1.0, 1.0, 1.0]), 0.25);
        assert_eq!(p_value(&[1.0, -1.0]), 1.0);
        assert_eq!(p_value(&[0.0; 10]), 1.0);
        // Sums of ±3 ±2 ±1: 6, 4, 2, 0 and their opposites; two of eight are as far out as 6, four as 4.
        assert_eq!(p_value(&[3.0, 2.0, 1.0]), 0.25);
        assert_eq!(p_value(&[3.0, 2.0, -1.0]), 0.5);
        assert_eq!(p_value(&[0.1; 10]), 2.0 / 1024.0);
        assert_eq!(p_value_min(10), 2.0 / 1024.0);
    }

    #[test]
    fn a_server_differs_from_itself_in_one_of_twenty_comparisons_at_most() {
        const COMPARISONS: u32 = 1000;
        let mut random = Random::new(7);
        let mut differ = 0;
        for _ in 0..COMPARISONS {
            // Three figures of ten rounds, of which two go together, as p50 and p99 do.
            let figures: Vec<f64> = (0..3)
                .map(|_| {
                    let pair = |random: &mut Random| noise(random) - noise(random);
                    let differences: Vec<f64> = (0..10).map(|_| pair(&mut random)).collect();
                    p_value(&differences)
                })
                .collect();
            differ += u32::from(holm(&figures).iter().any(|&p| p < 0.05));
        }
        // 50 are expected at most; four standard deviations above are 78.
        assert!(differ < 78, "{differ} of {COMPARISONS}");
    }

    #[test]
    fn a_server_that_is_slower_by_a_tenth_is_found() {
        let mut random = Random::new(8);
        let mut found = 0;
        for _ in 0..200 {
            // Rounds vary by some percent, and A and B of a round together.
            let differences: Vec<f64> =
                (0..10).map(|_| 0.1 + (noise(&mut random) - noise(&mut random)) * 0.005).collect();
            found += u32::from(p_value(&differences) < 0.05);
        }
        assert!(found > 170, "{found} of 200");
    }

    #[test]
    fn the_interval_holds_what_the_test_does_not_reject() {
        let differences = [0.08, 0.12, 0.10, 0.11, 0.09, 0.10, 0.13, 0.07, 0.10, 0.10];
        let (from, to) = interval(&differences, 0.05).unwrap();
        assert!(0.08 < from && from < 0.1 && 0.1 < to && to < 0.12, "{from} to {to}");
        assert_eq!(interval(&differences[..4], 0.05), None);
        assert!(interval(&[0.0; 10], 0.05).is_some());
    }

    #[test]
    fn many_pairs_are_drawn_instead_of_counted() {
        let same: Vec<f64> = (0..30).map(|n| if n % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert!(p_value(&same) > 0.9);
        assert!(p_value(&[1.0; 30]) < 1e-4);
    }

    #[test]
    fn holm_weighs_the_smallest_most() {
        let adjusted = holm(&[0.04, 0.01, 0.03]);
        let expected = [0.06, 0.03, 0.06];
        for (p, expected) in adjusted.iter().zip(expected) {
            assert!((p - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }
}
