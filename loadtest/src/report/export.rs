//! Results for other programs: the timeline as CSV, the response times as HdrHistogram's percentile table.
//!
//! Turns documents into text; opens no file.

use std::fmt::Write as _;

use crate::result::document::Document;
use crate::units::seconds;

/// One line for each moment of the run.
pub(crate) fn csv(document: &Document) -> String {
    let mut out = "at_s,span_s,phase,opened,sent,received,server_cpu,server_rss_bytes,\
                   response_p50_ns,response_p99_ns,response_max_ns\n"
        .to_owned();
    for moment in &document.timeline {
        let quantile =
            |q| quantile(&moment.responses, q).map_or(String::new(), |ns| ns.to_string());
        let _ = writeln!(
            out,
            "{:.3},{:.3},{},{},{},{},{:.4},{},{},{},{}",
            seconds(moment.at_ns),
            seconds(moment.span_ns),
            moment.phase,
            moment.opened,
            moment.sent,
            moment.received,
            moment.server_cpu_ns as f64 / moment.span_ns.max(1) as f64,
            moment.rss_bytes,
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
        );
    }
    out
}

/// The bucket in which quantile `q` lies, by its lower bound.
fn quantile(buckets: &[(u64, u64)], q: f64) -> Option<u64> {
    let total: u64 = buckets.iter().map(|&(_, count)| count).sum();
    let mut below = 0;
    let found = buckets.iter().find(|&&(_, count)| {
        below += count;
        below as f64 >= q * total as f64
    });
    found.map(|&(ns, _)| ns)
}

/// The response times as HdrHistogram's plotter reads them, in milliseconds.
pub(crate) fn hgrm(document: &Document) -> String {
    const MS: f64 = 1e6;
    const TICKS_PER_HALF: u32 = 5;
    let times = document.response.histogram();
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for value in times.iter_quantiles(TICKS_PER_HALF) {
        total += value.count_since_last_iteration();
        let (ms, at) = (value.value_iterated_to() as f64 / MS, value.quantile_iterated_to());
        let _ = write!(out, "{ms:>12.6} {at:>14.12} {total:>10}");
        // The last line's is infinite, and is left out.
        let _ = if at < 1.0 { writeln!(out, " {:>14.2}", 1.0 / (1.0 - at)) } else { writeln!(out) };
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]\n#[Max     = {:>12.6}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        times.mean() / MS,
        times.stdev() / MS,
        times.max() as f64 / MS,
        times.len(),
        times.buckets(),
        2048,
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::histogram;
    use crate::result::document::Times;
    use crate::watch::history::Moment;

    #[test]
    fn a_moment_is_a_line() {
        let moment = Moment {
            at_ns: 2_000_000_000,
            span_ns: 500_000_000,
            phase: "measure".to_owned(),
            sent: 7,
            server_cpu_ns: 250_000_000,
            responses: vec![(1000, 98), (5000, 2)],
            ..Moment::default()
        };
        let document = Document { timeline: vec![moment], ..Document::default() };
        let csv = csv(&document);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[1], "2.000,0.500,measure,0,7,0,0.5000,0,1000,5000,5000");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
    }

    #[test]
    fn the_percentile_table_ends_with_the_maximum() {
        let mut times = histogram();
        for us in 1..=1000 {
            times.saturating_record(us * 1000);
        }
        let document = Document { response: Times::of(&times), ..Document::default() };
        let table = hgrm(&document);
        let last = table.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!((fields[1], fields[2], fields.len()), ("1.000000000000", "1000", 3));
        assert!(table.contains("Total count    =         1000"), "{table}");
    }
}
