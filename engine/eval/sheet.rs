//! A file of predictions as evaluation sees it.

use super::asked::Asked;
use super::predictions;
use super::ranking::Users;
use super::truth::Truth;
use crate::data::template::Templates;
use crate::data::Family;

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

/// Other programs know no templates: where the lines of one file name none and those of the others,
/// of the same task and kind, all name the same, it is that one's question which both answer. Says
/// so for each file.
pub fn join(sheets: &mut [Sheet]) -> Vec<String> {
    let mut named: Vec<(Family, Asked, String)> = Vec::new();
    for group in sheets.iter().flat_map(|sheet| &sheet.groups) {
        let one = (group.task, group.family, group.template.clone());
        if !group.template.is_empty() && !named.contains(&one) {
            named.push(one);
        }
    }
    let mut said = Vec::new();
    for Sheet { name, groups, .. } in sheets {
        for at in 0..groups.len() {
            let (task, family) = (groups[at].task, groups[at].family);
            let mut of_kind = named.iter().filter(|one| (one.0, one.1) == (task, family));
            let (Some((.., only)), None) = (of_kind.next(), of_kind.next()) else { continue };
            let own = groups.iter().any(|group| group.task == task && group.template == *only);
            if groups[at].template.is_empty() && !own {
                said.push(format!(
                    "{name}: its lines of {task} name no template: compared as {only}, the only \
                    one that the other files name"
                ));
                groups[at].template.clone_from(only);
            }
        }
    }
    said
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_template_answer_the_question_of_the_only_one() {
        let sheet = |name: &str, templates: &[&str]| Sheet {
            name: name.into(),
            groups: templates
                .iter()
                .map(|template| predictions::Group {
                    task: Family::Sequential,
                    template: (*template).into(),
                    family: Asked::Full,
                    predictions: Vec::new(),
                })
                .collect(),
            users: Users::All,
            asked: Vec::new(),
            templates: Templates::builtin(),
            length_penalty: None,
            both: false,
        };
        for (files, expected) in [
            (&[&["2-3"][..], &[""], &["2-3"]][..], &["2-3", "2-3", "2-3"][..]),
            (&[&[""], &["2-3"]], &["2-3", "2-3"]),
            (&[&["2-3"], &[""], &["2-5"]], &["2-3", "", "2-5"]),
            (&[&["2-3"], &["", "2-3"]], &["2-3", "", "2-3"]),
            (&[&[""], &[""]], &["", ""]),
        ] {
            let mut sheets: Vec<Sheet> = files.iter().map(|file| sheet("peer", file)).collect();
            let said = join(&mut sheets);
            let groups = sheets.iter().flat_map(|sheet| &sheet.groups);
            let templates: Vec<&str> = groups.map(|group| &*group.template).collect();
            assert_eq!(templates, expected, "{files:?}");
            let before = files.iter().flat_map(|file| file.iter());
            let changed = before.zip(&templates).filter(|(before, after)| before != after).count();
            assert_eq!(said.len(), changed, "{said:?}");
        }
    }
}
