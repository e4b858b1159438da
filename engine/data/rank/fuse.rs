//! A model and a ranker asked together (E29): both score the same candidates, and a rule makes one
//! score of the two. No score is normalised over the candidates.

use crate::base::named::named;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

named! {
    /// How a model's score and a ranker's become one (E29).
    pub enum Fusion: "fusion" {
        /// The weighted sum of both log-scores, each standardised over the candidates.
        Sum = "sum",
        /// The logarithm of a mixture of both probabilities.
        Or = "or",
        /// As the sum, the ranker's share of it a logistic function of its largest probability.
        Confident = "confident",
    }
}

/// How much each of the two counts, and what a rule asks for beside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Balance {
    /// Of the model's scores, not negative.
    pub model: f64,
    /// Of the ranker's, not negative; not 0 where the model's is.
    pub prior: f64,
    /// a of w = σ(a + b·q), by which the weight of a confident ranker is multiplied, and the
    /// model's by 1 − w; q is the largest of the ranker's probabilities.
    pub intercept: f64,
    /// b of it.
    pub slope: f64,
    /// What a ranker's scores are divided by before they become probabilities, above 0.
    pub temperature: f64,
}

impl Balance {
    /// What counts where nothing was tuned: both alike, at a temperature.
    pub fn usual(temperature: f64) -> Balance {
        Balance { model: 1.0, prior: 1.0, intercept: -1.0, slope: 4.0, temperature }
    }

    /// Whether a list can be made by it: numbers, and weights of which one is above 0.
    pub fn is_sound(&self) -> bool {
        let Balance { model, prior, intercept, slope, temperature } = *self;
        let finite = [model, prior, intercept, slope, temperature].iter().all(|x| x.is_finite());
        finite && model >= 0.0 && prior >= 0.0 && model + prior > 0.0 && temperature > 0.0
    }
}

/// An item that both have scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its number in the catalogue.
    pub item: u32,
    /// Orders what is equal otherwise, smaller first (E16b).
    pub tie: u64,
    /// The model's own score: of its log-probabilities over the catalogue, finite.
    pub model: f64,
    /// The ranker's, finite and not negative.
    pub prior: f64,
    /// How often it was taken.
    pub count: f64,
    /// Whether it is among the ranker's best N.
    pub is_best: bool,
}

/// The candidates of somebody. Sums run in their order, which whoever makes it keeps the same: that
/// of the items' numbers.
#[derive(Clone, Debug, Default)]
pub struct Shortlist {
    /// What may be answered.
    pub candidates: Vec<Candidate>,
    /// Scores of the ranker's best N of the catalogue, the largest first; one at least.
    pub best: Vec<f64>,
    /// Σ (count + 1) over all items of the catalogue that are not among them.
    pub rest: f64,
}

/// A score below this share of the largest counts as that share: what was never counted has a
/// logarithm too.
const FLOOR: f64 = 1e-3;

/// What the items that are not among a ranker's best N have of its probability together, at most.
pub(super) const REST: f64 = 0.05;

impl Shortlist {
    /// A score for each candidate, finite; higher is better. `balance` must be sound.
    pub fn fused(&self, fusion: Fusion, balance: &Balance) -> Vec<f64> {
        let Balance { model, prior, intercept, slope, temperature } = *balance;
        match fusion {
            Fusion::Sum => self.sum(model, prior),
            Fusion::Confident => {
                let largest = self.log_share(self.best[0], self.log_all(temperature), temperature);
                let odds = (intercept + slope * largest.exp()).exp();
                self.sum(model / (1.0 + odds), prior * odds / (1.0 + odds))
            }
            Fusion::Or => {
                let (own, other) = ((model / (model + prior)).ln(), (prior / (model + prior)).ln());
                let all = self.candidates.iter().zip(self.log_shares(temperature));
                all.map(|(one, share)| log_sum(own + one.model, other + share)).collect()
            }
        }
    }

    /// The places of all candidates by their fused scores, best first. Equal ones stand by the
    /// ranker's score where that counts, then in the order of ties.
    pub fn ranked(&self, fusion: Fusion, balance: &Balance) -> Vec<(usize, f64)> {
        let fused = self.fused(fusion, balance);
        let mut order: Vec<usize> = (0..fused.len()).collect();
        order.sort_unstable_by(|&a, &b| self.order(balance, &fused, a, b));
        order.into_iter().map(|at| (at, fused[at])).collect()
    }

    /// Where candidate `at` stands, from 1, in [`Shortlist::ranked`].
    pub fn place(&self, fusion: Fusion, balance: &Balance, at: usize) -> u32 {
        let fused = self.fused(fusion, balance);
        let before = |&other: &usize| self.order(balance, &fused, other, at) == Ordering::Less;
        1 + (0..fused.len()).filter(before).count() as u32
    }

    fn order(&self, balance: &Balance, fused: &[f64], a: usize, b: usize) -> Ordering {
        let (one, other) = (&self.candidates[a], &self.candidates[b]);
        let by_prior = || match balance.prior > 0.0 {
            true => other.prior.total_cmp(&one.prior),
            false => Ordering::Equal,
        };
        let by_tie = || (one.tie, one.item).cmp(&(other.tie, other.item));
        fused[b].total_cmp(&fused[a]).then_with(by_prior).then_with(by_tie)
    }

    fn sum(&self, model: f64, prior: f64) -> Vec<f64> {
        let largest = self.candidates.iter().map(|one| one.prior).fold(0.0, f64::max);
        let log = |one: &Candidate| match largest > 0.0 {
            true => one.prior.max(FLOOR * largest).ln(),
            false => 0.0,
        };
        let of_model = standardised(self.candidates.iter().map(|one| one.model).collect());
        let of_prior = standardised(self.candidates.iter().map(log).collect());
        of_model.iter().zip(&of_prior).map(|(m, p)| model * m + prior * p).collect()
    }

    /// ln Σ exp over the ranker's best, less the largest.
    fn log_all(&self, temperature: f64) -> f64 {
        let top = self.best[0];
        self.best.iter().map(|score| ((score - top) / temperature).exp()).sum::<f64>().ln()
    }

    /// The logarithm of the share of a score that is among the best.
    fn log_share(&self, score: f64, log_all: f64, temperature: f64) -> f64 {
        let kept = if self.rest > 0.0 { (1.0 - REST).ln() } else { 0.0 };
        kept + (score - self.best[0]) / temperature - log_all
    }

    /// The ranker's share of each candidate, as a logarithm: a softmax over its best N, the rest in
    /// proportion to popularity and never above the least of these.
    fn log_shares(&self, temperature: f64) -> Vec<f64> {
        let log_all = self.log_all(temperature);
        let of_best = |score: f64| self.log_share(score, log_all, temperature);
        let least = of_best(*self.best.last().expect("a ranker's best has one at least"));
        let share = |one: &Candidate| match one.is_best {
            true => of_best(one.prior),
            false => least.min(REST.ln() + (one.count + 1.0).ln() - self.rest.ln()),
        };
        self.candidates.iter().map(share).collect()
    }
}

/// The numbers at mean 0 and standard deviation 1; all 0 where they are equal.
fn standardised(mut values: Vec<f64>) -> Vec<f64> {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter_mut().for_each(|value| *value -= mean);
    let deviation = (values.iter().map(|value| value * value).sum::<f64>() / count).sqrt();
    // What rounding leaves of equal numbers is no difference.
    let differ = deviation > 1e-12 * mean.abs();
    values.iter_mut().for_each(|value| *value = if differ { *value / deviation } else { 0.0 });
    values
}

/// ln(eᵃ + eᵇ); one of the two may be −∞.
fn log_sum(a: f64, b: f64) -> f64 {
    let (more, less) = if a > b { (a, b) } else { (b, a) };
    more + (less - more).exp().ln_1p()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::{Philox, Stream};

    /// A catalogue of `items` of which both score some, drawn; ranks have no ties.
    pub fn drawn(seed: u64, items: usize, best: usize) -> Shortlist {
        let mut rng = Philox::new(seed, Stream::Synthetic, 0);
        let mut all: Vec<Candidate> = (0..items as u32)
            .map(|item| Candidate {
                item,
                tie: u64::from(item ^ 5),
                model: -1.0 - 4.0 * rng.uniform(),
                prior: rng.uniform().powi(3),
                count: rng.below(50) as f64,
                is_best: false,
            })
            .collect();
        let mut order: Vec<usize> = (0..items).collect();
        order.sort_by(|&a, &b| all[b].prior.total_cmp(&all[a].prior));
        order[..best].iter().for_each(|&at| all[at].is_best = true);
        let scores = order[..best].iter().map(|&at| all[at].prior).collect();
        let rest = all.iter().filter(|one| !one.is_best).map(|one| one.count + 1.0).sum();
        Shortlist { candidates: all, best: scores, rest }
    }

    fn by(list: &Shortlist, score: impl Fn(&Candidate) -> f64) -> Vec<u32> {
        let mut all = list.candidates.clone();
        all.sort_by(|a, b| score(b).total_cmp(&score(a)));
        all.iter().map(|one| one.item).collect()
    }

    fn items(list: &Shortlist, fusion: Fusion, balance: &Balance) -> Vec<u32> {
        let ranked = list.ranked(fusion, balance);
        ranked.iter().map(|&(at, _)| list.candidates[at].item).collect()
    }

    #[test]
    fn what_counts_alone_decides_alone() {
        let usual = Balance::usual(0.1);
        let (alone, none) = (Balance { model: 0.0, ..usual }, Balance { prior: 0.0, ..usual });
        for seed in 0..20 {
            let list = drawn(seed, 40, 12);
            for &fusion in Fusion::ALL {
                let of_prior = items(&list, fusion, &alone);
                let as_ranked = by(&list, |one| one.prior);
                // Behind the best N of a mixture is what is popular.
                let compared = if fusion == Fusion::Or { 12 } else { 40 };
                assert_eq!(of_prior[..compared], as_ranked[..compared], "{fusion} {seed}");
                assert_eq!(items(&list, fusion, &none), by(&list, |one| one.model), "{fusion}");
            }
        }
    }

    /// From the definitions, with nothing kept as a logarithm.
    #[test]
    fn fused_scores_are_what_they_are_defined_as() {
        let balance =
            Balance { model: 0.7, prior: 1.9, intercept: 0.3, slope: -2.0, temperature: 0.2 };
        let list = drawn(3, 30, 10);
        let mass: f64 = list.best.iter().map(|s| (s / 0.2).exp()).sum();
        let share = |one: &Candidate| match one.is_best {
            true => 0.95 * (one.prior / 0.2).exp() / mass,
            false => {
                (0.05 * (one.count + 1.0) / list.rest).min(0.95 * (list.best[9] / 0.2).exp() / mass)
            }
        };
        let whole: f64 = list.candidates.iter().map(share).sum();
        assert!(whole <= 1.0 + 1e-12 && whole > 0.9, "{whole}");
        let z = |value: &dyn Fn(&Candidate) -> f64, one: &Candidate| {
            let all: Vec<f64> = list.candidates.iter().map(value).collect();
            let mean = all.iter().sum::<f64>() / 30.0;
            let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 30.0;
            (value(one) - mean) / variance.sqrt()
        };
        let log = |one: &Candidate| one.prior.max(1e-3 * list.best[0]).ln();
        let model = |one: &Candidate| one.model;
        let confidence = 0.95 * (list.best[0] / 0.2).exp() / mass;
        let weight = 1.0 / (1.0 + (-(0.3 - 2.0 * confidence)).exp());
        for (at, one) in list.candidates.iter().enumerate() {
            let sum = 0.7 * z(&model, one) + 1.9 * z(&log, one);
            let confident = 0.7 * (1.0 - weight) * z(&model, one) + 1.9 * weight * z(&log, one);
            let or = ((0.7 * one.model.exp() + 1.9 * share(one)) / 2.6).ln();
            for (fusion, slow) in
                [(Fusion::Sum, sum), (Fusion::Confident, confident), (Fusion::Or, or)]
            {
                let fast = list.fused(fusion, &balance)[at];
                assert!((fast - slow).abs() < 1e-9, "{fusion} {at}: {fast} {slow}");
            }
        }
    }

    #[test]
    fn what_scores_nothing_has_a_finite_score_and_seeded_order() {
        let mut list = drawn(1, 9, 4);
        list.candidates.iter_mut().for_each(|one| (one.prior, one.model) = (0.0, -3.0));
        list.best.fill(0.0);
        for &fusion in Fusion::ALL {
            let balance = Balance { model: 1.0, prior: 1.0, ..Balance::usual(1e-3) };
            let ranked = list.ranked(fusion, &balance);
            assert!(ranked.iter().all(|(_, score)| score.is_finite()), "{fusion}");
            let places: Vec<u32> = (0..9).map(|at| list.place(fusion, &balance, at)).collect();
            let by_rank = ranked.iter().map(|(at, _)| places[*at]);
            assert!(by_rank.eq(1..=9), "{fusion}");
        }
        let ties = items(&list, Fusion::Sum, &Balance::usual(1.0));
        let expected: Vec<u32> = by(&list, |one| -(one.tie as f64));
        assert_eq!(ties, expected);
        // A temperature at which all but the largest underflow.
        let list = drawn(2, 30, 10);
        let cold = Balance { model: 0.0, ..Balance::usual(1e-6) };
        assert!(list.fused(Fusion::Or, &cold).iter().all(|score| score.is_finite()));
        assert_eq!(items(&list, Fusion::Or, &cold)[..10], by(&list, |one| one.prior)[..10]);
    }
}
