//! A file of predictions as evaluation sees it.

use super::predictions;
use super::ranking::Users;
use super::truth::Truth;
use crate::data::template::Templates;

/// What one file answers, and whom it was asked about.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// What tables call its rows.
    pub name: String,
    /// Its lines, by template.
    pub groups: Vec<predictions::Group>,
    /// Whom the denominator counts.
    pub users: Users,
    /// The users that were asked, ascending; where that is known.
    pub asked: Vec<u32>,
    /// The templates that it may have been asked by.
    pub templates: Templates,
    /// alpha of the scores of lists that hold all that was found: others can be ranked by, too.
    pub length_penalty: Option<f64>,
    /// Whether its lists hold every candidate of a model and a prior, with both scores.
    pub both: bool,
}

impl Sheet {
    /// Whom the denominators may count.
    pub(super) fn counted(&self, truth: &Truth<'_>) -> Vec<u32> {
        let lines = self.groups.iter().flat_map(|group| &group.predictions);
        match self.users {
            Users::All => (0..truth.users.len() as u32).collect(),
            Users::Listed | Users::Asked => {
                lines.map(|line| line.user).chain(self.asked.iter().copied()).collect()
            }
        }
    }

    /// Whether trainings may see a template; not known where its wording is not.
    pub(super) fn seen(&self, template: &str) -> Option<bool> {
        self.templates.iter().find(|known| known.id == template).map(|known| known.seen)
    }
}
