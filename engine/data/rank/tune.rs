//! Settings of the rankers, chosen on events that none of them was fitted on.

use super::blend::{Blend, BlendWeights, COMPONENTS};
use super::{
    ndcg, place, Asked, Markov, NeighbourSettings, Neighbours, Ranker, Sequences, Text,
    TitleSettings, Titles, ALPHA,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A question and the item that answers it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Who is asked about.
    pub asked: Asked<'a>,
    /// What was taken.
    pub target: u32,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// For neighbours by users.
    pub neighbours: NeighbourSettings,
    /// For titles.
    pub titles: TitleSettings,
    /// For all together.
    pub blend: BlendWeights,
}

/// Of each grid the settings with the best mean NDCG@10 over `cases`; then the blend's weights, one
/// after the other, as long as that helps. The same for the same input.
pub fn tune(seen: Sequences<'_>, catalogue: &[Text<'_>], cases: &[Case<'_>]) -> Tuned {
    if cases.is_empty() {
        return Tuned::default();
    }
    let neighbours = [0, 10, 30].into_iter().flat_map(|neighbours| {
        [20.0, 100.0].into_iter().flat_map(move |shrink| {
            let settings = move |gamma| NeighbourSettings { neighbours, shrink, gamma };
            [0.0, 0.1, 0.3].into_iter().map(settings)
        })
    });
    let neighbours =
        best(neighbours, |&settings| mean(&Neighbours::fit(seen, settings), cases, seen.items));
    let titles = [0.0, 0.3].map(|category| {
        Titles::fit(catalogue, TitleSettings { category, ..TitleSettings::default() })
    });
    let aged = [0.0, 0.3].into_iter().zip(&titles).flat_map(|(category, fitted)| {
        [0.2, 0.4, 0.6].map(|gamma| (TitleSettings { category, gamma }, fitted.aged(gamma)))
    });
    let (titles, fitted) = best(aged, |(_, fitted)| mean(fitted, cases, seen.items));
    let blend = Blend::of(
        seen,
        Arc::new(Markov::fit(seen, ALPHA)),
        Arc::new(Neighbours::fit(seen, neighbours)),
        fitted,
        titles.gamma,
    );
    Tuned { neighbours, titles, blend: weigh(&blend, cases, seen.items) }
}

/// The first of the settings that score best.
fn best<T>(all: impl Iterator<Item = T>, score: impl Fn(&T) -> f64) -> T {
    let scored = all.map(|settings| (score(&settings), settings));
    let better = |a: (f64, T), b: (f64, T)| if b.0 > a.0 { b } else { a };
    scored.reduce(better).expect("some settings").1
}

/// Mean NDCG@10 over all cases.
fn mean(ranker: &dyn Ranker, cases: &[Case<'_>], items: usize) -> f64 {
    let one = |scores: &mut Vec<f64>, case: &Case<'_>| {
        ranker.score(case.asked, scores);
        ndcg(Some(place(scores, case.target)), 10)
    };
    let all: Vec<f64> = cases.par_iter().map_init(|| vec![0.0; items], one).collect();
    all.iter().sum::<f64>() / cases.len() as f64
}

/// Items of a component that may reach the head of a blended list.
const HEAD: usize = 64;

/// The weights with the best mean NDCG@10, by [`climb`]. Only items are looked at that stand at the
/// head of some component: no other can be among the first ten of a sum but by a tie of tails.
fn weigh(blend: &Blend, cases: &[Case<'_>], items: usize) -> BlendWeights {
    /// The components of the target, then those of what it stands against.
    type Few = Vec<[f32; COMPONENTS]>;
    let few = |own: &mut Vec<Vec<f64>>, case: &Case<'_>| -> Few {
        let mut chosen: Vec<u32> = Vec::new();
        for (number, scores) in own.iter_mut().enumerate() {
            blend.component(number, case.asked, None, scores);
            let some = (0..items as u32).filter(|&item| scores[item as usize] > 0.0);
            let by = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]);
            chosen.extend(super::best(some.collect(), HEAD, by));
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen.retain(|&item| item != case.target);
        let all = [case.target].into_iter().chain(chosen);
        all.map(|item| std::array::from_fn(|number| own[number][item as usize] as f32)).collect()
    };
    let fresh = || vec![vec![0.0; items]; COMPONENTS];
    let cases: Vec<Few> = cases.par_iter().map_init(fresh, few).collect();
    let score = |weights: &[f64; COMPONENTS]| {
        let weights = weights.map(|weight| weight as f32);
        let sum = |own: &[f32; COMPONENTS]| -> f32 {
            own.iter().zip(&weights).map(|(value, weight)| value * weight).sum()
        };
        let one = |few: &Few| {
            let own = sum(&few[0]);
            let before = few[1..].iter().filter(|other| sum(other) >= own).count() as u32;
            ndcg(Some(1 + before), 10)
        };
        let all: Vec<f64> = cases.par_iter().map(one).collect();
        all.iter().sum::<f64>()
    };
    BlendWeights::of(climb(score))
}

/// The weights that score best, by coordinate search from the default ones, and from each component
/// alone or with a trace of popularity, which decides its ties as it does in the component's own
/// ranking: a blend is no worse, by `score`, than what it is blended of.
fn climb(score: impl Fn(&[f64; COMPONENTS]) -> f64) -> [f64; COMPONENTS] {
    const TRACE: f64 = 0.001;
    let alone = |own: usize, rest: f64| {
        let weights = std::array::from_fn(|number| f64::from(number == own));
        BlendWeights { popularity: rest, ..BlendWeights::of(weights) }.values()
    };
    let popularity = COMPONENTS - 1;
    let single = (0..popularity).flat_map(|own| [alone(own, 0.0), alone(own, TRACE)]);
    let starts = [BlendWeights::default().values(), alone(popularity, 1.0)];
    let climbed = starts.into_iter().chain(single).map(|start| climb_from(start, &score));
    best(climbed, |(_, reached)| *reached).0
}

/// One coordinate after the other, as long as that helps, and what it scores. A component that
/// takes no part stays out.
fn climb_from(
    mut weights: [f64; COMPONENTS],
    score: impl Fn(&[f64; COMPONENTS]) -> f64,
) -> ([f64; COMPONENTS], f64) {
    let mut reached = score(&weights);
    for _round in 0..4 {
        let before = reached;
        for number in 0..COMPONENTS {
            let now = weights[number];
            for factor in [0.0, 0.25, 0.5, 0.71, 1.41, 2.0, 4.0] {
                let mut other = weights;
                other[number] = now * factor;
                if other == weights {
                    continue;
                }
                let score = score(&other);
                if score > reached {
                    (weights, reached) = (other, score);
                }
            }
        }
        if reached <= before {
            break;
        }
    }
    (weights, reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One component is perfect by itself, or with its ties decided by what is popular, and spoilt
    /// by any other: no single step from the default weights helps.
    #[test]
    fn a_blend_is_no_worse_than_what_it_is_blended_of() {
        let popularity = COMPONENTS - 1;
        for (perfect, ties) in (0..COMPONENTS).map(|own| (own, false)).chain([(0, true)]) {
            let score = |weights: &[f64; COMPONENTS]| {
                let others = weights.iter().enumerate().filter(|(at, _)| *at != perfect);
                let rest: f64 = others.map(|(_, weight)| *weight).sum();
                let trace = weights[popularity];
                let right =
                    if ties { rest == trace && 0.0 < trace && trace < 0.01 } else { rest == 0.0 };
                if right && weights[perfect] > 0.0 {
                    0.9
                } else {
                    0.3
                }
            };
            let found = climb(score);
            assert_eq!(score(&found), 0.9, "{perfect}: {found:?}");
        }
    }
}
