//! The best that anybody can do who knows how a shop is made: what cannot be known remains.

use super::review::{stars, STARS};
use super::rule::Rule;
use super::shape::Shape;
use super::shelves::{Goods, Shelves};
use super::Shop;

/// How often the best ranking is right, expected over the events that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BestHits {
    /// How many are asked for.
    pub events: usize,
    /// HR@1.
    pub first: f64,
    /// HR@10.
    pub ten: f64,
}

/// How far the best predictions of stars are off, expected over all reviews.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BestStars {
    /// How many reviews.
    pub reviews: usize,
    /// Of each review's mean.
    pub rmse: f64,
    /// Of each review's median.
    pub mae: f64,
}

/// The probability that the item of number `item` comes next, where `rule` says what is to come.
pub fn chance(rule: Rule, item: usize, shape: &Shape, shelves: &Shelves) -> f64 {
    let any = 1.0 / shelves.items as f64;
    let Some(kind) = rule.kind else { return any };
    let Goods { maker, kind: own, size } = shelves.goods(item);
    let by_rule = if item < shelves.originals() && own == kind {
        let even = 1.0 / shelves.makers as f64;
        let kept = |known| (1.0 - shape.drift) * f64::from(u8::from(known == maker));
        let maker = rule.maker.map_or(even, |known| kept(known) + shape.drift * even);
        let even = 1.0 / shelves.sizes as f64;
        maker * rule.size.map_or(even, |known| f64::from(u8::from(known == size)))
    } else {
        0.0
    };
    shape.noise * any + (1.0 - shape.noise) * by_rule
}

/// The probability that the next item is among the `k` likeliest: items of one probability are
/// counted, not listed.
pub fn hit(rule: Rule, k: usize, shape: &Shape, shelves: &Shelves) -> f64 {
    let kind = rule.kind.unwrap_or(0);
    let likeliest = Goods { maker: rule.maker.unwrap_or(0), kind, size: rule.size.unwrap_or(0) };
    let of = |goods: Goods| chance(rule, shelves.number(goods), shape, shelves);
    // How many share a probability, the likeliest first.
    let sizes = if rule.size.is_some() { 1 } else { shelves.sizes };
    let levels = match (rule.kind, rule.maker) {
        (None, _) => vec![],
        (_, None) => vec![(shelves.makers * sizes, of(likeliest))],
        (_, Some(maker)) => {
            let other = Goods { maker: (maker + 1) % shelves.makers, ..likeliest };
            vec![(sizes, of(likeliest)), ((shelves.makers - 1) * sizes, of(other))]
        }
    };
    let (mut left, mut sum) = (k.min(shelves.items), 0.0);
    for (count, chance) in levels {
        let taken = count.min(left);
        sum += taken as f64 * chance;
        left -= taken;
    }
    let any = if rule.kind.is_some() { shape.noise } else { 1.0 } / shelves.items as f64;
    sum + left as f64 * any
}

impl Shop {
    /// What the best ranking hits where of a user's events the one behind the first `shown(events)`
    /// is asked for, if any is.
    pub fn best_hits(&self, shown: impl Fn(usize) -> Option<usize>) -> BestHits {
        let mut best = BestHits::default();
        for customer in &self.customers {
            let Some(shown) = shown(customer.purchases.len()) else { continue };
            let rule = Rule::of(&customer.history(shown), self.shape.people, &self.shelves);
            best.events += 1;
            best.first += hit(rule, 1, &self.shape, &self.shelves);
            best.ten += hit(rule, 10, &self.shape, &self.shelves);
        }
        let events = best.events.max(1) as f64;
        BestHits { first: best.first / events, ten: best.ten / events, ..best }
    }

    /// How far the best predictions of the reviews' stars are off.
    pub fn best_stars(&self) -> BestStars {
        let (mut reviews, mut squares, mut distances) = (0, 0.0, 0.0);
        for customer in &self.customers {
            let mut history = Vec::with_capacity(customer.purchases.len());
            for purchase in &customer.purchases {
                if purchase.reviewed {
                    let rule = Rule::of(&history, self.shape.people, &self.shelves);
                    let stars = stars(rule, purchase.goods, customer.likes);
                    let (square, distance) = off(stars, self.shape.noise);
                    (reviews, squares, distances) =
                        (reviews + 1, squares + square, distances + distance);
                }
                history.push(purchase.goods);
            }
        }
        let count = f64::from(reviews.max(1));
        BestStars {
            reviews: reviews as usize,
            rmse: (squares / count).sqrt(),
            mae: distances / count,
        }
    }
}

/// The least expected square and the least expected distance from what is `stars`, or with the
/// probability `noise` any number of stars.
fn off(stars: i64, noise: f64) -> (f64, f64) {
    let all = || (1..=STARS).map(|given| given as f64);
    let expected = |of: &dyn Fn(f64) -> f64| {
        let any = all().map(of).sum::<f64>() / STARS as f64;
        (1.0 - noise) * of(stars as f64) + noise * any
    };
    let mean = expected(&|given| given);
    let square = expected(&|given| (given - mean).powi(2));
    let distance = all().map(|said| expected(&|given| (given - said).abs()));
    (square, distance.fold(f64::INFINITY, f64::min))
}
