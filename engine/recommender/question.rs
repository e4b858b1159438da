//! What can be asked, and how it becomes rows for the model.

use super::open::Recommender;
use super::settings::{Constrain, Mode, Segment};
use crate::base::map::settled;
use crate::base::text::shortened;
use crate::base::Fault;
use crate::data::catalogue::cleaned;
use crate::data::names::Name;
use crate::data::task::{Shopper, Split};
use crate::data::{Sample, Trie};
use crate::decode::Blanks;
use anyhow::{Context, Result};

/// Bytes of a refusal at most, or little more: what it quotes may be of any length.
const LONGEST_REFUSAL: usize = 1000;

/// A question to a [`Recommender`].
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// What comes after the events of a user of the data that a split shows.
    User {
        /// Number of the user in the data set.
        user: u32,
        /// Which event is asked for.
        split: Split,
    },
    /// What comes after a history that the data set need not know.
    History {
        /// Items by id or title, oldest first.
        history: Vec<Name>,
        /// What is known of the person: (name, value), in the order in which a profile shows them.
        profile: Vec<(String, String)>,
        /// The only items that may be answered; `None` = the whole catalogue.
        candidates: Option<Vec<Name>>,
    },
    /// A text with `[MASK]`, `[sMASK]` or `[gMASK]` where the answer goes.
    Text {
        /// The text.
        text: String,
        /// The only items that may fill the one mask.
        candidates: Option<Vec<Name>>,
    },
}

impl Question {
    /// What comes after these items, oldest first, by id or title.
    pub fn history(items: impl IntoIterator<Item = impl Into<Name>>) -> Question {
        let history = items.into_iter().map(Into::into).collect();
        Question::History { history, profile: Vec::new(), candidates: None }
    }

    /// A text with masks, to be filled freely.
    pub fn text(text: impl Into<String>) -> Question {
        Question::Text { text: text.into(), candidates: None }
    }
}

/// A question as rows for the model, made by [`Recommender::ask`].
pub struct Asked {
    /// The template's id; `None` for free texts and refusals.
    pub template: Option<String>,
    /// The item that comes next, where it is known.
    pub target: Option<u32>,
    pub(super) rows: Rows,
}

pub(super) enum Rows {
    Items {
        prompt: Sample,
        /// The candidates; the whole catalogue without.
        within: Option<Trie<'static>>,
        /// Items that no list shows, ascending, each once.
        left_out: Vec<u32>,
    },
    /// A text to fill, and the row that asks for its first mask.
    Text {
        first: Sample,
        blanks: Blanks,
    },
    Refused(String),
}

impl Asked {
    /// A question that cannot be asked; its answer says why, with the middle of a long quotation
    /// left out.
    pub fn refused(why: String) -> Asked {
        let why = shortened(&why, LONGEST_REFUSAL).into_owned();
        Asked { template: None, target: None, rows: Rows::Refused(why) }
    }
}

impl Recommender {
    /// Makes the rows of a question. Refuses a user without an event to ask for, items that the
    /// catalogue does not have, and texts without a mask or without room for an answer.
    pub fn ask(&self, question: &Question) -> Result<Asked> {
        settled([self.dataset().map()], || self.rows_of(question))
    }

    fn rows_of(&self, question: &Question) -> Result<Asked> {
        match question {
            Question::User { user, split } => self.user(*user, *split),
            Question::History { history, profile, candidates } => {
                self.history(history, profile, candidates.as_deref())
            }
            Question::Text { text, candidates } => {
                let (_, within) = self.candidates(candidates.as_deref())?;
                Ok(Asked { template: None, target: None, rows: self.text(text, within)? })
            }
        }
    }

    fn user(&self, user: u32, split: Split) -> Result<Asked> {
        let record = self.dataset().user(user);
        let shown = split.shown(record.items.len()).ok_or_else(|| {
            Fault::Data.error(format!(
                "user: {}: expected 3 events or more, got {}; ask by a history",
                record.id,
                record.items.len()
            ))
        })?;
        let target = record.items[shown];
        let sample = self.tasks(|tasks| tasks.prompt(user, shown))?;
        let mut left_out = self.left_out(&record.items[..shown]);
        left_out.retain(|&item| item != target);
        let template = Some(self.template().clone());
        Ok(Asked { template, target: Some(target), rows: items(sample, None, left_out) })
    }

    fn history(
        &self,
        history: &[Name],
        profile: &[(String, String)],
        candidates: Option<&[Name]>,
    ) -> Result<Asked> {
        let (candidates, within) = self.candidates(candidates)?;
        let history = self.find("history", history)?;
        let profile = cleaned(profile);
        let known: Vec<(&str, &str)> =
            profile.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let shopper = Shopper { history: &history, attributes: &known, candidates: &candidates };
        let sample = self.tasks(|tasks| tasks.ask(shopper))?;
        let template = Some(self.template().clone());
        Ok(Asked { template, target: None, rows: items(sample, within, self.left_out(&history)) })
    }

    fn text(&self, text: &str, within: Option<Trie<'static>>) -> Result<Rows> {
        let answers = &self.settings.answers;
        self.tasks(|tasks| {
            let builder = tasks.builder();
            let prompt = tasks.free(text, answers.segment_free_text == Segment::Trie)?;
            let masks = prompt.masks.len();
            if masks == 1 && (within.is_some() || answers.constrain == Constrain::Trie) {
                tasks.check_room(&prompt, tasks.longest_item())?;
                return Ok(items(builder.prompt(0, &prompt)?, within, Vec::new()));
            }
            if within.is_some() {
                return Err(Fault::Data.error(format!(
                    "text: expected one mask for the candidates to fill, got {masks}; write a \
                     line for each"
                )));
            }
            tasks.check_room(&prompt, answers.max_new_tokens)?;
            let (part_a, masks) = builder.part_a(0, &prompt)?;
            Ok(Rows::Text { first: builder.prompt(0, &prompt)?, blanks: Blanks { part_a, masks } })
        })
    }

    /// The items that may be answered, and the trie of them.
    fn candidates(&self, names: Option<&[Name]>) -> Result<(Vec<u32>, Option<Trie<'static>>)> {
        let Some(names) = names else { return Ok((Vec::new(), None)) };
        let items = self.find("candidates", names)?;
        if items.is_empty() {
            return Err(
                Fault::Data.error("candidates: expected at least one, got none; leave the key out")
            );
        }
        let within = self.dataset().catalogue_of(&items);
        Ok((items, Some(within)))
    }

    fn find(&self, what: &str, names: &[Name]) -> Result<Vec<u32>> {
        self.names(|known| names.iter().map(|name| known.find(name)).collect::<Result<_>>())
            .with_context(|| what.to_owned())
    }

    /// The template by which histories are asked about.
    fn template(&self) -> &String {
        &self.decided.asked.rules.template[0]
    }

    fn left_out(&self, history: &[u32]) -> Vec<u32> {
        let answers = &self.settings.answers;
        let mut items = if answers.filter_history { history.to_vec() } else { Vec::new() };
        items.sort_unstable();
        items.dedup();
        items
    }

    /// Whether a question is searched by beams or by every sequence's likelihood.
    pub(super) fn scores_all(&self, within: Option<&Trie>) -> bool {
        within.is_some() || self.settings.answers.mode == Mode::ScoreAll
    }
}

fn items(prompt: Sample, within: Option<Trie<'static>>, left_out: Vec<u32>) -> Rows {
    Rows::Items { prompt, within, left_out }
}
