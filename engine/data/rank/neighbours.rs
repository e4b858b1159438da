//! Items that the same users take.

use super::{recent, Asked, Lists, Ranker, Sequences};
use std::sync::OnceLock;

/// What [`Neighbours`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NeighbourSettings {
    /// Neighbours that a candidate keeps, and those that are as near as the last of them; 0 = all.
    pub neighbours: usize,
    /// What is added to the norm of a pair, so that pairs seen once are not believed.
    pub shrink: f64,
    /// An event k places before the last counts gamma^k; 0 looks at the last alone.
    pub gamma: f64,
}

impl Default for NeighbourSettings {
    /// What the validation items of Toys chose.
    fn default() -> NeighbourSettings {
        NeighbourSettings { neighbours: 10, shrink: 100.0, gamma: 0.1 }
    }
}

/// Item-kNN: |U(i) ∩ U(j)| / (√(|U(i)|·|U(j)|) + shrink) over the sets of users U, kept where i is
/// among the nearest of the candidate j; a candidate's score is the sum over the history, weighted
/// by age. An item is no neighbour of itself; what is popular breaks ties.
pub struct Neighbours {
    settings: NeighbourSettings,
    /// Users of each item, each once, and items of each user.
    users_of: Lists<u32>,
    items_of: Lists<u32>,
    /// Made when first asked for: a list for one user needs few of them.
    near: Vec<OnceLock<Near>>,
    /// Less than any difference of scores that means something.
    tie: Vec<f64>,
}

/// An item's neighbours.
struct Near {
    all: Vec<(u32, f64)>,
    /// The least nearness that is kept when this is the candidate.
    least: f64,
}

impl Neighbours {
    /// Notes who took what; nearness is computed when it is asked for.
    pub fn fit(seen: Sequences<'_>, settings: NeighbourSettings) -> Neighbours {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (user, items) in seen.users.iter().zip(0..).map(|(items, user)| (user, items)) {
            let from = pairs.len();
            pairs.extend(items.iter().map(|&item| (user, item)));
            pairs[from..].sort_unstable();
        }
        pairs.dedup();
        let items_of = Lists::sorted(seen.users.len(), pairs.iter().copied(), 0);
        let users_of = Lists::sorted(seen.items, pairs.iter().map(|&(user, item)| (item, user)), 0);
        let counts = seen.counts();
        let total = counts.iter().sum::<f64>().max(1.0);
        let tie = counts.iter().map(|count| 1e-9 * count / total).collect();
        let near = (0..seen.items).map(|_| OnceLock::new()).collect();
        Neighbours { settings, users_of, items_of, near, tie }
    }

    fn near(&self, item: u32) -> &Near {
        self.near[item as usize].get_or_init(|| {
            let users = self.users_of.of(item as usize);
            let others = users.iter().flat_map(|&user| self.items_of.of(user as usize));
            let mut others: Vec<u32> = others.copied().filter(|&other| other != item).collect();
            others.sort_unstable();
            let nearness = |run: &[u32]| {
                let size = |item: u32| self.users_of.of(item as usize).len() as f64;
                let norm = (size(item) * size(run[0])).sqrt() + self.settings.shrink;
                (run[0], run.len() as f64 / norm)
            };
            let all: Vec<(u32, f64)> = others.chunk_by(|a, b| a == b).map(nearness).collect();
            let mut order: Vec<f64> = all.iter().map(|&(_, near)| near).collect();
            let kept = self.settings.neighbours;
            let least = match kept > 0 && kept < order.len() {
                true => *order.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a)).1,
                false => 0.0,
            };
            Near { all, least }
        })
    }
}

impl Neighbours {
    /// Adds the nearness to the history's events, weighted by age.
    pub(super) fn add(&self, history: &[u32], scores: &mut [f64]) {
        for (item, weight) in recent(history, self.settings.gamma) {
            for &(candidate, near) in &self.near(item).all {
                if near >= self.near(candidate).least {
                    scores[candidate as usize] += weight * near;
                }
            }
        }
    }
}

impl Neighbours {
    /// Takes from the score of `next`, which the history's user took as well, what that adds to
    /// it: each pair of the two was then seen once less, and `next` by one user less.
    pub(super) fn forget(&self, history: &[u32], next: u32, scores: &mut [f64]) {
        let users = |item: u32| self.users_of.of(item as usize).len() as f64;
        for (item, weight) in recent(history, self.settings.gamma) {
            let all = &self.near(item).all;
            let Ok(at) = all.binary_search_by_key(&next, |(other, _)| *other) else { continue };
            let near = all[at].1;
            if near < self.near(next).least {
                continue;
            }
            let norm = |of_next: f64| (users(item) * of_next).sqrt() + self.settings.shrink;
            let both = near * norm(users(next)) - 1.0;
            scores[next as usize] -= weight * (near - both.max(0.0) / norm(users(next) - 1.0));
        }
    }
}

impl Ranker for Neighbours {
    fn name(&self) -> &'static str {
        "item-kNN, recency"
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        scores.copy_from_slice(&self.tie);
        self.add(asked.history, scores);
    }

    fn score_without(&self, asked: Asked<'_>, next: u32, scores: &mut [f64]) {
        self.score(asked, scores);
        self.forget(asked.history, next, scores);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: [&[u32]; 4] = [&[0, 1, 2], &[0, 1], &[1, 0, 3], &[3, 2, 2]];

    fn scores(settings: NeighbourSettings, history: &[u32]) -> Vec<f64> {
        let fitted = Neighbours::fit(Sequences { users: &USERS, items: 5 }, settings);
        let mut scores = vec![f64::NAN; 5];
        fitted.score(Asked::history(history), &mut scores);
        scores
    }

    /// From the definition, with sets.
    fn slow(settings: NeighbourSettings, history: &[u32]) -> Vec<f64> {
        let has = |user: &[u32], item: u32| user.contains(&item);
        let size = |i: u32| USERS.iter().filter(|user| has(user, i)).count() as f64;
        let near = |i: u32, j: u32| {
            let both = USERS.iter().filter(|user| has(user, i) && has(user, j)).count() as f64;
            if i == j || both == 0.0 {
                0.0
            } else {
                both / ((size(i) * size(j)).sqrt() + settings.shrink)
            }
        };
        let kept = |i: u32, j: u32| {
            let nearer = (0..5).filter(|&other| near(other, j) > near(i, j)).count();
            settings.neighbours == 0 || nearer < settings.neighbours
        };
        let mut scores = vec![0.0; 5];
        for (age, &i) in history.iter().rev().enumerate() {
            for j in (0..5).filter(|&j| kept(i, j)) {
                scores[j as usize] += settings.gamma.powi(age as i32) * near(i, j);
            }
        }
        scores
    }

    /// What is forgotten is what a fit without that event would not know.
    #[test]
    fn forgetting_an_event_is_not_having_seen_it() {
        let settings = NeighbourSettings { neighbours: 0, shrink: 2.0, gamma: 0.4 };
        let whole = Neighbours::fit(Sequences { users: &USERS, items: 5 }, settings);
        for (user, items) in USERS.iter().enumerate().take(3) {
            let (history, next) = (&items[..items.len() - 1], items[items.len() - 1]);
            let mut fewer = USERS;
            fewer[user] = history;
            let fewer = Neighbours::fit(Sequences { users: &fewer, items: 5 }, settings);
            let (mut forgot, mut never) = (vec![0.0; 5], vec![0.0; 5]);
            whole.add(history, &mut forgot);
            whole.forget(history, next, &mut forgot);
            fewer.add(history, &mut never);
            let (forgot, never) = (forgot[next as usize], never[next as usize]);
            assert!((forgot - never).abs() < 1e-12, "{user}: {forgot} {never}");
        }
    }

    #[test]
    fn nearness_is_what_it_is_defined_as() {
        for neighbours in [0, 1, 2] {
            for gamma in [0.0, 0.4, 1.0] {
                let settings = NeighbourSettings { neighbours, shrink: 2.0, gamma };
                for history in [&[0][..], &[3, 1], &[4, 2, 0]] {
                    let (fast, slow) = (scores(settings, history), slow(settings, history));
                    for (a, b) in fast.iter().zip(&slow) {
                        assert!((a - b).abs() < 1e-8, "{settings:?} {history:?} {fast:?} {slow:?}");
                    }
                }
            }
        }
    }
}
