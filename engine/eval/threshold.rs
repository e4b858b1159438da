//! "hr@10>=0.02": what a run must reach to pass.

use crate::base::Fault;
use anyhow::Result;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// A bound on one metric.
///
/// ```
/// use engine::eval::threshold::Threshold;
/// let threshold: Threshold = "hr@10 >= 0.02".parse().unwrap();
/// assert!(threshold.holds(0.02) && !threshold.holds(0.0199));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Name of the metric, in lower case.
    pub metric: String,
    side: Side,
    /// What the metric is compared with.
    pub bound: f64,
}

impl Threshold {
    /// NaN never holds.
    pub fn holds(&self, value: f64) -> bool {
        match self.side {
            Side::AtLeast => value >= self.bound,
            Side::Above => value > self.bound,
            Side::AtMost => value <= self.bound,
            Side::Below => value < self.bound,
        }
    }
}

impl FromStr for Threshold {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Threshold> {
        let signs =
            [(">=", Side::AtLeast), ("<=", Side::AtMost), (">", Side::Above), ("<", Side::Below)];
        let found =
            signs.iter().find_map(|&(sign, side)| text.split_once(sign).map(|parts| (parts, side)));
        if let Some(((metric, bound), side)) = found {
            if let (false, Ok(bound)) = (metric.trim().is_empty(), bound.trim().parse::<f64>()) {
                if bound.is_finite() {
                    return Ok(Threshold { metric: metric.trim().to_lowercase(), side, bound });
                }
            }
        }
        Err(Fault::Usage.error(format!(
            "setting `threshold`: {text:?}: expected METRIC>=NUMBER (or <=, >, <), e.g. \
            hr@10>=0.02; write it so"
        )))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.side {
            Side::AtLeast => ">=",
            Side::Above => ">",
            Side::AtMost => "<=",
            Side::Below => "<",
        };
        write!(f, "{}{sign}{}", self.metric, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_read_and_print() {
        for text in ["hr@10>=0.02", "rmse<1.1", "mae<=0.7", "ndcg@5>0"] {
            assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
        }
        for text in ["", "hr@10", "hr@10>=", ">=1", "hr@10>=x", "hr@10=0.1", "hr@10>=NaN"] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Usage), "{text}");
        }
        assert!(!"mrr>=0".parse::<Threshold>().unwrap().holds(f64::NAN));
    }
}
