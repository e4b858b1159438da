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

/// From a balance all that differ from it in what is chosen at once.
type Line = Box<dyn Fn(Balance) -> Vec<Balance>>;

/// The lines of a rule's search, those of the greatest effect first.
fn lines(fusion: Fusion, usual: Balance) -> Vec<Line> {
    let weights = |own: Balance| {
        let halves = (-10..=16).map(|k| (f64::from(k) / 2.0).exp2());
        std::iter::once(0.0).chain(halves).map(|prior| Balance { prior, ..own }).collect()
    };
    // One of the two alone says little: what is added to a slope is the middle that it turns on.
    let confidence = |own: Balance| {
        let slopes = [0.0, 2.0, 4.0, 8.0, 16.0, -2.0, -4.0, -8.0];
        let with =
            |slope: f64| (-6..=6).map(move |k| Balance { intercept: f64::from(k), slope, ..own });
        slopes.into_iter().flat_map(with).collect()
    };
    let temperatures = move |own: Balance| {
        let at = |k: i32| usual.temperature * f64::from(k).exp2();
        (-4..=4).map(|k| Balance { temperature: at(k), ..own }).collect()
    };
    match fusion {
        Fusion::Sum => vec![Box::new(weights)],
        Fusion::Or => vec![Box::new(weights), Box::new(temperatures)],
        // The intercept says what the ranker's weight would.
        Fusion::Confident => vec![Box::new(confidence), Box::new(temperatures)],
    }
}

/// The balance with the best mean NDCG@10 that a search along one line after the other finds from
/// several temperatures, and what it is worth: no less than either alone. The model's weight stays
/// what it is, since the two count against each other, unless the ranker alone is best. The same
/// for the same input.
pub fn balanced(fusion: Fusion, usual: Balance, users: &[Fused]) -> (Balance, Worth) {
    let lines = lines(fusion, usual);
    let starts = if lines.len() == 1 { &[1.0][..] } else { &[1.0, 0.25, 4.0] };
    let ends = [usual, Balance { prior: 0.0, ..usual }, Balance { model: 0.0, ..usual }];
    let better = |a: (Balance, Worth), b: (Balance, Worth)| if b.1.ndcg > a.1.ndcg { b } else { a };
    let ends = ends.map(|one| (one, Worth::of(fusion, &one, users)));
    let mut best = ends.into_iter().reduce(better).expect("three of them");
    for start in starts {
        let from = Balance { temperature: start * usual.temperature, ..usual };
        best = better(best, searched(fusion, from, &lines, users));
    }
    best
}

/// The best from a start, as long as a round of all lines helps.
fn searched(fusion: Fusion, from: Balance, lines: &[Line], users: &[Fused]) -> (Balance, Worth) {
    let (mut best, mut worth) = (from, Worth::of(fusion, &from, users));
    for _round in 0..4 {
        let before = worth.ndcg;
        for line in lines {
            for other in line(best) {
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
    fn users(from: u64, count: u64) -> Vec<Fused> {
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
        (from..from + count).map(user).collect()
    }

    /// Every point of the grid, one after the other.
    fn brute(fusion: Fusion, usual: Balance, users: &[Fused]) -> f64 {
        let ends = [Balance { prior: 0.0, ..usual }, Balance { model: 0.0, ..usual }];
        let mut all = vec![usual];
        for line in lines(fusion, usual) {
            all = all.into_iter().flat_map(line).collect();
        }
        let all = all.iter().chain(&ends);
        all.map(|one| Worth::of(fusion, one, users).ndcg).fold(0.0, f64::max)
    }

    /// Along one line a search misses nothing; along several it may, by little.
    #[test]
    fn the_search_finds_the_best_of_the_grid() {
        let usual = Balance::usual(0.1);
        let alone = [(0.0, 1.0), (1.0, 0.0)];
        let alone = alone.map(|(model, prior)| Balance { model, prior, ..usual });
        for (fusion, exact) in [(Fusion::Sum, 4), (Fusion::Or, 2), (Fusion::Confident, 2)] {
            let mut found_best = 0;
            for draw in 0..4 {
                let users = users(1000 * draw, 30);
                let (found, worth) = balanced(fusion, usual, &users);
                assert_eq!(worth, Worth::of(fusion, &found, &users));
                let best = brute(fusion, usual, &users);
                let said = worth.ndcg;
                assert!(said <= best && said > 0.95 * best, "{fusion} {draw}: {said} {best}");
                found_best += usize::from(worth.ndcg == best);
                let one = alone.map(|one| Worth::of(fusion, &one, &users).ndcg);
                assert!(one.iter().all(|one| worth.ndcg >= *one), "{fusion} {worth:?} {one:?}");
            }
            assert!(found_best >= exact, "{fusion}: {found_best} of 4");
        }
    }

    #[test]
    fn worth_is_of_all_users() {
        let users = users(0, 21);
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
