//! Charts as inline SVG. Colours are the page's CSS variables, so that they follow its theme.

use crate::base::text::visible;
use std::fmt::Write;

pub(super) const WIDTH: f64 = 720.0;
pub(super) const TOP: f64 = 14.0;
pub(super) const RIGHT: f64 = 18.0;

/// Text that is safe within HTML and its attributes.
pub fn escaped(text: &str) -> String {
    let text = visible(text);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// Round values that cover a range: about `count` of them, 1, 2 or 5 times a power of ten apart.
fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = ((high - low) / count.max(1) as f64).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|&s| s >= rough * 0.999)
        .unwrap_or(power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last.min(first + 50)).map(|k| k as f64 * step).collect()
}

/// As many decimals as tell neighbouring ticks apart.
fn decimals(ticks: &[f64]) -> usize {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(1.0);
    (-step.log10()).ceil().clamp(0.0, 6.0) as usize
}

/// A linear map of a range of values to a range of the picture.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Axis {
    pub(super) fn at(&self, value: f64) -> f64 {
        let range = if self.high > self.low { self.high - self.low } else { 1.0 };
        self.from + (value - self.low) / range * (self.to - self.from)
    }
}

/// One curve; `class` is a CSS class of the page.
pub struct Series<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Its CSS class.
    pub class: &'a str,
    /// (minutes, value), ascending by minutes.
    pub points: Vec<(f64, f64)>,
    /// Whether each point is a dot of its own.
    pub dots: bool,
}

/// Values against minutes; `levels` are horizontal lines to be reached.
pub struct Lines<'a> {
    /// What the vertical axis shows.
    pub label: &'a str,
    /// The curves.
    pub series: Vec<Series<'a>>,
    /// (name, value) of each horizontal line.
    pub levels: Vec<(String, f64)>,
    /// Whether the vertical axis begins at zero.
    pub from_zero: bool,
}

impl Lines<'_> {
    /// `None` where no curve has a finite point.
    pub fn svg(&self) -> Option<String> {
        const HEIGHT: f64 = 270.0;
        const LEFT: f64 = 56.0;
        const BOTTOM: f64 = 40.0;
        let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
        let points: Vec<(f64, f64)> =
            self.series.iter().flat_map(|s| s.points.iter().filter(finite)).copied().collect();
        let last = points.iter().map(|p| p.0).fold(f64::NAN, f64::max);
        if last.is_nan() {
            return None;
        }
        let values = || points.iter().map(|p| p.1).chain(self.levels.iter().map(|level| level.1));
        let (lowest, highest) =
            (values().fold(f64::NAN, f64::min), values().fold(f64::NAN, f64::max));
        let margin = (highest - lowest).max(highest.abs() * 0.02).max(1e-9) * 0.06;
        let low = if self.from_zero { 0.0 } else { lowest - margin };
        let x = Axis { low: 0.0, high: last.max(1e-9), from: LEFT, to: WIDTH - RIGHT };
        let y = Axis { low, high: highest + margin, from: HEIGHT - BOTTOM, to: TOP };

        let mut svg = open(HEIGHT, self.label);
        upwards(&mut svg, &y, LEFT);
        let marks = ticks(0.0, x.high, 8);
        for &mark in &marks {
            let digits = decimals(&marks);
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{mark:.digits$}\
                </text>",
                x.at(mark),
                HEIGHT - BOTTOM + 18.0
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/><text \
            class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">minutes of training</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT,
            HEIGHT - 6.0,
            base = HEIGHT - BOTTOM,
        );
        for (place, (name, value)) in apart(&self.levels, &y) {
            let _ = write!(
                svg,
                "<line class=\"level\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                <text class=\"level-name\" x=\"{}\" y=\"{place:.1}\" text-anchor=\"end\">{} \
                {value:.4}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 4.0,
                escaped(name),
                at = y.at(*value),
            );
        }
        for series in &self.series {
            let mut line = String::new();
            for point in series.points.iter().filter(finite) {
                let _ = write!(line, "{:.1},{:.1} ", x.at(point.0), y.at(point.1));
            }
            let (class, name) = (escaped(series.class), escaped(series.name));
            let _ =
                write!(svg, r#"<polyline class="curve {class}" points="{}"/>"#, line.trim_end());
            for point in series.points.iter().filter(finite).filter(|_| series.dots) {
                let _ = write!(
                    svg,
                    "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\">\
                    <title>{name} {:.4} after {:.1} min</title></circle>",
                    x.at(point.0),
                    y.at(point.1),
                    point.1,
                    point.0
                );
            }
        }
        svg.push_str("</svg>");
        Some(svg)
    }
}

/// Where the names of levels stand so that none covers another: each level with the y of its text.
fn apart<'a>(levels: &'a [(String, f64)], y: &Axis) -> Vec<(f64, &'a (String, f64))> {
    let mut sorted: Vec<&(String, f64)> =
        levels.iter().filter(|level| level.1.is_finite()).collect();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut above = f64::INFINITY;
    sorted
        .into_iter()
        .map(|level| {
            let place = (y.at(level.1) - 4.0).min(above - 13.0);
            above = place;
            (place, level)
        })
        .collect()
}

/// A dot with its interval.
pub struct Dot {
    /// What the line of the chart is called.
    pub name: String,
    /// Its CSS class.
    pub class: &'static str,
    /// Where the dot stands.
    pub value: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where the interval ends.
    pub high: f64,
}

/// Dots with their intervals, one a line, on an axis from zero; `None` for none.
pub fn dots(label: &str, dots: &[Dot]) -> Option<String> {
    const LEFT: f64 = 210.0;
    const LINE: f64 = 30.0;
    let highest = dots.iter().map(|dot| dot.high.max(dot.value)).fold(f64::NAN, f64::max);
    if highest.is_nan() {
        return None;
    }
    let bottom = TOP + dots.len() as f64 * LINE;
    let height = bottom + 26.0;
    let x = Axis { low: 0.0, high: highest.max(1e-9) * 1.04, from: LEFT, to: WIDTH - RIGHT - 44.0 };
    let mut svg = open(height, label);
    across(&mut svg, &x, bottom);
    for (dot, line) in dots.iter().zip(0..) {
        let at = TOP + (f64::from(line) + 0.5) * LINE;
        let (class, name, short) = (dot.class, escaped(&dot.name), escaped(&fitted(&dot.name)));
        let _ = write!(
            svg,
            "<text class=\"name {class}\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{short}</text>\
            <line class=\"span {class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" \
            y2=\"{at:.1}\"/><circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{at:.1}\" r=\"5\">\
            <title>{name}: {:.4}, 95 % interval {:.4} to {:.4}</title></circle><text \
            class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{:.4}</text>",
            LEFT - 14.0,
            at + 4.5,
            x.at(dot.low),
            x.at(dot.high),
            x.at(dot.value),
            dot.value,
            dot.low,
            dot.high,
            x.at(dot.high.max(dot.value)) + 10.0,
            at + 4.5,
            dot.value
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// A named measurement with its interval: a step of a ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// What came of it.
    pub value: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where the interval ends.
    pub high: f64,
}

impl Step {
    /// That all of it can be drawn.
    pub(super) fn is_finite(&self) -> bool {
        [self.value, self.low, self.high].iter().all(|value| value.is_finite())
    }

    /// "name: 0.1234, 95 % interval 0.1200 to 0.1300"
    pub(super) fn words(&self) -> String {
        let Step { name, value, low, high } = self;
        format!("{name}: {value:.4}, 95 % interval {low:.4} to {high:.4}")
    }
}

/// Steps from above to below, each with its interval, a line to the next and what it gained; the
/// axis covers the intervals and need not begin at zero. `None` where nothing can be drawn; steps
/// without finite numbers are left out.
pub fn ladder(label: &str, steps: &[Step]) -> Option<String> {
    const LEFT: f64 = 210.0;
    const LINE: f64 = 34.0;
    let steps: Vec<&Step> = steps.iter().filter(|step| step.is_finite()).collect();
    let lowest = steps.iter().map(|step| step.low.min(step.value)).reduce(f64::min)?;
    let highest = steps.iter().map(|step| step.high.max(step.value)).reduce(f64::max)?;
    let margin = (highest - lowest).max(highest.abs() * 0.02).max(1e-9) * 0.06;
    let bottom = TOP + steps.len() as f64 * LINE;
    let to = WIDTH - RIGHT - 100.0;
    let x = Axis { low: lowest - margin, high: highest + margin, from: LEFT, to };
    let words: Vec<String> = steps.iter().map(|step| step.words()).collect();
    let mut svg = described(bottom + 26.0, label, &words.join("; "));
    across(&mut svg, &x, bottom);
    let at = |line: usize| TOP + (line as f64 + 0.5) * LINE;
    let place = |(line, step): (usize, &&Step)| format!("{:.1},{:.1}", x.at(step.value), at(line));
    let path: Vec<String> = steps.iter().enumerate().map(place).collect();
    let _ = write!(svg, r#"<polyline class="curve baseline" points="{}"/>"#, path.join(" "));
    for (line, (step, words)) in steps.iter().zip(&words).enumerate() {
        let gained = line.checked_sub(1).map(|before| step.value - steps[before].value);
        let gained = gained.map_or(String::new(), |gained| format!(" ({gained:+.4})"));
        let y = at(line);
        let _ = write!(
            svg,
            "<text class=\"name model\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
            <line class=\"span model\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
            <circle class=\"dot model\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}</title>\
            </circle><text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{:.4}{gained}</text>",
            LEFT - 14.0,
            y + 4.5,
            escaped(&fitted(&step.name)),
            x.at(step.low),
            x.at(step.high),
            x.at(step.value),
            escaped(words),
            x.at(step.high.max(step.value)) + 10.0,
            y + 4.5,
            step.value
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// A name as the margin of a chart has room for it: what is longer loses its middle.
fn fitted(name: &str) -> String {
    const MOST: usize = 30;
    let letters: Vec<char> = name.chars().collect();
    let Some(more) = letters.len().checked_sub(MOST + 1) else { return name.to_owned() };
    let (head, tail) = (MOST / 2, MOST / 2 + more + 1);
    letters[..head].iter().chain(&['…']).chain(&letters[tail..]).collect()
}

/// Lines of round values from left to right, named below.
fn across(svg: &mut String, x: &Axis, bottom: f64) {
    let marks = ticks(x.low, x.high, 6);
    for &mark in &marks {
        let (at, digits) = (x.at(mark), decimals(&marks));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
            <text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{mark:.digits$}\
            </text>",
            bottom + 18.0
        );
    }
}

/// Lines of round values from below to above, named at the left.
pub(super) fn upwards(svg: &mut String, y: &Axis, left: f64) {
    let marks = ticks(y.low, y.high, 5);
    for &mark in &marks {
        let (at, digits) = (y.at(mark), decimals(&marks));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
            <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{mark:.digits$}\
            </text>",
            WIDTH - RIGHT,
            left - 8.0,
            at + 4.0
        );
    }
}

/// A picture with a title and a description for those who do not see it.
pub(super) fn described(height: f64, label: &str, description: &str) -> String {
    let (title, description) = (escaped(label), escaped(description));
    format!("{}<title>{title}</title><desc>{description}</desc>", open(height, label))
}

fn open(height: f64, label: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}">"#, escaped(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(decimals(&ticks(0.0, 0.1, 5)), 2);
        assert!(ticks(3.0, 3.0, 5).len() <= 51);
    }

    #[test]
    fn no_points_make_no_chart() {
        let empty = Series { name: "loss", class: "a", points: vec![(f64::NAN, 1.0)], dots: true };
        let lines = Lines { label: "loss", series: vec![empty], levels: vec![], from_zero: false };
        assert_eq!((lines.svg(), dots("none", &[])), (None, None));
    }

    #[test]
    fn one_point_makes_finite_coordinates() {
        let one = Series { name: "<hr>", class: "a", points: vec![(0.0, 0.0)], dots: true };
        let lines = Lines {
            label: "HR@10",
            series: vec![one],
            levels: vec![("x & y".into(), 0.0)],
            from_zero: true,
        };
        let svg = lines.svg().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("&lt;hr&gt;") && svg.contains("x &amp; y"), "{svg}");
    }

    #[test]
    fn a_ladder_says_what_each_step_gained() {
        let step = |name: &str, value: f64| {
            let (low, high) = (value - 0.01, value + 0.01);
            Step { name: name.into(), value, low, high }
        };
        let steps = [step("GLM <b>", 0.08), step("lost", f64::NAN), step("+ masks", 0.0925)];
        let svg = ladder("HR@10 & steps", &steps).unwrap();
        assert!(svg.contains("<title>HR@10 &amp; steps</title><desc>GLM &lt;b&gt;: 0.0800, 95 %"));
        assert!(svg.contains(">0.0925 (+0.0125)</text>") && !svg.contains("lost"), "{svg}");
        assert!(!svg.contains("NaN") && svg.matches("<circle").count() == 2, "{svg}");
        assert_eq!((ladder("none", &[]), ladder("none", &steps[1..2])), (None, None));
        let long = "a long name of a file, and of the folders that it lies in";
        assert_eq!(fitted(long), "a long name of …that it lies in");
        assert_eq!((fitted("short"), fitted(&"é".repeat(30))), ("short".into(), "é".repeat(30)));
        // All at one place, with no width at all.
        let flat = Step { name: "a".into(), value: 0.0, low: 0.0, high: 0.0 };
        let svg = ladder("flat", &[flat.clone(), flat]).unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn names_of_levels_do_not_overlap() {
        let y = Axis { low: 0.0, high: 1.0, from: 200.0, to: 0.0 };
        let levels = [("a".to_string(), 0.5), ("b".to_string(), 0.51), ("c".to_string(), 0.9)];
        let places: Vec<f64> = apart(&levels, &y).iter().map(|p| p.0).collect();
        assert!(places.windows(2).all(|w| w[0] - w[1] >= 12.9), "{places:?}");
    }
}
