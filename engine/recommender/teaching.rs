//! The ranker that teaches a training (R44): fitted on the events that are learnt from, by settings
//! that validation events chose.

use super::learning::Learning;
use super::prior::{Prior, Table};
use crate::data::rank::{Ranker, Sequences, Teacher, TeacherSettings, Tuned};
use crate::data::Dataset;
use crate::eval::baseline::{chosen, texts};
use crate::eval::truth::Truth;
use anyhow::Result;

/// A teacher, and what it is: the ranker's name, or the hash of a table.
pub(super) struct Teaching {
    pub teacher: Teacher,
    pub what: String,
}

/// The teacher that the settings name. Refuses a file that is no table.
pub(super) fn teaching(settings: &Learning, dataset: &Dataset) -> Result<Option<Teaching>> {
    let Learning { teacher, parts, seed, teacher_temperature: temperature, .. } = settings;
    teacher.check("teacher")?;
    let users = dataset.sequences(*parts);
    let seen = Sequences { users: &users, items: dataset.items() };
    let (ranker, counts, what): (Box<dyn Ranker>, _, _) = match teacher {
        Prior::None => return Ok(None),
        Prior::Fitted(fitted) => {
            let truth = Truth::of(dataset);
            let tuned = match fitted.is_tuned() {
                true => chosen(&truth, *seed),
                false => Tuned::default(),
            };
            let ranker = fitted.fit(seen, &texts(&truth), &tuned);
            (ranker, seen.counts(), fitted.name().to_owned())
        }
        Prior::File(path) => {
            let table = Table::of("teacher", path, dataset)?;
            let (ranker, counts) = table.ranker(seen.counts());
            (Box::new(ranker), counts, table.hash)
        }
    };
    let usual = TeacherSettings::default();
    let said = TeacherSettings { temperature: *temperature, ..usual };
    Ok(Some(Teaching { teacher: Teacher::new(ranker, &counts, said), what }))
}
