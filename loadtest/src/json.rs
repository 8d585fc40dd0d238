//! The results as JSON: times in nanoseconds, counts, the verdict, and every histogram whole as base64 HDR V2.
//!
//! `schema` counts up with every change that could break a reader; new fields alone do not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde::Serialize;

use crate::outcome::Outcome;
use crate::plan::LoadPlan;
use crate::stats::{Counts, quantile_ns};

/// What `schema` says.
const SCHEMA: u32 = 1;

/// The document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u32,
    tool: &'static str,
    mode: &'static str,
    url: String,
    /// True: any certificate was accepted.
    insecure: bool,
    /// Absent without --compression.
    compression: Option<Compression>,
    /// Absent in other modes. `response` and `service` are then times of deliveries, from the intended send and the
    /// actual one, and `replies_per_s` counts deliveries.
    broadcast: Option<Broadcast>,
    conns: u32,
    size_bytes: usize,
    text: bool,
    /// Absent in a closed loop.
    rate_per_s: Option<f64>,
    /// Absent in an open loop.
    pipeline: Option<u32>,
    warmup_ns: u64,
    duration_ns: u64,
    connect: Connect,
    /// Of the whole run, warm-up included.
    counts: &'a Counts,
    /// The first wrong reply, or broken rule.
    first_fault: Option<String>,
    /// Measured messages that were due; absent in a closed loop.
    measured_due: Option<u64>,
    /// Those of them that left.
    measured_sent: Option<u64>,
    /// The rate at which they left over the rate that was asked for.
    rate_reached: Option<f64>,
    /// Within the measured window.
    replies_per_s: f64,
    /// Samples of `response` that are ages of messages without a reply.
    censored: u64,
    response: Times,
    service: Times,
    /// Empty in a closed loop.
    send_lag: Times,
    server: Option<Server>,
    client: Client,
    listen_overflows: u64,
    syn_retrans: u64,
    verdict: Grade<'a>,
    interrupted: bool,
    exit_code: u8,
}

#[derive(Debug, Serialize)]
struct Connect {
    opened: u32,
    failed: u32,
    failures: Vec<Failure>,
    span_ns: u64,
    tcp: Times,
    /// Empty without TLS.
    tls: Times,
    upgrade: Times,
}

/// What was compressed, and to what.
#[derive(Debug, Serialize)]
struct Compression {
    connections: u32,
    plain_bytes: u64,
    sent_bytes: u64,
}

/// Whom a broadcast reached, warm-up included, and how fast each measured message did.
#[derive(Debug, Serialize)]
struct Broadcast {
    subscribers: u32,
    publishers: u32,
    topics: usize,
    burst: u32,
    /// `websocket` or `http`.
    publish: &'static str,
    /// Messages times the subscribers of their topic.
    expected: u64,
    /// Deliveries that came and were right.
    received: u64,
    /// Subscribers that missed a message.
    subscribers_short: u64,
    /// The one that missed most.
    worst: Option<Worst>,
    /// Messages that publishers heard; no deliveries.
    echoes: u64,
    /// Frames of a protocol's own.
    other_frames: u64,
    first: Times,
    median: Times,
    /// The 99th of a hundred subscribers.
    p99: Times,
    last: Times,
    /// From the first to the last.
    spread: Times,
    /// From a POST to its answer.
    answer: Times,
    server_cpu_ns_per_delivery: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Worst {
    connection: u32,
    missed: u64,
}

#[derive(Debug, Serialize)]
struct Failure {
    reason: String,
    count: u32,
}

/// A histogram; a percentile is absent if fewer than ten samples lie above it.
#[derive(Debug, Serialize)]
struct Times {
    samples: u64,
    min: Option<u64>,
    mean: Option<f64>,
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    #[serde(rename = "p99.9")]
    p99_9: Option<u64>,
    #[serde(rename = "p99.99")]
    p99_99: Option<u64>,
    max: Option<u64>,
    hdr_v2: String,
}

#[derive(Debug, Serialize)]
struct Server {
    pids: Vec<u32>,
    cpu: f64,
    run_queue: f64,
    rss_bytes: u64,
    rss_before_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Client {
    busy: f64,
    run_queue: f64,
    steal: f64,
}

#[derive(Debug, Serialize)]
struct Grade<'a> {
    grade: &'static str,
    reasons: &'a [String],
}

/// The results of `outcome` as one line of JSON.
pub(crate) fn document(outcome: &Outcome<'_>, exit_code: u8) -> String {
    let (plan, finished, usage) = (outcome.plan, &outcome.finished, &outcome.usage);
    let (book, connects) = (&finished.book, &finished.connects);
    let (rate_per_s, pipeline) = match &plan.load {
        LoadPlan::Echo(rate) => (Some(rate.per_second()), None),
        LoadPlan::Throughput(depth) => (None, Some(*depth)),
        LoadPlan::Broadcast(casting) => (Some(casting.rate.per_second()), None),
    };
    let first_error = book.first_error.map(|(conn, why)| format!("connection {conn}: {why}"));
    let document = Document {
        schema: SCHEMA,
        tool: concat!("loadtest ", env!("CARGO_PKG_VERSION")),
        mode: plan.mode_name(),
        url: plan.target.to_string(),
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
        connect: Connect {
            opened: connects.opened,
            failed: connects.failed(),
            failures: connects
                .failures
                .iter()
                .map(|(failure, count)| Failure { reason: failure.to_string(), count: *count })
                .collect(),
            span_ns: connects.span_ns,
            tcp: Times::of(&connects.tcp),
            tls: Times::of(&connects.tls),
            upgrade: Times::of(&connects.upgrade),
        },
        counts: &book.counts,
        first_fault: book.first_fault.clone().or(first_error),
        measured_due: finished.sending.map(|sending| sending.due),
        measured_sent: finished.sending.map(|sending| sending.sent),
        rate_reached: finished.sending.map(|sending| sending.rate_reached),
        replies_per_s: outcome.replies_per_second(),
        censored: book.latencies.censored,
        response: Times::of(&book.latencies.response),
        service: Times::of(&book.latencies.service),
        send_lag: Times::of(&book.latencies.send_lag),
        server: usage.server.as_ref().map(|server| Server {
            pids: server.pids.clone(),
            cpu: server.cpu,
            run_queue: server.run_queue,
            rss_bytes: server.rss_bytes,
            rss_before_bytes: server.rss_before_bytes,
        }),
        client: Client { busy: usage.client_busy, run_queue: usage.run_queue, steal: usage.steal },
        listen_overflows: usage.listen_overflows,
        syn_retrans: usage.syn_retrans,
        verdict: Grade { grade: outcome.verdict.grade.name(), reasons: &outcome.verdict.reasons },
        interrupted: finished.interrupted,
        exit_code,
    };
    // Strings, numbers and lists of them: there is nothing that JSON could refuse.
    serde_json::to_string(&document).unwrap_or_default()
}

/// What there is to say of a broadcast.
fn broadcast(outcome: &Outcome<'_>) -> Option<Broadcast> {
    let LoadPlan::Broadcast(casting) = &outcome.plan.load else { return None };
    let reach = outcome.finished.reach.as_ref()?;
    Some(Broadcast {
        subscribers: casting.subscribers,
        publishers: casting.publishers,
        topics: casting.topics.len(),
        burst: casting.burst,
        publish: casting.via.name(),
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
    fn of(times: &Histogram<u64>) -> Self {
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
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;
    use crate::stats::histogram;

    #[test]
    fn a_histogram_comes_back_whole() {
        let mut times = histogram();
        for ns in 1..5000 {
            times.saturating_record(ns * 1000);
        }
        let told = Times::of(&times);
        let bytes = STANDARD.decode(told.hdr_v2).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(back, times);
        assert_eq!((told.samples, told.p99_9), (4999, None));
        assert!(told.p99.is_some());
    }
}
