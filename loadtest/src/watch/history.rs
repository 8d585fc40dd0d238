//! What a run looked like while it ran: one moment after the other, each with what happened since the one before.
//!
//! Kept on the thread that does not measure, from the numbers that the measuring one tells and the kernel's. A long run
//! is kept coarser, not longer: neighbours are joined once there are too many. No result is computed from it but what
//! a connection costs the server; a plot is drawn.

use serde::{Deserialize, Serialize};

use crate::time::live::{BUCKETS, Live, Phase, floor_ns};
use crate::watch::sample::Sample;

/// What happened since the moment before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Moment {
    /// Its end, from the first moment on.
    pub(crate) at_ns: u64,
    /// How long it was.
    pub(crate) span_ns: u64,
    /// The phase at its end.
    pub(crate) phase: String,
    /// Connections that had been opened by its end.
    pub(crate) opened: u64,
    /// Messages that left.
    pub(crate) sent: u64,
    /// Messages that came.
    pub(crate) received: u64,
    /// CPU time of the server.
    pub(crate) server_cpu_ns: u64,
    /// Memory of the server at its end.
    pub(crate) rss_bytes: u64,
    /// Response times: the lower bound of an eighth of an octave, and how many fell into it.
    pub(crate) responses: Vec<(u64, u64)>,
}

/// The moments of a run.
#[derive(Debug)]
pub(crate) struct History {
    moments: Vec<Moment>,
    last: Option<Seen>,
    /// When the first moment began.
    started_ns: u64,
    /// Periods that the last moment lacks until it is full.
    room: u32,
    /// Periods in a moment.
    periods: u32,
}

/// The counters at the last moment's end.
#[derive(Debug)]
struct Seen {
    sample: Sample,
    sent: u64,
    received: u64,
    responses: [u64; BUCKETS],
}

/// More than this and neighbours are joined.
const MOMENTS_MAX: usize = 480;

impl History {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self { moments: Vec::new(), last: None, started_ns: 0, room: 0, periods: 1 }
    }

    /// Adds what happened up to `sample`.
    pub(crate) fn push(&mut self, phase: Phase, sample: Sample, live: &Live) {
        let (sent, received) = (live.sent.read(), live.received.read());
        let seen = Seen { sample, sent, received, responses: live.responses() };
        let Some(last) = self.last.replace(seen) else {
            self.started_ns = sample.at_ns;
            return;
        };
        let responses = (0..BUCKETS)
            .zip(live.responses())
            .map(|(at, count)| (floor_ns(at), count - last.responses[at]))
            .filter(|&(_, count)| count > 0);
        let moment = Moment {
            at_ns: sample.at_ns - self.started_ns,
            span_ns: sample.at_ns - last.sample.at_ns,
            phase: phase.name().to_owned(),
            opened: live.opened.read(),
            sent: sent - last.sent,
            received: received - last.received,
            server_cpu_ns: sample.server_cpu_ns.saturating_sub(last.sample.server_cpu_ns),
            rss_bytes: sample.rss_bytes,
            responses: responses.collect(),
        };
        self.add(moment);
    }

    fn add(&mut self, moment: Moment) {
        match self.moments.last_mut() {
            Some(last) if self.room > 0 && last.phase == moment.phase => {
                last.join(moment);
                self.room -= 1;
            }
            _ => {
                self.moments.push(moment);
                self.room = self.periods - 1;
            }
        }
        if self.moments.len() > MOMENTS_MAX {
            self.periods *= 2;
            let mut coarse: Vec<Moment> = Vec::with_capacity(MOMENTS_MAX);
            let mut is_half = false;
            for moment in self.moments.drain(..) {
                match coarse.last_mut() {
                    Some(last) if is_half && last.phase == moment.phase => {
                        last.join(moment);
                        is_half = false;
                    }
                    _ => {
                        coarse.push(moment);
                        is_half = true;
                    }
                }
            }
            self.moments = coarse;
        }
    }

    /// The moments.
    pub(crate) fn into_moments(self) -> Vec<Moment> {
        self.moments
    }
}

impl Moment {
    /// Takes in the moment that follows.
    fn join(&mut self, next: Self) {
        self.at_ns = next.at_ns;
        self.span_ns += next.span_ns;
        self.opened = next.opened;
        self.sent += next.sent;
        self.received += next.received;
        self.server_cpu_ns += next.server_cpu_ns;
        self.rss_bytes = next.rss_bytes;
        self.add_responses(next.responses);
    }

    /// Takes in response times of another stretch, or of another worker.
    pub(crate) fn add_responses(&mut self, responses: Vec<(u64, u64)>) {
        for (ns, count) in responses {
            match self.responses.binary_search_by_key(&ns, |&(known, _)| known) {
                Ok(at) => self.responses[at].1 += count,
                Err(at) => self.responses.insert(at, (ns, count)),
            }
        }
    }
}

/// A straight line through what the server's memory was while connections were opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fit {
    /// Its slope.
    pub(crate) bytes_per_conn: f64,
    /// The share of the memory's variance that it explains.
    pub(crate) r_squared: f64,
    /// Samples that it goes through.
    pub(crate) samples: usize,
}

impl Fit {
    /// The line through the moments of the ramp. `None`: they are too few, or the memory is not known.
    pub(crate) fn of_ramp(moments: &[Moment]) -> Option<Self> {
        let ramp = moments.iter().filter(|moment| moment.phase == Phase::Connect.name());
        let points: Vec<(f64, f64)> = ramp
            .filter(|moment| moment.rss_bytes > 0 && moment.opened > 0)
            .map(|moment| (moment.opened as f64, moment.rss_bytes as f64))
            .collect();
        Self::through(&points)
    }

    /// Least squares.
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        const SAMPLES_MIN: usize = 5;
        if points.len() < SAMPLES_MIN {
            return None;
        }
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            points.iter().map(|&(x, y)| of(x - x_mean, y - y_mean)).sum::<f64>()
        };
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        // A memory that does not move is no line that fits well: it says nothing.
        let r_squared = if yy > 0.0 { xy * xy / (xx * yy) } else { 0.0 };
        (xx > 0.0).then(|| Self { bytes_per_conn: xy / xx, r_squared, samples: points.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_kept_coarser_and_loses_no_count() {
        let (mut history, live) = (History::new(), Live::new());
        for at_ns in 0..10_000 {
            if at_ns > 0 {
                live.sent.bump();
                live.response(1000);
            }
            let sample = Sample { at_ns, server_cpu_ns: at_ns * 2, ..Sample::default() };
            history.push(Phase::Measure, sample, &live);
        }
        let moments = history.into_moments();
        assert!((MOMENTS_MAX / 4..=MOMENTS_MAX).contains(&moments.len()), "{}", moments.len());
        let sum = |of: fn(&Moment) -> u64| moments.iter().map(of).sum::<u64>();
        assert_eq!((sum(|m| m.sent), sum(|m| m.span_ns)), (9999, 9999));
        assert_eq!((sum(|m| m.server_cpu_ns), sum(|m| m.responses[0].1)), (19_998, 9999));
        assert!(moments.iter().all(|m| m.responses.len() == 1));
    }

    #[test]
    fn a_line_finds_the_slope_and_says_how_well_it_fits() {
        let exact: Vec<_> = (0..20).map(|x| (f64::from(x), 500.0 + 3.0 * f64::from(x))).collect();
        let fit = Fit::through(&exact).unwrap();
        assert!((fit.bytes_per_conn - 3.0).abs() < 1e-9 && (fit.r_squared - 1.0).abs() < 1e-9);
        let bent: Vec<_> = (0..20).map(|x| (f64::from(x), f64::from(x * x))).collect();
        assert!(Fit::through(&bent).unwrap().r_squared < 0.99);
        assert_eq!(Fit::through(&exact[..4]), None);
        assert_eq!(Fit::through(&[(5.0, 1.0); 9]), None);
    }
}
