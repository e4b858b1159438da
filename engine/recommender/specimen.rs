//! Templates as a person sees what is learnt by them: an example each, and its row token by token.

use crate::base::Fault;
use crate::data::records::SplitPolicy;
use crate::data::rules::{Purpose, Rules};
use crate::data::task::{Example, Mix};
use crate::data::template::{Template, Templates};
use crate::data::{Dataset, Family, Sample};
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// The word that stands for the templates that come with the engine.
pub const BUILTIN: &str = "builtin";

/// Positions of the row that an example is shown in: as many as the usual row limit.
const POSITIONS: usize = 1024;

/// A template and an example of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Specimen {
    /// Its id.
    pub id: String,
    /// The family that it words.
    pub family: Family,
    /// False: held out for zero-shot evaluation.
    pub seen: bool,
    /// Its text.
    pub text: String,
    /// An example; `None` where the data have nothing that fills it.
    pub example: Option<Shown>,
}

/// A training row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Part A as text, the mask in it by its name.
    pub prompt: String,
    /// What is answered.
    pub answer: String,
    /// Every token of the row, in order.
    pub row: Vec<Token>,
}

/// A token of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// "A" or "B".
    pub part: &'static str,
    /// Inter id.
    pub inter: u32,
    /// Intra id.
    pub intra: u32,
    /// Text of the token that is learnt from it, where one is.
    pub target: Option<String>,
}

/// The templates of a file, or the built-in ones, each with an example of `data`. Refuses a file
/// that is none of templates.
pub fn specimens(templates: &Path, data: &Path) -> Result<Vec<Specimen>> {
    let builtin = templates == Path::new(BUILTIN);
    let known = if builtin { Templates::builtin() } else { Templates::load(templates)? };
    let dataset = Dataset::open(data)?;
    if known.iter().next().is_none() {
        return Err(Fault::Usage.error(format!(
            "templates: {}: expected at least one, got none; write one",
            templates.display()
        )));
    }
    let file = (!builtin).then(|| templates.to_owned());
    known.iter().map(|template| specimen(template, file.as_deref(), &dataset)).collect()
}

fn specimen(template: &Template, file: Option<&Path>, dataset: &Dataset) -> Result<Specimen> {
    let (id, family) = (template.id.clone(), template.family);
    let rules = Rules {
        template: vec![id.clone()],
        templates: file.map(Path::to_owned),
        ..Rules::default()
    };
    // Held-out ones are shown, too.
    let tasks = rules.tasks(dataset, POSITIONS, Purpose::Decoding, 0)?;
    let mix = Mix::default();
    let (subjects, _) = tasks.learners(family, SplitPolicy::P5)?;
    let example = subjects.first().map(|&subject| -> Result<Shown> {
        let row = tasks.training(Example { family, subject, number: 0 }, &mix)?;
        shown(dataset, &row)
    });
    let words = template.to_string();
    let text = words.split_once("): ").map_or("", |(_, text)| text).to_owned();
    Ok(Specimen { id, family, seen: template.seen, text, example: example.transpose()? })
}

fn shown(dataset: &Dataset, row: &Sample) -> Result<Shown> {
    let text = |tokens: &[u32]| dataset.vocab().decode(tokens);
    let mut targets = vec![None; row.rows()];
    for target in &row.targets {
        targets[target.row as usize] = Some(text(&[target.token])?);
    }
    let answer: Vec<u32> = row.targets.iter().map(|target| target.token).collect();
    let tokens = row.tokens.iter().zip(targets).enumerate().map(|(at, (&id, target))| {
        Ok(Token {
            id,
            text: text(&[id])?,
            part: if at < row.context { "A" } else { "B" },
            inter: row.positions[0][at],
            intra: row.positions[1][at],
            target,
        })
    });
    Ok(Shown {
        prompt: text(&row.tokens[..row.context])?,
        answer: text(&answer[..answer.len() - 1])?.trim().to_owned(),
        row: tokens.collect::<Result<_>>()?,
    })
}
