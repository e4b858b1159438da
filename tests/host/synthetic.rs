//! The shop made up: what its rule says is what its customers do, and what is called the best
//! possible is.

use engine::base::{Philox, Stream};
use engine::data::rank::{place, Asked, Markov, Popularity, Ranker, Sequences};
use engine::data::source::synthetic::{chance, hit, Goods, Rule, Shape, Shelves, Shop};
use engine::data::source::{read, Raw, Reading, Skips};
use engine::data::task::Split;
use engine::data::text::Windows;
use std::path::Path;
use std::time::{Duration, Instant};

fn raw(source: &str) -> Raw {
    read(Path::new(source), &Reading::default(), &mut Skips::new(0)).unwrap()
}

/// Whether `found` of `all` is a share of about `expected`: within five standard deviations.
#[track_caller]
fn about(found: usize, all: usize, expected: f64) {
    let (found, all) = (found as f64, all as f64);
    let bound = 5.0 * (expected * (1.0 - expected) / all).sqrt();
    let share = found / all;
    assert!((share - expected).abs() <= bound, "{share}, expected {expected} ± {bound}");
}

/// Maker, kind and size as a title says them.
fn told(title: &str) -> [&str; 3] {
    let mut words = title.split(' ');
    let mut next = || words.next().unwrap_or("");
    let told = [next(), next(), next()];
    assert_eq!(words.next(), None, "{title}");
    told
}

/// The title that the rule asks for, from nothing but the titles before it: the kind after the last
/// one's, the maker of the last but one (two people take turns), the size of the first of the two.
fn expected(history: &[&str], series: &[&str]) -> String {
    let n = history.len();
    let last = series.iter().position(|kind| *kind == told(history[n - 1])[1]).unwrap();
    let (maker, size) = (told(history[n - 2])[0], told(history[n % 2])[2]);
    format!("{maker} {} {size}", series[(last + 1) % series.len()]).trim().to_owned()
}

#[test]
fn what_comes_next_is_what_the_titles_say() {
    let raw = raw("synthetic:2000,1000,5");
    let titles: Vec<&str> = raw.items.iter().map(|item| item.title().unwrap()).collect();
    let mut series: Vec<&str> = titles.iter().map(|title| told(title)[1]).collect();
    series.dedup();
    series.truncate(16);
    let (mut all, mut kept) = (0, 0);
    for user in 0..raw.users.len() as u32 {
        let bought = raw.events.items(user).iter().map(|&item| titles[item as usize]);
        let bought: Vec<&str> = bought.collect();
        for n in 2..bought.len() {
            all += 1;
            kept += usize::from(bought[n] == expected(&bought[..n], &series));
        }
    }
    // One in ten is any item, and one in twenty of the rest goes to any of twenty makers.
    about(kept, all, 0.9 * (0.95 + 0.05 / 20.0) + 0.1 / 1000.0);
}

#[test]
fn rules_of_long_histories_are_of_all_three_ages() {
    let shape = Shape { events: 60, people: 5, ..Shape::new(40, 1000, 1) };
    let shop = Shop::of(shape);
    const DAY: i64 = 86_400;
    let (mut all, mut kept, mut ages) = (0, 0, [0; 3]);
    for customer in &shop.customers {
        let all_goods = customer.history(customer.purchases.len());
        for n in 5..all_goods.len() {
            let rule = Rule::of(&all_goods[..n], 5, &shop.shelves);
            let first = n % 5;
            let own = Rule {
                kind: Some((all_goods[n - 1].kind + 1) % shop.shelves.kinds),
                maker: Some(all_goods[n - 5].maker),
                size: Some(all_goods[first].size),
            };
            assert_eq!(rule, own);
            all += 1;
            kept += usize::from(rule.holds(all_goods[n]));
            let age = |at: usize| customer.purchases[n].time - customer.purchases[at].time;
            ages[0] += usize::from(age(n - 1) < 14 * DAY);
            ages[1] += usize::from((14 * DAY..180 * DAY).contains(&age(n - 5)));
            ages[2] += usize::from(age(first) >= 180 * DAY);
        }
    }
    about(kept, all, 0.9 * (0.95 + 0.05 / 20.0) + 0.1 / 1000.0);
    // Four of five are bought within a round; a round is weeks ago, and most of it begun long ago.
    assert!(ages[0] * 10 > all * 7 && ages[1] == all && ages[2] * 10 > all * 6, "{ages:?}: {all}");
}

/// Stars are what is said in `data/source/synthetic/review.rs`, told once more in other words.
#[test]
fn reviews_are_what_the_purchase_and_the_history_say() {
    let shop = Shop::of(Shape::new(1500, 240, 2));
    let raw = shop.raw();
    let titles: Vec<&str> = raw.items.iter().map(|item| item.title().unwrap()).collect();
    let (mut reviews, mut strays, mut begun) = (raw.reviews.iter(), 0, 0);
    for (user, customer) in shop.customers.iter().enumerate() {
        let likes: Vec<&str> =
            raw.attributes[user].iter().filter(|(n, _)| n == "likes").map(|(_, v)| &**v).collect();
        assert_eq!(likes.len(), 2);
        for (n, purchase) in customer.purchases.iter().enumerate() {
            if !purchase.reviewed {
                continue;
            }
            let review = reviews.next().expect("one a purchase");
            let (item, title) = (&raw.items[purchase.item], titles[purchase.item]);
            assert_eq!((review.user as usize, review.item as usize), (user, purchase.item));
            assert_eq!((review.split.as_deref(), review.rating), (None, purchase.stars as f32));
            let rule = Rule::of(&customer.history(n), 2, &shop.shelves);
            let materials: Vec<&str> =
                item.attributes().filter(|(name, _)| *name == "material").map(|(_, v)| v).collect();
            let mut stars = if materials.iter().any(|of| likes.contains(of)) { 5 } else { 3 };
            let Goods { maker, kind, size } = purchase.goods;
            for (said, got) in [(rule.maker, maker), (rule.kind, kind), (rule.size, size)] {
                stars -= i64::from(said.is_some() && said != Some(got));
            }
            strays += usize::from(purchase.stars != stars.max(1));
            begun += 1;
            let (explanation, text) = (review.explanation.clone().unwrap(), review.text.clone());
            let word = ["Dreadful", "Poor", "Passable", "Good", "Splendid"];
            let word = word[purchase.stars as usize - 1];
            let headline = format!("{word} {}", told(title)[1].to_lowercase());
            assert_eq!(review.summary.as_deref(), Some(&*headline));
            let start = format!("{headline} of {}. {explanation} ", told(title)[0]);
            assert!(text.unwrap().starts_with(&start), "{review:?}");
            // Prose names things that the shop has.
            assert!(titles.iter().any(|title| explanation.contains(title)), "{explanation}");
            let feature = review.feature.as_deref().unwrap();
            assert!(
                ["size", "maker", "series"].contains(&feature) || explanation.contains(feature),
                "{review:?}"
            );
        }
    }
    assert!(reviews.next().is_none());
    // One in ten is any number of stars, which is another one four times in five.
    about(strays, begun, 0.1 * 0.8);
}

#[test]
fn the_best_possible_is_that_of_trying_all_items() {
    for (items, noise, drift, people) in [
        (1, 0.1, 0.05, 2),
        (2, 0.5, 0.5, 1),
        (7, 0.0, 1.0, 2),
        (40, 0.1, 0.05, 3),
        (240, 0.1, 0.05, 2),
        (240, 1.0, 0.3, 2),
        (300, 0.0, 0.0, 4),
    ] {
        let shape = Shape { noise, drift, people, ..Shape::new(6, items, 9) };
        let shop = Shop::of(shape);
        for customer in &shop.customers {
            for n in 0..customer.purchases.len() {
                let rule = Rule::of(&customer.history(n), people, &shop.shelves);
                let of = |item| chance(rule, item, &shape, &shop.shelves);
                let mut chances: Vec<f64> = (0..items).map(of).collect();
                assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shape:?}: {rule:?}");
                chances.sort_by(|a, b| b.total_cmp(a));
                for k in [1, 2, 10, 25, 1000] {
                    let brute: f64 = chances.iter().take(k).sum();
                    let hit = hit(rule, k, &shape, &shop.shelves);
                    assert!((hit - brute).abs() < 1e-9, "{shape:?}: {rule:?}: {k}: {hit} {brute}");
                }
            }
        }
    }
}

/// Chances are those by which customers buy: the mean of 1 / n over what was bought, were it even,
/// and so on, is not enough; here every item's share is held against its chance.
#[test]
fn chances_are_shares() {
    let shape = Shape { people: 1, events: 12, noise: 0.3, drift: 0.3, ..Shape::new(30_000, 8, 4) };
    let shop = Shop::of(shape);
    let goods = Goods { maker: 0, kind: 0, size: 1 };
    let (mut all, mut found) = (0, vec![0; 8]);
    let rule = Rule::of(&[goods, goods], 1, &shop.shelves);
    for customer in &shop.customers {
        let history = customer.history(customer.purchases.len());
        for n in 2..history.len() {
            if Rule::of(&history[..n], 1, &shop.shelves) == rule {
                all += 1;
                found[customer.purchases[n].item] += 1;
            }
        }
    }
    assert!(all > 10_000, "{all}");
    (0..8).for_each(|item| about(found[item], all, chance(rule, item, &shape, &shop.shelves)));
}

#[test]
fn stars_cannot_be_predicted_better_than_is_said() {
    let shop = Shop::of(Shape { noise: 0.2, ..Shape::new(40_000, 240, 6) });
    let best = shop.best_stars();
    let (mut squares, mut distances, mut count) = (0.0, 0.0, 0.0);
    for customer in &shop.customers {
        for (n, purchase) in customer.purchases.iter().enumerate().filter(|(_, p)| p.reviewed) {
            let rule = Rule::of(&customer.history(n), 2, &shop.shelves);
            let stars =
                engine::data::source::synthetic::stars(rule, purchase.goods, customer.likes);
            let off = |said: f64| purchase.stars as f64 - said;
            squares += off(0.8 * stars as f64 + 0.2 * 3.0).powi(2);
            distances += off(stars as f64).abs();
            count += 1.0;
        }
    }
    assert_eq!(best.reviews as f64, count);
    let (rmse, mae) = ((squares / count).sqrt(), distances / count);
    let near = |found: f64, said: f64| (found / said - 1.0).abs() < 0.02;
    assert!(near(rmse, best.rmse) && near(mae, best.mae), "{rmse} {mae}: {best:?}");
}

#[test]
fn a_shop_is_of_its_seed() {
    let words = |source: &str| format!("{:?}", raw(source));
    assert_eq!(words("synthetic:50,100,3"), words("synthetic:50,100,3"));
    assert_ne!(words("synthetic:50,100,3"), words("synthetic:50,100,4"));
    assert_eq!(words("synthetic:50,100"), words("synthetic:50,100,0,events=8"));
}

/// Counting which item follows which knows one of three parts of a title, in the demo's shop.
#[test]
fn counting_knows_less_than_half() {
    let shop = Shop::of(Shape::new(1500, 1000, 0));
    let raw = shop.raw();
    let all: Vec<&[u32]> = (0..1500).map(|user| raw.events.items(user)).collect();
    let training: Vec<&[u32]> = all.iter().map(|items| &items[..items.len() - 2]).collect();
    let seen = Sequences { users: &training, items: 1000 };
    let best = shop.best_hits(|events| Split::Test.shown(events));
    assert!(best.events == 1500 && best.ten > 0.87 && best.first > 0.85, "{best:?}");
    let rankers: [Box<dyn Ranker>; 2] =
        [Box::new(Markov::fit(seen, 1.0)), Box::new(Popularity::fit(seen))];
    for ranker in rankers {
        let mut scores = vec![0.0; 1000];
        let hits = all.iter().filter(|items| {
            let (target, history) = items.split_last().unwrap();
            ranker.score(Asked::history(history), &mut scores);
            place(&scores, *target) <= 10
        });
        let share = hits.count() as f64 / 1500.0;
        assert!(share <= best.ten / 2.0, "{}: {share} of {}", ranker.name(), best.ten);
    }
}

#[test]
fn a_million_items_take_seconds() {
    let begin = Instant::now();
    let raw = raw("synthetic:1000,1000000");
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    assert_eq!(raw.items.len(), 1_000_000);
    let shelves = Shelves::of(1_000_000);
    let last = raw.items[shelves.originals() - 1].title().unwrap();
    assert_eq!(
        told(last),
        [raw.items[shelves.originals() - 1].brand().unwrap(), "Dragon", "Large"]
    );
}

/// Where rounds are longer than what is shown, newest purchases alone tell nothing of whom it is
/// the turn of; drawn over the ages, some do, and the last purchase is still there (R8).
#[test]
fn which_purchases_are_shown_matters() {
    const SHOWN: usize = 10;
    let shop = Shop::of(Shape { events: 150, people: 12, ..Shape::new(200, 1000, 8) });
    let (mut all, mut known) = (0, [0; 3]);
    for (number, customer) in shop.customers.iter().enumerate() {
        let n = customer.purchases.len() - 1;
        let history = customer.history(n);
        let rule = Rule::of(&history, 12, &shop.shelves);
        let times: Vec<i64> = customer.purchases.iter().map(|purchase| purchase.time).collect();
        let mut rng = Philox::new(1, Stream::Synthetic, number as u64);
        let newest: Vec<usize> = (n - SHOWN..n).collect();
        let aged = Windows::default().sample(&times[..n], times[n], SHOWN, &mut rng);
        let mut even: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut even);
        even.truncate(SHOWN);
        all += 1;
        for (known, shown) in known.iter_mut().zip([newest, aged, even]) {
            let person = |at: &usize| {
                let Goods { maker, size, .. } = history[*at];
                at % 12 == n % 12 && (Some(maker), Some(size)) == (rule.maker, rule.size)
            };
            *known += usize::from(shown.contains(&(n - 1)) && shown.iter().any(person));
        }
    }
    let [newest, aged, even] = known;
    assert!(newest == 0 && aged * 10 > all && aged > 3 * even, "{newest} {aged} {even}: {all}");
}
