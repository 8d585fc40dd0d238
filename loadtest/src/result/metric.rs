//! Figures by name: what `--threshold`, baselines and comparisons speak of, such as `latency.p99` or `server.rss`.
//!
//! Reads documents; judges no figure. A percentile that the samples do not allow is no figure.

use std::fmt;

use crate::judge::stats::quantile_ns;
use crate::result::document::{Document, Times};
use crate::units;

/// A figure that a document may hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    name: String,
    source: Source,
}

/// Where in a document a figure is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Time(Clock, Part),
    Number(&'static Number),
}

/// Which histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Response,
    Service,
    Arrival,
    ClientQueue,
    SendLag,
    Tcp,
    Tls,
    Upgrade,
    Connect,
    ChurnTcp,
    ChurnTls,
    ChurnUpgrade,
    ChurnConnect,
    First,
    Median,
    Last,
    Spread,
}

/// Which of a histogram's figures.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Min,
    Mean,
    Quantile(f64),
    Max,
}

/// A figure that is no time of a histogram.
#[derive(Debug)]
struct Number {
    name: &'static str,
    unit: Unit,
    better: Better,
    of: fn(&Document) -> Option<f64>,
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// So many a second.
    PerSecond,
    /// A share, of which 1 is all.
    Share,
    /// A count.
    Count,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    /// Less of it.
    Lower,
    /// More of it.
    Higher,
}

const CLOCKS: [(&str, Clock); 18] = [
    ("latency", Clock::Response),
    ("response", Clock::Response),
    ("service", Clock::Service),
    ("arrival", Clock::Arrival),
    ("client_queue", Clock::ClientQueue),
    ("send_lag", Clock::SendLag),
    ("tcp", Clock::Tcp),
    ("tls", Clock::Tls),
    ("upgrade", Clock::Upgrade),
    ("connect", Clock::Connect),
    ("churn.tcp", Clock::ChurnTcp),
    ("churn.tls", Clock::ChurnTls),
    ("churn.upgrade", Clock::ChurnUpgrade),
    ("churn.connect", Clock::ChurnConnect),
    ("first", Clock::First),
    ("median", Clock::Median),
    ("last", Clock::Last),
    ("spread", Clock::Spread),
];

macro_rules! number {
    ($name:literal, $unit:ident, $better:ident, $of:expr) => {
        Number { name: $name, unit: Unit::$unit, better: Better::$better, of: $of }
    };
}

static NUMBERS: [Number; 25] = [
    number!("rate", PerSecond, Higher, |d| Some(d.replies_per_s)),
    number!("rate_reached", Share, Higher, |d| d.rate_reached),
    number!("conns_per_s", PerSecond, Higher, |d| Some(d.connect.conns_per_s)),
    number!("opened", Count, Higher, |d| Some(f64::from(d.connect.opened))),
    number!("failed", Count, Lower, |d| Some(f64::from(d.connect.failed))),
    number!("churn.opened", Count, Higher, |d| Some(f64::from(d.churn.as_ref()?.connect.opened))),
    number!("churn.closed", Count, Higher, |d| Some(f64::from(d.churn.as_ref()?.closed))),
    number!("churn.failed", Count, Lower, |d| Some(f64::from(d.churn.as_ref()?.connect.failed))),
    number!("faults", Count, Lower, |d| Some(
        d.counts.faults().iter().map(|&(_, count)| count as f64).sum()
    )),
    number!("lost", Count, Lower, |d| Some(d.counts.lost as f64)),
    number!("late", Count, Lower, |d| Some(d.counts.late as f64)),
    number!("duplicated", Count, Lower, |d| Some(d.counts.duplicated as f64)),
    number!("reordered", Count, Lower, |d| Some(d.counts.reordered as f64)),
    number!("corrupt", Count, Lower, |d| Some(d.counts.corrupt as f64)),
    number!("reset", Count, Lower, |d| Some(d.counts.reset as f64)),
    number!("closed_by_server", Count, Lower, |d| Some(d.counts.closed_by_server as f64)),
    number!("protocol_errors", Count, Lower, |d| Some(d.counts.protocol_errors as f64)),
    number!("listen_overflows", Count, Lower, |d| Some(d.listen_overflows as f64)),
    number!("client.cpu", Share, Lower, |d| Some(d.client.busy)),
    number!("client.rss", Bytes, Lower, |d| Some(d.client.rss_peak_bytes as f64)),
    number!("server.cpu", Share, Lower, |d| d.server.as_ref().map(|s| s.cpu)),
    number!("server.cpu_per_message", Ns, Lower, |d| d.server.as_ref()?.cpu_ns_per_message),
    number!("server.rss", Bytes, Lower, |d| d.server.as_ref().map(|s| s.rss_bytes as f64)),
    number!("server.bytes_per_conn", Bytes, Lower, |d| d
        .server
        .as_ref()?
        .ramp
        .map(|fit| fit.bytes_per_conn)),
    number!("run_queue", Share, Lower, |d| Some(d.client.run_queue)),
];

impl Metric {
    /// The figure of this name.
    ///
    /// # Errors
    ///
    /// One line that names those that there are.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let number = NUMBERS.iter().find(|number| number.name == name).map(Source::Number);
        let source = number.or_else(|| {
            // Dots are in names, and in percentiles.
            let parts = |known: &str| name.strip_prefix(known)?.strip_prefix('.');
            let found = CLOCKS.iter().find_map(|(known, clock)| Some((clock, parts(known)?)));
            found.and_then(|(&clock, part)| Some(Source::Time(clock, Part::parse(part)?)))
        });
        let clocks = || CLOCKS.map(|(name, _)| name).join(", ");
        let numbers = || NUMBERS.iter().map(|number| number.name).collect::<Vec<_>>().join(", ");
        source.map(|source| Self { name: name.to_owned(), source }).ok_or_else(|| {
            format!(
                "no figure {name:?}; there are min, mean, p50 to p99.99 and max of {} (latency.p99), and {}",
                clocks(),
                numbers()
            )
        })
    }

    /// A figure that is known to be one.
    pub(crate) fn known(name: &'static str) -> Option<Self> {
        Self::parse(name).ok()
    }

    /// Its value in `document`. `None`: it has none, or too few samples for it.
    pub(crate) fn read(&self, document: &Document) -> Option<f64> {
        match self.source {
            Source::Number(number) => (number.of)(document),
            Source::Time(clock, part) => part.read(clock.of(document)?),
        }
    }

    /// What it is measured in.
    pub(crate) fn unit(&self) -> Unit {
        match self.source {
            Source::Number(number) => number.unit,
            Source::Time(..) => Unit::Ns,
        }
    }

    /// Which way is better.
    pub(crate) fn better(&self) -> Better {
        match self.source {
            Source::Number(number) => number.better,
            Source::Time(..) => Better::Lower,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Clock {
    fn of(self, document: &Document) -> Option<&Times> {
        let connect = &document.connect;
        let again = document.churn.as_ref().map(|churn| &churn.connect);
        let broadcast = document.broadcast.as_ref();
        let times = match self {
            Self::Response => &document.response,
            Self::Service => &document.service,
            Self::Arrival => &document.arrival,
            Self::ClientQueue => &document.client_queue,
            Self::SendLag => &document.send_lag,
            Self::Tcp => &connect.tcp,
            Self::Tls => &connect.tls,
            Self::Upgrade => &connect.upgrade,
            Self::Connect => &connect.total,
            Self::ChurnTcp => &again?.tcp,
            Self::ChurnTls => &again?.tls,
            Self::ChurnUpgrade => &again?.upgrade,
            Self::ChurnConnect => &again?.total,
            Self::First => &broadcast?.first,
            Self::Median => &broadcast?.median,
            Self::Last => &broadcast?.last,
            Self::Spread => &broadcast?.spread,
        };
        (times.samples > 0).then_some(times)
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "min" => Some(Self::Min),
            "mean" | "avg" => Some(Self::Mean),
            "max" => Some(Self::Max),
            _ => {
                let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
                (0.0..100.0).contains(&percent).then_some(Self::Quantile(percent / 100.0))
            }
        }
    }

    fn read(self, times: &Times) -> Option<f64> {
        match self {
            Self::Min => times.min.map(|ns| ns as f64),
            Self::Mean => times.mean,
            Self::Max => times.max.map(|ns| ns as f64),
            Self::Quantile(q) => quantile_ns(&times.histogram(), q).map(|ns| ns as f64),
        }
    }
}

impl Unit {
    /// A value as a person reads it.
    pub(crate) fn print(self, value: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let whole = value.round().max(0.0) as u64;
        match self {
            Self::Ns => units::latency(whole),
            Self::Bytes => units::bytes(whole),
            Self::PerSecond => format!("{}/s", units::rate(value)),
            Self::Share => units::percent(value),
            Self::Count => units::count(whole),
        }
    }

    /// Reads a value as a person writes it.
    ///
    /// # Errors
    ///
    /// One line that names the forms it takes.
    pub(crate) fn parse(self, text: &str) -> Result<f64, String> {
        let number = |text: &str| {
            text.replace(['_', ','], "").parse().map_err(|_| format!("{text:?} is no number"))
        };
        match self {
            Self::Ns => units::parse_duration(text).map(|time| units::as_ns(time) as f64),
            Self::Bytes => units::parse_size(text).map(|bytes| bytes as f64),
            Self::PerSecond => number(text.trim_end_matches("/s")),
            Self::Share => match text.strip_suffix('%') {
                Some(percent) => number(percent).map(|percent: f64| percent / 100.0),
                None => number(text),
            },
            Self::Count => number(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::histogram;
    use crate::result::document::{Churn, Connect};

    fn document() -> Document {
        let mut times = histogram();
        for us in 1..=1000 {
            times.saturating_record(us * 1000);
        }
        let mut document = Document { replies_per_s: 5.0, ..Document::default() };
        document.response = Times::of(&times);
        document.client_queue = document.response.clone();
        let connect = Connect { opened: 7, upgrade: Times::of(&times), ..Connect::default() };
        document.churn = Some(Churn { closed: 6, connect, ..Churn::default() });
        document.counts.lost = 3;
        document.counts.late = 2;
        document
    }

    #[test]
    fn figures_are_found_by_name() {
        let document = document();
        let read = |name: &str| Metric::parse(name).unwrap().read(&document);
        let table = [
            ("latency.p50", Some(500_000.0)),
            ("response.p95", Some(950_000.0)),
            ("latency.max", Some(1_000_000.0)),
            ("latency.p99.9", None),
            ("service.p50", None),
            ("client_queue.p95", Some(950_000.0)),
            ("churn.upgrade.p95", Some(950_000.0)),
            ("churn.upgrade.p99.9", None),
            ("churn.tls.p50", None),
            ("churn.opened", Some(7.0)),
            ("churn.closed", Some(6.0)),
            ("last.p50", None),
            ("lost", Some(3.0)),
            ("faults", Some(5.0)),
            ("rate", Some(5.0)),
            ("server.rss", None),
        ];
        for (name, expected) in table {
            match (read(name), expected) {
                (Some(value), Some(expected)) => {
                    assert!((value / expected - 1.0).abs() < 2e-3, "{name}: {value}");
                }
                (value, expected) => assert_eq!(value, expected, "{name}"),
            }
        }
        assert!(Metric::parse("latency.p100").is_err() && Metric::parse("latency").is_err());
        assert!(Metric::parse("speed").unwrap_err().contains("server.rss"));
    }

    #[test]
    fn every_number_has_a_name_of_its_own() {
        for number in &NUMBERS {
            assert_eq!(Metric::parse(number.name).unwrap().source, Source::Number(number));
        }
    }

    #[test]
    fn values_are_read_in_their_units() {
        assert_eq!(Unit::Ns.parse("5ms"), Ok(5e6));
        assert_eq!(Unit::Share.parse("50%"), Ok(0.5));
        assert_eq!(Unit::PerSecond.parse("10,000/s"), Ok(10_000.0));
        assert_eq!(Unit::Bytes.parse("40M"), Ok(f64::from(40 << 20)));
        assert!(Unit::Count.parse("many").is_err());
    }
}
