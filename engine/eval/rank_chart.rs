//! A metric against the rank of the adapters that reached it (Figure 3 of the paper).

use super::chart::{described, escaped, upwards, Axis, Step, RIGHT, TOP, WIDTH};
use std::fmt::Write;

/// Dots with intervals, ranks doubling from left to right, the value from zero upwards. `None`
/// where fewer than two ranks differ; what is not finite is left out.
pub fn by_rank(label: &str, points: &[(usize, Step)]) -> Option<String> {
    const HEIGHT: f64 = 270.0;
    const LEFT: f64 = 56.0;
    const BOTTOM: f64 = 40.0;
    let mut points: Vec<&(usize, Step)> =
        points.iter().filter(|(rank, step)| *rank > 0 && step.is_finite()).collect();
    points.sort_by_key(|(rank, _)| *rank);
    let (first, last) = (points.first()?.0, points.last()?.0);
    if first == last {
        return None;
    }
    let highest = points.iter().map(|(_, step)| step.high.max(step.value)).fold(0.0, f64::max);
    let doubled = |rank: usize| (rank as f64).log2();
    let (low, high) = (doubled(first), doubled(last));
    let x = Axis { low, high, from: LEFT + 30.0, to: WIDTH - RIGHT - 60.0 };
    let y = Axis { low: 0.0, high: highest.max(1e-9) * 1.06, from: HEIGHT - BOTTOM, to: TOP };
    let words = |(rank, step): &(usize, Step)| format!("rank {rank}, {}", step.words());
    let all: Vec<String> = points.iter().map(|point| words(point)).collect();
    let mut svg = described(HEIGHT, label, &all.join("; "));
    upwards(&mut svg, &y, LEFT);
    let base = HEIGHT - BOTTOM;
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/><text \
        class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">rank of the adapter</text>",
        WIDTH - RIGHT,
        WIDTH - RIGHT,
        HEIGHT - 6.0,
    );
    let place = |(rank, step): &&(usize, Step)| {
        format!("{:.1},{:.1}", x.at(doubled(*rank)), y.at(step.value))
    };
    let path: Vec<String> = points.iter().map(place).collect();
    let _ = write!(svg, r#"<polyline class="curve model" points="{}"/>"#, path.join(" "));
    let mut named = None;
    for point in &points {
        let (rank, step) = point;
        let at = x.at(doubled(*rank));
        // Of several runs with one rank the axis names it once.
        if named.replace(*rank) != Some(*rank) {
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{rank}</text>",
                base + 18.0
            );
        }
        let _ = write!(
            svg,
            "<line class=\"span model\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" \
            y2=\"{:.1}\"/><circle class=\"dot model\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"5\"><title>\
            {}</title></circle><text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{:.4}</text>",
            y.at(step.low.max(0.0)),
            y.at(step.high),
            y.at(step.value),
            escaped(&words(point)),
            at + 9.0,
            y.at(step.value) - 6.0,
            step.value
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(value: f64) -> Step {
        Step { name: "a & b".into(), value, low: value - 0.01, high: value + 0.01 }
    }

    #[test]
    fn ranks_ascend_and_are_named_once() {
        let points = [(8, step(0.03)), (2, step(0.02)), (8, step(0.028)), (4, step(f64::NAN))];
        let svg = by_rank("HR@1", &points).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches(">8</text>").count(), 1);
        assert!(svg.contains("<desc>rank 2, a &amp; b: 0.0200, 95 % interval"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains(">4</text>"), "{svg}");
    }

    #[test]
    fn one_rank_makes_no_curve() {
        assert_eq!(by_rank("HR@1", &[(8, step(0.1)), (8, step(0.2))]), None);
        assert_eq!(by_rank("HR@1", &[]), None);
    }
}
