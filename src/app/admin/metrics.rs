//! `/metrics` of `--admin`: what the server counts, as Prometheus reads it (OpenMetrics 1.0, or its older text format).
//!
//! Made anew for each scrape out of what is counted anyway, so that it costs nothing between two of them. Counts nothing itself, has
//! no histograms, and names no topic, user or address: how many series there are does not depend on clients.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use wsfast::proto::handshake::{Request, Status};
use wsfast::{Context, Counters, Response};

use crate::app::admin::logs;
use crate::app::hub::presence::{self, Transport};

/// Answers a scrape. `open`: connections by transport.
pub(crate) fn metrics(
    request: &Request<'_>,
    open: impl Iterator<Item = Transport>,
    cx: &Context<'_>,
) -> Response {
    let mut registry = Registry::with_prefix("wsfast");
    add_counters(&mut registry, &cx.counters());
    let help = "Lines of the log that were dropped, since nobody read them in time";
    registry.register("log_lines_dropped", help, ConstCounter::new(logs::dropped_count()));
    add_gauges(&mut registry, cx);
    add_transports(&mut registry, open);
    let format = Format::wanted_by(request);
    let text = format.write(&registry).unwrap_or_default();
    Response::new(Status::Ok, format.content_type(), text)
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff")
        .with("Vary", "Accept")
}

fn add_counters(registry: &mut Registry, counters: &Counters) {
    for (name, help, value) in [
        (
            "connections_accepted",
            "Connections accepted, those of the admin side included",
            counters.accepted,
        ),
        ("websockets_opened", "Opening handshakes completed", counters.opened),
        (
            "http_requests",
            "Requests that were no opening handshake, scrapes included",
            counters.requests,
        ),
        ("requests_refused", "Requests answered with an HTTP error", counters.refused),
        (
            "connections_over_capacity",
            "Connections refused because --max-connections was reached",
            counters.over_capacity,
        ),
        (
            "connections_over_per_ip",
            "Connections refused because their address had --max-connections-per-ip",
            counters.over_per_ip,
        ),
        (
            "over_rate",
            "Connections and messages refused because of --connect-rate or --message-rate",
            counters.over_rate,
        ),
        (
            "requests_timed_out",
            "Requests not whole within --handshake-timeout",
            counters.handshakes_timed_out,
        ),
        (
            "proxy_headers_refused",
            "Connections dropped for want of a PROXY header",
            counters.proxy_headers_refused,
        ),
        (
            "tls_where_plain",
            "Connections dropped because they began with TLS on a port without",
            counters.tls_where_plain,
        ),
        ("short_of_memory", "What was refused or cut for want of memory", counters.short_of_memory),
        (
            "accepts_paused",
            "Times that accepting paused for want of a descriptor",
            counters.accepts_paused,
        ),
        ("tls_failures", "TLS connections that failed", counters.tls_failed),
        (
            "protocol_errors",
            "Connections failed for a breach of RFC 6455",
            counters.protocol_errors,
        ),
        (
            "queue_overflows",
            "Connections closed because their queue passed --max-queue-bytes",
            counters.overflowed,
        ),
        ("gaps", "Times that a slow subscriber lost messages", counters.gaps),
        (
            "closes_timed_out",
            "Connections dropped because their end took longer than --close-timeout",
            counters.closes_timed_out,
        ),
        ("connections_silent", "Connections dropped for silence", counters.silent),
        ("connections_lost", "Connections that ended without a closing handshake", counters.lost),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
}

fn add_gauges(registry: &mut Registry, cx: &Context<'_>) {
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: usize| {
        let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, value),
            None => registry.register(name, help, value),
        }
    };
    let [mut topics, mut subscriptions, mut messages, mut bytes] = [0; 4];
    for topic in cx.topics().filter(|topic| !presence::is_internal(topic.name)) {
        topics += 1;
        subscriptions += topic.subscribers;
        messages += topic.messages;
        bytes += topic.bytes;
    }
    gauge("topics", "Topics that somebody listens to, or that keep messages", None, topics);
    gauge("subscriptions", "Listeners of all topics, long-poll included", None, subscriptions);
    gauge("history_messages", "Messages that topics keep", None, messages);
    gauge("history", "Payloads of the messages that topics keep", Some(Unit::Bytes), bytes);
    let clients = cx.connection_count();
    gauge("clients", "Clients' connections, be they open or not yet", None, clients);
    gauge("clients_max", "What --max-connections comes to", None, cx.limits().peers_max);
    gauge("draining", "1 while the server goes down", None, usize::from(cx.is_draining()));
    if let Some(memory) = &cx.limits().memory {
        let in_use = (memory.bytes_in_use)();
        gauge("memory_in_use", "Heap in use", Some(Unit::Bytes), in_use);
        let help = "What --memory-limit leaves for the heap";
        gauge("memory_limit", help, Some(Unit::Bytes), memory.bytes_max);
    }
}

fn add_transports(registry: &mut Registry, open: impl Iterator<Item = Transport>) {
    let connections = Family::<[(&str, &str); 1], Gauge>::default();
    for transport in Transport::ALL {
        connections.get_or_create(&[("transport", transport.name())]).set(0);
    }
    for transport in open {
        connections.get_or_create(&[("transport", transport.name())]).inc();
    }
    registry.register("connections", "Open WebSockets and streams", connections);
}

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, for whoever does not ask for the other.
    Text,
}

impl Format {
    fn wanted_by(request: &Request<'_>) -> Self {
        let is_asked = |value: &[u8]| {
            value.split(|&byte| byte == b',').any(|range| {
                let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
                let is_it = parts
                    .next()
                    .is_some_and(|it| it.eq_ignore_ascii_case(b"application/openmetrics-text"));
                // A quality of zero says "not this one" (RFC 9110 §12.4.2).
                is_it && !parts.any(|it| it == b"q=0" || it == b"q=0.0")
            })
        };
        if request.headers("accept").any(is_asked) { Self::OpenMetrics } else { Self::Text }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    fn write(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, registry)?;
        Ok(match self {
            Self::OpenMetrics => text,
            Self::Text => as_text(&text),
        })
    }
}

/// OpenMetrics as the older format has it: a counter's name has its `_total` everywhere, and there are no units and no end.
fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let lines: Vec<&str> = open_metrics.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        // HELP comes right before TYPE, which says what it is.
        let kind = |line: Option<&&str>| line.is_some_and(|line| line.ends_with(" counter"));
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let of_counter = kind(lines.get(if what == "HELP" { at + 1 } else { at }));
                let end = if of_counter { "_total" } else { "" };
                text += &format!("# {what} {name}{end} {rest}\n");
            }
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_whole() {
        let mut registry = Registry::with_prefix("p");
        registry.register("seen", "Seen", ConstCounter::new(3_u64));
        registry.register_with_unit("kept", "Kept", Unit::Bytes, ConstGauge::new(5_i64));
        let text = "# HELP p_seen_total Seen.\n# TYPE p_seen_total counter\np_seen_total 3\n\
                    # HELP p_kept_bytes Kept.\n# TYPE p_kept_bytes gauge\np_kept_bytes 5\n";
        assert_eq!(Format::Text.write(&registry), Ok(text.to_owned()));
    }
}
