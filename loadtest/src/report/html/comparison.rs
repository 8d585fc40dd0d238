//! The page of a comparison: ratios with their intervals, both spectra, every round.
//!
//! Decides nothing: what differs was said where it was tested.

use std::fmt::Write as _;

use super::{environment, figure, spectrum, whole};
use crate::compare::ab::{Arm, Comparison, median};
use crate::report::svg::{Axis, Plot, escape};
use crate::result::metric::{Metric, Unit};
use crate::units::{bytes, count, span};

/// A comparison's page.
pub(crate) fn comparison_page(comparison: &Comparison) -> String {
    let c = comparison;
    let mut body = String::new();
    let _ = write!(
        body,
        "<h1>A against B <small>{}</small></h1><p class=\"what\">{} rounds · {} connections · {} · {} a run</p>\
         <p><b class=\"a\">A</b> <code>{}</code><br><b class=\"b\">B</b> <code>{}</code></p>\
         <p class=\"verdict {}\">{}</p>",
        escape(&c.mode),
        c.rounds,
        count(u64::from(c.conns)),
        bytes(c.size_bytes as u64),
        span(c.duration_ns),
        escape(&c.a.command),
        escape(&c.b.command),
        if c.verdict == "unsteady" || c.verdict == "too few rounds" { "bad" } else { "good" },
        escape(&c.conclusion()),
    );
    figures_table(&mut body, c);
    body.push_str("<div class=\"plots\">");
    ratios(&mut body, c);
    let spectra = [("A", "a", &c.a.response), ("B", "b", &c.b.response)];
    spectrum(&mut body, "Response times of all rounds, by 1/(1−q)", &spectra);
    for figure in &c.figures {
        rounds(&mut body, figure);
    }
    body.push_str("</div>");
    for (name, arm) in [("A", &c.a), ("B", &c.b)] {
        doubts(&mut body, name, arm, c.rounds);
    }
    environment(&mut body, &c.tool, c.ended_unix_s, &c.environment);
    whole("A against B", &body)
}

fn figures_table(body: &mut String, c: &Comparison) {
    body.push_str(
        "<div class=\"scroll\"><table><tr><th></th><th>A</th><th>B</th><th>B/A [95 %]</th><th>p</th>\
         <th>A/A floor [95 %]</th><th>p</th></tr>",
    );
    for f in &c.figures {
        let unit = unit(&f.name);
        let class = match (f.differs, f.is_better) {
            (false, _) => "",
            (true, true) => " class=\"good\"",
            (true, false) => " class=\"bad\"",
        };
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td{class}>{}</td><td>{:.3}</td><td>{}</td><td>{:.3}</td></tr>",
            escape(&f.name),
            unit.print(median(&f.a)),
            unit.print(median(&f.b)),
            f.difference.percent(),
            f.difference.p_adjusted,
            f.floor.percent(),
            f.floor.p_adjusted,
        );
    }
    body.push_str("</table></div>");
}

fn unit(name: &str) -> Unit {
    Metric::parse(name).map_or(Unit::Count, |metric| metric.unit())
}

/// Each figure's B over A with its bounds, and A over itself below.
fn ratios(body: &mut String, c: &Comparison) {
    if c.figures.is_empty() {
        return;
    }
    let both = || c.figures.iter().flat_map(|f| [&f.difference, &f.floor]);
    let most = both().filter_map(|d| d.ratio_to.or(Some(d.ratio))).fold(1.2, f64::max).min(10.0);
    let rows = c.figures.len() as f64;
    let x = Axis::linear(most, "B over A; less than 1 is less", |v| format!("{v:.2}"));
    let y = Axis::linear(0.0, "", |_| String::new());
    let mut plot = Plot::new("ratios", x, y).mark(1.0);
    for (at, f) in c.figures.iter().enumerate() {
        let height = 1.0 - (at as f64 + 0.5) / rows;
        let bounds = |from: Option<f64>, to: Option<f64>| from.zip(to);
        let (d, floor) = (&f.difference, &f.floor);
        plot = plot
            .text(0.0, height + 0.3 / rows, &f.name)
            .whisker("b", height + 0.1 / rows, d.ratio, bounds(d.ratio_from, d.ratio_to))
            .whisker(
                "dim",
                height - 0.15 / rows,
                floor.ratio,
                bounds(floor.ratio_from, floor.ratio_to),
            );
    }
    let legend = [("b", "B over A"), ("dim", "A over A")];
    figure(body, "Ratios with their 95 % intervals", &legend, &plot.finish());
}

/// A figure round by round.
fn rounds(body: &mut String, f: &crate::compare::ab::Figure) {
    let by_round = |values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(at, &value)| (at as f64 + 1.0, value)).collect()
    };
    let most = f.a.iter().chain(&f.b).chain(&f.a_again).copied().fold(0.0, f64::max);
    let unit = unit(&f.name);
    let x = Axis::up_to(f.a.len() as f64, "round", |v| format!("{v:.0}"));
    let plot = Plot::new(
        &f.name,
        x,
        Axis::linear(
            most,
            "",
            |value| if value > 0.0 { unit.print(value) } else { "0".to_owned() },
        ),
    );
    let plot = plot
        .line("dim", &by_round(&f.a_again))
        .line("a", &by_round(&f.a))
        .line("b", &by_round(&f.b))
        .finish();
    let legend = [("a", "A"), ("b", "B"), ("dim", "A again")];
    figure(body, &format!("{} by round", f.name), &legend, &plot);
}

fn doubts(body: &mut String, name: &str, arm: &Arm, rounds: usize) {
    let wrong = arm.counts.faults().iter().map(|&(_, n)| n).sum::<u64>();
    if wrong + arm.failed > 0 {
        let _ = write!(
            body,
            "<p class=\"verdict bad\">{name}: {} replies or connections were wrong, {} could not be opened</p>",
            count(wrong),
            count(arm.failed)
        );
    }
    if let Some(doubt) = &arm.first_doubt {
        let _ = write!(
            body,
            "<p class=\"what\">{name}: {}/{rounds} rounds in doubt: {}</p>",
            arm.doubtful_rounds,
            escape(doubt)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_sound, times};
    use super::*;

    #[test]
    fn an_empty_comparison_is_a_page_too() {
        assert_sound(&comparison_page(&Comparison::default()));
    }

    #[test]
    fn a_comparison_shows_its_ratios_its_rounds_and_both_spectra() {
        let figure = crate::compare::ab::Figure {
            name: "latency.p50".to_owned(),
            a: vec![1e6; 10],
            b: vec![2e6; 10],
            a_again: vec![1e6; 10],
            ..crate::compare::ab::Figure::default()
        };
        let arm =
            |from| Arm { response: times(from), command: "x <y>".to_owned(), ..Arm::default() };
        let comparison =
            Comparison { a: arm(10), b: arm(50), figures: vec![figure], ..Comparison::default() };
        let page = comparison_page(&comparison);
        assert_sound(&page);
        assert_eq!(page.matches("<svg").count(), 3);
    }
}
