//! The results as a document: times in nanoseconds, counts, the verdict, and every histogram whole as base64 HDR V2.
//!
//! It is written as JSON and read again, to be compared and drawn. `schema` counts up with every change that could break
//! a reader; new fields alone do not, and one that a document lacks is empty. Decides nothing that `outcome` has not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

use crate::compare::baseline::Change;
use crate::compare::find::FindMax;
use crate::engine::churn::Churned;
use crate::engine::ramp::Connects;
use crate::judge::stats::{Counts, histogram, quantile_ns};
use crate::plan::LoadPlan;
use crate::plan::machine::Environment;
use crate::result::outcome::Outcome;
use crate::result::threshold::Checked;
use crate::watch::history::{Fit, Moment};

/// What `schema` says.
const SCHEMA: u32 = 1;

/// The document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub(crate) schema: u32,
    pub(crate) tool: String,
    pub(crate) mode: String,
    pub(crate) url: String,
    /// Seconds since 1970.
    pub(crate) ended_unix_s: u64,
    pub(crate) environment: Environment,
    /// True: any certificate was accepted.
    pub(crate) insecure: bool,
    /// Absent without --compression.
    pub(crate) compression: Option<Compression>,
    /// Absent in other modes. `response` and `service` are then times of deliveries, from the intended send and the
    /// actual one, and `replies_per_s` counts deliveries.
    pub(crate) broadcast: Option<Broadcast>,
    pub(crate) conns: u32,
    pub(crate) size_bytes: usize,
    pub(crate) text: bool,
    /// Absent in a closed loop.
    pub(crate) rate_per_s: Option<f64>,
    /// Absent in an open loop.
    pub(crate) pipeline: Option<u32>,
    pub(crate) warmup_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) connect: Connect,
    /// Absent without --churn.
    pub(crate) churn: Option<Churn>,
    /// Of the whole run, warm-up included. An idle run's messages are Pings.
    pub(crate) counts: Counts,
    /// The first wrong reply, or broken rule.
    pub(crate) first_fault: Option<String>,
    /// Measured messages that were due; absent in a closed loop.
    pub(crate) measured_due: Option<u64>,
    /// Those of them that left.
    pub(crate) measured_sent: Option<u64>,
    /// The rate at which they left over the rate that was asked for.
    pub(crate) rate_reached: Option<f64>,
    /// Within the measured window.
    pub(crate) replies_per_s: f64,
    /// Samples of `response` that are ages of messages without a reply.
    pub(crate) censored: u64,
    pub(crate) response: Times,
    pub(crate) service: Times,
    /// From the actual send until the kernel of this machine had the reply, by its own stamp. Of replies that one read
    /// brought, it knows the last one's time: those before may have come earlier. Empty where the kernel was not
    /// asked (see --kernel-timestamps) or does not say (Unix sockets).
    pub(crate) arrival: Times,
    /// From there until this client had read it: `service` is the sum of both.
    pub(crate) client_queue: Times,
    /// Empty in a closed loop.
    pub(crate) send_lag: Times,
    pub(crate) server: Option<Server>,
    pub(crate) client: Client,
    pub(crate) listen_overflows: u64,
    pub(crate) syn_retrans: u64,
    pub(crate) verdict: Grade,
    /// What `--threshold` came to.
    pub(crate) thresholds: Vec<Checked>,
    /// What `--find-max` came to; all else is of its best run.
    pub(crate) find_max: Option<FindMax>,
    /// The figures beside those of `--baseline`.
    pub(crate) changes: Vec<Change>,
    pub(crate) interrupted: bool,
    pub(crate) exit_code: u8,
    pub(crate) timeline: Vec<Moment>,
}

/// What opening the connections came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Connect {
    pub(crate) opened: u32,
    pub(crate) failed: u32,
    pub(crate) failures: Vec<Failure>,
    pub(crate) span_ns: u64,
    pub(crate) conns_per_s: f64,
    pub(crate) tcp: Times,
    /// Empty without TLS.
    pub(crate) tls: Times,
    pub(crate) upgrade: Times,
    /// All of it, from when the connection was to begin.
    pub(crate) total: Times,
    /// How long each entry of `opened_by_slot` is.
    pub(crate) slot_ns: u64,
    pub(crate) opened_by_slot: Vec<u32>,
    /// TCP handshakes that took whole seconds, as those do whose SYN was lost.
    pub(crate) syn_retries: Vec<SynRetries>,
}

/// What replacing connections came to, warm-up included.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Churn {
    pub(crate) rate_per_s: f64,
    /// Connections that were to be replaced.
    pub(crate) due: u32,
    /// Old ones that had all their replies, and whose closing handshake was whole.
    pub(crate) closed: u32,
    /// What opening the new ones came to.
    pub(crate) connect: Connect,
}

impl Churn {
    /// The results of `churned`.
    pub(crate) fn new(churned: &Churned) -> Self {
        Self {
            rate_per_s: churned.rate.per_second(),
            due: churned.due,
            closed: churned.closed,
            connect: Connect::new(&churned.connects),
        }
    }
}

/// TCP handshakes that took so many seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SynRetries {
    pub(crate) seconds: u64,
    pub(crate) conns: u64,
}

/// What was compressed, and to what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Compression {
    pub(crate) connections: u32,
    pub(crate) plain_bytes: u64,
    pub(crate) sent_bytes: u64,
}

/// Whom a broadcast reached, warm-up included, and how fast each measured message did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Broadcast {
    pub(crate) subscribers: u32,
    pub(crate) publishers: u32,
    pub(crate) topics: usize,
    pub(crate) burst: u32,
    /// `websocket` or `http`.
    pub(crate) publish: String,
    /// Messages times the subscribers of their topic.
    pub(crate) expected: u64,
    /// Deliveries that came and were right.
    pub(crate) received: u64,
    /// Subscribers that missed a message.
    pub(crate) subscribers_short: u64,
    /// The one that missed most.
    pub(crate) worst: Option<Worst>,
    /// Messages that publishers heard; no deliveries.
    pub(crate) echoes: u64,
    /// Frames of a protocol's own.
    pub(crate) other_frames: u64,
    pub(crate) first: Times,
    pub(crate) median: Times,
    /// The 99th of a hundred subscribers.
    pub(crate) p99: Times,
    pub(crate) last: Times,
    /// From the first to the last.
    pub(crate) spread: Times,
    /// From a POST to its answer.
    pub(crate) answer: Times,
    pub(crate) server_cpu_ns_per_delivery: Option<f64>,
}

/// The subscriber that missed most.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Worst {
    pub(crate) connection: u32,
    pub(crate) missed: u64,
}

/// Why connections could not be opened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) count: u32,
}

/// A histogram; a percentile is absent if fewer than ten samples lie above it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    pub(crate) samples: u64,
    pub(crate) min: Option<u64>,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p99: Option<u64>,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: Option<u64>,
    #[serde(rename = "p99.99")]
    pub(crate) p99_99: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) hdr_v2: String,
}

/// What the server took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Server {
    pub(crate) pids: Vec<u32>,
    pub(crate) cpu: f64,
    /// For each message that came; absent if none did.
    pub(crate) cpu_ns_per_message: Option<f64>,
    pub(crate) run_queue: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_before_bytes: u64,
    /// What a connection took while connections were opened.
    pub(crate) ramp: Option<Fit>,
}

/// What this client took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Client {
    pub(crate) busy: f64,
    pub(crate) run_queue: f64,
    pub(crate) steal: f64,
    pub(crate) rss_peak_bytes: u64,
}

/// How far the figures can be trusted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Grade {
    pub(crate) grade: String,
    pub(crate) reasons: Vec<String>,
}

impl Document {
    /// The results of `outcome`.
    pub(crate) fn new(outcome: &Outcome<'_>) -> Self {
        let (plan, finished, usage) = (outcome.plan, &outcome.finished, &outcome.usage);
        let book = &finished.book;
        let (rate_per_s, pipeline) = match &plan.load {
            LoadPlan::Echo(rate) => (Some(rate.per_second()), None),
            LoadPlan::Throughput(depth) => (None, Some(*depth)),
            LoadPlan::Broadcast(broadcast) => (Some(broadcast.rate.per_second()), None),
            LoadPlan::Connect | LoadPlan::Idle => (None, None),
        };
        let first_error = book.first_error.map(|(conn, why)| format!("connection {conn}: {why}"));
        let grade = outcome.verdict.grade.name().to_owned();
        Self {
            schema: SCHEMA,
            tool: concat!("loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
            mode: plan.mode_name().to_owned(),
            url: plan.target.to_string(),
            ended_unix_s: crate::time::clock::unix_s(),
            environment: Environment::this(),
            insecure: plan.insecure,
            compression: plan.compression.then_some(Compression {
                connections: finished.packed.conns,
                plain_bytes: finished.packed.plain_bytes,
                sent_bytes: finished.packed.sent_bytes,
            }),
            broadcast: broadcast(outcome),
            conns: plan.conns,
            size_bytes: plan.size,
            text: plan.text,
            rate_per_s,
            pipeline,
            warmup_ns: plan.warmup_ns,
            duration_ns: plan.duration_ns,
            connect: Connect::new(&finished.connects),
            churn: finished.churned.as_ref().map(Churn::new),
            counts: book.counts,
            first_fault: book.first_fault.clone().or(first_error),
            measured_due: finished.sending.map(|sending| sending.due),
            measured_sent: finished.sending.map(|sending| sending.sent),
            rate_reached: finished.sending.map(|sending| sending.rate_reached),
            replies_per_s: outcome.replies_per_second(),
            censored: book.latencies.censored,
            response: Times::of(&book.latencies.response),
            service: Times::of(&book.latencies.service),
            arrival: Times::of(&book.latencies.arrival),
            client_queue: Times::of(&book.latencies.client_queue),
            send_lag: Times::of(&book.latencies.send_lag),
            server: usage.server.as_ref().map(|server| Server {
                pids: server.pids.clone(),
                cpu: server.cpu,
                cpu_ns_per_message: outcome.server_cpu_ns_per_message(),
                run_queue: server.run_queue,
                rss_bytes: server.rss_bytes,
                rss_before_bytes: server.rss_before_bytes,
                ramp: outcome.ramp(),
            }),
            client: Client {
                busy: usage.client_busy,
                run_queue: usage.run_queue,
                steal: usage.steal,
                rss_peak_bytes: usage.client_rss_peak_bytes,
            },
            listen_overflows: usage.listen_overflows,
            syn_retrans: usage.syn_retrans,
            verdict: Grade { grade, reasons: outcome.verdict.reasons.clone() },
            thresholds: Vec::new(),
            find_max: None,
            changes: Vec::new(),
            interrupted: finished.interrupted,
            exit_code: 0,
            timeline: outcome.timeline.clone(),
        }
    }

    /// As one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        // Strings, numbers and lists of them: there is nothing that JSON could refuse.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Connect {
    fn new(connects: &Connects) -> Self {
        let failure = |(why, count): &(crate::wire::upgrade::OpenFailure, u32)| Failure {
            reason: why.to_string(),
            count: *count,
        };
        Self {
            opened: connects.opened,
            failed: connects.failed(),
            failures: connects.failures.iter().map(failure).collect(),
            span_ns: connects.span_ns,
            conns_per_s: connects.per_second(),
            tcp: Times::of(&connects.tcp),
            tls: Times::of(&connects.tls),
            upgrade: Times::of(&connects.upgrade),
            total: Times::of(&connects.total),
            slot_ns: connects.slots.slot_ns(),
            opened_by_slot: connects.slots.counts().to_vec(),
            syn_retries: connects
                .syn_retries()
                .into_iter()
                .map(|(seconds, conns)| SynRetries { seconds, conns })
                .collect(),
        }
    }
}

/// What there is to say of a broadcast.
fn broadcast(outcome: &Outcome<'_>) -> Option<Broadcast> {
    let LoadPlan::Broadcast(broadcast) = &outcome.plan.load else { return None };
    let reach = outcome.finished.reach.as_ref()?;
    Some(Broadcast {
        subscribers: broadcast.subscribers,
        publishers: broadcast.publishers,
        topics: broadcast.topics.len(),
        burst: broadcast.burst,
        publish: broadcast.via.name().to_owned(),
        expected: reach.expected,
        received: reach.received,
        subscribers_short: reach.short,
        worst: reach.worst.map(|(connection, missed)| Worst { connection, missed }),
        echoes: reach.echoes,
        other_frames: reach.other_frames,
        first: Times::of(&reach.first),
        median: Times::of(&reach.median),
        p99: Times::of(&reach.p99),
        last: Times::of(&reach.last),
        spread: Times::of(&reach.spread),
        answer: Times::of(&reach.answer),
        server_cpu_ns_per_delivery: outcome.server_cpu_ns_per_message(),
    })
}

impl Times {
    /// What is told of these times.
    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        let told = |value| (!times.is_empty()).then_some(value);
        let mut bytes = Vec::new();
        // Writing to memory cannot fail.
        let _ = V2Serializer::new().serialize(times, &mut bytes);
        Self {
            samples: times.len(),
            min: told(times.min()),
            mean: (!times.is_empty()).then(|| times.mean()),
            p50: quantile_ns(times, 0.5),
            p90: quantile_ns(times, 0.9),
            p99: quantile_ns(times, 0.99),
            p99_9: quantile_ns(times, 0.999),
            p99_99: quantile_ns(times, 0.9999),
            max: told(times.max()),
            hdr_v2: STANDARD.encode(bytes),
        }
    }

    /// The histogram; an empty one where the document has none that can be read.
    pub(crate) fn histogram(&self) -> Histogram<u64> {
        let bytes = STANDARD.decode(&self.hdr_v2).unwrap_or_default();
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap_or_else(|_| histogram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_whole() {
        let mut times = histogram();
        for ns in 1..5000 {
            times.saturating_record(ns * 1000);
        }
        let told = Times::of(&times);
        assert_eq!(told.histogram(), times);
        assert_eq!((told.samples, told.p99_9), (4999, None));
        assert!(told.p99.is_some());
        assert!(Times::default().histogram().is_empty());
    }

    #[test]
    fn what_a_document_lacks_is_empty_and_what_it_has_too_much_is_ignored() {
        let read: Document = serde_json::from_str(r#"{"mode":"echo","later":[1]}"#).unwrap();
        assert_eq!((read.mode.as_str(), read.conns, read.timeline.len()), ("echo", 0, 0));
        let again: Document = serde_json::from_str(&read.to_json()).unwrap();
        assert_eq!(again.to_json(), read.to_json());
    }
}
