//! Which examples a training has: how often each record of each family comes in an epoch, and in
//! which order (R39).

use crate::base::{Philox, Stream};
use crate::data::Family;

/// An example to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// What it asks.
    pub family: Family,
    /// Number of the user of the sequential and direct families, of the record of the others.
    pub subject: u32,
    /// Its number in the whole training: what is drawn for it depends on that alone.
    pub number: u64,
}

/// A family of a course.
#[derive(Clone, Debug)]
pub struct Lessons {
    /// The family.
    pub family: Family,
    /// Users or records that can be learnt from.
    pub subjects: Vec<u32>,
    /// Examples of an epoch.
    pub examples: u64,
}

/// All examples of a training. An epoch holds so many of each family, in an order of its own; those
/// of a family go through its subjects, each as often as any other, in ever new orders.
#[derive(Clone, Debug)]
pub struct Course {
    lessons: Vec<Lessons>,
    seed: u64,
    /// The epoch whose order is known, and of each of its examples the family and the place among
    /// the epoch's examples of that.
    epoch: Option<(u64, Vec<(u8, u32)>)>,
    /// By family, the pass through its subjects whose order is known.
    passes: Vec<Option<(u64, Vec<u32>)>>,
}

impl Course {
    /// Of these families; those without examples are left out. Panics where nothing is left.
    pub fn new(lessons: Vec<Lessons>, seed: u64) -> Course {
        let some = |one: &Lessons| one.examples > 0 && !one.subjects.is_empty();
        let lessons: Vec<Lessons> = lessons.into_iter().filter(some).collect();
        assert!(!lessons.is_empty(), "Course::new: no family has an example");
        let passes = vec![None; lessons.len()];
        Course { lessons, seed, epoch: None, passes }
    }

    /// Its families.
    pub fn lessons(&self) -> &[Lessons] {
        &self.lessons
    }

    /// Examples of an epoch.
    pub fn epoch(&self) -> u64 {
        self.lessons.iter().map(|one| one.examples).sum()
    }

    /// The examples of step `step` (from 1), of `per_step` examples each.
    pub fn step(&mut self, per_step: usize, step: u64) -> Vec<Example> {
        let first = (step - 1) * per_step as u64;
        (first..first + per_step as u64).map(|number| self.example(number)).collect()
    }

    fn example(&mut self, number: u64) -> Example {
        let (epoch, place) = (number / self.epoch(), (number % self.epoch()) as usize);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, self.order(epoch)));
        }
        let (which, rank) = self.epoch.as_ref().expect("it was made just now").1[place];
        let Lessons { family, subjects, examples } = &self.lessons[usize::from(which)];
        let nth = epoch * examples + u64::from(rank);
        let (pass, place) = (nth / subjects.len() as u64, nth % subjects.len() as u64);
        let known = &mut self.passes[usize::from(which)];
        if known.as_ref().is_none_or(|(known, _)| *known != pass) {
            let mut order = subjects.clone();
            // Each family its own orders.
            let index = pass | u64::from(which) << 56;
            Philox::new(self.seed, Stream::Shuffle, index).shuffle(&mut order);
            *known = Some((pass, order));
        }
        let subject = known.as_ref().expect("it was made just now").1[place as usize];
        Example { family: *family, subject, number }
    }

    /// Of each example of an epoch the family and the place among the family's.
    fn order(&self, epoch: u64) -> Vec<(u8, u32)> {
        let of = |(which, one): (u8, &Lessons)| std::iter::repeat_n(which, one.examples as usize);
        let mut order: Vec<u8> = (0..).zip(&self.lessons).flat_map(of).collect();
        if self.lessons.len() > 1 {
            Philox::new(self.seed, Stream::Families, epoch).shuffle(&mut order);
        }
        let mut counts = vec![0; self.lessons.len()];
        let ranked = order.into_iter().map(|which| {
            let count = &mut counts[usize::from(which)];
            *count += 1;
            (which, *count - 1)
        });
        ranked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn course(examples: u64) -> Course {
        let lessons = |family, subjects, examples| Lessons { family, subjects, examples };
        Course::new(
            vec![
                lessons(Family::Sequential, (0..37).collect(), 37),
                lessons(Family::Rating, (100..120).collect(), examples),
                lessons(Family::Review, Vec::new(), 9),
            ],
            3,
        )
    }

    #[test]
    fn every_subject_comes_as_often_as_any_other_whatever_the_step_size() {
        for per_step in [1, 5, 37, 50] {
            let mut course = course(30);
            assert_eq!(course.epoch(), 67);
            let steps = (4 * 67u64).div_ceil(per_step);
            let all = (1..=steps).flat_map(|step| course.step(per_step as usize, step));
            let all: Vec<Example> = all.take(4 * 67).collect();
            let mut counts: HashMap<(Family, u32), usize> = HashMap::new();
            all.iter().for_each(|e| *counts.entry((e.family, e.subject)).or_default() += 1);
            assert_eq!(counts.len(), 57);
            // 120 examples of 20 records, 4 epochs of 37 users.
            assert!(counts.iter().all(|((family, _), &count)| {
                count == if *family == Family::Rating { 6 } else { 4 }
            }));
            assert!(all.iter().map(|e| e.number).eq(0..4 * 67));
            for epoch in all.chunks(67) {
                let users = epoch.iter().filter(|e| e.family == Family::Sequential);
                let mut users: Vec<u32> = users.map(|e| e.subject).collect();
                users.sort_unstable();
                assert_eq!(users, (0..37).collect::<Vec<u32>>());
            }
        }
    }

    #[test]
    fn steps_can_be_asked_for_in_any_order() {
        let (mut there, mut back) = (course(7), course(7));
        let forward: Vec<_> = (1..=30).map(|step| there.step(8, step)).collect();
        let backward: Vec<_> = (1..=30).rev().map(|step| back.step(8, step)).collect();
        assert!(forward.into_iter().eq(backward.into_iter().rev()));
    }
}
