//! What a run came to: what was measured, whether it can be trusted, and the exit code that follows.
//!
//! The reports read it; it prints nothing.

use crate::engine::Finished;
use crate::judge::stats::quantile_ns;
use crate::plan::{LoadPlan, Plan};
use crate::result::verdict::{Evidence, Grade, OpenLoop, Verdict};
use crate::units::seconds;
use crate::watch::history::{Fit, Moment};
use crate::watch::sample::Usage;

/// A run that is over, and what it is worth.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// What was asked for.
    pub(crate) plan: &'a Plan,
    /// What was measured.
    pub(crate) finished: Finished,
    /// What the kernel said meanwhile.
    pub(crate) usage: Usage,
    /// What it looked like while it ran.
    pub(crate) timeline: Vec<Moment>,
    /// Whether it can be trusted.
    pub(crate) verdict: Verdict,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every connection was opened, every message rightly answered or delivered.
    Fine,
    /// The flags make no sense, or the plan cannot work here.
    Usage,
    /// A connection could not be opened.
    NotConnected,
    /// A reply or a delivery was wrong, late or missing, or a connection ended before its time.
    WrongReplies,
    /// The figures are worth nothing, and `--strict` was given.
    Untrusted,
    /// A figure is worse than the baseline's, and `--fail-on-regression` was given.
    Regression,
    /// A figure misses its threshold.
    ThresholdMissed,
    /// A person ended the run.
    Interrupted,
}

impl Exit {
    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Usage => 2,
            Self::NotConnected => 3,
            Self::WrongReplies => 4,
            Self::Untrusted => 5,
            Self::Regression => 6,
            Self::ThresholdMissed => 99,
            Self::Interrupted => 130,
        }
    }
}

impl<'a> Outcome<'a> {
    /// Weighs a run.
    pub(crate) fn new(plan: &'a Plan, finished: Finished, watched: (Usage, Vec<Moment>)) -> Self {
        let (usage, timeline) = watched;
        let latencies = &finished.book.latencies;
        let pair = |times| [0.5, 0.99].map(|q| quantile_ns(times, q));
        // A handful of Pings at the end of an idle run is no load whose rate could be missed.
        let sending = finished.sending.filter(|_| !matches!(plan.load, LoadPlan::Idle));
        let open_loop = sending.map(|sending| OpenLoop {
            rate_reached: sending.rate_reached,
            send_lag_ns: pair(&latencies.send_lag),
            response_ns: pair(&latencies.response),
            service_ns: pair(&latencies.service),
            arrival_ns: latencies.arrivals().map_or([None; 2], pair),
        });
        let verdict = Verdict::new(&Evidence {
            open_loop,
            client_busy: usage.client_busy,
            run_queue: usage.run_queue,
            server_run_queue: usage.server.as_ref().map_or(0.0, |server| server.run_queue),
            steal: usage.steal,
            listen_overflows: usage.listen_overflows,
            samples: match plan.load {
                LoadPlan::Connect => Some(finished.connects.total.len()),
                LoadPlan::Idle => None,
                _ => Some(latencies.response.len()),
            },
            censored: latencies.censored,
            failed: failed(&finished),
            interrupted: finished.interrupted,
        });
        Self { plan, finished, usage, timeline, verdict }
    }

    /// The exit code's meaning; the first that applies, from what a person did down to what the machine did.
    pub(crate) fn exit(&self, strict: bool) -> Exit {
        if self.finished.interrupted {
            Exit::Interrupted
        } else if self.failed() > 0 {
            Exit::NotConnected
        } else if !self.finished.book.counts.is_faultless() {
            Exit::WrongReplies
        } else if strict && self.verdict.grade == Grade::Invalid {
            Exit::Untrusted
        } else {
            Exit::Fine
        }
    }

    /// Connections that could not be opened, nor opened again.
    fn failed(&self) -> u64 {
        failed(&self.finished)
    }

    /// What a connection cost the server in memory, by the ramp.
    pub(crate) fn ramp(&self) -> Option<Fit> {
        self.usage.server.as_ref().and_then(|_| Fit::of_ramp(&self.timeline))
    }

    /// Server CPU time for each message that came, ns; `None`: the server is not known, or none came.
    pub(crate) fn server_cpu_ns_per_message(&self) -> Option<f64> {
        if matches!(self.plan.load, LoadPlan::Connect | LoadPlan::Idle) {
            return None;
        }
        let (server, book) = (self.usage.server.as_ref()?, &self.finished.book);
        let window_ns = book.window_ns.1 - book.window_ns.0;
        let came = book.received_in_window;
        (came > 0).then(|| server.cpu * window_ns as f64 / came as f64)
    }

    /// Messages a second within the measured window.
    pub(crate) fn replies_per_second(&self) -> f64 {
        let (from_ns, to_ns) = self.finished.book.window_ns;
        self.finished.book.received_in_window as f64 / seconds((to_ns - from_ns).max(1))
    }
}

fn failed(finished: &Finished) -> u64 {
    let again = finished.churned.as_ref().map_or(0, |churned| churned.connects.failed());
    u64::from(finished.connects.failed()) + u64::from(again)
}
