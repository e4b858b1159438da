//! How much a model and a ranker count, chosen on events that neither was fitted on (E29).

use super::fuse::{Balance, Fusion, Shortlist};
use super::ndcg;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Somebody's candidates, and the place among them of what was taken.
#[derive(Clone, Debug)]
pub struct Fused {
    /// The candidates.
    pub list: Shortlist,
    /// `None` where it is not among them, which no weight changes.
    pub target: Option<usize>,
}

/// How good lists are, over all users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// HR@10.
    #[serde(rename = "hr@10")]
    pub hits: f64,
    /// NDCG@10.
    #[serde(rename = "ndcg@10")]
    pub ndcg: f64,
}

impl Worth {
    /// Of the lists that a balance makes.
    pub fn of(fusion: Fusion, balance: &Balance, users: &[Fused]) -> Worth {
        let place = |one: &Fused| one.target.map(|at| one.list.place(fusion, balance, at));
        let places: Vec<Option<u32>> = users.par_iter().map(place).collect();
        let count = users.len().max(1) as f64;
        let hits = places.iter().flatten().filter(|&&place| place <= 10).count() as f64;
        let gains: f64 = places.iter().map(|&place| ndcg(place, 10)).sum();
        Worth { hits: hits / count, ndcg: gains / count }
    }
}

/// A number of a balance that is searched for: where it stands and what it may be.
struct Coordinate {
    at: fn(&mut Balance) -> &mut f64,
    values: Vec<f64>,
}

/// The coordinates of a rule, those of the greatest effect first.
fn coordinates(fusion: Fusion, usual: &Balance) -> Vec<Coordinate> {
    let halves = |from: i32, to: i32| (from..=to).map(|k| (f64::from(k) / 2.0).exp2());
    let prior = Coordinate {
        at: |balance| &mut balance.prior,
        values: std::iter::once(0.0).chain(halves(-10, 16)).collect(),
    };
    let temperature = Coordinate {
        at: |balance| &mut balance.temperature,
        values: (-4..=4).map(|k| usual.temperature * f64::from(k).exp2()).collect(),
    };
    let intercept = Coordinate {
        at: |balance| &mut balance.intercept,
        values: (-6..=6).map(f64::from).collect(),
    };
    let slope = Coordinate {
        at: |balance| &mut balance.slope,
        values: vec![-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0, 16.0],
    };
    match fusion {
        Fusion::Sum => vec![prior],
        Fusion::Or => vec![prior, temperature],
        Fusion::Confident => vec![prior, intercept, slope, temperature],
    }
}

/// The balance with the best mean NDCG@10 that a search along one coordinate after the other finds
/// from the usual one, as long as that helps, and what it is worth. The model's weight stays what
/// it is: the two count against each other. The same for the same input.
pub fn balanced(fusion: Fusion, usual: Balance, users: &[Fused]) -> (Balance, Worth) {
    let coordinates = coordinates(fusion, &usual);
    let (mut best, mut worth) = (usual, Worth::of(fusion, &usual, users));
    for _round in 0..4 {
        let before = worth.ndcg;
        for Coordinate { at, values } in &coordinates {
            let own = best;
            for &value in values {
                let mut other = own;
                *at(&mut other) = value;
                let reached = Worth::of(fusion, &other, users);
                if reached.ndcg > worth.ndcg {
                    (best, worth) = (other, reached);
                }
            }
        }
        if worth.ndcg <= before {
            break;
        }
    }
    (best, worth)
}

#[cfg(test)]
mod tests {
    use super::super::fuse::tests::drawn;
    use super::*;
    use crate::base::{Philox, Stream};

    /// Users of whom the taken item is what a mixture of both, with noise, puts first.
    fn users(count: u64) -> Vec<Fused> {
        let user = |seed: u64| {
            let list = drawn(100 + seed, 40, 12);
            let mut rng = Philox::new(seed, Stream::Synthetic, 1);
            // One side is right of some users, the other one of the others.
            let truth = |at: usize| {
                let one = &list.candidates[at];
                let own = if seed.is_multiple_of(3) { one.model } else { 4.0 * one.prior };
                own + 0.4 * rng.normal()
            };
            let scores: Vec<f64> = (0..40).map(truth).collect();
            let best = (0..40).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            Fused { target: best.filter(|_| !seed.is_multiple_of(7)), list }
        };
        (0..count).map(user).collect()
    }

    /// Every point of the grid, one after the other.
    fn brute(fusion: Fusion, usual: Balance, users: &[Fused]) -> f64 {
        let mut all = vec![usual];
        for Coordinate { at, values } in coordinates(fusion, &usual) {
            let with = |own: &Balance| {
                let own = *own;
                let put = move |value: &f64| {
                    let mut other = own;
                    *at(&mut other) = *value;
                    other
                };
                values.iter().map(put).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(with).collect();
        }
        all.iter().map(|one| Worth::of(fusion, one, users).ndcg).fold(0.0, f64::max)
    }

    #[test]
    fn the_search_finds_the_best_of_the_grid() {
        let (users, usual) = (users(30), Balance::usual(0.1));
        for &fusion in Fusion::ALL {
            let (found, worth) = balanced(fusion, usual, &users);
            assert_eq!(worth, Worth::of(fusion, &found, &users));
            let best = brute(fusion, usual, &users);
            assert_eq!(worth.ndcg, best, "{fusion} {found:?}");
            let alone = [(0.0, 1.0), (1.0, 0.0)].map(|(model, prior)| {
                let balance = Balance { model, prior, ..usual };
                Worth::of(fusion, &balance, &users).ndcg
            });
            assert!(alone.iter().all(|alone| worth.ndcg > *alone), "{fusion} {worth:?} {alone:?}");
        }
    }

    #[test]
    fn worth_is_of_all_users() {
        let users = users(21);
        let balance = Balance::usual(0.1);
        let worth = Worth::of(Fusion::Sum, &balance, &users);
        let mut sum = 0.0;
        for Fused { list, target } in &users {
            let ranked = list.ranked(Fusion::Sum, &balance);
            let place = target.and_then(|t| ranked.iter().position(|&(at, _)| at == t));
            sum += place.filter(|&p| p < 10).map_or(0.0, |p| 1.0 / ((p + 2) as f64).log2());
        }
        assert!((worth.ndcg - sum / 21.0).abs() < 1e-12);
        assert!(worth.hits <= 18.0 / 21.0);
    }
}
