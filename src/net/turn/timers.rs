//! One deadline per peer, on a timer wheel of intrusive lists.
//!
//! ```text
//! slot 0   ── peer 7 ⇄ peer 12        a slot is the tick of a deadline modulo SLOTS;
//! slot 1                              a deadline more than a lap away is looked at once a lap
//! …        ── peer 3
//! ```
//!
//! Setting and clearing touch three nodes at most, so a storm of short connections leaves nothing behind. Activity
//! does not move a deadline: the owner of an expired one looks at what happened meanwhile, and sets the next.
//! Reads no clock, and does not know what a deadline is for.

/// The wheel. Keys are slab keys; a node costs 12 bytes.
#[derive(Debug)]
pub(crate) struct Timers {
    /// First key of each slot's list.
    heads: Vec<u32>,
    nodes: Vec<Node>,
    /// Which slots have a list, a bit each.
    occupied: [u64; SLOTS / 64],
    /// Every deadline with a smaller tick has been given out.
    tick: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// `NOWHERE` if the key has no deadline; `HEAD` if it is the first of its slot.
    previous: u32,
    next: u32,
    /// The tick of its deadline.
    due: u32,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { heads: vec![END; SLOTS], nodes: Vec::new(), occupied: [0; SLOTS / 64], tick: 0 }
    }

    /// Sets the deadline of `key`, in place of the one it had. It is given out at `at_ms` or up to a tick later.
    pub(crate) fn set(&mut self, key: usize, at_ms: u64) {
        self.clear(key);
        if self.nodes.len() <= key {
            self.nodes.resize(key + 1, Node { previous: NOWHERE, next: END, due: 0 });
        }
        let due = tick_at_or_after(at_ms).max(self.tick);
        let slot = slot_of(due);
        let next = self.heads[slot];
        self.nodes[key] = Node { previous: HEAD, next, due };
        let key = to_u32(key);
        if next != END {
            self.nodes[next as usize].previous = key;
        }
        self.heads[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Forgets the deadline of `key`, if it has one.
    pub(crate) fn clear(&mut self, key: usize) {
        let Some(&Node { previous, next, due }) = self.nodes.get(key) else { return };
        match previous {
            NOWHERE => return,
            HEAD => {
                let slot = slot_of(due);
                self.heads[slot] = next;
                if next == END {
                    self.occupied[slot / 64] &= !(1 << (slot % 64));
                }
            }
            previous => self.nodes[previous as usize].next = next,
        }
        if next != END {
            self.nodes[next as usize].previous = previous;
        }
        self.nodes[key].previous = NOWHERE;
    }

    /// The deadline of `key`, or up to a tick later.
    pub(crate) fn deadline_ms(&self, key: usize) -> Option<u64> {
        let node = self.nodes.get(key).filter(|node| node.previous != NOWHERE)?;
        Some(u64::from(node.due) * TICK_MS)
    }

    /// Whether `key` has a deadline.
    #[cfg(test)]
    pub(crate) fn is_set(&self, key: usize) -> bool {
        self.nodes.get(key).is_some_and(|node| node.previous != NOWHERE)
    }

    /// Moves at most `most` keys whose deadline has passed to `out`. Whether there may be more.
    pub(crate) fn expire(&mut self, now_ms: u64, most: usize, out: &mut Vec<u32>) -> bool {
        let now = tick_before_or_at(now_ms);
        // After a pause longer than a lap each slot is looked at once.
        self.tick = self.tick.max((now + 1).saturating_sub(LAP));
        while self.tick <= now {
            let mut key = self.heads[slot_of(self.tick)];
            while key != END {
                let Node { next, due, .. } = self.nodes[key as usize];
                if due <= now {
                    if out.len() == most {
                        return true;
                    }
                    self.clear(key as usize);
                    out.push(key);
                }
                key = next;
            }
            self.tick += 1;
        }
        false
    }

    /// When to look again: at the latest at the next deadline, possibly earlier. `None`: there is no deadline.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let start = slot_of(self.tick);
        let words = self.occupied.len();
        // The first word is looked at twice: from `start` on, and at the end its lower bits.
        for step in 0..=words {
            let at = (start / 64 + step) % words;
            let mut word = self.occupied[at];
            if step == 0 {
                word &= u64::MAX << (start % 64);
            }
            if word != 0 {
                let slot = at * 64 + word.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some((u64::from(self.tick) + ahead as u64) * TICK_MS);
            }
        }
        None
    }
}

/// A slot's width: how much later than asked a deadline may be given out.
const TICK_MS: u64 = 16;

/// One lap is 16 s: most deadlines are within it.
const SLOTS: usize = 1024;

/// A lap in ticks.
const LAP: u32 = 1024;

const END: u32 = u32::MAX;
const HEAD: u32 = u32::MAX - 1;
const NOWHERE: u32 = u32::MAX - 2;

const fn slot_of(tick: u32) -> usize {
    tick as usize % SLOTS
}

/// 32 bits of ticks last for two years of 16 ms; a server that runs longer keeps the last tick, and stops timing.
fn tick_before_or_at(ms: u64) -> u32 {
    u32::try_from(ms / TICK_MS).unwrap_or(u32::MAX - 1)
}

fn tick_at_or_after(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX - 1)
}

/// Slab keys are below `Limits::peers_max`, which is below 2^24 (`Limits::check`).
fn to_u32(key: usize) -> u32 {
    u32::try_from(key).unwrap_or(NOWHERE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(timers: &mut Timers, now_ms: u64) -> Vec<u32> {
        let mut out = Vec::new();
        assert!(!timers.expire(now_ms, usize::MAX, &mut out));
        out.sort_unstable();
        out
    }

    #[test]
    fn a_deadline_is_given_out_once_and_never_early() {
        for at_ms in [0, 1, 15, 16, 17, 1000, 16_383, 16_384, 100_000] {
            let mut timers = Timers::new();
            timers.set(3, at_ms);
            if at_ms > 0 {
                assert_eq!(expired(&mut timers, at_ms - 1), [], "{at_ms}");
            }
            assert!(timers.next_ms().unwrap() <= at_ms + TICK_MS);
            assert_eq!(expired(&mut timers, at_ms + TICK_MS), [3], "{at_ms}");
            assert_eq!(expired(&mut timers, at_ms + 1_000_000), []);
            assert_eq!(timers.next_ms(), None);
        }
    }

    #[test]
    fn setting_again_replaces_and_clearing_forgets() {
        let mut timers = Timers::new();
        for key in 0..100 {
            timers.set(key, 320);
        }
        timers.set(7, 640);
        for key in (0..100).step_by(2) {
            timers.clear(key);
        }
        let odd: Vec<u32> = (1..100).step_by(2).filter(|&key| key != 7).collect();
        assert_eq!(expired(&mut timers, 400), odd);
        assert_eq!(expired(&mut timers, 700), [7]);
    }

    #[test]
    fn what_exceeds_a_turns_share_is_given_out_in_the_next() {
        let mut timers = Timers::new();
        for key in 0..10 {
            timers.set(key, 100);
        }
        let mut out = Vec::new();
        assert!(timers.expire(200, 6, &mut out));
        assert_eq!(out.len(), 6);
        out.clear();
        assert!(!timers.expire(200, 6, &mut out));
        assert_eq!(out.len(), 4);
    }

    /// The wheel against a sorted list, over two laps of random sets, clears and pauses.
    #[test]
    fn it_agrees_with_a_naive_list() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut timers, mut naive, mut now) = (Timers::new(), vec![None; 50], 0);
        for _ in 0..20_000 {
            let key = usize::try_from(next(50)).unwrap();
            match next(4) {
                0 => {
                    timers.clear(key);
                    naive[key] = None;
                }
                1 | 2 => {
                    let at = now + next(40_000);
                    timers.set(key, at);
                    naive[key] = Some(at.div_ceil(TICK_MS));
                }
                _ => {
                    now += next(700) * next(40) / 10;
                    let mut due = Vec::new();
                    for (key, at) in naive.iter_mut().enumerate() {
                        if at.is_some_and(|at| at <= now / TICK_MS) {
                            due.push(u32::try_from(key).unwrap());
                            *at = None;
                        }
                    }
                    if let Some(&first) = naive.iter().flatten().min() {
                        assert!(timers.next_ms().unwrap() <= first * TICK_MS);
                    }
                    assert_eq!(expired(&mut timers, now), due);
                }
            }
        }
    }
}
