//! Stars that need no language model: leanings of users and items, factors.

use crate::base::{Philox, Stream};
use serde::Serialize;

/// What a user gave an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rated {
    /// Who.
    pub user: u32,
    /// What.
    pub item: u32,
    /// How many, from 1 to 5.
    pub stars: f32,
}

/// A rule that says how many stars somebody gives something.
pub trait Rater: Send + Sync {
    /// What a table calls it.
    fn name(&self) -> &'static str;

    /// Stars, clipped to [1, 5].
    fn stars(&self, user: u32, item: u32) -> f64;
}

/// mean + leaning of the user + leaning of the item.
pub struct Leanings {
    mean: f64,
    users: Vec<f64>,
    items: Vec<f64>,
}

impl Leanings {
    /// What is added to the number of a user's or an item's ratings, so that few say little.
    const SHRINK: f64 = 5.0;
    /// Users and items in turn.
    const ROUNDS: usize = 15;

    /// Least squares by turns; `users` and `items` are how many there are.
    pub fn fit(seen: &[Rated], users: usize, items: usize) -> Leanings {
        let sum: f64 = seen.iter().map(|rated| f64::from(rated.stars)).sum();
        let mean = sum / seen.len().max(1) as f64;
        let mut found = Leanings { mean, users: vec![0.0; users], items: vec![0.0; items] };
        for _ in 0..Leanings::ROUNDS {
            let rest = |r: &Rated| f64::from(r.stars) - mean - found.items[r.item as usize];
            found.users = lean(seen, users, |r| r.user, rest);
            let rest = |r: &Rated| f64::from(r.stars) - mean - found.users[r.user as usize];
            found.items = lean(seen, items, |r| r.item, rest);
        }
        found
    }

    fn raw(&self, user: u32, item: u32) -> f64 {
        self.mean + self.users[user as usize] + self.items[item as usize]
    }
}

fn lean(
    seen: &[Rated],
    count: usize,
    whose: impl Fn(&Rated) -> u32,
    rest: impl Fn(&Rated) -> f64,
) -> Vec<f64> {
    let mut sums = vec![(0.0, Leanings::SHRINK); count];
    for rated in seen {
        let (sum, number) = &mut sums[whose(rated) as usize];
        *sum += rest(rated);
        *number += 1.0;
    }
    sums.into_iter().map(|(sum, number)| sum / number).collect()
}

impl Rater for Leanings {
    fn name(&self) -> &'static str {
        "user and item bias"
    }

    fn stars(&self, user: u32, item: u32) -> f64 {
        self.raw(user, item).clamp(1.0, 5.0)
    }
}

/// How [`RatingFactors`] learn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatingSettings {
    /// Numbers of a user and of an item.
    pub width: usize,
    /// Passes over all ratings.
    pub epochs: usize,
    /// Length of a step.
    pub rate: f64,
    /// L2 of every number that a step touches.
    pub decay: f64,
    /// Decides starts and order.
    pub seed: u64,
}

impl Default for RatingSettings {
    fn default() -> RatingSettings {
        RatingSettings { width: 16, epochs: 30, rate: 0.01, decay: 0.1, seed: 0 }
    }
}

/// Leanings and the product of a user's and an item's factors (Koren's biased MF).
pub struct RatingFactors {
    leanings: Leanings,
    width: usize,
    users: Vec<f64>,
    items: Vec<f64>,
}

impl RatingFactors {
    /// Learns by steps on one rating after the other, from the leanings on.
    pub fn fit(
        seen: &[Rated],
        users: usize,
        items: usize,
        settings: RatingSettings,
    ) -> RatingFactors {
        let RatingSettings { width, epochs, rate, decay, seed } = settings;
        let mut rng = Philox::new(seed, Stream::Sampling, 0);
        let mut start =
            |count: usize| -> Vec<f64> { (0..count * width).map(|_| 0.1 * rng.normal()).collect() };
        let mut found = RatingFactors {
            leanings: Leanings::fit(seen, users, items),
            width,
            users: start(users),
            items: start(items),
        };
        let mut order: Vec<Rated> = seen.to_vec();
        for epoch in 0..epochs {
            Philox::new(seed, Stream::Sampling, 1 + epoch as u64).shuffle(&mut order);
            for rated in &order {
                let error = f64::from(rated.stars) - found.raw(rated.user, rated.item);
                let [u, i] = [rated.user, rated.item].map(|number| number as usize);
                for k in 0..width {
                    let (x, y) = (found.users[u * width + k], found.items[i * width + k]);
                    found.users[u * width + k] += rate * (error * y - decay * x);
                    found.items[i * width + k] += rate * (error * x - decay * y);
                }
                let (x, y) = (found.leanings.users[u], found.leanings.items[i]);
                found.leanings.users[u] += rate * (error - decay * x);
                found.leanings.items[i] += rate * (error - decay * y);
            }
        }
        found
    }

    fn raw(&self, user: u32, item: u32) -> f64 {
        let of = |all: &[f64], number: u32, k: usize| all[number as usize * self.width + k];
        let product = |k| of(&self.users, user, k) * of(&self.items, item, k);
        self.leanings.raw(user, item) + (0..self.width).map(product).sum::<f64>()
    }
}

impl Rater for RatingFactors {
    fn name(&self) -> &'static str {
        "biased matrix factorisation"
    }

    fn stars(&self, user: u32, item: u32) -> f64 {
        self.raw(user, item).clamp(1.0, 5.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users lean by up to one star, items by up to one, and two kinds of users like two kinds of
    /// items.
    fn shop() -> Vec<Rated> {
        let mut rng = Philox::new(3, Stream::Synthetic, 0);
        let mut all = Vec::new();
        for user in 0..60u32 {
            for _ in 0..20 {
                let item = rng.below(40) as u32;
                let leaning = f64::from(user % 3) * 0.5 + f64::from(item % 5) * 0.2 - 1.0;
                let taste = if user % 2 == item % 2 { 0.6 } else { -0.6 };
                let stars = (3.0 + leaning + taste + 0.1 * rng.normal()) as f32;
                all.push(Rated { user, item, stars });
            }
        }
        all
    }

    fn error(rater: &dyn Rater, on: &[Rated]) -> f64 {
        let squares = on.iter().map(|r| (rater.stars(r.user, r.item) - f64::from(r.stars)).powi(2));
        (squares.sum::<f64>() / on.len() as f64).sqrt()
    }

    #[test]
    fn each_rule_explains_more_than_the_one_before() {
        let all = shop();
        let (seen, kept): (Vec<_>, Vec<_>) =
            all.iter().zip(0..).partition(|(_, number)| number % 10 != 0);
        let [seen, kept]: [Vec<Rated>; 2] =
            [seen, kept].map(|list| list.into_iter().map(|(rated, _)| *rated).collect());
        let fitted = Leanings::fit(&seen, 60, 40);
        let leanings = error(&fitted, &kept);
        let nothing = vec![0.0; 60];
        let mean = Leanings { users: nothing.clone(), items: nothing, ..fitted };
        let mean = error(&mean, &kept);
        let settings = RatingSettings { epochs: 200, decay: 0.02, ..RatingSettings::default() };
        let factors = error(&RatingFactors::fit(&seen, 60, 40, settings), &kept);
        assert!(leanings < 0.95 * mean && factors < 0.7 * leanings, "{mean} {leanings} {factors}");
    }
}
