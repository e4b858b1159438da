//! Which users a row covers: all of them, or those whose question is of one kind (E4b, E29).

use super::truth::{Case, Day, Split, Truth};
use serde::Serialize;
use std::collections::HashSet;

/// Which users a row covers. Counts and transitions are those of the events that baselines are
/// fitted on, whatever the split: [`super::truth::User::training`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Every user of the row.
    All,
    /// Users whose target bears the date of the last history item (E4b).
    SameDay,
    /// Users whose target bears a later date.
    LaterDay,
    /// Users of whom one of the two dates is not known, where those of others are.
    UnknownDay,
    /// Users whose target follows the last history item somewhere in training.
    SeenTransition,
    /// Users whose target never does.
    NewTransition,
    /// Users whose target occurs at most 4 times in training.
    #[serde(rename = "target_0_to_4")]
    Target0To4,
    /// … 5 to 9 times.
    #[serde(rename = "target_5_to_9")]
    Target5To9,
    /// … 10 to 24 times.
    #[serde(rename = "target_10_to_24")]
    Target10To24,
    /// … 25 times or more.
    #[serde(rename = "target_from_25")]
    TargetFrom25,
    /// Users whose history has at most 3 items.
    #[serde(rename = "history_1_to_3")]
    History1To3,
    /// … 4 to 6 items.
    #[serde(rename = "history_4_to_6")]
    History4To6,
    /// … 7 to 12 items.
    #[serde(rename = "history_7_to_12")]
    History7To12,
    /// … 13 items or more.
    #[serde(rename = "history_from_13")]
    HistoryFrom13,
}

impl Part {
    /// Ways to set users apart; the parts of each hold every user once, but for the days where no
    /// time is known.
    pub const DIVISIONS: [&'static [Part]; 4] = [
        &[Part::SeenTransition, Part::NewTransition],
        &[Part::SameDay, Part::LaterDay, Part::UnknownDay],
        &[Part::Target0To4, Part::Target5To9, Part::Target10To24, Part::TargetFrom25],
        &[Part::History1To3, Part::History4To6, Part::History7To12, Part::HistoryFrom13],
    ];

    /// The word for it in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Part::All => "all",
            Part::SameDay => "same day",
            Part::LaterDay => "later day",
            Part::UnknownDay => "day not known",
            Part::SeenTransition => "transition seen",
            Part::NewTransition => "transition not seen",
            Part::Target0To4 => "target seen 0–4 times",
            Part::Target5To9 => "target seen 5–9 times",
            Part::Target10To24 => "target seen 10–24 times",
            Part::TargetFrom25 => "target seen 25 times or more",
            Part::History1To3 => "history of 1–3 items",
            Part::History4To6 => "history of 4–6 items",
            Part::History7To12 => "history of 7–12 items",
            Part::HistoryFrom13 => "history of 13 items or more",
        }
    }

    /// Whether its rows have all metrics of a ranking; the others have HR@10 and NDCG@10.
    pub const fn has_all_metrics(self) -> bool {
        matches!(self, Part::All | Part::SameDay | Part::LaterDay | Part::UnknownDay)
    }

    /// By the dates of a question.
    pub const fn of_day(day: Day) -> Part {
        match day {
            Day::Same => Part::SameDay,
            Day::Later => Part::LaterDay,
            Day::Unknown => Part::UnknownDay,
        }
    }

    const fn of_count(count: u32) -> Part {
        match count {
            0..=4 => Part::Target0To4,
            5..=9 => Part::Target5To9,
            10..=24 => Part::Target10To24,
            25.. => Part::TargetFrom25,
        }
    }

    const fn of_history(items: usize) -> Part {
        match items {
            0..=3 => Part::History1To3,
            4..=6 => Part::History4To6,
            7..=12 => Part::History7To12,
            13.. => Part::HistoryFrom13,
        }
    }
}

/// What training may see of the questions.
pub struct Training {
    /// How often each item occurs.
    counts: Vec<u32>,
    /// Of the (last history item, target) that are asked about, those that occur.
    transitions: HashSet<(u32, u32)>,
}

impl Training {
    /// For the questions of `users` in a split: one pass over all events, in which only what
    /// follows a last history item is looked up.
    pub fn of(truth: &Truth<'_>, split: Split, users: &[u32]) -> Training {
        let case = |&user: &u32| truth.users[user as usize].case(user, split);
        let asked: HashSet<(u32, u32)> = users.iter().filter_map(case).filter_map(step).collect();
        let mut last = vec![false; truth.items.len()];
        asked.iter().for_each(|&(from, _)| last[from as usize] = true);
        let (mut counts, mut transitions) = (vec![0; truth.items.len()], HashSet::new());
        for user in &truth.users {
            let events = user.training();
            events.iter().for_each(|&item| counts[item as usize] += 1);
            let steps = events.windows(2).map(|pair| (pair[0], pair[1]));
            let known = |step: &(u32, u32)| last[step.0 as usize] && asked.contains(step);
            transitions.extend(steps.filter(known));
        }
        Training { counts, transitions }
    }

    /// The parts that a question is in, beside that of its day: by its transition, how often its
    /// target occurs, how long its history is.
    pub fn parts(&self, case: &Case<'_>) -> [Part; 3] {
        let known = step(*case).is_some_and(|step| self.transitions.contains(&step));
        let transition = if known { Part::SeenTransition } else { Part::NewTransition };
        let count = self.counts[case.target as usize];
        [transition, Part::of_count(count), Part::of_history(case.history.len())]
    }
}

/// From the last history item to the target.
fn step(case: Case<'_>) -> Option<(u32, u32)> {
    Some((*case.history.last()?, case.target))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds that a name tells are those that decide.
    #[test]
    fn names_tell_the_bounds() {
        let bounds = |part: Part| -> (usize, usize) {
            let name = part.name();
            let numbers = name.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
            let numbers: Vec<usize> = numbers.map(|word| word.parse().unwrap()).collect();
            match name.ends_with("or more") {
                true => (numbers[0], usize::MAX),
                false => (numbers[0], numbers[1]),
            }
        };
        for n in 0..60 {
            let (count, history) = (Part::of_count(n as u32), Part::of_history(n.max(1)));
            for (part, n) in [(count, n), (history, n.max(1))] {
                let (low, high) = bounds(part);
                assert!(low <= n && n <= high, "{n} {part:?}");
                assert!(Part::DIVISIONS.iter().flat_map(|parts| *parts).any(|p| *p == part));
            }
        }
    }
}
