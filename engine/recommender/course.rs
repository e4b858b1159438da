//! How much of each family a training has: weights become examples of an epoch (R39).

use super::families::{EpochsBy, Share};
use super::learning::Learning;
use crate::base::text::grouped;
use crate::base::Fault;
use crate::data::task::{Course, Example, Lessons, Mix, Tasks};
use crate::data::Family;
use anyhow::Result;

/// Examples of a user or record in an epoch of P5's.
fn of_p5(family: Family) -> f64 {
    match family {
        Family::Sequential => 20.0,
        Family::Direct => 15.0,
        Family::Rating | Family::Explanation | Family::Review => 1.0,
    }
}

/// Examples of an epoch at most: their order is held in memory.
const MOST: u64 = 1 << 28;

/// Rows that tell how long a family's are.
const MEASURED: usize = 64;

/// The course of a training, and a line about each of its families. Refuses a family named twice,
/// one without a template or without anything to learn from, and a template of another family.
pub fn course(settings: &Learning, tasks: &Tasks, mix: &Mix) -> Result<(Course, Vec<String>)> {
    let shares = shares(settings, &tasks.families())?;
    let mut lessons = Vec::with_capacity(shares.len());
    let mut notes = Vec::new();
    for share in &shares {
        let family = share.family;
        let (subjects, too_long) = tasks.learners(family, settings.split_policy)?;
        if subjects.is_empty() {
            return Err(nothing(settings, family));
        }
        let weight = match settings.epochs_by {
            EpochsBy::P5 => share.weight * of_p5(family),
            EpochsBy::Records | EpochsBy::Tokens => share.weight,
        };
        let examples = (weight * subjects.len() as f64).round().max(1.0) as u64;
        lessons.push(Lessons { family, subjects, examples });
        if too_long > 0 {
            notes.push(format!(
                "{family}: {too_long} records left out, whose answers are longer than a row has \
                room for"
            ));
        }
    }
    if settings.epochs_by == EpochsBy::Tokens {
        by_tokens(&mut lessons, &shares, tasks, mix)?;
    }
    if lessons.len() > 1 || lessons[0].family != Family::Sequential {
        let by = settings.epochs_by;
        notes.extend(lessons.iter().map(|one| {
            let what = if one.family.is_of_users() { "users" } else { "records" };
            let [examples, subjects] = [one.examples, one.subjects.len() as u64].map(grouped);
            format!("{}: {examples} examples an epoch of {subjects} {what}, by {by}", one.family)
        }));
    }
    let examples: u64 = lessons.iter().map(|one| one.examples).sum();
    if examples > MOST {
        return Err(Fault::Usage.error(format!(
            "setting `families`: expected weights that make an epoch of at most {MOST} examples, \
            got {examples}; give smaller weights and more setting `epochs`"
        )));
    }
    Ok((Course::new(lessons, settings.seed), notes))
}

/// The families and weights: those that are named, otherwise those of the templates.
fn shares(settings: &Learning, worded: &[Family]) -> Result<Vec<Share>> {
    if settings.families.is_empty() {
        return Ok(worded.iter().map(|&family| Share { family, weight: 1.0 }).collect());
    }
    let refuse = |words: String| Err(Fault::Usage.error(words));
    for (at, share) in settings.families.iter().enumerate() {
        let family = share.family;
        if settings.families[..at].iter().any(|other| other.family == family) {
            return refuse(format!(
                "setting `families`: {family}: expected each family once, got it twice; add the \
                weights"
            ));
        }
        if !worded.contains(&family) {
            return refuse(format!(
                "setting `template`: expected a template of family {family}, which setting \
                `families` names, got none; name one, or all"
            ));
        }
    }
    let named = |family: &&Family| settings.families.iter().any(|share| share.family == **family);
    match worded.iter().find(|family| !named(family)) {
        None => Ok(settings.families.clone()),
        Some(family) => refuse(format!(
            "setting `families`: expected {family} among them, of which setting `template` names a \
            template, got it not; add it, or leave the template out"
        )),
    }
}

fn nothing(settings: &Learning, family: Family) -> anyhow::Error {
    let expected = match family {
        Family::Sequential => "users with two training events or more",
        Family::Direct => "users with a training event or more",
        Family::Rating => "records with stars for training",
        Family::Explanation => {
            "records with explanations and what its templates show, for training"
        }
        Family::Review => "records with reviews and what its templates show, for training",
    };
    Fault::Data.error(format!(
        "data: {}: expected {expected}, got none; leave family {family} out",
        settings.data.display()
    ))
}

/// Makes the weights shares of an epoch's tokens.
fn by_tokens(lessons: &mut [Lessons], shares: &[Share], tasks: &Tasks, mix: &Mix) -> Result<()> {
    let mut lengths = Vec::with_capacity(lessons.len());
    for one in lessons.iter() {
        let step = one.subjects.len().div_ceil(MEASURED);
        let measured = one.subjects.iter().step_by(step).zip(0..).map(|(&subject, at)| {
            // Numbers that no training reaches.
            let example = Example { family: one.family, subject, number: u64::MAX - at };
            Ok(tasks.training(example, mix)?.rows() as f64)
        });
        let measured = measured.collect::<Result<Vec<f64>>>()?;
        lengths.push(measured.iter().sum::<f64>() / measured.len() as f64);
    }
    let tokens = |(one, length): (&Lessons, &f64)| one.subjects.len() as f64 * length;
    let all: f64 = lessons.iter().zip(&lengths).map(tokens).sum();
    let weights: f64 = shares.iter().map(|share| share.weight).sum();
    for ((one, share), length) in lessons.iter_mut().zip(shares).zip(&lengths) {
        one.examples = (all * share.weight / weights / length).round().max(1.0) as u64;
    }
    Ok(())
}
