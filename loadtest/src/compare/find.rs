//! `--find-max`: the highest rate at which a figure still keeps to its threshold, found by runs of the same load.
//!
//! Doubles the rate until it is too much, then halves what is between. A rate at which replies are wrong or lost, or
//! that this client does not reach, is too much as well: the result is a rate that was kept, never one that was guessed.

use std::io;

use serde::{Deserialize, Serialize};

use crate::cli::{Args, Mode};
use crate::result::document::Document;
use crate::result::outcome::Exit;
use crate::result::threshold::Threshold;
use crate::run::{Ran, Runner};
use crate::units;

/// What the search came to, as JSON has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FindMax {
    pub(crate) threshold: String,
    /// The highest rate that was kept, in messages a second; absent if none was.
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) steps: Vec<Step>,
}

/// A run of the search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) rate_per_s: f64,
    /// The figure; absent if the run has none.
    pub(crate) value: Option<f64>,
    pub(crate) is_kept: bool,
}

/// Which rate to try next.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Search {
    /// The highest that was kept.
    low: Option<f64>,
    /// The lowest that was not.
    high: Option<f64>,
    first: f64,
}

/// How near the two must come: as near as the noise of a run lets them.
const PRECISION: f64 = 0.05;

/// No rate beyond what `--rate` takes.
const RATE_MAX: f64 = 1e7;

/// Below this share of what `--rate` says nothing is sought.
const DOWN_MAX: f64 = 1e-3;

impl Search {
    /// The rate to try. `None`: the search is over.
    fn next(&self) -> Option<f64> {
        match (self.low, self.high) {
            (None, None) => Some(self.first),
            (Some(low), None) => (low < RATE_MAX).then(|| (low * 2.0).min(RATE_MAX)),
            (None, Some(high)) => (high > self.first * DOWN_MAX).then(|| high / 2.0),
            (Some(low), Some(high)) => {
                (high / low > 1.0 + PRECISION).then(|| f64::midpoint(low, high).round())
            }
        }
    }

    fn take_in(&mut self, rate: f64, is_kept: bool) {
        if is_kept { self.low = Some(rate) } else { self.high = Some(rate) }
    }
}

/// Searches. `tell` gets a line for each run; the document is that of the best one, or of the last if none was kept.
///
/// # Errors
///
/// One line: a run cannot work, or the mode has no rate.
pub(crate) fn find_max(
    runner: &Runner,
    args: &Args,
    threshold: &Threshold,
    mut tell: impl FnMut(&str) -> io::Result<()>,
) -> Result<(Document, String, Exit), String> {
    if !matches!(args.mode, Mode::Echo | Mode::Broadcast) || args.rate_per_conn.is_some() {
        return Err("--find-max seeks a --rate: use it with --mode echo or broadcast".to_owned());
    }
    let first = args.rate.unwrap_or(f64::from(args.conns));
    let mut search = Search { low: None, high: None, first };
    let mut found = FindMax { threshold: threshold.text().to_owned(), ..FindMax::default() };
    let (mut best, mut exit): (Option<Ran>, Exit) = (None, Exit::ThresholdMissed);
    while let Some(rate) = search.next() {
        let args = Args { rate: Some(rate), ..args.clone() };
        let ran = runner.run(&args, args.spawn.as_deref(), |_| Ok(()))?;
        if runner.is_stopped() {
            exit = Exit::Interrupted;
            best = best.or(Some(ran));
            break;
        }
        let checked = threshold.check(&ran.document);
        let reached = ran.document.rate_reached.unwrap_or(0.0) > REACHED_MIN;
        let is_kept = checked.holds && reached && ran.exit == Exit::Fine;
        let why = match (checked.holds, reached, ran.exit) {
            (false, _, _) => "",
            (true, false, _) => " · the rate was not reached",
            (true, true, Exit::Fine) => "",
            (true, true, _) => " · replies were wrong or missing",
        };
        let mark = if is_kept { '✓' } else { '✗' };
        let line = format!(" {mark} {:>10} msg/s  {}{why}\n", units::rate(rate), checked.told);
        tell(&line).map_err(|error| error.to_string())?;
        search.take_in(rate, is_kept);
        found.steps.push(Step { rate_per_s: rate, value: checked.value, is_kept });
        if is_kept {
            (best, exit) = (Some(ran), Exit::Fine);
        } else if best.is_none() {
            best = Some(ran);
        }
    }
    found.rate_per_s = search.low;
    let conclusion = match search.low {
        Some(rate) => format!(" {} holds up to {} msg/s\n", found.threshold, units::rate(rate)),
        None => format!(" {} holds at no rate that was tried\n", found.threshold),
    };
    let ran = best.ok_or("--find-max: nothing was run")?;
    let document = Document { find_max: Some(found), ..ran.document };
    Ok((document, ran.report + &conclusion, exit))
}

/// The share of the rate that must have left in time.
const REACHED_MIN: f64 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found if the server keeps up to `limit`, and the rates that were tried.
    fn sought(first: f64, limit: f64) -> (Option<f64>, Vec<f64>) {
        let mut search = Search { low: None, high: None, first };
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            tried.push(rate);
            search.take_in(rate, rate <= limit);
        }
        (search.low, tried)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (first, limit) in [(1000.0, 47_000.0), (1e6, 47_000.0), (47_000.0, 47_000.0)] {
            let (found, tried) = sought(first, limit);
            let found = found.unwrap();
            assert!(found <= limit && limit < found * 1.06, "{first}: {found} of {tried:?}");
            assert!(tried.len() < 16, "{tried:?}");
        }
    }

    #[test]
    fn a_search_ends_without_a_limit_and_without_a_hope() {
        assert_eq!(sought(1000.0, f64::INFINITY).0, Some(RATE_MAX));
        let (found, tried) = sought(1000.0, 0.0);
        assert!(found.is_none() && tried.len() < 16, "{tried:?}");
    }
}
