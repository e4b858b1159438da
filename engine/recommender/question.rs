//! What can be asked, and how it becomes rows for the model.

use super::open::Recommender;
use super::ranges;
use super::settings::{Constrain, Mode, Segment};
use crate::base::map::settled;
use crate::base::text::shortened;
use crate::base::Fault;
use crate::data::catalogue::cleaned;
use crate::data::names::Name;
use crate::data::task::{Listing, Put, Shopper, Split, Tasks};
use crate::data::{Cut, Family, Sample, Trie};
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
    /// What a family asks of a user or a record of the data set.
    Of {
        /// The family.
        family: Family,
        /// Number of the user of the sequential and direct families, of the record of the others.
        subject: u32,
        /// Which event, or which part of the records.
        split: Split,
    },
    /// What comes after all events of a user of the data set.
    Latest {
        /// The user's id.
        user: Name,
        /// The only items that may be answered; `None` = the whole catalogue.
        candidates: Option<Vec<Name>>,
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

/// What a question may say of its answer; what it leaves open the settings say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Items of the answer.
    pub top: Option<usize>,
    /// Items that the answer does not show, by id or title. What the catalogue lacks is never
    /// shown.
    pub exclude: Vec<Name>,
    /// Id of the template that words the question.
    pub template: Option<String>,
}

/// A question as rows for the model, made by [`Recommender::ask`].
pub struct Asked {
    /// The template's id; `None` for free texts, refusals and what everybody takes.
    pub template: Option<String>,
    /// The item that comes next, where it is known.
    pub target: Option<u32>,
    /// Items of the history that were left out, as the catalogue lacks them.
    pub unknown: usize,
    /// Items of the answer; `None` = as many as the settings say.
    pub(super) top: Option<usize>,
    pub(super) rows: Rows,
}

pub(super) enum Rows {
    Items {
        prompt: Sample,
        /// The candidates; the whole catalogue without.
        within: Option<Trie<'static>>,
        /// Items that no list shows, ascending, each once.
        left_out: Vec<u32>,
        /// Whose next item it is, for who is asked beside the model; of a free text nobody's.
        past: Option<Past>,
    },
    /// Items, each with the row that asks for yes or no.
    YesNo {
        prompts: Vec<Sample>,
        items: Vec<u32>,
        /// Tokens of both words.
        words: [Vec<u32>; 2],
    },
    /// A text to fill, and the row that asks for its first mask.
    Text {
        first: Sample,
        blanks: Blanks,
        /// Tokens of an answer at most; `None` = as many as the settings say.
        room: Option<usize>,
    },
    /// What everybody takes, and how often: the answer to a history of nothing.
    Popular(Vec<(u32, f64)>),
    Refused(String),
}

/// What somebody took before.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// Items, oldest first.
    pub items: Vec<u32>,
    /// What others took that may be known beside it: what this split shows.
    pub split: Split,
}

impl Asked {
    /// What its prompt does not say of what was asked about.
    pub fn cut(&self) -> Cut {
        self.rows.first().map(|row| row.cut).unwrap_or_default()
    }

    /// A question that cannot be asked; its answer says why, with the middle of a long quotation
    /// left out.
    pub fn refused(why: String) -> Asked {
        let why = shortened(&why, LONGEST_REFUSAL).into_owned();
        Asked::of(Rows::Refused(why))
    }

    fn of(rows: Rows) -> Asked {
        Asked { template: None, target: None, unknown: 0, top: None, rows }
    }
}

impl Rows {
    /// The row that stands for all: the only one, or the first.
    pub(super) fn first(&self) -> Option<&Sample> {
        match self {
            Rows::Items { prompt: row, .. } | Rows::Text { first: row, .. } => Some(row),
            Rows::YesNo { prompts, .. } => prompts.first(),
            Rows::Popular(_) | Rows::Refused(_) => None,
        }
    }
}

impl Recommender {
    /// Makes the rows of a question. Refuses a user without an event to ask for, items that the
    /// catalogue does not have, and texts without a mask or without room for an answer.
    pub fn ask(&self, question: &Question) -> Result<Asked> {
        self.ask_with(question, &Wishes::default())
    }

    /// The same with wishes. Refuses those that the question's kind cannot grant.
    pub fn ask_with(&self, question: &Question, wishes: &Wishes) -> Result<Asked> {
        let range = ranges::of("top").expect("a setting that is a number");
        if let Some(top) = wishes.top.filter(|&top| !range.holds(top as u64)) {
            return Err(Fault::Data.error(format!("top: expected {range}, got {top}")));
        }
        let asked = settled([self.dataset().map()], || self.rows_of(question, wishes))?;
        if asked.rows.first().is_some_and(|row| row.begun > 0) && self.writes_items() {
            return Err(Fault::Usage.error(format!(
                "setting `mode`: template {}: expected mode trie or score-all, whose answers go on \
                 behind what they begin with, got {}; change one of the two",
                asked.template.as_deref().unwrap_or("none"),
                self.settings.answers.mode
            )));
        }
        Ok(Asked { top: wishes.top, ..asked })
    }

    fn rows_of(&self, question: &Question, wishes: &Wishes) -> Result<Asked> {
        match question {
            Question::User { user, split } => self.user(*user, *split, wishes),
            Question::Of { family, subject, split } => {
                let id = self.wording(*family, wishes)?;
                self.of(*family, &id, *subject, *split, wishes)
            }
            Question::Latest { user, candidates } => {
                self.latest(user, candidates.as_deref(), wishes)
            }
            Question::History { history, profile, candidates } => {
                self.history(history, profile, candidates.as_deref(), wishes)
            }
            Question::Text { text, candidates } => {
                let (_, within) = self.candidates(candidates.as_deref())?;
                let mut rows = self.text(text, within)?;
                match &mut rows {
                    Rows::Items { left_out, .. } if wishes.template.is_none() => {
                        *left_out = self.left_out(&[], wishes)?;
                    }
                    _ if *wishes == Wishes::default() => {}
                    _ => {
                        return Err(Fault::Data.error(
                            "text: expected top and exclude where an item is the answer, and no \
                            template, got one of them; leave the key out",
                        ))
                    }
                }
                Ok(Asked::of(rows))
            }
        }
    }

    fn user(&self, user: u32, split: Split, wishes: &Wishes) -> Result<Asked> {
        let record = self.dataset().user(user);
        let shown = split.shown(record.items.len()).ok_or_else(|| {
            Fault::Data.error(format!(
                "user: {}: expected 3 events or more, got {}; ask by a history",
                record.id,
                record.items.len()
            ))
        })?;
        let asked = self.of_user(user, (shown, split), None, wishes)?;
        Ok(Asked { target: Some(record.items[shown]), ..asked })
    }

    fn latest(&self, name: &Name, candidates: Option<&[Name]>, wishes: &Wishes) -> Result<Asked> {
        let (Name::Number(id) | Name::Text(id)) = name;
        let user = self.dataset().find_user(id).ok_or_else(|| {
            Fault::Data.error(format!(
                "user: {name}: expected a user of {}, got none of them; give a history",
                self.dataset().name()
            ))
        })?;
        let (items, within) = self.candidates(candidates)?;
        match self.dataset().user(user).items.len() {
            0 => self.popular_of(&items, within.is_some(), wishes),
            events => self.of_user(user, (events, Split::Test), within, wishes),
        }
    }

    /// What comes after the first `shown` events of a user of the data set, as a split asks it.
    fn of_user(
        &self,
        user: u32,
        (shown, split): (usize, Split),
        within: Option<Trie<'static>>,
        wishes: &Wishes,
    ) -> Result<Asked> {
        let id = wishes.template.as_deref();
        let prompt = self.tasks(|tasks| tasks.prompt(id, user, shown))?;
        let items = &self.dataset().user(user).items[..shown];
        let left_out = self.left_out(items, wishes)?;
        let past = Some(Past { items: items.to_vec(), split });
        let rows = Rows::Items { prompt, within, left_out, past };
        Ok(Asked { template: self.template(wishes), ..Asked::of(rows) })
    }

    fn history(
        &self,
        history: &[Name],
        profile: &[(String, String)],
        candidates: Option<&[Name]>,
        wishes: &Wishes,
    ) -> Result<Asked> {
        let (candidates, within) = self.candidates(candidates)?;
        let known = match self.settings.answers.strict {
            true => self.find("history", history)?,
            false => self.known(history),
        };
        let unknown = history.len() - known.len();
        let id = wishes.template.as_deref();
        if known.is_empty() && self.tasks(|tasks| tasks.shows_history(id))? {
            let asked = self.popular_of(&candidates, within.is_some(), wishes)?;
            return Ok(Asked { unknown, ..asked });
        }
        let profile = cleaned(profile);
        let attributes: Vec<(&str, &str)> =
            profile.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let shopper = Shopper { history: &known, attributes: &attributes, candidates: &candidates };
        let prompt = self.tasks(|tasks| tasks.ask(shopper, id))?;
        let left_out = self.left_out(&known, wishes)?;
        let past = Some(Past { items: known, split: Split::Test });
        let rows = Rows::Items { prompt, within, left_out, past };
        Ok(Asked { template: self.template(wishes), unknown, ..Asked::of(rows) })
    }

    /// What everybody takes, of the candidates where there are any.
    fn popular_of(&self, candidates: &[u32], chosen: bool, wishes: &Wishes) -> Result<Asked> {
        let left_out = self.left_out(&[], wishes)?;
        let stays = |item: &u32| {
            left_out.binary_search(item).is_err() && (!chosen || candidates.contains(item))
        };
        let items = self.popular().iter().copied().filter(|(item, _)| stays(item));
        let top = wishes.top.unwrap_or(self.settings.answers.top);
        Ok(Asked::of(Rows::Popular(items.take(top).collect())))
    }

    /// Id of the template by which a family is asked: the one that is wished, otherwise the one
    /// that the settings name or the family's first.
    fn wording(&self, family: Family, wishes: &Wishes) -> Result<String> {
        match &wishes.template {
            Some(id) => Ok(id.clone()),
            None => Ok(self.wordings(family)?.swap_remove(0)),
        }
    }

    /// Refuses a ranker beside questions whose answer is no list of ranked items.
    pub(super) fn check_prior(&self, family: Family, id: &str) -> Result<()> {
        let Some(companion) = self.companion() else { return Ok(()) };
        let ranks = self.tasks(|tasks| tasks.asks_item(family, id))?;
        match ranks {
            true => Ok(()),
            false => Err(Fault::Usage.error(format!(
                "setting `prior`: template {id}: expected one that asks for an item, got one that \
                asks for another answer; {} has nothing to say to it: leave one of the two out",
                companion.prior
            ))),
        }
    }

    /// What the template `id` asks of a user or a record of the data.
    fn of(
        &self,
        family: Family,
        id: &str,
        subject: u32,
        split: Split,
        wishes: &Wishes,
    ) -> Result<Asked> {
        self.check_prior(family, id)?;
        let put = self.tasks(|tasks| tasks.put(family, id, subject, split))?;
        let shown = |user: u32| {
            let events = self.dataset().user(user).items;
            &events[..split.shown(events.len()).unwrap_or(0)]
        };
        let past = || Some(Past { items: shown(subject).to_vec(), split });
        let (rows, target) = match put {
            Put::Item { prompt, target } => {
                let left_out = self.left_out(shown(subject), wishes)?;
                (Rows::Items { prompt, within: None, left_out, past: past() }, target)
            }
            Put::Among { prompt, candidates, target } => {
                let within = Some(self.dataset().catalogue_of(&candidates));
                (Rows::Items { prompt, within, left_out: Vec::new(), past: past() }, target)
            }
            Put::YesNo { prompts, candidates: items, target, words } => {
                (Rows::YesNo { prompts, items, words }, target)
            }
            Put::Written { prompt, item, room } => {
                let row = |tasks: &Tasks| -> Result<Rows> {
                    let (part_a, masks) = tasks.builder().part_a(0, &prompt)?;
                    let (first, blanks) =
                        (tasks.builder().prompt(0, &prompt)?, Blanks { part_a, masks });
                    Ok(Rows::Text { first, blanks, room: Some(room) })
                };
                (self.tasks(row)?, item)
            }
        };
        Ok(Asked { template: Some(id.to_owned()), target: Some(target), ..Asked::of(rows) })
    }

    /// The template by which the next item is asked for.
    fn template(&self, wishes: &Wishes) -> Option<String> {
        let id = wishes.template.as_deref();
        self.tasks(|tasks| tasks.next_id(id).ok().map(str::to_owned))
    }

    fn text(&self, text: &str, within: Option<Trie<'static>>) -> Result<Rows> {
        let answers = &self.settings.answers;
        self.tasks(|tasks| {
            let builder = tasks.builder();
            let prompt = tasks.free(text, answers.segment_free_text == Segment::Trie)?;
            let masks = prompt.masks.len();
            if masks == 1 && (within.is_some() || answers.constrain == Constrain::Trie) {
                tasks.check_room(&prompt, tasks.longest_item())?;
                let prompt = builder.prompt(0, &prompt)?;
                return Ok(Rows::Items { prompt, within, left_out: Vec::new(), past: None });
            }
            if within.is_some() {
                return Err(Fault::Data.error(format!(
                    "text: expected one mask for the candidates to fill, got {masks}; write a \
                     line for each"
                )));
            }
            tasks.check_room(&prompt, answers.max_new_tokens)?;
            let (part_a, masks) = builder.part_a(0, &prompt)?;
            let (first, blanks) = (builder.prompt(0, &prompt)?, Blanks { part_a, masks });
            Ok(Rows::Text { first, blanks, room: None })
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

    /// Those of the items that the catalogue has.
    fn known(&self, names: &[Name]) -> Vec<u32> {
        self.names(|known| names.iter().filter_map(|name| known.find(name).ok()).collect())
    }

    /// Items that no list shows, ascending, each once.
    fn left_out(&self, history: &[u32], wishes: &Wishes) -> Result<Vec<u32>> {
        let answers = &self.settings.answers;
        let mut items = match answers.strict {
            true => self.find("exclude", &wishes.exclude)?,
            false => self.known(&wishes.exclude),
        };
        if answers.filter_history {
            items.extend(history);
        }
        items.sort_unstable();
        items.dedup();
        Ok(items)
    }

    /// Whether a question is answered by every sequence's likelihood, rather than searched.
    pub(super) fn scores_all(&self, within: Option<&Trie>) -> bool {
        match within {
            Some(_) => self.decided.asked.rules.candidates != Listing::Prompt,
            None => self.settings.answers.mode == Mode::ScoreAll,
        }
    }
}
