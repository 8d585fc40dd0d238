//! Plots as inline SVG: axes, lines, bars, a heat map. As wide as what they stand in, legible at the width of a phone.
//!
//! Knows points and labels, no results. Colours are classes, which the page gives their meaning in light and dark.

use std::fmt::Write as _;

/// A drawing is so wide and so high, in pixels of a narrow phone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 210.0;

/// What axes take of that.
const LEFT: f64 = 50.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 34.0;

/// An axis and its ticks.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    from: f64,
    to: f64,
    scale: Scale,
    ticks: Vec<(f64, String)>,
    title: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

impl Axis {
    /// A linear axis from zero on to at least `to`, with round ticks.
    pub(crate) fn linear(to: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        const TICKS: f64 = 4.0;
        let to = if to > 0.0 { to } else { 1.0 };
        let rough = to / TICKS;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * magnitude);
        let step = step.fold(magnitude, |best, step| if best >= rough { best } else { step });
        let mut ticks = Vec::new();
        let mut at = 0.0;
        while at < to + step * 0.999 {
            ticks.push((at, label(at)));
            at += step;
        }
        let to = ticks.last().map_or(to, |&(last, _)| last);
        Self { from: 0.0, to, scale: Scale::Linear, ticks, title: title.to_owned() }
    }

    /// The same, up to `to` and no further, as time is drawn.
    pub(crate) fn up_to(to: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        let axis = Self::linear(to, title, label);
        let to = if to > 0.0 { to } else { axis.to };
        let ticks = axis.ticks.into_iter().filter(|&(at, _)| at <= to * 1.001).collect();
        Self { to, ticks, ..axis }
    }

    /// A logarithmic axis over the decades that hold `from` and `to`, with a tick at each.
    pub(crate) fn log(from: f64, to: f64, title: &str, label: impl Fn(f64) -> String) -> Self {
        let from = from.max(1e-9);
        let to = to.max(from * 1.001);
        let (low, high) = (from.log10().floor(), to.log10().ceil().max(from.log10().floor() + 1.0));
        let mut ticks = Vec::new();
        let mut exponent = low;
        while exponent < high + 0.5 {
            let at = 10_f64.powf(exponent);
            ticks.push((at, label(at)));
            exponent += 1.0;
        }
        Self {
            from: 10_f64.powf(low),
            to: 10_f64.powf(high),
            scale: Scale::Log,
            ticks,
            title: title.to_owned(),
        }
    }

    /// Where `value` lies, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        share.clamp(0.0, 1.0)
    }
}

/// A drawing under way.
#[derive(Debug)]
pub(crate) struct Plot {
    x: Axis,
    y: Axis,
    out: String,
}

impl Plot {
    /// The two axes, and nothing between.
    pub(crate) fn new(what: &str, x: Axis, y: Axis) -> Self {
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(what)
        );
        for (at, label) in &y.ticks {
            let py = TOP + (1.0 - y.share(*at)) * (HEIGHT - TOP - BOTTOM);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {py:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" class=\"y\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 4.0,
                py + 3.5,
                escape(label)
            );
        }
        for (at, label) in &x.ticks {
            let px = LEFT + x.share(*at) * (WIDTH - LEFT - RIGHT);
            // A label at the very end would be cut off.
            let class = if x.share(*at) > 0.97 { "y" } else { "x" };
            let px_text = if class == "y" { px + RIGHT } else { px };
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{px:.1} {TOP}V{:.1}\"/><text x=\"{px_text:.1}\" y=\"{:.1}\" class=\"{class}\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 13.0,
                escape(label)
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"x title\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 6.0,
            escape(&x.title)
        );
        Self { x, y, out }
    }

    fn px(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.share(value)) * (HEIGHT - TOP - BOTTOM)
    }

    /// A line through `points`.
    pub(crate) fn line(mut self, class: &str, points: &[(f64, f64)]) -> Self {
        if points.is_empty() {
            return self;
        }
        let mut path = String::new();
        for &(x, y) in points {
            let sign = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{sign}{:.1} {:.1}", self.px(x), self.py(y));
        }
        let _ = write!(self.out, "<path class=\"line {class}\" d=\"{path}\"/>");
        self
    }

    /// A bar from the bottom for each `(from, to, height)`.
    pub(crate) fn bars(mut self, class: &str, bars: &[(f64, f64, f64)]) -> Self {
        let floor = HEIGHT - BOTTOM;
        for &(from, to, height) in bars {
            let (left, right, top) = (self.px(from), self.px(to), self.py(height));
            let _ = write!(
                self.out,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (right - left - 0.5).max(0.5),
                floor - top
            );
        }
        self
    }

    /// A cell of a heat map, from 0 (nothing) to 1.
    pub(crate) fn cell(mut self, x: (f64, f64), y: (f64, f64), heat: f64) -> Self {
        let (left, right) = (self.px(x.0), self.px(x.1));
        let (top, bottom) = (self.py(y.1), self.py(y.0));
        let _ = write!(
            self.out,
            "<rect class=\"heat\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" opacity=\"{heat:.2}\"/>",
            (right - left).max(0.5),
            (bottom - top).max(0.5)
        );
        self
    }

    /// A dot with a bar from `from` to `to` across it, at height `y`.
    pub(crate) fn whisker(
        mut self,
        class: &str,
        y: f64,
        at: f64,
        bounds: Option<(f64, f64)>,
    ) -> Self {
        let (cx, cy) = (self.px(at), self.py(y));
        if let Some((from, to)) = bounds {
            let (left, right) = (self.px(from), self.px(to));
            let _ = write!(
                self.out,
                "<path class=\"line {class}\" d=\"M{left:.1} {cy:.1}H{right:.1}\"/>"
            );
        }
        let _ = write!(
            self.out,
            "<circle class=\"dot {class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>"
        );
        self
    }

    /// A line from top to bottom.
    pub(crate) fn mark(mut self, x: f64) -> Self {
        let px = self.px(x);
        let _ =
            write!(self.out, "<path class=\"mark\" d=\"M{px:.1} {TOP}V{:.1}\"/>", HEIGHT - BOTTOM);
        self
    }

    /// Words within the drawing.
    pub(crate) fn text(mut self, x: f64, y: f64, words: &str) -> Self {
        let (px, py) = (self.px(x), self.py(y));
        let _ = write!(self.out, "<text x=\"{px:.1}\" y=\"{py:.1}\">{}</text>", escape(words));
        self
    }

    /// The drawing.
    pub(crate) fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// Text that means itself in HTML and in an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|&(at, _)| at).collect()
    }

    #[test]
    fn ticks_are_round_and_hold_what_is_drawn() {
        assert_eq!(ticks(&Axis::linear(10.0, "", |_| String::new())), [0.0, 5.0, 10.0]);
        assert_eq!(ticks(&Axis::linear(0.0, "", |_| String::new())).first(), Some(&0.0));
        for to in [0.3, 1.0, 7.0, 99.0, 101.0, 12_345.0] {
            let axis = Axis::linear(to, "", |_| String::new());
            assert!(axis.to >= to && (3..=6).contains(&axis.ticks.len()), "{to}: {axis:?}");
        }
        let time = Axis::up_to(4.5, "", |_| String::new());
        assert_eq!((ticks(&time), time.to), (vec![0.0, 2.0, 4.0], 4.5));
        let log = Axis::log(30.0, 4000.0, "", |_| String::new());
        let expected = [10.0, 100.0, 1000.0, 10_000.0];
        assert!(ticks(&log).iter().zip(expected).all(|(at, e)| (at / e - 1.0).abs() < 1e-9));
        assert!((log.share(10.0), log.share(1e9)) == (0.0, 1.0));
        assert_eq!(Axis::log(5.0, 5.0, "", |_| String::new()).ticks.len(), 2);
    }

    #[test]
    fn words_mean_themselves() {
        assert_eq!(escape("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
        let x = Axis::linear(1.0, "<x>", |_| "<".to_owned());
        let svg = Plot::new("\"", x.clone(), x).text(0.5, 0.5, "</svg>").finish();
        assert_eq!(svg.matches("</svg>").count(), 1);
        assert!(!svg.contains("<x>") && !svg.contains("<</"), "{svg}");
    }
}
