//! The results as one HTML file: figures, plots and what they rest on. It asks for nothing from anywhere.
//!
//! Written from documents alone, so that an old one can be drawn again. Computes nothing that they do not hold.

mod comparison;

use std::fmt::Write as _;

use hdrhistogram::Histogram;

pub(crate) use self::comparison::comparison_page;
use crate::plan::machine::Environment;
use crate::report::svg::{Axis, Plot, escape};
use crate::result::document::{Document, Times};
use crate::result::metric::Unit;
use crate::time::live::Phase;
use crate::units::{self, bytes, count, latency, percent, rate, seconds, span};
use crate::watch::history::Moment;

/// A run's page.
pub(crate) fn page(document: &Document) -> String {
    let d = document;
    let mut body = String::new();
    let pace = match (d.rate_per_s, d.pipeline) {
        (Some(per_s), _) => format!(" · open loop {} msg/s", rate(per_s)),
        (None, Some(depth)) => format!(" · closed loop, {depth} deep"),
        (None, None) => String::new(),
    };
    let _ = write!(
        body,
        "<h1>{} <small>{}</small></h1><p class=\"what\">{} connections{pace} · {} · {}</p>",
        escape(&d.mode),
        escape(&d.url),
        count(u64::from(d.conns)),
        bytes(d.size_bytes as u64),
        span(d.duration_ns),
    );
    verdict(&mut body, d);
    times_table(&mut body, d);
    body.push_str("<div class=\"plots\">");
    spectrum_of(&mut body, d);
    heat_map(&mut body, d);
    rates(&mut body, d);
    ramp(&mut body, d);
    server(&mut body, d);
    fan_out(&mut body, d);
    body.push_str("</div>");
    counts_table(&mut body, d);
    environment(&mut body, &d.tool, d.ended_unix_s, &d.environment);
    whole(&format!("{} {}", d.mode, d.url), &body)
}

/// The page around `body`.
fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{} · loadtest</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escape(title)
    )
}

/// Light and dark; one column on a phone, as many as fit elsewhere.
const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#636c76;--line:#d9dee3;--a:#0b62d6;--b:#c2570a;\
--c:#1a7f37;--d:#8250df;--good:#1a7f37;--bad:#c62828}\
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--dim:#9198a1;--line:#2d333b;--a:#58a6ff;--b:#f0883e;\
--c:#3fb950;--d:#bc8cff;--good:#3fb950;--bad:#ff7b72}}\
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}\
main{max-width:1180px;margin:0 auto;padding:16px}h1{font-size:1.4em;margin:.2em 0}h2{font-size:1.05em;margin:1.6em 0 .4em}\
small,.what,figcaption{color:var(--dim)}h1 small{font-weight:400;font-size:.7em;overflow-wrap:anywhere}code{overflow-wrap:anywhere}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:12px 24px;margin-top:16px}\
figure{margin:0}figcaption{font-size:.87em}svg{width:100%;height:auto;display:block}\
svg text{font:10.5px system-ui,sans-serif;fill:var(--dim)}text.y{text-anchor:end}text.x{text-anchor:middle}\
.grid{stroke:var(--line);stroke-width:.7;fill:none}.mark{stroke:var(--fg);stroke-width:1;stroke-dasharray:3 3;fill:none}\
.line{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round}.dot,rect{fill:currentColor}\
.a{color:var(--a)}.b{color:var(--b)}.c{color:var(--c)}.d{color:var(--d)}.dim{color:var(--dim)}.heat{color:var(--a)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}\
td,th{padding:3px 10px 3px 0;text-align:right;border-bottom:1px solid var(--line)}td:first-child,th:first-child{text-align:left}\
th{color:var(--dim);font-weight:500}.verdict{border-left:4px solid;padding:6px 12px;margin:14px 0}.verdict ul{margin:4px 0;padding-left:18px}\
.good{border-color:var(--good)}.bad{border-color:var(--bad)}td.bad{color:var(--bad)}td.good{color:var(--good)}";

fn verdict(body: &mut String, d: &Document) {
    let is_good = d.verdict.grade == "VALID" && d.exit_code == 0;
    let class = if is_good { "good" } else { "bad" };
    let _ = write!(body, "<div class=\"verdict {class}\"><b>{}</b>", escape(&d.verdict.grade));
    let _ = write!(
        body,
        " · client {} CPU, {} · run-queue {} · steal {} · exit code {}",
        percent(d.client.busy),
        bytes(d.client.rss_peak_bytes),
        percent(d.client.run_queue),
        percent(d.client.steal),
        d.exit_code
    );
    let reasons = d.verdict.reasons.iter().map(|reason| escape(reason));
    let fault = d.first_fault.iter().map(|fault| format!("first fault: {}", escape(fault)));
    let thresholds = d.thresholds.iter().map(|checked| escape(checked.line().trim()));
    let insecure = d.insecure.then(|| "no certificate was checked (--insecure)".to_owned());
    let items: String = reasons
        .chain(fault)
        .chain(thresholds)
        .chain(insecure)
        .map(|item| format!("<li>{item}</li>"))
        .collect();
    if !items.is_empty() {
        let _ = write!(body, "<ul>{items}</ul>");
    }
    body.push_str("</div>");
}

/// The times that a document holds, by name.
fn rows(d: &Document) -> Vec<(&'static str, &Times)> {
    let response = if d.broadcast.is_some() { "delivery" } else { "response" };
    let mut rows = vec![(response, &d.response), ("service", &d.service), ("arrival", &d.arrival)];
    rows.extend([("client queue", &d.client_queue), ("send lag", &d.send_lag)]);
    if let Some(b) = &d.broadcast {
        rows.extend([("first subscriber", &b.first), ("median subscriber", &b.median)]);
        rows.extend([("99th of 100", &b.p99), ("last subscriber", &b.last), ("spread", &b.spread)]);
    }
    rows.extend([
        ("TCP", &d.connect.tcp),
        ("TLS", &d.connect.tls),
        ("upgrade", &d.connect.upgrade),
    ]);
    rows.push(("connect in all", &d.connect.total));
    if let Some(churn) = &d.churn {
        let again = &churn.connect;
        rows.extend([("churn: TCP", &again.tcp), ("churn: TLS", &again.tls)]);
        rows.extend([("churn: upgrade", &again.upgrade), ("churn: in all", &again.total)]);
    }
    rows.retain(|(_, times)| times.samples > 0);
    rows
}

fn times_table(body: &mut String, d: &Document) {
    body.push_str(
        "<div class=\"scroll\"><table><tr><th></th><th>min</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th>\
         <th>p99.99</th><th>max</th><th>samples</th></tr>",
    );
    for (name, t) in rows(d) {
        let _ = write!(body, "<tr><td>{name}</td>");
        for ns in [t.min, t.p50, t.p90, t.p99, t.p99_9, t.p99_99, t.max] {
            let _ = write!(body, "<td>{}</td>", ns.map_or("–".to_owned(), latency));
        }
        let _ = write!(body, "<td>{}</td></tr>", count(t.samples));
    }
    body.push_str("</table></div>");
}

fn counts_table(body: &mut String, d: &Document) {
    let mut rows = vec![
        ("opened", u64::from(d.connect.opened), false),
        ("failed", u64::from(d.connect.failed), true),
        ("sent", d.counts.sent, false),
        ("verified", d.counts.verified, false),
    ];
    if let Some(churn) = &d.churn {
        rows.push(("to be replaced", u64::from(churn.due), false));
        rows.push(("opened again", u64::from(churn.connect.opened), false));
        rows.push(("closed cleanly", u64::from(churn.closed), false));
        rows.push(("not opened again", u64::from(churn.connect.failed), true));
    }
    rows.extend(d.counts.faults().map(|(name, n)| (name, n, true)));
    rows.push(("listen-queue overflows", d.listen_overflows, true));
    rows.push(("SYNs sent again", d.syn_retrans, true));
    body.push_str("<h2>Counts</h2><div class=\"scroll\"><table>");
    for (name, n, is_fault) in rows.into_iter().filter(|&(_, n, is_fault)| n > 0 || !is_fault) {
        let class = if is_fault { " class=\"bad\"" } else { "" };
        let _ = write!(body, "<tr><td>{name}</td><td{class}>{}</td></tr>", count(n));
    }
    let again = d.churn.iter().flat_map(|churn| &churn.connect.failures);
    for failure in d.connect.failures.iter().chain(again) {
        let (reason, n) = (escape(&failure.reason), failure.count);
        let _ = write!(body, "<tr><td>{reason}</td><td class=\"bad\">{n}</td></tr>");
    }
    body.push_str("</table></div>");
}

fn figure(body: &mut String, caption: &str, legend: &[(&str, &str)], svg: &str) {
    let keys: String = legend
        .iter()
        .map(|(class, name)| format!(" <b class=\"{class}\">— {}</b>", escape(name)))
        .collect();
    let _ =
        write!(body, "<figure><figcaption>{}{keys}</figcaption>{svg}</figure>", escape(caption));
}

fn spectrum_of(body: &mut String, d: &Document) {
    let classes = ["a", "b", "c", "d"];
    let shown: Vec<(&str, &Times)> = rows(d)
        .into_iter()
        .filter(|(name, _)| {
            if d.mode == "connect" {
                true
            } else {
                matches!(*name, "delivery" | "response" | "service" | "arrival" | "send lag")
            }
        })
        .collect();
    let spectra: Vec<(&str, &str, &Times)> =
        shown.iter().zip(classes).map(|(&(name, times), class)| (name, class, times)).collect();
    spectrum(body, "Percentiles, by 1/(1−q): equal steps to the right are equally rarer", &spectra);
}

/// A name, a class and points.
type Curve<'a> = (&'a str, &'a str, Vec<(f64, f64)>);

/// Times by how rare they are.
fn spectrum(body: &mut String, caption: &str, spectra: &[(&str, &str, &Times)]) {
    let lines: Vec<Curve<'_>> = spectra
        .iter()
        .map(|&(name, class, times)| (name, class, by_rarity(&times.histogram())))
        .filter(|(_, _, points)| !points.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|(_, _, points)| points);
    if lines.is_empty() {
        return;
    }
    let rarest = all().map(|p| p.0).fold(10.0, f64::max);
    let (least, most) = extent(all().map(|p| p.1));
    let x = Axis::log(1.0, rarest, "1/(1−q)", quantile_label);
    let y = Axis::log(least.max(100.0), most, "", time_label);
    let plot = Plot::new(caption, x, y);
    let plot = lines.iter().fold(plot, |plot, (_, class, points)| plot.line(class, points));
    let legend: Vec<(&str, &str)> = lines.iter().map(|&(name, class, _)| (class, name)).collect();
    figure(body, caption, &legend, &plot.finish());
}

/// `(1/(1-q), ns)` as far as the samples carry: ten lie above the last.
fn by_rarity(times: &Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS_PER_DECADE: f64 = 16.0;
    const SAMPLES_ABOVE: f64 = 10.0;
    let rarest = times.len() as f64 / SAMPLES_ABOVE;
    let mut points = Vec::new();
    let mut step = 0.0;
    while 10_f64.powf(step / STEPS_PER_DECADE) <= rarest {
        let rarity = 10_f64.powf(step / STEPS_PER_DECADE);
        let ns = times.value_at_quantile(1.0 - 1.0 / rarity);
        points.push((rarity, ns as f64));
        step += 1.0;
    }
    points
}

/// When each response time came how often.
fn heat_map(body: &mut String, d: &Document) {
    let cells =
        || d.timeline.iter().flat_map(|m| m.responses.iter().map(move |&(ns, n)| (m, ns, n)));
    let Some(most) = cells().map(|(_, _, n)| n).max() else { return };
    let (least_ns, most_ns) = extent(cells().map(|(_, ns, _)| ns as f64));
    let x = time_axis(&d.timeline);
    let y = Axis::log(least_ns, most_ns * 1.125, "", time_label);
    let plot = Plot::new("response times over time", x, y);
    let plot = cells().fold(plot, |plot, (moment, ns, n)| {
        let heat = 0.12 + 0.88 * (n as f64).ln_1p() / (most as f64).ln_1p();
        // A bucket is an eighth of an octave.
        let top = ns as f64 + 2_f64.powi(i32::try_from(ns.max(1).ilog2()).unwrap_or(0) - 3);
        plot.cell(stretch(moment), (ns as f64, top), heat)
    });
    figure(
        body,
        "Response times over time: the stronger the colour, the more",
        &[],
        &plot.finish(),
    );
}

fn stretch(moment: &Moment) -> (f64, f64) {
    (seconds(moment.at_ns.saturating_sub(moment.span_ns)), seconds(moment.at_ns))
}

fn time_axis(timeline: &[Moment]) -> Axis {
    let end = timeline.last().map_or(1.0, |moment| seconds(moment.at_ns));
    Axis::up_to(end, "seconds", |s| format!("{}", (s * 100.0).round() / 100.0))
}

/// A line of `of` over time.
fn over_time(timeline: &[Moment], of: impl Fn(&Moment) -> f64) -> Vec<(f64, f64)> {
    // A moment that was cut short by a phase's end says little, and one of the closing handshakes something else.
    let longest = timeline.iter().map(|m| m.span_ns).max().unwrap_or(0);
    let is_whole = |m: &&Moment| m.span_ns * 5 >= longest && m.phase != Phase::Done.name();
    let whole = timeline.iter().filter(is_whole);
    whole.map(|m| (seconds(m.at_ns - m.span_ns / 2), of(m))).collect()
}

fn rates(body: &mut String, d: &Document) {
    let per_s = |n: u64, m: &Moment| n as f64 / seconds(m.span_ns.max(1));
    let sent = over_time(&d.timeline, |m| per_s(m.sent, m));
    let received = over_time(&d.timeline, |m| per_s(m.received, m));
    let most = sent.iter().chain(&received).map(|p| p.1).fold(0.0, f64::max);
    if most <= 0.0 {
        return;
    }
    let y = Axis::linear(most, "", rate);
    let plot = Plot::new("messages a second", time_axis(&d.timeline), y);
    let plot = plot.line("b", &sent).line("a", &received).finish();
    figure(body, "Messages a second", &[("b", "sent"), ("a", "received")], &plot);
}

fn ramp(body: &mut String, d: &Document) {
    let slots = &d.connect.opened_by_slot;
    if slots.is_empty() {
        return;
    }
    let slot_s = seconds(d.connect.slot_ns.max(1));
    let per_s = |n: &u32| f64::from(*n) / slot_s;
    let most = slots.iter().map(per_s).fold(0.0, f64::max);
    let end = slots.len() as f64 * slot_s;
    let x = Axis::up_to(end, "seconds", |s| format!("{}", (s * 1000.0).round() / 1000.0));
    let bars = slots.iter().enumerate().map(|(at, n)| {
        let from = at as f64 * slot_s;
        (from, from + slot_s, per_s(n))
    });
    let plot = Plot::new("connections opened a second", x, Axis::linear(most, "", rate));
    let plot = plot.bars("c", &bars.collect::<Vec<_>>()).finish();
    let caption =
        format!("Connections opened a second; {} in all", count(u64::from(d.connect.opened)));
    figure(body, &caption, &[], &plot);
}

fn server(body: &mut String, d: &Document) {
    let Some(server) = &d.server else { return };
    let cpu = over_time(&d.timeline, |m| m.server_cpu_ns as f64 / m.span_ns.max(1) as f64);
    let most = cpu.iter().map(|p| p.1).fold(0.01, f64::max);
    let plot =
        Plot::new("CPU of the server", time_axis(&d.timeline), Axis::linear(most, "", percent));
    let per_message = server
        .cpu_ns_per_message
        .map_or_else(String::new, |ns| format!(", {:.2} µs a message", ns / 1e3));
    let caption = format!("CPU of the server: {} of a core{per_message}", percent(server.cpu));
    figure(body, &caption, &[], &plot.line("d", &cpu).finish());

    let rss: Vec<(f64, f64)> =
        d.timeline.iter().map(|m| (seconds(m.at_ns), m.rss_bytes as f64)).collect();
    let most = rss.iter().map(|p| p.1).fold(1.0, f64::max);
    let y = Axis::linear(most, "", |value| Unit::Bytes.print(value));
    let plot =
        Plot::new("memory of the server", time_axis(&d.timeline), y).line("c", &rss).finish();
    let slope = server.ramp.map_or_else(String::new, |fit| {
        format!(", {:.0} B a connection (r² {:.3})", fit.bytes_per_conn, fit.r_squared)
    });
    figure(body, &format!("Memory of the server: {}{slope}", bytes(server.rss_bytes)), &[], &plot);
}

/// How soon the first, the median and the last subscriber had a message.
fn fan_out(body: &mut String, d: &Document) {
    let Some(b) = &d.broadcast else { return };
    let curves = [
        ("a", "first", &b.first),
        ("c", "median", &b.median),
        ("d", "99th", &b.p99),
        ("b", "last", &b.last),
    ];
    let curves = curves.map(|(class, name, times)| (class, name, cumulated(&times.histogram())));
    let all = || curves.iter().flat_map(|(_, _, points)| points);
    if all().next().is_none() {
        return;
    }
    let (least, most) = extent(all().map(|p| p.0));
    let plot = Plot::new(
        "fan-out",
        Axis::log(least, most, "", time_label),
        Axis::linear(1.0, "", percent),
    );
    let plot = curves.iter().fold(plot, |plot, (class, _, points)| plot.line(class, points));
    let legend = curves.each_ref().map(|(class, name, _)| (*class, *name));
    let caption = format!(
        "Share of messages that a subscriber had by then; reach {}/{}",
        count(b.received),
        count(b.expected)
    );
    figure(body, &caption, &legend, &plot.finish());
}

/// `(ns, share of samples up to it)`.
fn cumulated(times: &Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS: u32 = 100;
    if times.is_empty() {
        return Vec::new();
    }
    let at = |step: u32| f64::from(step) / f64::from(STEPS);
    (0..=STEPS).map(|step| (times.value_at_quantile(at(step)) as f64, at(step))).collect()
}

fn environment(body: &mut String, tool: &str, unix_s: u64, environment: &Environment) {
    let _ = write!(
        body,
        "<h2>Environment</h2><p class=\"what\">{} · {} × {} · Linux {} · {}</p>",
        escape(tool),
        environment.cpus,
        escape(&environment.cpu),
        escape(&environment.kernel),
        units::utc(unix_s),
    );
}

/// The least and the most of some values.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
}

fn time_label(ns: f64) -> String {
    Unit::Ns.print(ns).replace(".0", "")
}

fn quantile_label(rarity: f64) -> String {
    let nines = rarity.log10().round();
    if nines < 0.5 { "p0".to_owned() } else { format!("p{}", trimmed(100.0 - 100.0 / rarity)) }
}

/// A number without zeros at its end.
fn trimmed(value: f64) -> String {
    format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::histogram;
    use crate::result::document::{Broadcast, Server};

    pub(super) fn times(from_us: u64) -> Times {
        let mut times = histogram();
        for us in 0..1000 {
            times.saturating_record((from_us + us) * 1000);
        }
        Times::of(&times)
    }

    fn document() -> Document {
        let moment = |at: u64| Moment {
            at_ns: (at + 1) * 250_000_000,
            span_ns: 250_000_000,
            sent: 100,
            received: 100,
            rss_bytes: 5_000_000,
            responses: vec![(16_384, 90), (1_048_576, 10)],
            ..Moment::default()
        };
        let mut document = Document { mode: "echo".to_owned(), ..Document::default() };
        document.url = "ws://h/?a=<script>&b".to_owned();
        document.response = times(20);
        document.timeline = (0..20).map(moment).collect();
        document.server = Some(Server { cpu: 0.5, ..Server::default() });
        document.connect.slot_ns = 10_000_000;
        document.connect.opened_by_slot = vec![5, 7];
        document.broadcast =
            Some(Broadcast { first: times(5), last: times(90), ..Broadcast::default() });
        document
    }

    /// Every tag that opens is closed by its like, and nothing is asked for from elsewhere.
    pub(super) fn assert_sound(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1) {
            let (inside, _) = tag.split_once('>').expect("a tag ends");
            let name = inside.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            match name {
                "!doctype" | "meta" | "br" => {}
                _ if inside.ends_with('/') => {}
                _ if inside.starts_with('/') => assert_eq!(open.pop(), Some(name), "{inside}"),
                _ => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
        for foreign in ["http", "src=", "url(", "@import", "href", "<script"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn a_page_has_every_plot_and_asks_for_nothing() {
        let page = page(&document());
        assert_sound(&page);
        assert_eq!(page.matches("<svg").count(), 7, "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn an_empty_document_is_a_page_too() {
        let page = page(&Document::default());
        assert_sound(&page);
        assert_eq!(page.matches("<svg").count(), 0);
    }

    #[test]
    fn rarities_have_the_names_of_percentiles() {
        let labels = [1.0, 10.0, 100.0, 1000.0, 100_000.0].map(quantile_label);
        assert_eq!(labels, ["p0", "p90", "p99", "p99.9", "p99.999"]);
    }
}
