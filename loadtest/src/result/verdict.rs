//! Whether the figures can be trusted: VALID, DEGRADED or INVALID, each with its reasons.
//!
//! The question is whether the *client* and the *machine* let the server's behaviour through, not whether the server
//! is good: replies that are wrong or late are counted elsewhere.
//!
//! | what | DEGRADED from | INVALID from | why |
//! |---|---|---|---|
//! | client CPU, work only, of one core | 75 % | 90 % | a busy client delays its own readings |
//! | the same, closed loop | 90 % | - | the rate is then a lower bound of the server's |
//! | send lag p99, open loop | half of response p99 | - | that percentile is the client's own |
//! | send lag p50, open loop | - | half of response p50 | all of them are |
//! | client queue, open loop | half of service p50 or p99 | - | the rest is the server's, and stands in `arrival` |
//! | rate, open loop | off by 0.1 % | off by 1 % | it was another load than was asked for |
//! | run-queue wait of the client | 5 % | 20 % | something else had its core |
//! | the same of the server's main thread | 5 % | - | part of the response is this machine's |
//! | steal | 2 % | 10 % | the host gave the cores to other guests |
//! | listen-queue overflows | 1 | - | connects were slow for want of a longer queue; SYNs were sent again |
//! | samples | under 1,000 | under 20 | no p99; no percentile at all |
//! | messages without a reply | 1 | - | their ages are lower bounds, so are the percentiles above |
//! | connections that failed | 1 | - | the load was spread over fewer |
//! | interrupted | yes | - | the window was shorter than was asked for |
//!
//! A send lag or a client queue below 50 µs is never held against a run: that is the scheduler's noise, and is printed
//! beside the result. What the client's queue makes of a percentile is what that percentile of `service` has more than
//! that of `arrival`, which ends in the kernel: queue and service may be long for different messages.

use crate::time::clock::SECOND_NS;
use crate::units;

/// How far the figures can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// They are the server's.
    Valid,
    /// They are the server's but for what the reasons name.
    Degraded,
    /// They are not the server's.
    Invalid,
}

impl Grade {
    /// As it is printed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Degraded => "DEGRADED",
            Self::Invalid => "INVALID",
        }
    }
}

/// A grade and why it is not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The worst of the reasons' grades.
    pub(crate) grade: Grade,
    /// One line each; empty if the grade is [`Grade::Valid`].
    pub(crate) reasons: Vec<String>,
}

/// What the verdict is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    /// What only an open loop has.
    pub(crate) open_loop: Option<OpenLoop>,
    /// CPU time of the measuring thread while it had work, as a share of one core.
    pub(crate) client_busy: f64,
    /// How long the measuring thread waited for a core, as a share of the time.
    pub(crate) run_queue: f64,
    /// How long the server's main thread waited for a core, where it is known.
    pub(crate) server_run_queue: f64,
    /// CPU time that the host gave to other guests, as a share of all.
    pub(crate) steal: f64,
    /// Connections that found a listen queue full.
    pub(crate) listen_overflows: u64,
    /// Samples of the time that was measured, where one was.
    pub(crate) samples: Option<u64>,
    /// Those of them that are ages of messages without a reply.
    pub(crate) censored: u64,
    /// Connections that could not be opened.
    pub(crate) failed: u64,
    /// True: a person ended the run before its time.
    pub(crate) interrupted: bool,
}

/// How well the open loop's schedule was kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenLoop {
    /// Messages a second that left, over those that were asked for.
    pub(crate) rate_reached: f64,
    /// Send lag, median and p99, where there are samples enough.
    pub(crate) send_lag_ns: [Option<u64>; 2],
    /// Response, median and p99, where there are samples enough.
    pub(crate) response_ns: [Option<u64>; 2],
    /// Service, median and p99, where there are samples enough.
    pub(crate) service_ns: [Option<u64>; 2],
    /// The same until the reply was in this machine's kernel, where it is known of each.
    pub(crate) arrival_ns: [Option<u64>; 2],
}

impl Verdict {
    /// Weighs the evidence.
    pub(crate) fn new(evidence: &Evidence) -> Self {
        let mut reasons = Vec::new();
        client(evidence, &mut reasons);
        machine(evidence, &mut reasons);
        if let Some(open_loop) = &evidence.open_loop {
            schedule(open_loop, &mut reasons);
            queue(open_loop, &mut reasons);
        }
        extent(evidence, &mut reasons);
        let grade = reasons.iter().map(|&(grade, _)| grade).max().unwrap_or(Grade::Valid);
        // The gravest first.
        reasons.sort_by_key(|&(grade, _)| std::cmp::Reverse(grade));
        Self { grade, reasons: reasons.into_iter().map(|(_, reason)| reason).collect() }
    }
}

type Reasons = Vec<(Grade, String)>;

/// The grade of `value` between two thresholds.
fn above(value: f64, degraded: f64, invalid: f64) -> Option<Grade> {
    if value >= invalid {
        Some(Grade::Invalid)
    } else {
        (value >= degraded).then_some(Grade::Degraded)
    }
}

fn client(evidence: &Evidence, reasons: &mut Reasons) {
    let busy = units::percent(evidence.client_busy);
    if evidence.open_loop.is_some() {
        if let Some(grade) = above(evidence.client_busy, 0.75, 0.90) {
            let reason = format!("this client used {busy} of its core: lower the rate");
            reasons.push((grade, reason));
        }
    } else if evidence.client_busy >= 0.90 {
        let reason =
            format!("this client used {busy} of its core: the server may be faster than this");
        reasons.push((Grade::Degraded, reason));
    }
}

fn machine(evidence: &Evidence, reasons: &mut Reasons) {
    if let Some(grade) = above(evidence.run_queue, 0.05, 0.20) {
        let share = units::percent(evidence.run_queue);
        let reason =
            format!("this client waited {share} of the time for a core: other work runs here");
        reasons.push((grade, reason));
    }
    if evidence.server_run_queue >= 0.05 {
        let share = units::percent(evidence.server_run_queue);
        let reason =
            format!("the server waited {share} of the time for a core: other work runs here");
        reasons.push((Grade::Degraded, reason));
    }
    if let Some(grade) = above(evidence.steal, 0.02, 0.10) {
        let share = units::percent(evidence.steal);
        reasons.push((grade, format!("the host took {share} of the CPU time for other guests")));
    }
    if evidence.listen_overflows > 0 {
        let reason = format!(
            "{} connections found a listen queue full: raise the server's backlog (and net.core.somaxconn)",
            units::count(evidence.listen_overflows)
        );
        reasons.push((Grade::Degraded, reason));
    }
}

fn schedule(open_loop: &OpenLoop, reasons: &mut Reasons) {
    let off = (open_loop.rate_reached - 1.0).abs();
    if let Some(grade) = above(off, 0.001, 0.01) {
        let reason =
            format!("the rate was {:.2} % of what was asked for", open_loop.rate_reached * 100.0);
        reasons.push((grade, reason));
    }
    let names = [("p50", Grade::Invalid), ("p99", Grade::Degraded)];
    let times = open_loop.send_lag_ns.into_iter().zip(open_loop.response_ns);
    for ((name, grade), (lag_ns, response_ns)) in names.into_iter().zip(times) {
        let (Some(lag_ns), Some(response_ns)) = (lag_ns, response_ns) else { continue };
        if lag_ns >= LAG_NOISE_NS && lag_ns * 2 >= response_ns {
            let (lag, response) = (units::latency(lag_ns), units::latency(response_ns));
            let reason =
                format!("send lag {name} of {lag} is half of the response or more ({response})");
            reasons.push((grade, reason));
        }
    }
}

/// What of the service times is time in which the reply was here, and this client did not read it.
fn queue(open_loop: &OpenLoop, reasons: &mut Reasons) {
    let times = open_loop.service_ns.into_iter().zip(open_loop.arrival_ns);
    for (name, (service_ns, arrival_ns)) in ["p50", "p99"].into_iter().zip(times) {
        let (Some(service_ns), Some(arrival_ns)) = (service_ns, arrival_ns) else { continue };
        let queued_ns = service_ns.saturating_sub(arrival_ns);
        if queued_ns >= LAG_NOISE_NS && queued_ns * 2 >= service_ns {
            let (service, arrival) = (units::latency(service_ns), units::latency(arrival_ns));
            let reason = format!(
                "service {name} is {service}, and {arrival} until replies are here: the rest is this client's own queue"
            );
            reasons.push((Grade::Degraded, reason));
        }
    }
}

/// Whether the run was what was asked for, and long enough.
fn extent(evidence: &Evidence, reasons: &mut Reasons) {
    let samples = evidence.samples.map_or_else(String::new, units::count);
    match evidence.samples {
        Some(0..20) => {
            reasons.push((Grade::Invalid, format!("{samples} samples are too few for a median")));
        }
        Some(20..1000) => {
            reasons.push((Grade::Degraded, format!("{samples} samples are too few for a p99")));
        }
        _ => {}
    }
    if evidence.censored > 0 {
        let count = units::count(evidence.censored);
        let reason = format!(
            "{count} of the messages due never came: the upper percentiles are lower bounds"
        );
        reasons.push((Grade::Degraded, reason));
    }
    if evidence.failed > 0 {
        let count = units::count(evidence.failed);
        reasons.push((Grade::Degraded, format!("{count} connections could not be opened")));
    }
    if evidence.interrupted {
        reasons.push((Grade::Degraded, "interrupted before its time".to_owned()));
    }
}

/// What a scheduler costs now and then.
const LAG_NOISE_NS: u64 = 50 * (SECOND_NS / 1_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: OpenLoop = OpenLoop {
        rate_reached: 1.0,
        send_lag_ns: [Some(100), Some(12_000)],
        response_ns: [Some(29_000), Some(1_100_000)],
        service_ns: [Some(29_000), Some(1_100_000)],
        arrival_ns: [Some(25_000), Some(1_000_000)],
    };

    const GOOD: Evidence = Evidence {
        open_loop: Some(OPEN),
        client_busy: 0.31,
        run_queue: 0.004,
        server_run_queue: 0.01,
        steal: 0.0,
        listen_overflows: 0,
        samples: Some(100_000),
        censored: 0,
        failed: 0,
        interrupted: false,
    };

    fn open(open_loop: OpenLoop) -> Evidence {
        Evidence { open_loop: Some(open_loop), ..GOOD }
    }

    #[test]
    fn every_threshold_holds_at_its_value_and_not_before() {
        use Grade::{Degraded, Invalid, Valid};
        let busy = |client_busy| Evidence { client_busy, ..GOOD };
        let closed = |client_busy| Evidence { client_busy, open_loop: None, ..GOOD };
        let queue = |run_queue| Evidence { run_queue, ..GOOD };
        let steal = |steal| Evidence { steal, ..GOOD };
        let rate = |rate_reached| open(OpenLoop { rate_reached, ..OPEN });
        let lag = |p50, p99| open(OpenLoop { send_lag_ns: [Some(p50), Some(p99)], ..OPEN });
        let arrival = |p50, p99| {
            let (service_ns, arrival_ns) = ([Some(100_000), Some(1_100_000)], [Some(p50), p99]);
            open(OpenLoop { service_ns, arrival_ns, ..OPEN })
        };
        let samples = |samples| Evidence { samples: Some(samples), ..GOOD };
        let table = [
            (GOOD, Valid),
            (busy(0.74), Valid),
            (busy(0.75), Degraded),
            (busy(0.90), Invalid),
            (closed(0.89), Valid),
            (closed(1.0), Degraded),
            (queue(0.049), Valid),
            (queue(0.05), Degraded),
            (queue(0.20), Invalid),
            (steal(0.019), Valid),
            (steal(0.02), Degraded),
            (steal(0.10), Invalid),
            (rate(0.9991), Valid),
            (rate(0.9989), Degraded),
            (rate(1.0011), Degraded),
            (rate(0.989), Invalid),
            (lag(100, 549_999), Valid),
            (lag(100, 550_000), Degraded),
            (lag(49_999, 49_999), Valid),
            (lag(50_000, 50_000), Invalid),
            (arrival(50_001, Some(550_001)), Valid),
            (arrival(50_000, Some(550_001)), Degraded),
            (arrival(50_001, Some(550_000)), Degraded),
            (arrival(99_999, None), Valid),
            (open(OpenLoop { arrival_ns: [Some(1); 2], ..OPEN }), Degraded),
            (open(OpenLoop { arrival_ns: [Some(1), None], ..OPEN }), Valid),
            (samples(1000), Valid),
            (samples(999), Degraded),
            (samples(20), Degraded),
            (samples(19), Invalid),
            (Evidence { listen_overflows: 1, ..GOOD }, Degraded),
            (Evidence { server_run_queue: 0.049, ..GOOD }, Valid),
            (Evidence { server_run_queue: 0.05, ..GOOD }, Degraded),
            (Evidence { censored: 1, ..GOOD }, Degraded),
            (Evidence { failed: 1, ..GOOD }, Degraded),
            (Evidence { interrupted: true, ..GOOD }, Degraded),
        ];
        for (evidence, expected) in table {
            let verdict = Verdict::new(&evidence);
            assert_eq!(verdict.grade, expected, "{evidence:?}: {:?}", verdict.reasons);
            assert_eq!(verdict.reasons.is_empty(), expected == Valid);
        }
    }

    #[test]
    fn the_gravest_reason_comes_first() {
        let evidence = Evidence { steal: 0.03, samples: Some(3), failed: 2, ..GOOD };
        let verdict = Verdict::new(&evidence);
        assert_eq!(verdict.reasons.len(), 3);
        assert!(verdict.reasons[0].contains("median"), "{:?}", verdict.reasons);
    }
}
