//! A shop made up, in which what comes next is a function of what the titles say: a model that
//! reads them can know it, also of items that it never saw bought, and whoever counts items cannot.
//!
//! A title is a maker, a kind and a size. A customer buys for a few people in turn, a round within
//! a fortnight and the next one weeks later, for years. What is bought next is
//!
//! * of the **kind** that follows the last purchase's kind (days ago),
//! * of the **maker** of what was last bought for the same person (a round ago: weeks or months),
//! * in the **size** of what was first bought for that person (long ago),
//!
//! so the last purchase alone tells one of the three. With the probability `noise` it is any item
//! of the shop instead, and with the probability `drift` the person takes to any maker. Stars,
//! explanation, headline and text are functions of the purchase, of what went before and of the
//! materials that the customer likes, but for a share `noise` of the stars, which are any. So the
//! [best possible](Shop::best_hits) is known.
//!
//! | [`Shelves`] | what is sold | [`Rule`] | what comes next |
//! |---|---|---|---|
//! | [`Customer`] | who buys what when | [`Shop`] | all of it, and the best possible |

mod best;
mod customer;
mod review;
mod rule;
mod shape;
mod shelves;

pub use best::{chance, hit, BestHits, BestStars};
pub use customer::{Customer, Purchase};
pub use review::{headline, reason, stars, text, Reason};
pub use rule::Rule;
pub use shape::Shape;
pub use shelves::{Goods, Shelves};

use super::{Attributes, Clock, Events, Ids, Raw, RawReview};
use rayon::prelude::*;

/// First names of customers, which need not be their own.
const NAMES: [&str; 12] =
    ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Ida", "Jon", "Kim", "Lea", "Max"];

/// A shop: what it sells, and who bought what.
#[derive(Clone, Debug)]
pub struct Shop {
    /// What it was made by.
    pub shape: Shape,
    /// The catalogue.
    pub shelves: Shelves,
    /// Everybody.
    pub customers: Vec<Customer>,
}

impl Shop {
    /// Makes a shop: a function of the shape alone.
    pub fn of(shape: Shape) -> Shop {
        let shelves = Shelves::of(shape.items);
        let customers = (0..shape.users).into_par_iter();
        let customers = customers.map(|user| Customer::of(&shape, &shelves, user)).collect();
        Shop { shape, shelves, customers }
    }

    /// The shop as a source.
    pub fn raw(&self) -> Raw {
        let items = (0..self.shelves.items).into_par_iter();
        let mut users = Ids::new("user");
        let count = self.customers.iter().map(|customer| customer.purchases.len()).sum();
        let mut events = Events::with_capacity(count, self.customers.len());
        for (user, customer) in self.customers.iter().enumerate() {
            users.number(&(user + 1).to_string(), user + 1);
            for purchase in &customer.purchases {
                events.push(purchase.item as u32, purchase.time, purchase.stars as f32);
            }
            events.end_user();
        }
        let customers = self.customers.par_iter().enumerate();
        Raw {
            items: items.map(|item| self.shelves.described(item)).collect(),
            users,
            attributes: customers.clone().map(|(user, who)| profile(user, who)).collect(),
            events,
            reviews: customers.flat_map_iter(|(user, who)| self.reviews(user, who)).collect(),
            clock: Clock::Unix,
            format: "synthetic",
            notes: vec![format!("made up with seed {}", self.shape.seed)],
        }
    }

    /// What customer number `user` wrote.
    fn reviews(&self, user: usize, customer: &Customer) -> Vec<RawReview> {
        let history = customer.history(customer.purchases.len());
        let reviewed = customer.purchases.iter().enumerate().filter(|(_, p)| p.reviewed);
        let review = |(at, purchase): (usize, &Purchase)| {
            let (before, goods) = (&history[..at], purchase.goods);
            let rule = Rule::of(before, self.shape.people, &self.shelves);
            let reason = reason(rule, before, goods, customer.likes, &self.shelves);
            RawReview {
                user: user as u32,
                item: purchase.item as u32,
                rating: purchase.stars as f32,
                summary: Some(headline(goods, purchase.stars)),
                text: Some(text(goods, purchase.stars, &reason.explanation)),
                explanation: Some(reason.explanation),
                feature: Some(reason.feature),
                split: None,
            }
        };
        reviewed.map(review).collect()
    }
}

/// What is known of a customer: a name, and a list of what is liked.
fn profile(user: usize, customer: &Customer) -> Attributes {
    let name = ("name".to_owned(), NAMES[user % NAMES.len()].to_owned());
    let likes = customer.likes.map(|of| ("likes".to_owned(), shelves::material(of).to_owned()));
    std::iter::once(name).chain(likes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_shop() {
        for (users, items) in [(1, 1), (3, 2), (5, 7), (20, 240), (9, 1000)] {
            for (events, people) in [(8, 2), (1, 1), (30, 9)] {
                let shape = Shape { events, people, ..Shape::new(users, items, 3) };
                let raw = Shop::of(shape).raw();
                assert_eq!((raw.users.len(), raw.items.len()), (users, items));
                assert_eq!(raw.attributes.len(), users);
                assert!(raw.events.item.iter().all(|&item| (item as usize) < items));
                for user in 0..users as u32 {
                    let times = raw.events.times(user);
                    assert!((events / 2 + 1..=2 * events).contains(&times.len()), "{shape:?}");
                    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{shape:?}: {times:?}");
                }
            }
        }
    }
}
