//! Thresholds: what a figure must keep to, written as `latency.p99<5ms`, and whether it does.
//!
//! A figure that a run does not have misses every threshold: nobody should take silence for consent.

use serde::{Deserialize, Serialize};

use crate::result::document::Document;
use crate::result::metric::Metric;

/// What a figure must keep to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    metric: Metric,
    relation: Relation,
    bound: f64,
    /// As it was written.
    text: String,
}

/// How a figure must stand to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// The longer ones first, so that none is taken for its beginning.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::LessOrEqual),
    (">=", Relation::GreaterOrEqual),
    ("==", Relation::Equal),
    ("<", Relation::Less),
    (">", Relation::Greater),
    ("=", Relation::Equal),
];

/// A threshold, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Checked {
    pub(crate) threshold: String,
    /// What the figure is; absent if the run has none, or too few samples for it.
    pub(crate) value: Option<f64>,
    /// The same for a person.
    pub(crate) told: String,
    pub(crate) holds: bool,
}

impl Threshold {
    /// Reads what a person wrote.
    ///
    /// # Errors
    ///
    /// One line that shows the form, or names the figures that there are.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = RELATIONS
            .iter()
            .filter_map(|&(sign, relation)| text.find(sign).map(|at| (at, sign, relation)));
        // The first sign; of those that begin there, the longest.
        let found = found.min_by_key(|&(at, sign, _)| (at, std::cmp::Reverse(sign.len())));
        let (at, sign, relation) = found.ok_or("expected a form like latency.p99<5ms")?;
        let metric = Metric::parse(text[..at].trim())?;
        let bound = metric.unit().parse(text[at + sign.len()..].trim())?;
        Ok(Self { metric, relation, bound, text: text.to_owned() })
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether `document` keeps to it.
    pub(crate) fn check(&self, document: &Document) -> Checked {
        let value = self.metric.read(document);
        Checked {
            threshold: self.text.clone(),
            value,
            told: value.map_or_else(
                || "no such figure, or too few samples for it".to_owned(),
                |value| self.metric.unit().print(value),
            ),
            holds: value.is_some_and(|value| self.holds(value)),
        }
    }

    fn holds(&self, value: f64) -> bool {
        match self.relation {
            Relation::Less => value < self.bound,
            Relation::LessOrEqual => value <= self.bound,
            Relation::Greater => value > self.bound,
            Relation::GreaterOrEqual => value >= self.bound,
            Relation::Equal => (value - self.bound).abs() <= self.bound.abs() * 1e-9,
        }
    }
}

impl Checked {
    /// For a person, in a line.
    pub(crate) fn line(&self) -> String {
        let mark = if self.holds { '✓' } else { '✗' };
        format!(" {mark} {} ({})\n", self.threshold, self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_read_and_kept_to() {
        let mut document = Document { replies_per_s: 1000.0, ..Document::default() };
        document.counts.lost = 2;
        let table = [
            ("lost<3", true),
            ("lost < 2", false),
            ("lost<=2", true),
            ("lost==2", true),
            ("lost=0", false),
            ("rate>=1,000/s", true),
            ("rate>1000", false),
            ("latency.p99<5ms", false),
        ];
        for (text, expected) in table {
            let checked = Threshold::parse(text).unwrap().check(&document);
            assert_eq!(checked.holds, expected, "{text}: {checked:?}");
        }
        let silent = Threshold::parse("latency.p99<5ms").unwrap().check(&document);
        assert!(silent.value.is_none() && silent.line().contains("too few samples"));
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for (text, part) in [
            ("latency.p99", "latency.p99<5ms"),
            ("speed<5", "no figure"),
            ("latency.p99<fast", "duration"),
            ("lost<few", "number"),
        ] {
            let message = Threshold::parse(text).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{text}: {message}");
        }
    }
}
