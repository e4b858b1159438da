//! What kind of answer is judged, hence which metrics apply (E1).

use crate::data::template::{Answer, Field, Part, Template};
use crate::data::Family;
use serde::Deserialize;

/// What kind of answer a template asks for, hence which metrics apply (E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// An item of the whole catalogue.
    Full,
    /// An item among 100.
    Sampled,
    /// Yes or no for each of 100 items, ranked by the answer's score (E9).
    YesNo,
    /// Stars from 1 to 5.
    Stars,
    /// Stars read off a review, rounded (E20).
    ReviewStars,
    /// Prose, compared with a reference.
    Text,
    /// Stars and prose in one answer (3-7, 3-8).
    StarsAndText,
}

impl Asked {
    /// What a template asks for, or without its words one of a name such as "2-3"; `None` where
    /// answers are no numbers, no prose and no rankings: likes, and yes or no of stars.
    pub(super) fn of(
        family: Family,
        id: &str,
        template: Option<&Template>,
        has_reference: bool,
    ) -> Option<Asked> {
        match template.filter(|template| template.family == family) {
            Some(template) => Asked::by_words(template),
            None => Asked::by_name(family, id, has_reference),
        }
    }

    fn by_words(template: &Template) -> Option<Asked> {
        let candidates = template.parts.contains(&Part::Field(Field::Candidates));
        Some(match (template.family, template.answer) {
            (Family::Sequential, Answer::Item) if !candidates => Asked::Full,
            (Family::Sequential | Family::Direct, Answer::Item) => Asked::Sampled,
            (Family::Sequential | Family::Direct, _) => Asked::YesNo,
            (Family::Rating, Answer::Stars) => Asked::Stars,
            (Family::Rating, _) => return None,
            (Family::Explanation, Answer::StarsText) => Asked::StarsAndText,
            (Family::Review, Answer::Stars) => Asked::ReviewStars,
            (Family::Explanation | Family::Review, _) => Asked::Text,
        })
    }

    fn by_name(family: Family, id: &str, has_reference: bool) -> Option<Asked> {
        Some(match (family, id) {
            (Family::Sequential, "2-7" | "2-8" | "2-9" | "2-10") => Asked::Sampled,
            (Family::Sequential, "2-11" | "2-12")
            | (Family::Direct, "5-1" | "5-2" | "5-3" | "5-4") => Asked::YesNo,
            (Family::Sequential, _) => Asked::Full,
            (Family::Direct, _) => Asked::Sampled,
            (Family::Rating, "1-3" | "1-4" | "1-8" | "1-9") => return None,
            (Family::Rating, _) => Asked::Stars,
            (Family::Explanation, "3-7" | "3-8") => Asked::StarsAndText,
            (Family::Explanation, _) | (Family::Review, "4-1" | "4-3") => Asked::Text,
            (Family::Review, "4-2" | "4-4") => Asked::ReviewStars,
            (Family::Review, _) if has_reference => Asked::Text,
            (Family::Review, _) => Asked::ReviewStars,
        })
    }

    /// Whether the answer is a ranking.
    pub fn ranks(self) -> bool {
        matches!(self, Asked::Full | Asked::Sampled | Asked::YesNo)
    }

    /// Whether the answer holds stars.
    pub fn has_stars(self) -> bool {
        matches!(self, Asked::Stars | Asked::ReviewStars | Asked::StarsAndText)
    }

    /// Whether the answer holds prose.
    pub fn has_text(self) -> bool {
        matches!(self, Asked::Text | Asked::StarsAndText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::template::Templates;

    #[test]
    fn names_and_words_of_the_papers_templates_agree() {
        let templates = Templates::builtin();
        for template in templates.iter().filter(|template| !template.by_name) {
            let by_name = Asked::by_name(template.family, &template.id, false);
            // Without its name a headline is told from stars by its reference alone.
            let prose = template.family == Family::Review && template.answer == Answer::Text;
            let by_name = if prose { Some(Asked::Text) } else { by_name };
            assert_eq!(Asked::by_words(template), by_name, "{template}");
        }
        let known = |id: &str| templates.iter().find(|template| template.id == id);
        let of = |id: &str| Asked::of(Family::Sequential, id, known(id), false);
        assert_eq!((of("zh-candidates"), of("zh-next")), (Some(Asked::Sampled), Some(Asked::Full)));
        assert_eq!(Asked::of(Family::Direct, "2-11", known("2-11"), false), Some(Asked::Sampled));
    }
}
