//! The whole server over scripted sockets: one seed owns time, the network and what hundreds of clients do.
//!
//! ```text
//! seed ─► world: clients ◄─► wires ◄─► Server::turn(now_ms, events) ◄─► application
//!                   └──────── truth: who said what ────────────────────────┘        checks, after each turn
//! ```
//!
//! The server is the one that is served with; only the poll, the clock, accept and the sockets' calls are of the script. A seed
//! that fails prints its number, the command that repeats it, and what happened. Not here: TLS, whose bytes are drawn by lot, and
//! signals.

mod app;
mod arrivals;
mod checks;
mod client;
mod frames;
mod http;
mod random;
mod stranger;
mod trace;
mod truth;
mod wire;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use arrivals::Arrivals;
pub use wire::Stream;

/// Seeds that once found a fault, in the server or in the checks.
const REGRESSIONS: &[u64] = &[7_219, 9_719, 14_592, 16_472, 30_101, 92_769, 93_058, 95_543];

#[test]
fn a_seed_lives_through() {
    let seeds = std::env::var("WSFAST_SEEDS").ok().map_or(SEEDS, |range| parse(&range));
    for seed in REGRESSIONS.iter().copied().chain(seeds) {
        try_seed(seed);
    }
}

/// A seed is the same every time, or a failed one could not be looked at.
#[test]
fn a_seed_repeats_itself() {
    for seed in 0..8 {
        let trace = || {
            trace::begin();
            world::run(seed);
            trace::end()
        };
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

fn try_seed(seed: u64) {
    if catch_unwind(AssertUnwindSafe(|| world::run(seed))).is_ok() {
        return;
    }
    trace::begin();
    let again = catch_unwind(AssertUnwindSafe(|| world::run(seed)));
    for line in trace::end() {
        println!("{line}");
    }
    println!("seed {seed} fails{}", if again.is_ok() { ", but not again" } else { "" });
    println!("again: WSFAST_SEEDS={seed} cargo test --lib simulation::a_seed_lives_through");
    panic!("seed {seed}");
}

/// `7`, or `0..100000`.
fn parse(range: &str) -> Range<u64> {
    let number = |text: &str| text.parse().expect("WSFAST_SEEDS is a number, or FIRST..END");
    match range.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(range)..number(range) + 1,
    }
}

/// What every `cargo test` lives through.
const SEEDS: Range<u64> = 0..120;
