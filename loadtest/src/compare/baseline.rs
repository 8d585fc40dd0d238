//! One run against an earlier one: which figures are worse, and by how much.
//!
//! Two runs are one pair: whether a difference is more than noise cannot be known from it, which is what `ab` is for. A
//! tolerance stands in. Runs that were asked for other loads are not compared.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::compare::ab::Comparison;
use crate::result::document::Document;
use crate::result::metric::{Better, Metric, Unit};

/// A figure of both runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// True: it is worse by more than the tolerance.
    pub(crate) is_regression: bool,
}

/// What a regression is judged by.
const FIGURES: [&str; 13] = [
    "latency.p50",
    "latency.p90",
    "latency.p99",
    "latency.p99.9",
    "last.p50",
    "last.p99",
    "connect.p50",
    "connect.p99",
    "rate",
    "conns_per_s",
    "server.cpu_per_message",
    "server.rss",
    "server.bytes_per_conn",
];

/// What a scheduler makes of a latency now and then: less is no regression.
const NOISE_NS: f64 = 50_000.0;

/// What `--json` may have written.
#[derive(Debug)]
pub(crate) enum Either {
    /// A run.
    Run(Box<Document>),
    /// A comparison of two servers.
    Comparison(Box<Comparison>),
}

/// Reads a document that an earlier run wrote.
///
/// # Errors
///
/// One line that names the file.
pub(crate) fn read(path: &Path) -> Result<Document, String> {
    match read_either(path)? {
        Either::Run(document) => Ok(*document),
        Either::Comparison(_) => Err(format!("{} is a comparison, not a run", path.display())),
    }
}

/// Reads what an earlier run or comparison wrote.
///
/// # Errors
///
/// One line that names the file.
pub(crate) fn read_either(path: &Path) -> Result<Either, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let strange = |why: String| format!("{} is no document of loadtest's{why}", path.display());
    let malformed = |error: serde_json::Error| strange(format!(": {error}"));
    let value: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
    if value.get("a").is_some() {
        let comparison = serde_json::from_value(value).map_err(malformed)?;
        return Ok(Either::Comparison(Box::new(comparison)));
    }
    let document: Document = serde_json::from_value(value).map_err(malformed)?;
    if document.mode.is_empty() {
        Err(strange(String::new()))
    } else {
        Ok(Either::Run(Box::new(document)))
    }
}

/// What makes two runs loads of different kinds; `None`: they can be compared.
pub(crate) fn mismatch(before: &Document, after: &Document) -> Option<String> {
    let asked = |document: &Document| {
        [
            ("mode", document.mode.clone()),
            ("conns", document.conns.to_string()),
            ("size", document.size_bytes.to_string()),
            ("rate", format!("{:?}", document.rate_per_s)),
            ("pipeline", format!("{:?}", document.pipeline)),
        ]
    };
    let mut pairs = asked(before).into_iter().zip(asked(after));
    let ((name, was), (_, is)) = pairs.find(|((_, was), (_, is))| was != is)?;
    Some(format!("{name} was {was} and is {is}: these are different loads"))
}

/// The figures that both runs have; one is a regression if it is worse by more than `tolerance`, a share.
pub(crate) fn changes(before: &Document, after: &Document, tolerance: f64) -> Vec<Change> {
    let figures = FIGURES.iter().filter_map(|name| Metric::known(name));
    let change = |metric: Metric| {
        let (was, is) = (metric.read(before)?, metric.read(after)?);
        let is_time =
            metric.unit() == Unit::Ns && metric != Metric::known("server.cpu_per_message")?;
        let worse = match metric.better() {
            Better::Lower => is > was * (1.0 + tolerance),
            Better::Higher => is < was * (1.0 - tolerance),
        };
        let is_noise = is_time && (is - was).abs() < NOISE_NS;
        (was > 0.0 || is > 0.0).then(|| Change {
            name: metric.to_string(),
            before: was,
            after: is,
            is_regression: worse && !is_noise,
        })
    };
    figures.filter_map(change).collect()
}

/// A table for a person.
pub(crate) fn table(changes: &[Change]) -> String {
    let mut out = format!(" {:<24}{:>10}{:>10}{:>10}\n", "", "before", "after", "change");
    for change in changes {
        let unit = Metric::parse(&change.name).map_or(Unit::Count, |metric| metric.unit());
        let by = (change.after / change.before - 1.0) * 100.0;
        let _ = writeln!(
            out,
            " {:<24}{:>10}{:>10}{:>9.1}%{}",
            change.name,
            unit.print(change.before),
            unit.print(change.after),
            by,
            if change.is_regression { "  REGRESSION" } else { "" },
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::histogram;
    use crate::result::document::Times;

    fn document(ns: u64, rate: f64) -> Document {
        let mut times = histogram();
        times.saturating_record_n(ns, 1000);
        let response = Times::of(&times);
        Document { mode: "echo".to_owned(), response, replies_per_s: rate, ..Document::default() }
    }

    fn regressions(before: &Document, after: &Document) -> Vec<String> {
        let changes = changes(before, after, 0.1).into_iter();
        changes.filter(|change| change.is_regression).map(|change| change.name).collect()
    }

    #[test]
    fn what_is_worse_by_more_than_the_tolerance_is_a_regression() {
        let before = document(1_000_000, 1000.0);
        assert!(regressions(&before, &document(1_090_000, 950.0)).is_empty());
        assert!(regressions(&before, &document(500_000, 2000.0)).is_empty());
        let worse = regressions(&before, &document(1_200_000, 800.0));
        assert_eq!(worse, ["latency.p50", "latency.p90", "latency.p99", "rate"]);
        // A doubling within what a scheduler makes is none.
        assert!(regressions(&document(20_000, 1.0), &document(40_000, 1.0)).is_empty());
        assert!(table(&changes(&before, &document(1_200_000, 800.0), 0.1)).contains("REGRESSION"));
    }

    #[test]
    fn other_loads_are_not_compared() {
        let before = document(1, 1.0);
        assert_eq!(mismatch(&before, &before), None);
        let after = Document { conns: 5, ..before.clone() };
        assert!(mismatch(&before, &after).unwrap().contains("conns was 0 and is 5"));
    }
}
