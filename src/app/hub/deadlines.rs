//! Who is ended at a time of its own: those whose token ends, and those who were to say something by then.
//!
//! Keeps times and names; ending a peer is the hub's. Tokens end by the wall clock, which steps: back, and
//! nobody is ended early, since what is due is decided by that clock again; forward, and it is noticed within
//! [`LOOK_AGAIN_MS`]. The other deadlines are the loop's.

#![deny(clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;

use wsfast::Context;

use crate::app::terms::wall_clock;

/// Both clocks, as of this turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since 1970.
    pub(crate) wall_ms: u64,
    /// `Context::now_ms`.
    pub(crate) loop_ms: u64,
}

/// When a peer is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Until {
    /// At this second since 1970 its token is no longer valid.
    TokenEnds(u64),
    /// At this time of the loop, if it has not said what was awaited.
    Spoken(u64),
}

/// The peers with such a time, and no others.
#[derive(Debug)]
pub(crate) struct Expiry<P> {
    tokens: BTreeSet<(u64, P)>,
    silent: BTreeSet<(u64, P)>,
    /// When to look next, by the loop's clock. Perhaps for a peer that is gone by then.
    look_at_ms: Option<u64>,
}

impl Now {
    /// As of the turn that `cx` is of.
    pub(crate) fn of(cx: &Context<'_>) -> Self {
        Self { wall_ms: wall_clock::now_ms(), loop_ms: cx.now_ms() }
    }
}

impl<P: Copy + Ord> Expiry<P> {
    pub(crate) const fn new() -> Self {
        Self { tokens: BTreeSet::new(), silent: BTreeSet::new(), look_at_ms: None }
    }

    /// Has `peer` given out then, unless it is removed before.
    pub(crate) fn insert(&mut self, until: Until, peer: P, now: Now) {
        match until {
            Until::TokenEnds(end_s) => self.tokens.insert((end_s, peer)),
            Until::Spoken(end_ms) => self.silent.insert((end_ms, peer)),
        };
        let at_ms = loop_time(until, now);
        self.look_at_ms = Some(self.look_at_ms.map_or(at_ms, |before| before.min(at_ms)));
    }

    /// Forgets what was inserted, if it is still there.
    pub(crate) fn remove(&mut self, until: Until, peer: P) {
        match until {
            Until::TokenEnds(end_s) => self.tokens.remove(&(end_s, peer)),
            Until::Spoken(end_ms) => self.silent.remove(&(end_ms, peer)),
        };
        if self.tokens.is_empty() && self.silent.is_empty() {
            self.look_at_ms = None;
        }
    }

    /// When there is something to do.
    pub(crate) const fn look_at_ms(&self) -> Option<u64> {
        self.look_at_ms
    }

    /// Takes a turn's share of those whose time has come.
    pub(crate) fn due(&mut self, now: Now) -> Vec<(Until, P)> {
        let mut due = Vec::new();
        while due.len() < DUE_PER_TURN_MAX
            && let Some(next) = self.first_due(now)
        {
            let (until, peer) = next;
            self.remove(until, peer);
            due.push(next);
        }
        let firsts = [
            self.tokens.first().map(|&(end_s, _)| Until::TokenEnds(end_s)),
            self.silent.first().map(|&(end_ms, _)| Until::Spoken(end_ms)),
        ];
        self.look_at_ms = firsts.into_iter().flatten().map(|until| loop_time(until, now)).min();
        due
    }

    fn first_due(&self, now: Now) -> Option<(Until, P)> {
        let token = self.tokens.first().map(|&(end_s, peer)| (Until::TokenEnds(end_s), peer));
        let silent = self.silent.first().map(|&(end_ms, peer)| (Until::Spoken(end_ms), peer));
        token.into_iter().chain(silent).find(|&(until, _)| until.left_ms(now) == 0)
    }
}

impl Until {
    /// How long that is, if no clock is set meanwhile.
    pub(crate) const fn left_ms(self, now: Now) -> u64 {
        match self {
            Self::TokenEnds(end_s) => end_s.saturating_mul(1000).saturating_sub(now.wall_ms),
            Self::Spoken(end_ms) => end_ms.saturating_sub(now.loop_ms),
        }
    }
}

fn loop_time(until: Until, now: Now) -> u64 {
    let left_ms = match until {
        Until::TokenEnds(_) => until.left_ms(now).min(LOOK_AGAIN_MS),
        Until::Spoken(_) => until.left_ms(now),
    };
    now.loop_ms.saturating_add(left_ms)
}

/// How often the wall clock is looked at while a token may end: it may have been set, or the machine asleep.
const LOOK_AGAIN_MS: u64 = 10_000;

/// Peers that are ended in one turn.
const DUE_PER_TURN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(wall_ms: u64, loop_ms: u64) -> Now {
        Now { wall_ms, loop_ms }
    }

    #[test]
    fn peers_are_given_out_once_in_order_and_never_early() {
        let mut expiry = Expiry::new();
        assert_eq!(expiry.look_at_ms(), None);
        expiry.insert(Until::TokenEnds(1005), 1, at(1_000_000, 0));
        expiry.insert(Until::TokenEnds(1003), 2, at(1_000_000, 0));
        expiry.insert(Until::Spoken(4000), 3, at(1_000_000, 0));
        expiry.insert(Until::Spoken(2000), 4, at(1_000_000, 0));
        assert_eq!(expiry.look_at_ms(), Some(2000));
        expiry.remove(Until::Spoken(2000), 4);
        // Who is gone costs a look in vain.
        assert_eq!(expiry.due(at(1_002_000, 2000)), []);
        assert_eq!(expiry.look_at_ms(), Some(3000));
        assert_eq!(expiry.due(at(1_002_999, 2999)), []);
        assert_eq!(expiry.due(at(1_003_000, 3000)), [(Until::TokenEnds(1003), 2)]);
        let rest = [(Until::TokenEnds(1005), 1), (Until::Spoken(4000), 3)];
        assert_eq!(expiry.due(at(1_009_000, 9000)), rest);
        assert_eq!((expiry.due(at(1_009_000, 9000)), expiry.look_at_ms()), (vec![], None));
    }

    /// Whatever becomes of the clock, it decides; the other deadlines do not notice.
    #[test]
    fn a_clock_that_steps_is_asked_again() {
        let mut expiry = Expiry::new();
        expiry.insert(Until::TokenEnds(1060), 1, at(1_000_000, 0));
        expiry.insert(Until::Spoken(70_000), 2, at(1_000_000, 0));
        assert_eq!(expiry.look_at_ms(), Some(LOOK_AGAIN_MS));
        // An hour back.
        assert_eq!(expiry.due(at(0, 61_000)), []);
        assert_eq!(expiry.look_at_ms(), Some(70_000));
        assert_eq!(expiry.due(at(0, 70_000)), [(Until::Spoken(70_000), 2)]);
        // An hour forward.
        assert_eq!(expiry.due(at(3_600_000, 80_000)), [(Until::TokenEnds(1060), 1)]);
    }

    #[test]
    fn a_crowd_is_given_out_in_shares() {
        let mut expiry = Expiry::new();
        for peer in 0..DUE_PER_TURN_MAX + 1 {
            expiry.insert(Until::TokenEnds(1), peer, at(0, 0));
        }
        assert_eq!(expiry.due(at(1000, 1000)).len(), DUE_PER_TURN_MAX);
        assert_eq!(expiry.look_at_ms(), Some(1000));
        assert_eq!(expiry.due(at(1000, 1000)), [(Until::TokenEnds(1), DUE_PER_TURN_MAX)]);
    }
}
