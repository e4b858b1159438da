//! Weights of an item's decisions by what they still cost (R42): early ones choose among many and
//! cost much, late ones among few, and which of them matter changes while a model learns.

use crate::data::Batch;

/// Decisions from this one on count as one.
const TOLD_APART: usize = 8;
/// How much of a running mean is of the newest step.
const NEWEST: f64 = 0.01;
/// η: e raised to η times a decision's cost beyond the mean is its weight.
const SHARPNESS: f64 = 0.25;
/// Weights stay within these.
const BOUNDS: [f64; 2] = [0.2, 5.0];

/// By decision, from an item's first: the running mean of its loss.
pub type Costs = Vec<f32>;

/// Weighs the decisions of a batch; those of an item together weigh as many as they are.
pub fn weigh(costs: &[f32], batch: &mut Batch) {
    let mean = costs.iter().map(|&cost| f64::from(cost)).sum::<f64>() / costs.len().max(1) as f64;
    let of = |decision: u32| match costs.get(place(decision)) {
        Some(&cost) => {
            (SHARPNESS * (f64::from(cost) - mean)).exp().clamp(BOUNDS[0], BOUNDS[1]) as f32
        }
        None => 1.0,
    };
    let all = &batch.target_decisions;
    let mut first = 0;
    while first < all.len() {
        // An item's decisions stand one behind another, from its first.
        let more = all[first + 1..].iter().take_while(|&&decision| decision > 1).count();
        let own = first..first + 1 + if all[first] > 0 { more } else { 0 };
        if all[first] > 0 {
            let sum: f32 = all[own.clone()].iter().map(|&decision| of(decision)).sum();
            let scale = own.len() as f32 / sum;
            for at in own.clone() {
                batch.target_weights[at] *= of(all[at]) * scale;
            }
        }
        first = own.end;
    }
}

/// What the decisions of a step cost, by decision: the sum of their losses, and how many they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step(Vec<(f64, u64)>);

impl Step {
    /// Adds a batch, whose targets had these losses.
    pub fn add(&mut self, batch: &Batch, losses: &[f32]) {
        for (&decision, &loss) in batch.target_decisions.iter().zip(losses) {
            if decision == 0 {
                continue;
            }
            let place = place(decision);
            if self.0.len() <= place {
                self.0.resize(place + 1, (0.0, 0));
            }
            self.0[place].0 += f64::from(loss);
            self.0[place].1 += 1;
        }
    }

    /// Moves the running means.
    pub fn learn(&self, costs: &mut Costs) {
        for (place, &(sum, count)) in self.0.iter().enumerate().filter(|(_, step)| step.1 > 0) {
            let own = sum / count as f64;
            match costs.get_mut(place) {
                Some(cost) => *cost = (f64::from(*cost) * (1.0 - NEWEST) + NEWEST * own) as f32,
                // One between that is met later begins as this one.
                None => costs.resize(place + 1, own as f32),
            }
        }
    }
}

fn place(decision: u32) -> usize {
    (decision as usize - 1).min(TOLD_APART - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(decisions: &[u32]) -> Batch {
        Batch {
            target_decisions: decisions.to_vec(),
            target_weights: vec![1.0; decisions.len()],
            ..Batch::default()
        }
    }

    #[test]
    fn what_costs_more_weighs_more_and_an_item_as_much_as_it_has_decisions() {
        // A word, an item of three decisions, one of one, a word, one of two.
        let mut own = batch(&[0, 1, 2, 3, 1, 0, 1, 2]);
        weigh(&[], &mut own);
        assert!(own.target_weights.iter().all(|&weight| weight == 1.0));
        weigh(&[4.0, 2.0, 0.0], &mut own);
        let e = 0.5f32.exp();
        let three = 3.0 / (e + 1.0 + 1.0 / e);
        let two = 2.0 / (e + 1.0);
        let expected = [1.0, e * three, three, three / e, 1.0, 1.0, e * two, two];
        for (weight, expected) in own.target_weights.iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-6, "{:?}", own.target_weights);
        }
        // However much more one costs, it weighs at most 25 times the other.
        let mut own = batch(&[1, 2]);
        weigh(&[400.0, 0.0], &mut own);
        assert!((own.target_weights[0] / own.target_weights[1] - 25.0).abs() < 1e-3);
    }

    #[test]
    fn means_run_by_decision_and_late_ones_are_one() {
        let mut costs = Costs::new();
        let mut step = Step::default();
        step.add(&batch(&[1, 2, 0, 1, 2]), &[4.0, 1.0, 9.0, 2.0, 3.0]);
        step.learn(&mut costs);
        assert_eq!(costs, [3.0, 2.0]);
        let mut step = Step::default();
        step.add(&batch(&[1, 8, 30]), &[4.0, 1.0, 2.0]);
        step.learn(&mut costs);
        assert_eq!(costs.len(), 8);
        assert!((costs[0] - 3.01).abs() < 1e-6 && costs[1] == 2.0 && costs[7] == 1.5);
    }
}
