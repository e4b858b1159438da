//! What is to be beaten: rankers that need no language model, fitted on the same `.bin`, and where
//! they put what was taken.
//!
//! Fitted on the training part only (all but a user's last two events), their settings chosen on
//! the validation events; the whole catalogue is ranked, the history included; the target loses
//! every tie, so no order of items matters.

use super::truth::{Case, Item, Truth};
use crate::base::{Philox, Stream};
pub use crate::data::catalogue::ItemRepr;
use crate::data::rank::{
    head, place, tune, Asked, Blend, Case as Tried, Ease, EaseSettings, FactorSettings, Factors,
    LeakProbe, Markov, Neighbours, Popularity, Ranker, Sequences, Text, Titles, Tuned, ALPHA,
    MOST_ITEMS,
};
use crate::data::task::Split;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is said beforehand of how baselines are fitted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Wishes {
    /// Weight of category names; `None` = chosen.
    pub category: Option<f64>,
    /// Weight of an event beside the next one in the title baseline; `None` = chosen.
    pub gamma: Option<f64>,
    /// What the model was shown in place of items; `None`: ids if every surface is a number.
    pub item_repr: Option<ItemRepr>,
    /// Whether a few items are ranked somewhere, and not the catalogue: what learns by steps takes
    /// part there.
    pub few: bool,
    /// Decides who is asked while settings are chosen, and the start of what learns by steps.
    pub seed: u64,
}

/// How the baselines of a report were fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chosen {
    /// Users whose validation event chose; 0 = the settings that Toys chose.
    pub users: usize,
    /// What was chosen.
    #[serde(flatten)]
    pub tuned: Tuned,
    /// Of EASE; `None` where the catalogue is too large for it.
    pub ease: Option<EaseSettings>,
    /// Of BPR-MF, where it takes part.
    pub factors: Option<FactorSettings>,
}

/// Users that choose settings at most.
const CHOOSING: usize = 4000;
/// Scores that a ranker makes for all of them at most; a larger catalogue asks fewer users.
const SCORES: usize = 200_000_000;
/// Steps of what learns by them at most: minutes.
const STEPS: usize = 1_000_000_000;
/// With fewer than these, chance would choose.
const ENOUGH: usize = 500;

/// What is to be beaten, fitted.
struct Baselines {
    /// In the order of their rows.
    rankers: Vec<Box<dyn Ranker>>,
    /// Whether ids give the next item away, where a model is shown ids.
    probe: Option<LeakProbe>,
    /// Beside these where few items are ranked.
    sampled: Option<Factors>,
    /// How.
    chosen: Chosen,
    /// What is missing, and why.
    missing: Vec<String>,
}

impl Baselines {
    /// Fits all of them.
    fn fit(truth: &Truth<'_>, wishes: Wishes) -> Baselines {
        let users: Vec<&[u32]> = truth.users.iter().map(|user| user.training()).collect();
        let seen = Sequences { users: &users, items: truth.items.len() };
        let texts = texts(truth);
        let cases = choosing(truth, wishes.seed);
        let mut tuned = tune(seen, &texts, &cases);
        let own = |wish: Option<f64>, value: &mut f64| *value = wish.unwrap_or(*value);
        own(wishes.category, &mut tuned.titles.category);
        own(wishes.gamma, &mut tuned.titles.gamma);
        let neighbours = Arc::new(Neighbours::fit(seen, tuned.neighbours));
        let titles = Titles::fit(&texts, tuned.titles);
        drop(texts);
        let markov = Arc::new(Markov::fit(seen, ALPHA));
        let blend =
            Blend::of(seen, markov.clone(), neighbours.clone(), titles.clone(), tuned.titles.gamma);
        let mut rankers: Vec<Box<dyn Ranker>> = vec![
            Box::new(Popularity::fit(seen)),
            Box::new(markov),
            Box::new(titles.aged(0.0)),
            Box::new(titles),
            Box::new(neighbours),
        ];
        let small = (seen.items <= MOST_ITEMS).then(EaseSettings::default);
        let ease = small.map(|settings| (settings, Ease::fit(seen, settings)));
        let mut missing = Vec::new();
        let ease = ease.and_then(|(settings, fitted)| match fitted {
            Ok(fitted) => {
                rankers.push(Box::new(fitted));
                Some(settings)
            }
            Err(error) => {
                missing.push(format!("EASE is left out: {error}"));
                None
            }
        });
        rankers.push(Box::new(blend.weighted(tuned.blend)));
        let shown = match wishes.item_repr {
            Some(ItemRepr::Title) => None,
            Some(ItemRepr::Id) => truth.numeric_surfaces().or_else(|| truth.numeric_ids()),
            None => truth.numeric_surfaces(),
        };
        let factors = FactorSettings { seed: wishes.seed, ..FactorSettings::default() };
        let steps = factors.epochs * users.iter().map(|user| user.len()).sum::<usize>();
        let factors = wishes.few.then_some(factors).filter(|_| steps <= STEPS);
        if wishes.few && factors.is_none() {
            missing.push(format!("BPR-MF is left out: {steps} steps would take too long"));
        }
        let sampled = factors.map(|settings| Factors::fit(seen, settings));
        let chosen = Chosen { users: cases.len(), tuned, ease, factors };
        let probe = shown.map(LeakProbe::new);
        Baselines { rankers, probe, sampled, chosen, missing }
    }
}

/// Where the baselines put what was taken: all that a report needs of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// How they were fitted.
    pub chosen: Chosen,
    /// What is missing, and why.
    pub missing: Vec<String>,
    /// In the order of the rows.
    pub rows: Vec<BesideRow>,
}

/// A baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BesideRow {
    /// What a table calls it.
    pub name: String,
    /// That it is the probe for leaks (E24), and nothing to be beaten.
    pub probe: bool,
    /// That it takes part only where few items are ranked.
    pub few: bool,
    /// Of each user; none of those who were not asked about.
    pub places: Vec<Option<Place>>,
    /// What it puts first, of each user; nothing of a row that is no rival of the full catalogue.
    pub heads: Heads,
}

/// Items of a list that are looked at.
pub const FIRST: usize = 10;

/// The [`head`] of each user's ranking, [`FIRST`] items of it new to the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heads {
    /// One behind another.
    items: Vec<u32>,
    /// Where each user's end in `items`; as many as users, or none.
    ends: Vec<u32>,
}

impl Heads {
    /// Of as many users as there are lists; empty for those who were not asked about.
    fn of(lists: &[Vec<u32>]) -> Heads {
        let ends = lists.iter().scan(0, |end, list| {
            *end += list.len() as u32;
            Some(*end)
        });
        Heads { items: lists.concat(), ends: ends.collect() }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The first [`FIRST`] of a user's list, best first; with what is in `without` left out.
    pub fn first<'a>(
        &'a self,
        user: u32,
        without: &'a [u32],
    ) -> impl Iterator<Item = u32> + use<'a> {
        let user = user as usize;
        let start = user.checked_sub(1).map_or(0, |before| self.ends[before]);
        let own = &self.items[start as usize..self.ends[user] as usize];
        own.iter().copied().filter(|item| !without.contains(item)).take(FIRST)
    }
}

impl Beside {
    /// Fits the baselines and asks them for all users, or where `asked` names some and a catalogue
    /// is large, for these.
    pub fn fit(truth: &Truth<'_>, wishes: Wishes, split: Split, asked: &[u32]) -> Beside {
        let baselines = Baselines::fit(truth, wishes);
        let (users, items) = (truth.users.len(), truth.items.len());
        let all = users.saturating_mul(items) <= SCORES * 5;
        let case = |u: u32| truth.users[u as usize].case(u, split);
        let cases: Vec<Case<'_>> = match all {
            true => (0..users as u32).filter_map(case).collect(),
            false => asked.iter().copied().filter_map(case).collect(),
        };
        let ties: Vec<u64> = truth.items.iter().map(|item| item.tie).collect();
        let row = |ranker: &dyn Ranker, is_rival: bool| {
            let (mut of_user, mut lists) = (vec![None; users], vec![Vec::new(); users]);
            let said = each(ranker, &cases, items, |scores, case| {
                let list = is_rival.then(|| head(scores, &ties, case.history, FIRST));
                (Place::of(scores, case), list.unwrap_or_default())
            });
            for (case, (place, list)) in cases.iter().zip(said) {
                let user = case.user as usize;
                (of_user[user], lists[user]) = (Some(place), list);
            }
            let heads = if is_rival { Heads::of(&lists) } else { Heads::default() };
            let name = ranker.name().to_owned();
            BesideRow { name, probe: false, few: false, places: of_user, heads }
        };
        let rivals = baselines.rankers.iter().map(|r| row(r.as_ref(), true));
        let mut rows: Vec<BesideRow> = rivals.collect();
        rows.extend(baselines.probe.iter().map(|r| BesideRow { probe: true, ..row(r, false) }));
        rows.extend(baselines.sampled.iter().map(|r| BesideRow { few: true, ..row(r, false) }));
        Beside { chosen: baselines.chosen, missing: baselines.missing, rows }
    }

    /// Whether all users with a question were asked about.
    pub fn is_complete(&self, truth: &Truth<'_>, split: Split) -> bool {
        let asked = |row: &BesideRow| {
            let users = truth.users.iter().zip(0..).map(|(user, u)| user.case(u, split).is_some());
            users.eq(row.places.iter().map(Option::is_some))
        };
        self.rows.iter().all(asked)
    }
}

/// What rankers read of the catalogue.
pub fn texts<'a>(truth: &Truth<'a>) -> Vec<Text<'a>> {
    let text = |item: &Item<'a>| Text { title: item.title, categories: item.categories.clone() };
    truth.items.iter().map(text).collect()
}

/// The settings of rankers as a report's baselines have them: fitted on training parts, chosen on
/// validation events of users drawn by `seed`; those that Toys chose where there are too few.
pub fn chosen(truth: &Truth<'_>, seed: u64) -> Tuned {
    let users: Vec<&[u32]> = truth.users.iter().map(|user| user.training()).collect();
    let seen = Sequences { users: &users, items: truth.items.len() };
    tune(seen, &texts(truth), &choosing(truth, seed))
}

/// Validation events that choose settings, of users drawn by `seed`; none where there would be too
/// few.
fn choosing<'a>(truth: &Truth<'a>, seed: u64) -> Vec<Tried<'a>> {
    let case = |(number, user): (u32, &super::truth::User<'a>)| {
        let case = user.case(number, Split::Validation)?;
        let asked = Asked { user: Some(number), history: case.history };
        Some(Tried { asked, target: case.target })
    };
    let mut cases: Vec<Tried<'a>> = (0..).zip(&truth.users).filter_map(case).collect();
    Philox::new(seed, Stream::Users, 0).shuffle(&mut cases);
    cases.truncate(CHOOSING.min(SCORES / truth.items.len().max(1)));
    if cases.len() < ENOUGH {
        cases.clear();
    }
    cases
}

/// Where the target stands in a full ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, Option<u32>, u32)", into = "(u32, Option<u32>, u32)")]
pub struct Place {
    /// Among all items.
    pub all: u32,
    /// With the history's items left out; none where the target is one of them (E15).
    pub unseen: Option<u32>,
    /// Among the target and the case's negatives.
    pub sampled: u32,
}

impl From<(u32, Option<u32>, u32)> for Place {
    fn from((all, unseen, sampled): (u32, Option<u32>, u32)) -> Place {
        Place { all, unseen, sampled }
    }
}

impl From<Place> for (u32, Option<u32>, u32) {
    fn from(Place { all, unseen, sampled }: Place) -> (u32, Option<u32>, u32) {
        (all, unseen, sampled)
    }
}

impl Place {
    /// Among all items, or where `filter_history` with the history's left out.
    pub fn in_full(self, filter_history: bool) -> Option<u32> {
        if filter_history {
            self.unseen
        } else {
            Some(self.all)
        }
    }

    /// Of the target of a case by the scores of all items.
    fn of(scores: &[f64], case: &Case<'_>) -> Place {
        let own = scores[case.target as usize];
        let all = place(scores, case.target);
        let at_least = |items: &[u32]| {
            let mut others: Vec<u32> =
                items.iter().copied().filter(|&item| item != case.target).collect();
            others.sort_unstable();
            others.dedup();
            others.iter().filter(|&&item| scores[item as usize] >= own).count() as u32
        };
        let again = case.history.contains(&case.target);
        let unseen = (!again).then(|| all - at_least(case.history));
        Place { all, unseen, sampled: 1 + at_least(case.negatives) }
    }
}

/// Places of the targets of all cases.
pub fn places(ranker: &dyn Ranker, cases: &[Case<'_>], items: usize) -> Vec<Place> {
    each(ranker, cases, items, Place::of)
}

/// What is read off the scores of each case.
fn each<T: Send>(
    ranker: &dyn Ranker,
    cases: &[Case<'_>],
    items: usize,
    read: impl Fn(&[f64], &Case<'_>) -> T + Sync,
) -> Vec<T> {
    let one = |scores: &mut Vec<f64>, case: &Case<'_>| {
        ranker.score(Asked { user: Some(case.user), history: case.history }, scores);
        read(scores, case)
    };
    cases.par_iter().map_init(|| vec![0.0; items], one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::truth::Day;

    #[test]
    fn the_popular_come_first_and_the_target_loses_ties() {
        let users: [&[u32]; 3] = [&[0, 1, 2], &[0, 1], &[3, 0, 2]];
        let popularity = Popularity::fit(Sequences { users: &users, items: 5 });
        let case = |history, target, negatives| Case {
            user: 0,
            history,
            target,
            day: Day::Unknown,
            negatives,
        };
        // Counts 3 2 2 1 0.
        let places = places(&popularity, &[case(&[0], 2, &[3, 4, 1]), case(&[0, 0, 1], 4, &[])], 5);
        assert_eq!(places[0], Place { all: 3, unseen: Some(2), sampled: 2 });
        assert_eq!(places[1], Place { all: 5, unseen: Some(3), sampled: 1 });
    }
}
