//! Several rankers asked together.

use super::{Asked, Markov, Neighbours, Ranker, Sequences, Titles};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a blend adds up.
pub const COMPONENTS: usize = 5;

/// How much each component counts, none less than 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlendWeights {
    /// Share of each item among what followed the last one.
    pub markov: f64,
    /// Nearness by users, over the largest of the list.
    pub neighbours: f64,
    /// Cosine to the last item's title.
    pub titles_last: f64,
    /// Cosines to the history's titles with recency, over the largest of the list.
    pub titles: f64,
    /// ln(1 + count), over the largest of the catalogue.
    pub popularity: f64,
}

impl BlendWeights {
    pub(super) fn of(values: [f64; COMPONENTS]) -> BlendWeights {
        let [markov, neighbours, titles_last, titles, popularity] = values;
        BlendWeights { markov, neighbours, titles_last, titles, popularity }
    }

    pub(super) fn values(&self) -> [f64; COMPONENTS] {
        let BlendWeights { markov, neighbours, titles_last, titles, popularity } = *self;
        [markov, neighbours, titles_last, titles, popularity]
    }
}

impl Default for BlendWeights {
    /// What the validation items of Toys chose.
    fn default() -> BlendWeights {
        BlendWeights::of([2.0, 1.0, 1.0, 2.83, 0.64])
    }
}

/// The weighted sum of transitions, neighbours, titles and popularity, each on a scale of its own.
pub struct Blend {
    weights: BlendWeights,
    markov: Arc<Markov>,
    neighbours: Arc<Neighbours>,
    titles: Titles,
    gamma: f64,
    popularity: Vec<f64>,
}

impl Blend {
    /// Of rankers that were fitted on the same part. Titles of the history are weighted by `gamma`.
    pub fn of(
        seen: Sequences<'_>,
        markov: Arc<Markov>,
        neighbours: Arc<Neighbours>,
        titles: Titles,
        gamma: f64,
    ) -> Blend {
        let mut popularity: Vec<f64> = seen.counts().iter().map(|count| count.ln_1p()).collect();
        over_largest(&mut popularity);
        Blend { weights: BlendWeights::default(), markov, neighbours, titles, gamma, popularity }
    }

    /// The same with other weights.
    pub fn weighted(self, weights: BlendWeights) -> Blend {
        Blend { weights, ..self }
    }

    /// Writes component `number`, one score an item; as if `known`, which came next, had not been
    /// seen.
    pub(super) fn component(
        &self,
        number: usize,
        asked: Asked<'_>,
        known: Option<u32>,
        scores: &mut [f64],
    ) {
        scores.fill(0.0);
        match number {
            0 => {
                let last = asked.history.last().copied();
                let next = last.map_or(&[][..], |last| self.markov.next(last));
                let is_seen = |known: &u32| last.is_some_and(|l| self.markov.followed(l, *known));
                let once = known.filter(is_seen);
                let all = next.iter().map(|(_, count)| count).sum::<f64>();
                let all = all - f64::from(u8::from(once.is_some()));
                for &(item, count) in next {
                    let count = count - f64::from(u8::from(once == Some(item)));
                    scores[item as usize] = if all > 0.0 { count / all } else { 0.0 };
                }
            }
            1 => {
                self.neighbours.add(asked.history, scores);
                if let Some(known) = known {
                    self.neighbours.forget(asked.history, known, scores);
                }
                over_largest(scores);
            }
            2 => self.titles.add(asked.history, 0.0, scores),
            3 => {
                self.titles.add(asked.history, self.gamma, scores);
                over_largest(scores);
            }
            _ => scores.copy_from_slice(&self.popularity),
        }
    }
}

impl Ranker for Blend {
    fn name(&self) -> &'static str {
        "blend of these"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        self.sum(asked, None, scores);
    }

    fn score_without(&self, asked: Asked<'_>, next: u32, scores: &mut [f64]) {
        self.sum(asked, Some(next), scores);
    }
}

impl Blend {
    fn sum(&self, asked: Asked<'_>, known: Option<u32>, scores: &mut [f64]) {
        scores.fill(0.0);
        let mut own = vec![0.0; scores.len()];
        for (number, weight) in self.weights.values().into_iter().enumerate() {
            if weight > 0.0 {
                self.component(number, asked, known, &mut own);
                scores.iter_mut().zip(&own).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
}

/// Scales a row so that its largest is 1; one without anything above 0 stays.
fn over_largest(row: &mut [f64]) {
    let largest = row.iter().copied().fold(0.0, f64::max);
    if largest > 0.0 {
        row.iter_mut().for_each(|value| *value /= largest);
    }
}
