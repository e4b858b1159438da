//! What a ranker would have a model learn: of a history, a share for every item (R44).

use super::fuse::REST;
use super::{Asked, Ranker};

/// How a teacher makes shares of its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeacherSettings {
    /// Items that have a share of their own.
    pub best: usize,
    /// What their scores are divided by before they become probabilities.
    pub temperature: f64,
    /// Share of all others together, by popularity.
    pub rest: f64,
}

impl Default for TeacherSettings {
    fn default() -> TeacherSettings {
        TeacherSettings { best: 64, temperature: 0.6, rest: REST }
    }
}

/// Shares of a catalogue's items behind one history, together 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// (item, share beyond what popularity gives it), ascending by item.
    best: Vec<(u32, f64)>,
    /// Share of an item for each time it was taken, and once more.
    rest: f64,
}

/// A ranker that says how likely each item is.
pub struct Teacher {
    ranker: Box<dyn Ranker>,
    /// By item, how often it was taken and once more.
    taken: Vec<f64>,
    settings: TeacherSettings,
}

impl Teacher {
    /// Of a ranker and how often each item was taken where that was fitted.
    pub fn new(ranker: Box<dyn Ranker>, counts: &[f64], settings: TeacherSettings) -> Teacher {
        let taken = counts.iter().map(|count| count + 1.0).collect();
        Teacher { ranker, taken, settings }
    }

    /// By item, how often it was taken and once more.
    pub fn taken(&self) -> &[f64] {
        &self.taken
    }

    /// The shares behind a history; where `known` is what came next, as if that had not been seen.
    pub fn shares(&self, asked: Asked<'_>, known: Option<u32>) -> Shares {
        let mut scores = vec![0.0; self.taken.len()];
        match known {
            Some(next) => self.ranker.score_without(asked, next, &mut scores),
            None => self.ranker.score(asked, &mut scores),
        }
        let TeacherSettings { best, temperature, rest } = self.settings;
        let better =
            |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        let mut order = super::best((0..scores.len() as u32).collect(), best, better);
        order.sort_unstable();
        let top = order.iter().map(|&item| scores[item as usize]).fold(f64::MIN, f64::max);
        let raw = |&item: &u32| ((scores[item as usize] - top) / temperature).exp();
        let sum: f64 = order.iter().map(raw).sum();
        let all: f64 = self.taken.iter().sum();
        let own: f64 = order.iter().map(|&item| self.taken[item as usize]).sum();
        // Where everything is among the best, nothing is left for others.
        let rest = if order.len() < scores.len() { rest } else { 0.0 };
        let each = if all > own { rest / (all - own) } else { 0.0 };
        let beyond = |item: &u32| {
            (*item, (1.0 - rest) * raw(item) / sum - each * self.taken[*item as usize])
        };
        Shares { best: order.iter().map(beyond).collect(), rest: each }
    }
}

impl Shares {
    /// The share of one item that was taken so often, and once more.
    pub fn of(&self, item: u32, taken: f64) -> f64 {
        let own = self.best.binary_search_by_key(&item, |(item, _)| *item);
        self.rest * taken + own.map_or(0.0, |at| self.best[at].1)
    }

    /// Items with a share of their own, and how much it is beyond popularity's.
    pub fn best(&self) -> &[(u32, f64)] {
        &self.best
    }

    /// The share of items that were taken so often together, each once more, and no others but
    /// those among the best whose shares beyond that are `beyond`.
    pub fn together(&self, taken: f64, beyond: f64) -> f64 {
        (self.rest * taken + beyond).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Markov, Sequences};
    use super::*;

    #[test]
    fn shares_are_a_distribution_that_forgets_what_is_learnt() {
        let users: [&[u32]; 4] = [&[0, 1, 2], &[0, 1], &[3, 0, 2], &[4, 4, 1]];
        let seen = Sequences { users: &users, items: 6 };
        let settings = TeacherSettings { best: 2, temperature: 0.5, rest: 0.1 };
        let teacher = Teacher::new(Box::new(Markov::fit(seen, 1.0)), &seen.counts(), settings);
        let all = |shares: &Shares| -> Vec<f64> {
            (0..6).map(|item| shares.of(item, teacher.taken()[item as usize])).collect()
        };
        let asked = Asked::history(&[3, 0]);
        let shares = all(&teacher.shares(asked, None));
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?}");
        // 0 was followed by 1 twice and by 2 once: scores 2 + 3/11 and 1 + 2/11.
        let odds = ((1.0 + 1.0 / 11.0) / 0.5f64).exp();
        assert!((shares[1] / shares[2] - odds).abs() < 1e-9, "{shares:?}");
        // The others by their counts 3, 1, 2, 0, each one more: a tenth of all.
        let rest: Vec<f64> = [0, 3, 4, 5].map(|item: usize| shares[item]).to_vec();
        let expected = [4.0, 2.0, 3.0, 1.0].map(|taken| 0.1 * taken / 10.0);
        assert!(rest.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rest:?}");
        // That 2 came next is left out of what 2 is given.
        let without = all(&teacher.shares(asked, Some(2)));
        assert!(without[2] < shares[2], "{without:?} {shares:?}");
        assert!((without.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{without:?}");
    }

    #[test]
    fn a_small_catalogue_is_all_among_the_best() {
        let users: [&[u32]; 1] = [&[0, 1]];
        let seen = Sequences { users: &users, items: 2 };
        let settings = TeacherSettings::default();
        let teacher = Teacher::new(Box::new(Markov::fit(seen, 1.0)), &seen.counts(), settings);
        let shares = teacher.shares(Asked::history(&[0]), None);
        let all = shares.of(0, 2.0) + shares.of(1, 2.0);
        assert!((all - 1.0).abs() < 1e-12 && shares.of(1, 2.0) > 0.5);
    }
}
