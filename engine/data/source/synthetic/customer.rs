//! What a customer buys, and by which rule.

use super::review::{stars, STARS};
use super::rule::Rule;
use super::shape::Shape;
use super::shelves::{Goods, Shelves, MATERIAL_COUNT};
use crate::base::{Philox, Stream};

const DAY: i64 = 86_400;
/// The first day of 2020: all customers bought for the last time in the year before.
const END: i64 = 18_262 * DAY;
/// A round takes less: the medium age of a behaviour begins here.
const ROUND: i64 = 13 * DAY;
/// From the beginning of a round to that of the next, at most.
const PAUSE: i64 = 80 * DAY;
/// From a customer's first round to the last, at most.
const LIFE: i64 = 40 * 365 * DAY;

/// A purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Number of the item.
    pub item: usize,
    /// What that is.
    pub goods: Goods,
    /// Seconds since 1970.
    pub time: i64,
    /// What the customer gave, 1 to 5.
    pub stars: i64,
    /// Whether there is a review.
    pub reviewed: bool,
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// Numbers of the two materials that are liked, ascending.
    pub likes: [usize; 2],
    /// Oldest first.
    pub purchases: Vec<Purchase>,
}

impl Customer {
    /// Customer number `user` of a shop: a function of the shape and the number alone.
    pub fn of(shape: &Shape, shelves: &Shelves, user: usize) -> Customer {
        let mut rng = Philox::new(shape.seed, Stream::Synthetic, user as u64 + 1);
        let likes = likes(&mut rng);
        let count = events(shape.events, &mut rng);
        let times = times(count, shape.people, &mut rng);
        let mut history: Vec<Goods> = Vec::with_capacity(count);
        let mut purchases = Vec::with_capacity(count);
        for time in times {
            let rule = Rule::of(&history, shape.people, shelves);
            let item = next(rule, shape, shelves, &mut rng);
            let goods = shelves.goods(item);
            let mut given = stars(rule, goods, likes);
            if rng.uniform() < shape.noise {
                given = 1 + rng.below(STARS as usize) as i64;
            }
            let reviewed = rng.below(2) == 0;
            history.push(goods);
            purchases.push(Purchase { item, goods, time, stars: given, reviewed });
        }
        Customer { likes, purchases }
    }

    /// What was bought before purchase number `at`.
    pub fn history(&self, at: usize) -> Vec<Goods> {
        self.purchases[..at].iter().map(|purchase| purchase.goods).collect()
    }
}

/// What is bought next: something by impulse, or what the rule says; where it says nothing, and
/// where a maker is left for another, each is as likely.
fn next(rule: Rule, shape: &Shape, shelves: &Shelves, rng: &mut Philox) -> usize {
    let impulse = rng.uniform() < shape.noise;
    let Some(kind) = rule.kind.filter(|_| !impulse) else { return rng.below(shelves.items) };
    let leaves = rng.uniform() < shape.drift;
    let maker = rule.maker.filter(|_| !leaves).unwrap_or_else(|| rng.below(shelves.makers));
    let size = rule.size.unwrap_or_else(|| rng.below(shelves.sizes));
    shelves.number(Goods { maker, kind, size })
}

fn likes(rng: &mut Philox) -> [usize; 2] {
    let first = rng.below(MATERIAL_COUNT);
    let other = (first + 1 + rng.below(MATERIAL_COUNT - 1)) % MATERIAL_COUNT;
    [first.min(other), first.max(other)]
}

/// How many purchases: about so many; of one customer in five more, and seldom twice as many.
fn events(usual: usize, rng: &mut Philox) -> usize {
    let half = usual / 2;
    match rng.below(5) {
        0 => usual + 1 + rng.below(usual).min(rng.below(usual)),
        _ => half + 1 + rng.below(usual - half + 1),
    }
}

/// When: a round for all people within a fortnight, and a pause before the next.
fn times(count: usize, people: usize, rng: &mut Philox) -> Vec<i64> {
    let rounds = count.div_ceil(people) as i64;
    let pause = PAUSE.min(LIFE / rounds);
    let between = (ROUND.min(pause / 2) / people as i64).max(1) as usize;
    let mut times = Vec::with_capacity(count);
    let (mut begin, mut now) = (0, 0);
    for event in 0..count {
        if event > 0 && event % people == 0 {
            begin += pause / 2 + rng.below((pause / 2).max(1) as usize) as i64;
            now = begin.max(now + 1);
        } else if event > 0 {
            now += 1 + rng.below(between) as i64;
        }
        times.push(now);
    }
    let shift = END - 1 - rng.below((365 * DAY) as usize) as i64 - now;
    times.iter_mut().for_each(|time| *time += shift);
    times
}
