//! A against B: both started anew in every round, in turns, and beside them A against itself, which says how much this
//! machine makes of nothing.
//!
//! ```text
//! round 1: A' B A    round 2: B A A'    round 3: A B A'  ...
//! ```
//!
//! The order of each round is drawn by lot, all six alike. That is what makes the test exact: if A and B are the same,
//! each round could as well have had them the other way round, whatever drifts, comes back in time with the rounds, or
//! favours who runs second. A fixed order (A B A', A' B A) leaves B in the middle, and whatever is different there. Only
//! figures of the same round are compared, as ratios. Decides by `permutation`; measures nothing itself.

use std::fmt::Write as _;
use std::io;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::cli::{Args, Mode};
use crate::compare::permutation::{holm, interval, p_value, p_value_min};
use crate::judge::stats::{Counts, histogram};
use crate::plan::machine::Environment;
use crate::result::document::{Document, Times};
use crate::result::metric::{Better, Metric, Unit};
use crate::result::outcome::Exit;
use crate::result::verdict::Grade;
use crate::run::{Ran, Runner};
use crate::time::schedule::{mix, shuffled};

/// What a difference must be less likely than, if there were none; and the same for A's difference from itself. Half of
/// one in twenty each: so of twenty comparisons of a server with itself, nineteen or more say "no difference".
const ALPHA: f64 = 0.025;

/// What the interval that is printed leaves out, as most print it.
const OUTSIDE: f64 = 0.05;

/// A comparison, as JSON has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Comparison {
    pub(crate) schema: u32,
    pub(crate) tool: String,
    pub(crate) mode: String,
    pub(crate) ended_unix_s: u64,
    pub(crate) environment: Environment,
    pub(crate) rounds: usize,
    pub(crate) conns: u32,
    pub(crate) size_bytes: usize,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) duration_ns: u64,
    pub(crate) a: Arm,
    pub(crate) b: Arm,
    pub(crate) figures: Vec<Figure>,
    /// `difference`, `no difference`, `too few rounds` or `unsteady`: A differs from itself.
    pub(crate) verdict: String,
    pub(crate) interrupted: bool,
    pub(crate) exit_code: u8,
}

/// A server of a comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Arm {
    pub(crate) command: String,
    /// Of all rounds.
    pub(crate) counts: Counts,
    pub(crate) failed: u64,
    /// Of all rounds.
    pub(crate) response: Times,
    /// Rounds whose verdict was INVALID or DEGRADED, and the first reason.
    pub(crate) doubtful_rounds: u32,
    pub(crate) first_doubt: Option<String>,
}

/// A figure of A and B.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// Each round's.
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
    /// A's other run of the round.
    pub(crate) a_again: Vec<f64>,
    pub(crate) difference: Difference,
    /// A against itself.
    pub(crate) floor: Difference,
    /// Whether B differs from A.
    pub(crate) differs: bool,
    /// Whether it is better then.
    pub(crate) is_better: bool,
}

/// How far the second of two differs from the first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Difference {
    /// The second over the first: the geometric mean of the rounds'.
    pub(crate) ratio: f64,
    /// Where that lies with 95 % confidence; absent if the rounds are too few.
    pub(crate) ratio_from: Option<f64>,
    pub(crate) ratio_to: Option<f64>,
    /// How likely one as large would be, if there were none.
    pub(crate) p: f64,
    /// The same, as one of several figures.
    pub(crate) p_adjusted: f64,
}

/// A comparison under way.
#[derive(Debug)]
pub(crate) struct Rounds {
    metrics: Vec<Metric>,
    /// A, B and A again, each with its figures by round.
    seats: [Seat; 3],
}

/// One of the three.
#[derive(Debug)]
struct Seat {
    command: String,
    documents: Vec<Vec<Option<f64>>>,
    counts: Counts,
    failed: u64,
    response: Histogram<u64>,
    doubtful_rounds: u32,
    first_doubt: Option<String>,
}

impl Seat {
    fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            documents: Vec::new(),
            counts: Counts::default(),
            failed: 0,
            response: histogram(),
            doubtful_rounds: 0,
            first_doubt: None,
        }
    }

    fn take_in(&mut self, metrics: &[Metric], document: &Document) {
        self.documents.push(metrics.iter().map(|metric| metric.read(document)).collect());
        self.counts.add(&document.counts);
        self.failed += u64::from(document.connect.failed);
        // All histograms have the same bounds.
        let _ = self.response.add(document.response.histogram());
        if document.verdict.grade != Grade::Valid.name() {
            self.doubtful_rounds += 1;
            if self.first_doubt.is_none() {
                self.first_doubt = document.verdict.reasons.first().cloned();
            }
        }
    }

    fn into_arm(self) -> Arm {
        Arm {
            command: self.command,
            counts: self.counts,
            failed: self.failed,
            response: Times::of(&self.response),
            doubtful_rounds: self.doubtful_rounds,
            first_doubt: self.first_doubt,
        }
    }
}

/// The figures that a mode is about.
fn metrics(mode: Mode) -> Vec<Metric> {
    let names: &[&'static str] = match mode {
        Mode::Echo => &["latency.p50", "latency.p99", "server.cpu_per_message"],
        Mode::Throughput => &["rate", "latency.p99", "server.cpu_per_message"],
        Mode::Broadcast => &["latency.p50", "last.p50", "server.cpu_per_message"],
        Mode::Connect => &["conns_per_s", "connect.p50", "connect.p99"],
        Mode::Idle => &["server.bytes_per_conn", "server.cpu"],
    };
    names.iter().filter_map(|name| Metric::known(name)).collect()
}

/// Compares the two servers that `args.ab` start. `tell` gets each line for a person as it is known.
///
/// # Errors
///
/// One line: a run cannot work, or a server does not start.
pub(crate) fn compare(
    runner: &Runner,
    args: &Args,
    commands: [&str; 2],
    mut tell: impl FnMut(&str) -> io::Result<()>,
) -> Result<(Comparison, Exit), String> {
    let [a, b] = commands;
    let mut rounds = Rounds { metrics: metrics(args.mode), seats: [a, b, a].map(Seat::new) };
    let mut say = |line: &str| tell(line).map_err(|error| error.to_string());
    say(&format!(
        "ab · {} rounds of A, B and A again\n A        {a}\n B        {b}\n",
        args.rounds
    ))?;
    let (mut exit, mut last) = (Exit::Fine, None);
    // Another with each comparison: what they have in common should be the servers.
    let lot = mix(crate::time::clock::unix_s());
    'rounds: for round in 0..args.rounds {
        // A round is in the comparison once it is whole.
        let mut documents: [Option<Document>; 3] = [None, None, None];
        for at in shuffled(3, lot ^ u64::from(round)) {
            let at = at as usize;
            let command = rounds.seats[at].command.clone();
            let Ran { document, exit: ended, .. } = runner.run(args, Some(&command), |_| Ok(()))?;
            if runner.is_stopped() {
                exit = Exit::Interrupted;
                break 'rounds;
            }
            if exit == Exit::Fine {
                exit = ended;
            }
            documents[at] = Some(document);
        }
        for (seat, document) in rounds.seats.iter_mut().zip(documents.iter().flatten()) {
            seat.take_in(&rounds.metrics, document);
        }
        say(&rounds.line(round))?;
        last = documents.into_iter().next().flatten();
    }
    let comparison = rounds.into_comparison(args, last.unwrap_or_default(), exit);
    say(&comparison.report())?;
    Ok((comparison, exit))
}

impl Rounds {
    /// What a round came to.
    fn line(&self, round: u32) -> String {
        let mut line = format!(" round {:<3}", round + 1);
        for (at, metric) in self.metrics.iter().enumerate() {
            let told = self.seats.each_ref().map(|seat| {
                let value = seat.documents.last().and_then(|values| values[at]);
                value.map_or("-".to_owned(), |value| metric.unit().print(value))
            });
            let [a, b, again] = told;
            let _ = write!(line, " {metric} {a} {b} {again} ·");
        }
        line.trim_end_matches(" ·").to_owned() + "\n"
    }

    fn into_comparison(self, args: &Args, last: Document, exit: Exit) -> Comparison {
        let mut figures: Vec<Figure> =
            (0..self.metrics.len()).filter_map(|at| self.figure(at)).collect();
        correct(&mut figures);
        let verdict = verdict(&mut figures, &self.metrics);
        let rounds = self.seats[0].documents.len();
        let [a, b, _] = self.seats.map(Seat::into_arm);
        Comparison {
            schema: last.schema,
            tool: last.tool,
            mode: last.mode,
            ended_unix_s: crate::time::clock::unix_s(),
            environment: last.environment,
            rounds,
            conns: args.conns,
            size_bytes: args.size,
            rate_per_s: last.rate_per_s,
            duration_ns: last.duration_ns,
            a,
            b,
            figures,
            verdict: verdict.to_owned(),
            interrupted: exit == Exit::Interrupted,
            exit_code: exit.code(),
        }
    }

    /// A figure, of the rounds in which all three have it. `None`: there is none.
    fn figure(&self, at: usize) -> Option<Figure> {
        let [a, b, again] = &self.seats;
        let rounds = a.documents.iter().zip(&b.documents).zip(&again.documents);
        let whole: Vec<[f64; 3]> = rounds
            .filter_map(|((a, b), again)| Some([a[at]?, b[at]?, again[at]?]))
            .filter(|values| values.iter().all(|&value| value > 0.0))
            .collect();
        let of = |seat: usize| whole.iter().map(|values| values[seat]).collect::<Vec<f64>>();
        let (a, b, a_again) = (of(0), of(1), of(2));
        // Each is compared with one run of A, not with the mean of both: only then could they have been swapped.
        (!whole.is_empty()).then(|| Figure {
            name: self.metrics[at].to_string(),
            difference: Difference::between(&a, &b),
            floor: Difference::between(&a, &a_again),
            a,
            b,
            a_again,
            differs: false,
            is_better: false,
        })
    }
}

impl Difference {
    fn between(first: &[f64], second: &[f64]) -> Self {
        let logs: Vec<f64> = first.iter().zip(second).map(|(a, b)| (b / a).ln()).collect();
        let bounds = interval(&logs, OUTSIDE);
        let p = p_value(&logs);
        Self {
            ratio: (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp(),
            ratio_from: bounds.map(|(from, _)| from.exp()),
            ratio_to: bounds.map(|(_, to)| to.exp()),
            p,
            p_adjusted: p,
        }
    }
}

/// Makes each p that of one among several.
fn correct(figures: &mut [Figure]) {
    let differences = holm(&figures.iter().map(|f| f.difference.p).collect::<Vec<_>>());
    let floors = holm(&figures.iter().map(|f| f.floor.p).collect::<Vec<_>>());
    for (figure, (difference, floor)) in figures.iter_mut().zip(differences.iter().zip(floors)) {
        figure.difference.p_adjusted = *difference;
        figure.floor.p_adjusted = floor;
    }
}

/// Says of each figure whether it differs, and of all of them what that comes to.
fn verdict(figures: &mut [Figure], metrics: &[Metric]) -> &'static str {
    let count = figures.len() as f64;
    for figure in figures.iter_mut() {
        figure.differs = figure.difference.p_adjusted < ALPHA;
        let metric = metrics.iter().find(|metric| metric.to_string() == figure.name);
        let is_less = figure.difference.ratio < 1.0;
        let lower_is_better = metric.is_some_and(|metric| metric.better() == Better::Lower);
        figure.is_better = figure.differs && is_less == lower_is_better;
    }
    let rounds = figures.iter().map(|figure| figure.a.len()).min().unwrap_or(0);
    if rounds == 0 || p_value_min(rounds) * count >= ALPHA {
        "too few rounds"
    } else if figures.iter().any(|figure| figure.floor.p_adjusted < ALPHA) {
        "unsteady"
    } else if figures.iter().any(|figure| figure.differs) {
        "difference"
    } else {
        "no difference"
    }
}

impl Comparison {
    /// For a person.
    pub(crate) fn report(&self) -> String {
        let mut out = format!(
            "\n {:<24}{:>9}{:>9}   {:<26}{:>7}   {:<24}{:>7}\n",
            "", "A", "B", "B/A", "p", "A/A floor", "p"
        );
        for figure in &self.figures {
            let unit = Metric::parse(&figure.name).map_or(Unit::Count, |metric| metric.unit());
            let median = |values: &[f64]| unit.print(median(values));
            let mark = match (figure.differs, figure.is_better) {
                (false, _) => "",
                (true, true) => " better",
                (true, false) => " worse",
            };
            let _ = writeln!(
                out,
                " {:<24}{:>9}{:>9}   {:<26}{:>7.3}   {:<24}{:>7.3}",
                figure.name,
                median(&figure.a),
                median(&figure.b),
                figure.difference.percent() + mark,
                figure.difference.p_adjusted,
                figure.floor.percent(),
                figure.floor.p_adjusted,
            );
        }
        for (name, arm) in [("A", &self.a), ("B", &self.b)] {
            let faults = arm.counts.faults().iter().map(|&(_, count)| count).sum::<u64>();
            if faults + arm.failed > 0 {
                let _ = writeln!(
                    out,
                    " {name}: {faults} replies or connections were wrong, {} could not be opened",
                    arm.failed
                );
            }
            if let Some(doubt) = &arm.first_doubt {
                let of = self.rounds;
                let _ =
                    writeln!(out, " {name}: {}/{of} rounds in doubt: {doubt}", arm.doubtful_rounds);
            }
        }
        let _ = writeln!(out, " {}", self.conclusion());
        out
    }

    /// The verdict in a sentence.
    pub(crate) fn conclusion(&self) -> String {
        match self.verdict.as_str() {
            "difference" => "difference: what is marked is no accident (p < 0.025 over all figures)",
            "no difference" => "no difference that these rounds could show",
            "unsteady" => {
                "unsteady: A differs from itself, so that nothing can be said of B; is this machine idle?"
            }
            _ => "too few rounds to tell: no p could be small enough; use --rounds 10",
        }
        .to_owned()
    }
}

impl Difference {
    /// The ratio as a change, with its bounds.
    pub(crate) fn percent(&self) -> String {
        let change = |ratio: f64| format!("{:+.1}", (ratio - 1.0) * 100.0);
        match (self.ratio_from, self.ratio_to) {
            (Some(from), Some(to)) => {
                format!("{}% [{}, {}]", change(self.ratio), change(from), change(to))
            }
            _ => format!("{}%", change(self.ratio)),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::schedule::Random;

    /// A comparison of servers whose medians are `a` and `b`, in rounds that vary by some percent; `drift` is what A is
    /// slower by when it runs again.
    fn compared(
        a: f64,
        b: f64,
        drift: f64,
        rounds: usize,
        seed: u64,
    ) -> (Vec<Figure>, &'static str) {
        let mut random = Random::new(seed);
        let mut noisy = |value: f64| Some(value * (1.0 + (random.next() % 1000) as f64 / 1e4));
        let mut of = |value: f64| (0..rounds).map(|_| vec![noisy(value)]).collect::<Vec<_>>();
        let (a, b, again) = (of(a), of(b), of(a * drift));
        let seat = |documents| Seat { documents, ..Seat::new("x") };
        let metrics = vec![Metric::known("latency.p50").unwrap()];
        let rounds = Rounds { metrics, seats: [seat(a), seat(b), seat(again)] };
        let mut figures = vec![rounds.figure(0).unwrap()];
        correct(&mut figures);
        let verdict = verdict(&mut figures, &rounds.metrics);
        (figures, verdict)
    }

    #[test]
    fn a_slower_server_is_worse_and_a_faster_one_better() {
        let (figures, verdict) = compared(1e6, 1.3e6, 1.0, 10, 1);
        assert_eq!(
            (verdict, figures[0].differs, figures[0].is_better),
            ("difference", true, false)
        );
        let ratio = &figures[0].difference;
        assert!(ratio.ratio_from.unwrap() > 1.2 && ratio.ratio_to.unwrap() < 1.4, "{ratio:?}");
        let (figures, verdict) = compared(1e6, 0.8e6, 1.0, 10, 1);
        assert_eq!((verdict, figures[0].is_better), ("difference", true));
    }

    #[test]
    fn the_same_server_differs_in_one_of_twenty_comparisons_at_most() {
        let differ = (0..100).filter(|&seed| compared(1e6, 1e6, 1.0, 10, seed).1 == "difference");
        // Five are expected at most; four standard deviations above are 14. `permutation` asks thousands of times.
        assert!(differ.count() < 14);
    }

    #[test]
    fn nothing_is_said_where_nothing_can_be() {
        assert_eq!(compared(1e6, 2e6, 1.0, 5, 1).1, "too few rounds");
        assert_eq!(compared(1e6, 2e6, 1.3, 10, 1).1, "unsteady");
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!([median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])], [0.0, 2.0, 2.5]);
    }
}
