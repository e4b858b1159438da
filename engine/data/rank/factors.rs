//! BPR-MF (Rendle et al., UAI 2009): factors of users and items that put what was taken before what
//! was not.

use super::{Asked, Ranker, Sequences};
use crate::base::{Philox, Stream};

/// How [`Factors`] learn.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FactorSettings {
    /// Numbers of a user and of an item.
    pub width: usize,
    /// Passes over all events.
    pub epochs: usize,
    /// Length of a step.
    pub rate: f32,
    /// L2 of every number that a step touches.
    pub decay: f32,
    /// Decides starts, order and what stands against an event.
    pub seed: u64,
}

impl Default for FactorSettings {
    fn default() -> FactorSettings {
        FactorSettings { width: 64, epochs: 60, rate: 0.05, decay: 0.01, seed: 0 }
    }
}

/// u·v + b of a user and an item; of somebody unknown, b alone.
pub struct Factors {
    width: usize,
    users: Vec<f32>,
    items: Vec<f32>,
    biases: Vec<f32>,
}

impl Factors {
    /// Learns by steps on (user, taken, not taken), one after the other: the same for every number
    /// of threads.
    pub fn fit(seen: Sequences<'_>, settings: FactorSettings) -> Factors {
        let FactorSettings { width, epochs, rate, decay, seed } = settings;
        let mut rng = Philox::new(seed, Stream::Sampling, 0);
        let mut start = |count: usize| -> Vec<f32> {
            (0..count * width).map(|_| 0.1 * rng.normal() as f32).collect()
        };
        let (mut users, mut items) = (start(seen.users.len()), start(seen.items));
        let mut biases = vec![0.0f32; seen.items];
        let sets: Vec<Vec<u32>> = seen
            .users
            .iter()
            .map(|user| {
                let mut set = user.to_vec();
                set.sort_unstable();
                set.dedup();
                set
            })
            .collect();
        let mut events: Vec<(u32, u32)> = Vec::new();
        for (set, user) in sets.iter().zip(0..) {
            // Who took everything teaches nothing.
            if set.len() < seen.items {
                events.extend(set.iter().map(|&item| (user, item)));
            }
        }
        for epoch in 0..epochs {
            let mut rng = Philox::new(seed, Stream::Sampling, 1 + epoch as u64);
            rng.shuffle(&mut events);
            for &(user, taken) in &events {
                let other = loop {
                    let other = rng.below(seen.items) as u32;
                    if sets[user as usize].binary_search(&other).is_err() {
                        break other;
                    }
                };
                let [u, i, j] = [user, taken, other].map(|number| number as usize * width);
                let difference: f32 = biases[taken as usize] - biases[other as usize]
                    + (0..width).map(|k| users[u + k] * (items[i + k] - items[j + k])).sum::<f32>();
                let slope = 1.0 / (1.0 + difference.exp());
                for k in 0..width {
                    let (x, a, b) = (users[u + k], items[i + k], items[j + k]);
                    users[u + k] += rate * (slope * (a - b) - decay * x);
                    items[i + k] += rate * (slope * x - decay * a);
                    items[j + k] += rate * (-slope * x - decay * b);
                }
                let [a, b] = [taken, other].map(|item| biases[item as usize]);
                biases[taken as usize] += rate * (slope - decay * a);
                biases[other as usize] += rate * (-slope - decay * b);
            }
        }
        Factors { width, users, items, biases }
    }
}

impl Ranker for Factors {
    fn name(&self) -> &'static str {
        "BPR-MF"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        let user = asked.user.map(|user| &self.users[user as usize * self.width..][..self.width]);
        let items = self.items.chunks_exact(self.width);
        for ((score, item), bias) in scores.iter_mut().zip(items).zip(&self.biases) {
            let dot = user.map_or(0.0, |user| user.iter().zip(item).map(|(a, b)| a * b).sum());
            *score = f64::from(dot + bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rank::place;

    #[test]
    fn what_a_kind_of_user_takes_comes_first() {
        // Even users take even items, odd ones odd.
        let taken = |u: usize, k: usize| (u % 2 + 2 * ((u + 3 * k) % 10)) as u32;
        let users: Vec<Vec<u32>> = (0..40).map(|u| (0..8).map(|k| taken(u, k)).collect()).collect();
        let users: Vec<&[u32]> = users.iter().map(Vec::as_slice).collect();
        let seen = Sequences { users: &users, items: 20 };
        let factors = Factors::fit(seen, FactorSettings::default());
        let mut scores = vec![0.0; 20];
        for user in 0..40u32 {
            factors.score(Asked { user: Some(user), history: &[] }, &mut scores);
            let own = (0..20).filter(|item| item % 2 == user % 2);
            assert!(own.into_iter().all(|item| place(&scores, item) <= 10), "{user}: {scores:?}");
        }
    }
}
