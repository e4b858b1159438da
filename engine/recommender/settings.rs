//! What a recommender is opened with: which model, which data, which rules, which answers.

use super::prior::{Prior, PRIOR_TOP};
use super::ranges::within_ranges;
use super::source::Source;
use crate::base::named::named;
use crate::base::{Fault, Outputs};
use crate::data::rank::Fusion;
use crate::data::rules::Wanted;
use crate::decode::Writing;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

named! {
    /// How items are found.
    pub enum Mode: "mode" {
        /// Beam search over the trie of the catalogue.
        Trie = "trie",
        /// Every item's likelihood: the reference for small catalogues.
        ScoreAll = "score-all",
        /// Texts by beams under no trie; what is no item's text is no answer.
        Free = "free",
        /// A text under no trie, and the items whose embeddings are nearest to its (BIGRec).
        Ground = "ground",
        /// One text that names items one after another, by the trie.
        List = "list",
    }
}

named! {
    /// How the trie of the catalogue is searched.
    pub enum Way: "search" {
        /// By beams (E12).
        Beam = "beam",
        /// Until nothing that is left can be among the best (E31).
        Exact = "exact",
    }
}

named! {
    /// What may fill a free text of one mask.
    pub enum Constrain: "constrain" {
        /// Anything.
        None = "none",
        /// Items of the catalogue.
        Trie = "trie",
    }
}

named! {
    /// Whether entities are recognised in free texts (R5).
    pub enum Segment: "segment-free-text" {
        /// They are.
        Trie = "trie",
        /// They are not.
        None = "none",
    }
}

/// How questions are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Answers {
    /// How items are found.
    pub mode: Mode,
    /// How the trie of the catalogue is searched.
    pub search: Way,
    /// Beams of a search; as many more as items are left out.
    pub beams: usize,
    /// Items of an answer.
    pub top: usize,
    /// Which ranker is asked beside the model (E29).
    pub prior: Prior,
    /// How the two scores become one; `None` = as the run found best, otherwise by sum.
    pub fusion: Option<Fusion>,
    /// How many of the ranker's best are candidates; `None` = the run's, otherwise 100.
    pub prior_top: Option<usize>,
    /// alpha of sum of log-probabilities / length^alpha; `None` = the run's, otherwise 1.
    pub length_penalty: Option<f64>,
    /// Leave the history's items out of the lists, a repeated target too (E15).
    pub filter_history: bool,
    /// Refuse a history with an item that the catalogue lacks, rather than leave that item out.
    pub strict: bool,
    /// What may fill a free text of one mask.
    pub constrain: Constrain,
    /// Whether entities are recognised in free texts.
    pub segment_free_text: Segment,
    /// Tokens of a free answer at most.
    pub max_new_tokens: usize,
    /// Tokens of a free answer at least.
    pub min_new_tokens: usize,
    /// Beams by which free texts are written; 1 = greedily.
    pub text_beams: usize,
    /// Groups of these beams that are kept apart.
    pub groups: usize,
    /// What a group loses for a token that an earlier group has taken.
    pub diversity: f64,
    /// What repeated tokens lose: a divisor of positive logits, a factor of negative ones.
    pub repetition_penalty: f64,
}

impl Answers {
    /// How many of a prior's best are candidates.
    pub fn best_of_prior(&self) -> usize {
        self.prior_top.unwrap_or(PRIOR_TOP)
    }

    /// Refuses an exact search of what has no masses.
    fn check_search(&self) -> Result<()> {
        let refuse = |expected: &str, got: &str| {
            Err(Fault::Usage.error(format!(
                "setting `search`: exact: expected {expected}, got {got}; change it, or search by \
                beams"
            )))
        };
        let Answers { search, mode, length_penalty, prior, .. } = self;
        match (mode, length_penalty, prior) {
            _ if *search == Way::Beam => Ok(()),
            (Mode::Trie, Some(alpha), _) if *alpha != 0.0 => {
                refuse("setting `length-penalty = 0`", &alpha.to_string())
            }
            (Mode::Trie, _, Prior::None) => Ok(()),
            (Mode::Trie, _, prior) => refuse("no setting `prior`", &prior.to_string()),
            (mode, ..) => refuse("setting `mode = trie`", mode.name()),
        }
    }

    /// Refuses a ranker where no list of items is ranked, and its settings without one.
    fn check_prior(&self) -> Result<()> {
        let refuse = |words: String| Err(Fault::Usage.error(words));
        let Answers { prior, fusion, prior_top, mode, .. } = self;
        let given = [("fusion", fusion.is_some()), ("prior-top", prior_top.is_some())];
        if *prior == Prior::None {
            return match given.into_iter().find(|(_, given)| *given) {
                None => Ok(()),
                Some((name, _)) => refuse(format!(
                    "setting `{name}`: expected setting `prior` beside it, got it alone; name a \
                    ranker, or leave it out"
                )),
            };
        }
        match mode {
            Mode::Trie | Mode::ScoreAll => prior.check("prior"),
            mode => refuse(format!(
                "setting `prior`: expected setting `mode` of {} or {}, whose lists have scores of \
                all items, got {mode}; leave one of them out",
                Mode::Trie,
                Mode::ScoreAll
            )),
        }
    }

    /// How a free text is written that has at most `tokens` tokens.
    pub(super) fn texts(&self, tokens: usize, length_penalty: f64) -> Writing {
        Writing {
            beams: self.text_beams,
            groups: self.groups,
            diversity: self.diversity,
            returned: self.text_beams,
            min_tokens: self.min_new_tokens.min(tokens),
            length_penalty,
            repetition_penalty: self.repetition_penalty as f32,
            early_stopping: false,
        }
    }

    /// How texts of items are written, of which `beams` are wanted (E5, E12b).
    pub(super) fn titles(beams: usize, length_penalty: f64) -> Writing {
        Writing { beams, returned: beams, length_penalty, ..Writing::GREEDY }
    }
}

impl Default for Answers {
    fn default() -> Answers {
        Answers {
            mode: Mode::Trie,
            search: Way::Beam,
            beams: 20,
            top: 10,
            prior: Prior::None,
            fusion: None,
            prior_top: None,
            length_penalty: None,
            filter_history: false,
            strict: false,
            constrain: Constrain::None,
            segment_free_text: Segment::Trie,
            max_new_tokens: 64,
            min_new_tokens: 0,
            text_beams: 1,
            groups: 1,
            diversity: 0.0,
            repetition_penalty: 1.0,
        }
    }
}

/// A model, a data set and the rules between them. Keys of the serde form are the settings' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Which model, on what.
    #[serde(flatten)]
    pub source: Source,
    /// Whether the adapter becomes a part of the weights as they are loaded: products are then
    /// plain, and rounded where those of a merged checkpoint are.
    pub merge: bool,
    /// The prepared `.bin`: catalogue, tokenizer and tries.
    pub data: PathBuf,
    /// How rows are made, where it is not to be as the model learnt it.
    #[serde(flatten)]
    pub rules: Wanted,
    /// How questions are answered.
    #[serde(flatten)]
    pub answers: Answers,
}

impl Settings {
    /// The usual settings for a weights folder and a `.bin`.
    pub fn new(weights: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Settings {
        let source = Source { weights: weights.into(), ..Source::default() };
        Settings { source, data: data.into(), ..Settings::default() }
    }

    /// Refuses numbers out of range.
    pub fn check(&self) -> Result<()> {
        within_ranges!(&self.answers, beams top prior_top length_penalty max_new_tokens);
        within_ranges!(&self.answers, min_new_tokens text_beams groups diversity);
        within_ranges!(&self.answers, repetition_penalty);
        let Answers { max_new_tokens, min_new_tokens, .. } = self.answers;
        if min_new_tokens > max_new_tokens {
            return Err(Fault::Usage.error(format!(
                "setting `min-new-tokens`: expected at most setting `max-new-tokens`, which is \
                {max_new_tokens}, got {min_new_tokens}; change one of them"
            )));
        }
        self.answers.texts(max_new_tokens, 0.0).check(max_new_tokens)?;
        self.answers.check_prior()?;
        self.answers.check_search()?;
        within_ranges!(&self.rules, behaviours max_row restart temperature);
        within_ranges!(&self.source, seed threads);
        if self.merge && self.source.adapter.is_none() {
            return Err(Fault::Usage.error(
                "setting `merge`: expected setting `adapter` beside it, got it alone; name an \
                adapter, or leave it out",
            ));
        }
        Ok(())
    }

    /// Tells of the files that are read.
    pub fn tell(&self, outputs: &mut Outputs) {
        self.source.tell(outputs);
        self.rules.tell(outputs);
        outputs.reads("setting `data`", &self.data);
        if let Some(table) = self.answers.prior.file() {
            outputs.reads("setting `prior`", table);
        }
    }

    /// With an adapter on the weights: a PEFT folder or a run folder.
    pub fn adapter(mut self, adapter: impl AsRef<Path>) -> Settings {
        self.source.adapter = Some(adapter.as_ref().to_owned());
        self
    }
}
