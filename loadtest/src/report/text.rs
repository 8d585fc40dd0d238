//! The report for a person: a handful of lines, every figure of which can be traced to a count.
//!
//! Writes text to a string; computes nothing that `outcome` has not.

use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;

use crate::cli::Arrival;
use crate::judge::stats::{QUANTILES, quantile_ns};
use crate::plan::broadcast::{BroadcastPlan, Via};
use crate::plan::{LoadPlan, Plan};
use crate::result::document::{Churn, Document};
use crate::result::outcome::Outcome;
use crate::result::verdict::Grade;
use crate::time::clock::MILLISECOND_NS;
use crate::units::{bytes, count, latency, percent, rate, span};

/// The first line and the plan's, which are known before the run.
pub(crate) fn heading(plan: &Plan) -> String {
    let pace = match &plan.load {
        LoadPlan::Echo(per_second) => {
            let burst = match plan.burst {
                1 => String::new(),
                burst => format!(", {} at once", count(u64::from(burst))),
            };
            format!("open loop {} msg/s{burst}{}", rate(per_second.per_second()), random(plan))
        }
        LoadPlan::Throughput(depth) => format!("closed loop, {depth} deep, queueing included"),
        LoadPlan::Broadcast(broadcast) => cast(broadcast) + random(plan),
        LoadPlan::Connect => format!("{} opened at a time", plan.connect_window),
        LoadPlan::Idle => format!("held for {}, then a Ping each", span(plan.duration_ns)),
    };
    let kind = if plan.text { "text" } else { "binary" };
    let room = &plan.room;
    let conns = count(u64::from(plan.conns));
    let ports = room.fast_ports.map_or_else(String::new, |fast| {
        let is_fast = u64::from(plan.conns) <= fast;
        let state = if is_fast { "ok" } else { "(connects will be slow)" };
        format!(" · {conns} of {} fast ports {state}", count(fast))
    });
    let warning = if plan.insecure { INSECURE } else { "" };
    let messages = match plan.load {
        LoadPlan::Connect | LoadPlan::Idle => String::new(),
        LoadPlan::Echo(_) | LoadPlan::Throughput(_) | LoadPlan::Broadcast(_) => {
            format!(" · {} {kind} · {}", bytes(plan.size as u64), span(plan.duration_ns))
        }
    };
    format!(
        "{} · {} · {conns} conns · {pace}{messages}\n \
         plan     fds {}/{} ok{ports} · backlog {}\n{warning}",
        plan.mode_name(),
        plan.target,
        count(room.fds),
        count(room.machine.fds_max),
        count(room.machine.backlog_max),
    )
}

fn random(plan: &Plan) -> &'static str {
    if plan.arrival == Arrival::Poisson { " at random (Poisson)" } else { "" }
}

/// Who publishes to whom, and how often.
fn cast(broadcast: &BroadcastPlan) -> String {
    let counted =
        |n: u64, what: &str| format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" });
    let via = match broadcast.via {
        Via::WebSocket => "",
        Via::Http => " by HTTP",
    };
    let burst = match broadcast.burst {
        1 => String::new(),
        burst => format!(", {} at once", count(u64::from(burst))),
    };
    format!(
        "{}, {}{via}, {} · open loop {} msg/s{burst}",
        counted(u64::from(broadcast.subscribers), "subscriber"),
        counted(u64::from(broadcast.publishers), "publisher"),
        counted(broadcast.topics.len() as u64, "topic"),
        rate(broadcast.rate.per_second()),
    )
}

/// What a report must not hide.
const INSECURE: &str =
    " !! TLS   --insecure: NO CERTIFICATE IS CHECKED, anyone can be the server that is measured\n";

/// Everything behind the heading.
pub(crate) fn results(outcome: &Outcome<'_>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_results(&mut out, outcome);
    out
}

fn write_results(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    connect_line(out, outcome)?;
    if let Some(churned) = &outcome.finished.churned {
        churn_lines(out, &Churn::new(churned))?;
    }
    if outcome.finished.connects.opened > 0 {
        match outcome.plan.load {
            LoadPlan::Connect => ramp_lines(out, outcome)?,
            LoadPlan::Idle => idle_line(out, outcome)?,
            LoadPlan::Echo(_) | LoadPlan::Throughput(_) | LoadPlan::Broadcast(_) => {
                run_line(out, outcome)?;
            }
        }
        fault_lines(out, outcome)?;
        deflate_line(out, outcome)?;
        reach_line(out, outcome)?;
        table(out, outcome)?;
        let latencies = &outcome.finished.book.latencies;
        out.push_str(&chart(match outcome.plan.load {
            LoadPlan::Connect => &outcome.finished.connects.total,
            _ => &latencies.response,
        }));
        server_line(out, outcome)?;
    }
    verdict_lines(out, outcome)
}

/// Everything behind the heading, of a run that several processes made.
pub(crate) fn joined(document: &Document) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_joined(&mut out, document);
    out
}

fn write_joined(out: &mut String, d: &Document) -> fmt::Result {
    let (opened, per_s) = (count(u64::from(d.connect.opened)), rate(d.connect.conns_per_s));
    let (conns, failed) = (count(u64::from(d.conns)), count(u64::from(d.connect.failed)));
    let took = span(d.connect.span_ns);
    writeln!(out, " connect  {opened}/{conns} in {took} · {per_s}/s · failed {failed}")?;
    for failure in &d.connect.failures {
        writeln!(out, "          {} × {}", count(u64::from(failure.count)), failure.reason)?;
    }
    if let Some(churn) = &d.churn {
        churn_lines(out, churn)?;
    }
    let (sent, verified) = (count(d.counts.sent), count(d.counts.verified));
    write!(out, " run      sent {sent} · verified {verified} · lost {}", count(d.counts.lost))?;
    for (name, times) in d.counts.faults().iter().filter(|&&(name, n)| n > 0 && name != "lost") {
        write!(out, " · {name} {}", count(*times))?;
    }
    if let Some(reached) = d.rate_reached {
        write!(
            out,
            " · {:.2} % of the rate · received {}/s",
            reached * 100.0,
            rate(d.replies_per_s)
        )?;
    }
    out.push('\n');
    if let Some(fault) = &d.first_fault {
        writeln!(out, "          first fault: {fault}")?;
    }
    writeln!(
        out,
        "{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "", "min", "p50", "p90", "p99", "p99.9", "max"
    )?;
    let rows = [
        ("response", &d.response),
        ("service", &d.service),
        ("arrival", &d.arrival),
        ("client q", &d.client_queue),
        ("send lag", &d.send_lag),
        ("tcp", &d.connect.tcp),
        ("tls", &d.connect.tls),
        ("upgrade", &d.connect.upgrade),
    ];
    for (name, t) in rows.into_iter().filter(|(_, times)| times.samples > 0) {
        write!(out, " {name:<9}")?;
        for ns in [t.min, t.p50, t.p90, t.p99, t.p99_9, t.max] {
            write!(out, "{:>9}", ns.map_or("-".to_owned(), latency))?;
        }
        out.push('\n');
    }
    out.push_str(&chart(&d.response.histogram()));
    if let Some(server) = &d.server {
        let growth = server.rss_bytes.saturating_sub(server.rss_before_bytes);
        let per_conn = bytes(growth / u64::from(d.connect.opened.max(1)));
        let (cpu, rss) = (percent(server.cpu), bytes(server.rss_bytes));
        writeln!(out, " Server   CPU {cpu} · RSS {rss} (+{per_conn}/conn)")?;
    }
    writeln!(
        out,
        " {} {} the busiest client {} CPU, all {} · run-queue {} · steal {}",
        if d.verdict.grade == Grade::Valid.name() { '✓' } else { '!' },
        d.verdict.grade,
        percent(d.client.busy),
        bytes(d.client.rss_peak_bytes),
        percent(d.client.run_queue),
        percent(d.client.steal),
    )?;
    for reason in &d.verdict.reasons {
        writeln!(out, "          {reason}")?;
    }
    Ok(())
}

fn connect_line(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let connects = &outcome.finished.connects;
    write!(
        out,
        " connect  {}/{} in {}",
        count(u64::from(connects.opened)),
        count(u64::from(outcome.plan.conns)),
        span(connects.span_ns),
    )?;
    let transport = if outcome.plan.endpoint.addr().is_some() { "tcp" } else { "unix" };
    let handshakes =
        [(transport, &connects.tcp), ("tls", &connects.tls), ("upgrade", &connects.upgrade)];
    for (name, times) in handshakes {
        if let Some(p50) = quantile_ns(times, 0.5) {
            write!(out, " · {name} p50 {}", latency(p50))?;
        }
        if let Some(p99) = quantile_ns(times, 0.99) {
            write!(out, " p99 {}", latency(p99))?;
        }
    }
    writeln!(out, " · failed {}", count(u64::from(connects.failed())))?;
    for (failure, times) in &connects.failures {
        writeln!(out, "          {} × {failure}", count(u64::from(*times)))?;
    }
    Ok(())
}

/// How connections were replaced while messages flowed.
fn churn_lines(out: &mut String, churn: &Churn) -> fmt::Result {
    let connect = &churn.connect;
    let [opened, due, closed, failed] = [connect.opened, churn.due, churn.closed, connect.failed];
    write!(
        out,
        " churn    {}/s · {} of {} opened again, {} closed cleanly",
        rate(churn.rate_per_s),
        count(u64::from(opened)),
        count(u64::from(due)),
        count(u64::from(closed)),
    )?;
    let handshakes = [
        ("tcp", &connect.tcp),
        ("tls", &connect.tls),
        ("upgrade", &connect.upgrade),
        ("in all", &connect.total),
    ];
    for (name, times) in handshakes {
        if let Some(p50) = times.p50 {
            write!(out, " · {name} p50 {}", latency(p50))?;
        }
        if let Some(p99) = times.p99 {
            write!(out, " p99 {}", latency(p99))?;
        }
    }
    writeln!(out, " · failed {}", count(u64::from(failed)))?;
    for failure in &connect.failures {
        writeln!(out, "          {} × {}", count(u64::from(failure.count)), failure.reason)?;
    }
    Ok(())
}

/// How connections came over time, and which of them came late for want of a listen queue.
fn ramp_lines(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let connects = &outcome.finished.connects;
    let slots = &connects.slots;
    let heights: Vec<u64> = slots.counts().iter().map(|&count| u64::from(count)).collect();
    writeln!(
        out,
        " ramp     {} connections a second · every {} ms {}",
        rate(connects.per_second()),
        slots.slot_ns() / MILLISECOND_NS,
        blocks(&heights, 60),
    )?;
    for (seconds, conns) in connects.syn_retries() {
        writeln!(
            out,
            "          {} TCP handshakes took {seconds} s: their SYN was lost and sent again",
            count(conns)
        )?;
    }
    Ok(())
}

/// What the connections cost while nothing was said, and how many still lived.
fn idle_line(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let (counts, opened) = (&outcome.finished.book.counts, outcome.finished.connects.opened);
    let cost = match outcome.ramp() {
        Some(fit) if fit.bytes_per_conn < 1.0 => {
            "the server took no more memory: it has some from before; start it anew".to_owned()
        }
        Some(fit) => format!(
            "{:.0} B a connection (a line through {} samples of the ramp, r² {:.3})",
            fit.bytes_per_conn, fit.samples, fit.r_squared
        ),
        None => "what a connection costs is not known (--server-pid PID)".to_owned(),
    };
    writeln!(
        out,
        " idle     {cost} · {}/{} answered a Ping",
        count(counts.verified),
        count(u64::from(opened))
    )
}

fn run_line(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let book = &outcome.finished.book;
    let replies = outcome.replies_per_second();
    match outcome.finished.sending {
        Some(sending) => write!(
            out,
            " run      sent {} of {} due, {:.2} % of the rate · received {}/s",
            count(sending.sent),
            count(sending.due),
            sending.rate_reached * 100.0,
            rate(replies),
        )?,
        None => write!(
            out,
            " run      {} msg/s · {:.1} MB/s each way",
            rate(replies),
            replies * outcome.plan.size as f64 / 1e6,
        )?,
    }
    let counts = &book.counts;
    write!(out, " · lost {}", count(counts.lost))?;
    for (name, times) in counts.faults().iter().filter(|&&(name, n)| n > 0 && name != "lost") {
        write!(out, " · {name} {}", count(*times))?;
    }
    out.push('\n');
    Ok(())
}

/// What `--compression` came to.
fn deflate_line(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    if !outcome.plan.compression {
        return Ok(());
    }
    let (packed, opened) = (outcome.finished.packed, outcome.finished.connects.opened);
    write!(
        out,
        " deflate  agreed on {} of {} connections",
        count(u64::from(packed.conns)),
        count(u64::from(opened)),
    )?;
    match packed.plain_bytes {
        0 => writeln!(out, ": nothing was compressed"),
        plain => writeln!(
            out,
            " · payloads sent {:.1} MB as {:.1} MB ({:.0} %)",
            plain as f64 / 1e6,
            packed.sent_bytes as f64 / 1e6,
            packed.sent_bytes as f64 / plain as f64 * 100.0,
        ),
    }
}

fn fault_lines(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let book = &outcome.finished.book;
    if let Some(fault) = &book.first_fault {
        writeln!(out, "          first fault: {fault}")?;
    }
    if let Some((conn, reason)) = book.first_error {
        writeln!(out, "          first protocol error: connection {conn}: {reason}")?;
    }
    if book.latencies.censored > 0 {
        let censored = count(book.latencies.censored);
        writeln!(
            out,
            "          {censored} that never came are in the percentiles with their age at the end"
        )?;
    }
    Ok(())
}

/// Whom a broadcast reached.
fn reach_line(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let Some(reach) = &outcome.finished.reach else { return Ok(()) };
    write!(out, " reach    {}/{} deliveries", count(reach.received), count(reach.expected))?;
    if let Some((conn, missed)) = reach.worst {
        let short = count(reach.short);
        write!(
            out,
            " · {short} subscribers missed some, connection {conn} most: {}",
            count(missed)
        )?;
    }
    for (what, n) in [("echoes", reach.echoes), ("other frames", reach.other_frames)] {
        if n > 0 {
            write!(out, " · {what} {}", count(n))?;
        }
    }
    out.push('\n');
    Ok(())
}

/// The table of times. A column appears only if the samples allow it.
fn table(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let latencies = &outcome.finished.book.latencies;
    let connects = &outcome.finished.connects;
    let headline = match outcome.plan.load {
        LoadPlan::Connect => &connects.total,
        _ => &latencies.response,
    };
    let is_told = |&&(_, q): &&(&str, f64)| quantile_ns(headline, q).is_some();
    let columns: Vec<&(&str, f64)> = QUANTILES.iter().filter(is_told).collect();
    write!(out, "{:>10}{:>9}", "", "min")?;
    for (name, _) in &columns {
        write!(out, "{name:>9}")?;
    }
    writeln!(out, "{:>9}", "max")?;
    let reach = outcome.finished.reach.as_ref();
    let first = if reach.is_some() { "delivery" } else { "response" };
    let mut rows = vec![(first, &latencies.response)];
    if matches!(outcome.plan.load, LoadPlan::Connect) {
        rows = vec![("total", &connects.total), ("tcp", &connects.tcp), ("tls", &connects.tls)];
        rows.push(("upgrade", &connects.upgrade));
    }
    // In a closed loop a message is meant to leave when it does: there is one row.
    let is_open_loop = outcome.finished.sending.is_some();
    if is_open_loop {
        rows.push(("service", &latencies.service));
    }
    rows.extend([("arrival", &latencies.arrival), ("client q", &latencies.client_queue)]);
    if is_open_loop {
        rows.push(("send lag", &latencies.send_lag));
    }
    if let Some(reach) = reach {
        let of_messages = [&reach.first, &reach.median, &reach.p99, &reach.last, &reach.spread];
        rows.extend(["first", "median", "99th", "last", "spread"].into_iter().zip(of_messages));
        rows.push(("answer", &reach.answer));
    }
    for (at, (name, times)) in rows.iter().enumerate().filter(|(_, (_, times))| !times.is_empty()) {
        write!(out, " {name:<9}{:>9}", latency(times.min()))?;
        for (_, q) in &columns {
            let time = quantile_ns(times, *q).map_or("-".to_owned(), latency);
            write!(out, "{time:>9}")?;
        }
        write!(out, "{:>9}", latency(times.max()))?;
        if at == 0 && *name != "total" {
            let verified = times.len() - latencies.censored;
            let what = if reach.is_some() { "deliveries" } else { "answered" };
            write!(out, "   {} {what}", count(verified))?;
        }
        if *name == "first" {
            write!(out, "   of {} messages", count(times.len()))?;
        }
        out.push('\n');
    }
    Ok(())
}

/// Heights as a row of blocks, at most `width` of them, the highest one full.
fn blocks(heights: &[u64], width: usize) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let each = heights.len().div_ceil(width).max(1);
    let sums: Vec<u64> = heights.chunks(each).map(|chunk| chunk.iter().sum()).collect();
    let highest = sums.iter().copied().max().unwrap_or(0).max(1);
    let block = |&sum: &u64| {
        let eighths = (sum * 8).div_ceil(highest);
        BLOCKS[usize::try_from(eighths).unwrap_or(8).min(8)]
    };
    sums.iter().map(block).collect()
}

/// The response times by octaves. What would round to nothing is joined in the last line.
fn chart(response: &Histogram<u64>) -> String {
    const WIDTH: f64 = 40.0;
    const SHARE_MIN: f64 = 0.001;
    let mut out = String::new();
    if response.is_empty() {
        return out;
    }
    let octaves = octaves(response);
    let largest = octaves.iter().map(|&(_, share)| share).fold(0.0, f64::max);
    let mut rest = 0.0;
    for (exponent, share) in octaves {
        if share < SHARE_MIN {
            rest += share;
            continue;
        }
        let label = format!("{}-{}", octave_bound(exponent), octave_bound(exponent + 1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 40")]
        let blocks = "█".repeat((share / largest * WIDTH).ceil() as usize);
        let _ = writeln!(out, " {label:>13} {blocks} {}", percent(share));
    }
    if rest > 0.0 {
        let _ = writeln!(out, " {:>13} {}", "elsewhere", small_percent(rest));
    }
    out
}

/// The share of samples in each octave of microseconds, the lowest first; what is below 1 µs counts to octave 0.
fn octaves(times: &Histogram<u64>) -> Vec<(u32, f64)> {
    let mut octaves: Vec<(u32, u64)> = Vec::new();
    for value in times.iter_recorded() {
        let us = (value.value_iterated_to() / 1000).max(1);
        let (exponent, n) = (us.ilog2(), value.count_since_last_iteration());
        match octaves.last_mut() {
            Some((last, total)) if *last == exponent => *total += n,
            _ => octaves.push((exponent, n)),
        }
    }
    let total = times.len() as f64;
    octaves.into_iter().map(|(exponent, n)| (exponent, n as f64 / total)).collect()
}

/// A bound of an octave of microseconds: `16µs`, `1ms`, `2s`, where 1,024 of one are one of the next.
fn octave_bound(exponent: u32) -> String {
    match exponent {
        0..10 => format!("{}µs", 1_u64 << exponent),
        10..20 => format!("{}ms", 1_u64 << (exponent - 10)),
        _ => format!("{}s", 1_u64 << (exponent - 20).min(40)),
    }
}

fn small_percent(share: f64) -> String {
    format!("{:.3}%", share * 100.0)
}

fn server_line(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let usage = &outcome.usage;
    match &usage.server {
        Some(server) => {
            let pids: Vec<String> = server.pids.iter().map(u32::to_string).collect();
            let growth = server.rss_bytes.saturating_sub(server.rss_before_bytes);
            let per_conn = growth / u64::from(outcome.finished.connects.opened.max(1));
            write!(
                out,
                " Server   pid {} · CPU {} · run-queue {} · RSS {} (+{}/conn)",
                pids.join(","),
                percent(server.cpu),
                percent(server.run_queue),
                bytes(server.rss_bytes),
                bytes(per_conn),
            )?;
            if let (Some(_), Some(ns)) =
                (&outcome.finished.reach, outcome.server_cpu_ns_per_message())
            {
                write!(out, " · CPU {:.2}µs/delivery", ns / 1e3)?;
            }
        }
        None => out.push_str(" Server   process not known (--server-pid PID)"),
    }
    writeln!(
        out,
        " · ListenOverflows {} · SynRetrans {}",
        count(usage.listen_overflows),
        count(usage.syn_retrans)
    )
}

fn verdict_lines(out: &mut String, outcome: &Outcome<'_>) -> fmt::Result {
    let (usage, verdict) = (&outcome.usage, &outcome.verdict);
    let mark = match verdict.grade {
        Grade::Valid => '✓',
        Grade::Degraded => '!',
        Grade::Invalid => '✗',
    };
    writeln!(
        out,
        " {mark} {} client {} CPU {} · run-queue {} · steal {}",
        verdict.grade.name(),
        percent(usage.client_busy),
        bytes(usage.client_rss_peak_bytes),
        percent(usage.run_queue),
        percent(usage.steal),
    )?;
    for reason in &verdict.reasons {
        writeln!(out, "          {reason}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::histogram;

    #[test]
    fn the_chart_shows_octaves_and_joins_what_is_rare() {
        let mut times = histogram();
        times.saturating_record_n(20_000, 7100);
        times.saturating_record_n(40_000, 2895);
        times.saturating_record_n(17_000_000, 5);
        let expected = format!(
            "       16µs-32µs {} 71%\n       32µs-64µs {} 29%\n     elsewhere 0.050%\n",
            "█".repeat(40),
            "█".repeat(17)
        );
        let expected =
            expected.replace("       16µs", "     16µs").replace("       32µs", "     32µs");
        assert_eq!(chart(&times), expected);
        assert_eq!(chart(&histogram()), "");
    }

    #[test]
    fn blocks_keep_to_their_width_and_show_what_is_little() {
        assert_eq!(blocks(&[0, 1, 50, 100], 60), " ▁▄█");
        assert_eq!(blocks(&[10; 100], 10), "█".repeat(10));
        assert_eq!(blocks(&[], 10), "");
    }

    #[test]
    fn octaves_have_round_bounds() {
        let bounds = [0, 5, 10, 12, 20, 21].map(octave_bound);
        assert_eq!(bounds, ["1µs", "32µs", "1ms", "4ms", "1s", "2s"]);
    }
}
