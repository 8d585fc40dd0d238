//! What a run leaves behind: counts of what happened to every message, histograms of how long it took.
//!
//! Belongs to the measuring thread alone; nothing here is shared or locked.

use std::fmt::Display;
use std::sync::Arc;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::time::clock::{Reading, SECOND_NS};
use crate::time::live::Live;

/// What every mode writes down.
#[derive(Debug)]
pub(crate) struct Book {
    /// What became of the messages.
    pub(crate) counts: Counts,
    /// How long it took.
    pub(crate) latencies: Latencies,
    /// The first wrong message, for a person who debugs.
    pub(crate) first_fault: Option<String>,
    /// The first connection whose server broke a rule, and how.
    pub(crate) first_error: Option<(u32, &'static str)>,
    /// Messages under way to connections that have not ended.
    pub(crate) awaited: u64,
    /// Messages that came within `window_ns`.
    pub(crate) received_in_window: u64,
    /// The measured window, from and to.
    pub(crate) window_ns: (u64, u64),
    /// What the other thread is told.
    pub(crate) live: Arc<Live>,
}

impl Book {
    /// Nothing happened yet.
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self {
            counts: Counts::default(),
            latencies: Latencies::new(),
            first_fault: None,
            first_error: None,
            awaited: 0,
            received_in_window: 0,
            window_ns: (0, 0),
            live,
        }
    }

    /// Notes that a message came, right or wrong.
    pub(crate) fn received(&mut self, now_ns: u64) {
        self.live.received.bump();
        if self.window_ns.0 <= now_ns && now_ns < self.window_ns.1 {
            self.received_in_window += 1;
        }
    }

    /// Notes a fault; the first is kept.
    #[cold]
    pub(crate) fn wrong(&mut self, fault: &impl Display) {
        self.live.wrong.bump();
        self.first_fault.get_or_insert_with(|| fault.to_string());
    }
}

/// What became of the messages, warm-up included. Every message sent is in exactly one of `verified`, `reordered`,
/// `corrupt` and `lost`, except that a corrupt reply while none was due belongs to no message.
///
/// In a broadcast, `sent` and `unsent` count what was published, and all others deliveries: a message is as many of
/// them as its topic has subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Messages sent.
    pub(crate) sent: u64,
    /// Replies that were proved and in order.
    pub(crate) verified: u64,
    /// Messages without a reply when the run ended.
    pub(crate) lost: u64,
    /// Proved replies that took longer than the timeout.
    pub(crate) late: u64,
    /// Replies to messages that were answered before.
    pub(crate) duplicated: u64,
    /// Proved replies that came after the reply to a later message.
    pub(crate) reordered: u64,
    /// Replies that are not what was sent.
    pub(crate) corrupt: u64,
    /// Messages that came while no reply was due, and are none.
    pub(crate) unasked: u64,
    /// Messages that were due on a connection that had ended.
    pub(crate) unsent: u64,
    /// Publications by HTTP that another status than 2xx answered, or none.
    pub(crate) refused: u64,
    /// Pings answered.
    pub(crate) pings: u64,
    /// Connections that the server closed during the run, with a Close frame or without.
    pub(crate) closed_by_server: u64,
    /// Connections that broke during the run.
    pub(crate) reset: u64,
    /// Connections given up because the server broke RFC 6455.
    pub(crate) protocol_errors: u64,
}

impl Counts {
    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.verified += other.verified;
        self.lost += other.lost;
        self.late += other.late;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.unasked += other.unasked;
        self.unsent += other.unsent;
        self.refused += other.refused;
        self.pings += other.pings;
        self.closed_by_server += other.closed_by_server;
        self.reset += other.reset;
        self.protocol_errors += other.protocol_errors;
    }

    /// Whether the server answered every message, rightly, once and in order, and kept every connection.
    pub(crate) fn is_faultless(&self) -> bool {
        self.faults().iter().all(|&(_, count)| count == 0)
    }

    /// The counts that should be zero, and their names.
    pub(crate) fn faults(&self) -> [(&'static str, u64); 11] {
        [
            ("lost", self.lost),
            ("late", self.late),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupt", self.corrupt),
            ("unasked", self.unasked),
            ("unsent", self.unsent),
            ("refused", self.refused),
            ("closed by server", self.closed_by_server),
            ("reset", self.reset),
            ("protocol errors", self.protocol_errors),
        ]
    }
}

/// The measured messages' times.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// From the intended send to the reply.
    pub(crate) response: Histogram<u64>,
    /// From the actual send to the reply.
    pub(crate) service: Histogram<u64>,
    /// From the actual send until the reply was in this machine's kernel; empty where that is not known. A read that
    /// brings several replies knows the time of the last, so that none is told to have come earlier than it did.
    pub(crate) arrival: Histogram<u64>,
    /// From there until this client had read it, at least: `arrival` and this make up `service`.
    pub(crate) client_queue: Histogram<u64>,
    /// From the intended send to the actual one.
    pub(crate) send_lag: Histogram<u64>,
    /// Samples of `response` that are ages of messages without a reply: lower bounds, not times.
    pub(crate) censored: u64,
}

impl Latencies {
    /// No samples yet.
    pub(crate) fn new() -> Self {
        Self {
            response: histogram(),
            service: histogram(),
            arrival: histogram(),
            client_queue: histogram(),
            send_lag: histogram(),
            censored: 0,
        }
    }

    /// Records a message that was to leave at `intended_ns`, left at `sent_ns`, and whose reply `reading` brought.
    pub(crate) fn came(&mut self, intended_ns: u64, sent_ns: u64, reading: Reading) {
        let service_ns = reading.at_ns.saturating_sub(sent_ns);
        self.response.saturating_record(reading.at_ns.saturating_sub(intended_ns));
        self.service.saturating_record(service_ns);
        if let Some(queued_ns) = reading.queued_ns {
            // It can't have come before the message left; a clock that was set meanwhile may say so.
            let queued_ns = queued_ns.min(service_ns);
            self.client_queue.saturating_record(queued_ns);
            self.arrival.saturating_record(service_ns - queued_ns);
        }
    }

    /// Records `count` such messages whose replies had not come at `now_ns`, when they were given up.
    pub(crate) fn never_came(&mut self, intended_ns: u64, sent_ns: u64, now_ns: u64, count: u64) {
        let service_ns = now_ns.saturating_sub(sent_ns);
        self.response.saturating_record_n(now_ns.saturating_sub(intended_ns), count);
        self.service.saturating_record_n(service_ns, count);
        if !self.arrival.is_empty() {
            self.arrival.saturating_record_n(service_ns, count);
        }
        self.censored += count;
    }

    /// The service times and, where it is known of each of them, how much of that passed before the reply was here.
    pub(crate) fn arrivals(&self) -> Option<&Histogram<u64>> {
        (self.arrival.len() == self.service.len()).then_some(&self.arrival)
    }
}

/// An empty histogram of nanoseconds, up to an hour, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are constants that satisfy the constructor's rules; see the test.
    #[expect(clippy::unwrap_used, reason = "constant arguments")]
    Histogram::new_with_bounds(1, 3600 * SECOND_NS, 3).unwrap()
}

/// The quantiles that are reported, where the samples allow.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// The value at quantile `q`, if at least ten samples lie above it: a percentile of fewer is an anecdote.
pub(crate) fn quantile_ns(samples: &Histogram<u64>, q: f64) -> Option<u64> {
    // 1 - 0.9 is a hair above a tenth; the margin keeps the rule exact where n·(1-q) is ten.
    let above = samples.len() as f64 * (1.0 - q);
    (above + 1e-6 >= SAMPLES_ABOVE_MIN).then(|| samples.value_at_quantile(q))
}

const SAMPLES_ABOVE_MIN: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_ten_samples_above_it() {
        for (_, q) in QUANTILES {
            let enough = (10.0 / (1.0 - q)).round();
            let mut samples = histogram();
            for n in 1.. {
                samples.saturating_record(n);
                if n as f64 >= enough {
                    break;
                }
                assert_eq!(quantile_ns(&samples, q), None, "{n} samples, quantile {q}");
            }
            assert!(quantile_ns(&samples, q).is_some(), "{enough} samples, quantile {q}");
        }
    }

    #[test]
    fn a_service_time_is_what_passed_before_the_arrival_and_after_it() {
        let mut latencies = Latencies::new();
        let mut came = |queued_ns| {
            latencies.came(100, 200, Reading { at_ns: 1700, queued_ns });
            let last = |times: &Histogram<u64>| (times.len(), times.max());
            (last(&latencies.service), last(&latencies.arrival), last(&latencies.client_queue))
        };
        assert_eq!(came(Some(500)), ((1, 1500), (1, 1000), (1, 500)));
        // A clock that was set meanwhile says nothing that can't be.
        assert_eq!(came(Some(SECOND_NS)), ((2, 1500), (2, 1000), (2, 1500)));
        latencies.never_came(100, 200, 2000, 2);
        assert_eq!(latencies.arrivals().map(|times| (times.len(), times.max())), Some((4, 1800)));
        assert_eq!((latencies.client_queue.len(), latencies.censored), (2, 2));
        latencies.came(100, 200, Reading::at(1700));
        assert!(latencies.arrivals().is_none() && latencies.arrival.len() == 4);
    }

    #[test]
    fn every_kind_of_fault_counts_as_one() {
        assert!(Counts { sent: 5, verified: 5, pings: 1, ..Counts::default() }.is_faultless());
        assert!(!Counts { lost: 1, ..Counts::default() }.is_faultless());
        assert!(!Counts { protocol_errors: 1, ..Counts::default() }.is_faultless());
    }
}
