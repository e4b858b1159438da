//! Settings that a training was given and that change nothing in it. They are told: whoever gave
//! them expected something of them.

use super::learning::{Learning, Tuned};
use super::prior::Prior;
use crate::data::form::Form;
use crate::data::legal::Objective;
use crate::data::rules::Score;
use crate::data::task::Tasks;
use crate::data::template::{Answer, Field};
use crate::data::Family;
use serde_json::json;

/// What settings are for, whether that is part of a training, and their names.
type Use = (&'static str, bool, &'static [&'static str]);

/// A line for each of them; one that was given as it is by itself is none.
pub fn idle(given: &Learning, tasks: &Tasks) -> Vec<String> {
    let [all, usual] = [json!(given), json!(Learning::default())];
    let lines = uses(given, tasks).into_iter().filter(|(_, is_part, _)| !is_part);
    let lines = lines.flat_map(|(what, _, names)| {
        let told = names.iter().filter(|&&name| all[name] != usual[name]);
        told.map(move |name| format!("setting `{name}` changes nothing here: it is for {what}"))
    });
    lines.collect()
}

fn uses(given: &Learning, tasks: &Tasks) -> [Use; 12] {
    let blanks = given.mix > 0.0;
    let histories = tasks.has(|form| form.asks(Field::History));
    let families = tasks.families();
    let of_users = families.iter().any(|family| family.is_of_users());
    let of_records = families.iter().any(|family| !family.is_of_users());
    let sequential = families.contains(&Family::Sequential);
    let stars = |form: &Form| matches!(form.answer(), Answer::Stars | Answer::StarsText);
    let legal = given.objective == Objective::Legal;
    let masks =
        &["levels", "document-min", "document-suffix", "mask-ratio", "mask-units", "span-order"];
    [
        (
            "setting `tune = lora`",
            given.tune == Tuned::Lora,
            &["rank", "alpha", "lora-dropout", "targets", "train-positions"],
        ),
        ("blanks, and setting `mix` makes none", blanks, masks),
        ("blanks, and for family sequential", blanks || sequential, &["windows"]),
        (
            "blanks, and for families of users",
            blanks || of_users,
            &["pairs", "crops", "shuffle-days"],
        ),
        ("blanks, and for templates that show a history", blanks || histories, &["sampling"]),
        ("templates that show a history", histories, &["behaviours"]),
        ("templates that stars answer", tasks.has(stars), &["rating-targets"]),
        ("families of records", of_records, &["split-policy"]),
        ("setting `objective = legal`", legal, &["decision-weights"]),
        (
            "setting `objective = legal` or setting `score = legal`",
            legal || given.rules.score == Some(Score::Legal),
            &["temperature"],
        ),
        (
            "setting `teacher`",
            given.teacher != Prior::None,
            &["teacher-weight", "teacher-temperature"],
        ),
        (
            "validations, and setting `validate-every` makes none",
            given.validate_every > 0,
            &["validate-users", "validate-beams", "validate-length-penalty", "patience"],
        ),
    ]
}
