//! The learning rate over a run.

/// Linear warm-up from 0 to `peak`, then linear decay to 0 (R37).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Highest rate.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// The rate at the end as a share of the peak.
    pub floor: f64,
}

impl Schedule {
    /// The rate of step `step`, counted from 1. The first step already learns; the last one stands
    /// at the floor's side of zero.
    pub fn rate(&self, step: u64) -> f64 {
        let step = step.min(self.total.max(1));
        if step <= self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let left = (self.total - step + 1) as f64 / (self.total - self.warmup) as f64;
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_and_never_reaches_zero_before_the_end() {
        let schedule = Schedule { peak: 1.0, warmup: 10, total: 110, floor: 0.0 };
        assert_eq!(schedule.rate(1), 0.1);
        assert_eq!(schedule.rate(10), 1.0);
        assert_eq!(schedule.rate(11), 1.0);
        assert_eq!(schedule.rate(110), 0.01);
        assert!((1..110).all(|s| schedule.rate(s) > 0.0));
        assert!((11..110).all(|s| schedule.rate(s) > schedule.rate(s + 1)));
    }

    #[test]
    fn without_warmup_and_with_a_floor() {
        let schedule = Schedule { peak: 2.0, warmup: 0, total: 4, floor: 0.5 };
        assert_eq!([1, 2, 3, 4].map(|s| schedule.rate(s)), [2.0, 1.75, 1.5, 1.25]);
    }
}
