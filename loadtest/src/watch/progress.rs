//! The second thread: samples /proc, and draws progress where someone is there to see it.
//!
//! Touches nothing of the measuring thread's but [`Live`]. Bars go to stderr, and only to a terminal.

use std::io::IsTerminal;
use std::thread::park_timeout;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::Plan;
use crate::time::clock::{SECOND_NS, now_ns};
use crate::time::live::{BUCKETS, Live, Phase, quantile_ns};
use crate::units;
use crate::watch::history::{History, Moment};
use crate::watch::sample::{Series, Sources};

/// Between samples. Each costs a CPU about 0.2 ms, which the run must not feel.
const PERIOD: Duration = Duration::from_millis(250);

/// The same while connections are opened, which may take no longer than that, and is not measured by this.
const RAMP_PERIOD: Duration = Duration::from_millis(50);

/// Samples and draws until the run is done. Whoever changes the phase unparks this thread.
pub(crate) fn watch(
    plan: &Plan,
    live: &Live,
    sources: &Sources,
    quiet: bool,
) -> (Series, Vec<Moment>) {
    let (mut series, mut history) = (Series::default(), History::new());
    let mut bars = (!quiet && std::io::stderr().is_terminal()).then(|| Bars::new(plan));
    loop {
        let phase = live.phase();
        let sample = sources.sample(live.spun_ns.read());
        series.push(phase, sample);
        history.push(phase, sample, live);
        if let Some(bars) = &mut bars {
            bars.draw(phase, live);
        }
        if phase == Phase::Done {
            return (series, history.into_moments());
        }
        park_timeout(if phase == Phase::Connect { RAMP_PERIOD } else { PERIOD });
    }
}

/// What is drawn: one bar at a time, the connections' and then the run's.
#[derive(Debug)]
struct Bars {
    bar: ProgressBar,
    drawn: Option<Phase>,
    started_ns: u64,
    run_ns: u64,
    last: Seen,
    /// The p99 of the last periods.
    history: Vec<u64>,
}

/// What was there to see at the last draw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ns: u64,
    sent: u64,
    received: u64,
    responses: [u64; BUCKETS],
}

/// Periods in the small chart.
const HISTORY_LEN: usize = 12;

impl Bars {
    fn new(plan: &Plan) -> Self {
        let now = now_ns();
        Self {
            bar: bar(
                u64::from(plan.conns),
                " connect {bar:20.cyan/dim} {human_pos}/{human_len} {msg}",
            ),
            drawn: Some(Phase::Connect),
            started_ns: now,
            run_ns: plan.warmup_ns + plan.duration_ns,
            last: Seen { at_ns: now, sent: 0, received: 0, responses: [0; BUCKETS] },
            history: Vec::new(),
        }
    }

    fn draw(&mut self, phase: Phase, live: &Live) {
        let now = now_ns();
        match phase {
            Phase::Connect | Phase::Hold => {
                self.bar.set_position(live.opened.read());
                let elapsed = units::span(now - self.started_ns);
                self.bar.set_message(format!("{elapsed}  failed {}", live.failed.read()));
            }
            Phase::Warmup | Phase::Measure | Phase::Drain => {
                if matches!(self.drawn, Some(Phase::Connect | Phase::Hold)) {
                    self.bar.finish_and_clear();
                    let millis = self.run_ns / (SECOND_NS / 1000);
                    self.bar = bar(millis, " run     {bar:20.cyan/dim} {msg}");
                    self.started_ns = now;
                }
                self.bar.set_position((now - self.started_ns) / (SECOND_NS / 1000));
                let message = self.run_message(phase, live, now);
                self.bar.set_message(message);
            }
            Phase::Done => self.bar.finish_and_clear(),
        }
        self.drawn = Some(phase);
    }

    fn run_message(&mut self, phase: Phase, live: &Live, now: u64) -> String {
        let responses = live.responses();
        let (sent, received) = (live.sent.read(), live.received.read());
        let fresh = std::array::from_fn(|at| responses[at] - self.last.responses[at]);
        let period_s = units::seconds((now - self.last.at_ns).max(1));
        let rate = |count: u64| units::rate(count as f64 / period_s);
        let quantile = |q| quantile_ns(&fresh, q).map_or("-".to_owned(), units::latency);
        if let Some(p99_ns) = quantile_ns(&fresh, 0.99) {
            self.history.push(p99_ns);
            let surplus = self.history.len().saturating_sub(HISTORY_LEN);
            self.history.drain(..surplus);
        }
        let what = match phase {
            Phase::Warmup => "warm-up".to_owned(),
            Phase::Drain => "drain".to_owned(),
            Phase::Connect | Phase::Hold | Phase::Measure | Phase::Done => {
                units::span(now - self.started_ns)
            }
        };
        let message = format!(
            "{what}  sent {}/s recv {}/s  p50 {} p99 {} {}  wrong {}",
            rate(sent - self.last.sent),
            rate(received - self.last.received),
            quantile(0.5),
            quantile(0.99),
            sparkline(&self.history),
            live.wrong.read(),
        );
        self.last = Seen { at_ns: now, sent, received, responses };
        message
    }
}

fn bar(len: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr());
    // The templates are constants; a bad one would fall back to the plain bar.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    bar.with_style(style)
}

/// Values as a row of blocks, on a scale of octaves.
fn sparkline(values: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let octave = |ns: u64| ns.max(1).ilog2();
    let Some(lowest) = values.iter().map(|&ns| octave(ns)).min() else { return String::new() };
    let block = |&ns: &u64| {
        let height = usize::try_from(octave(ns) - lowest).unwrap_or(usize::MAX);
        BLOCKS[height.min(BLOCKS.len() - 1)]
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_rises_with_the_octaves() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[1000, 1000, 2100, 64_100, u64::MAX]), "▁▁▃▇█");
    }
}
