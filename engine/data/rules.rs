//! The rules of rows: every switch that decides how a history becomes tokens, positions and a
//! template's words. One value for training and for asking, so that what was learnt is what is
//! asked.

use super::family::Family;
use super::intra::{EncIntra, Ids, Intra, IntraMode};
use super::sample::{PartAEos, SampleBuilder, SampleOptions};
use super::task::{Habits, Listing, Tasks};
use super::template::{Template, Templates, ALL};
pub use super::text::Sampling;
use super::Dataset;
use crate::base::named::named;
use crate::base::{Fault, Outputs};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

named! {
    /// What numbers the tokens of part B (R26, R27).
    pub enum PartB: "intra" {
        /// The entity automaton.
        Entity = "entity",
        /// 1, 2, 3 … across the span, as GLM was trained.
        Glm = "glm",
    }
}

named! {
    /// What numbers the entity tokens of part A (R23).
    pub enum PartA: "enc-intra" {
        /// 1 … n.
        One = "one",
        /// 0 … n−1.
        Zero = "zero",
        /// All 0.
        Off = "off",
    }
}

named! {
    /// What follows a failed match of the automaton (R30).
    pub enum Match: "trie-match" {
        /// An entity that begins inside it is looked for.
        Rescan = "rescan",
        /// Begin anew behind it.
        Simple = "simple",
    }
}

named! {
    /// How separate tokens of part B are numbered (R32).
    pub enum PlainRun: "plain-run" {
        /// Each has 1.
        Restart = "restart",
        /// A run counts as one unit.
        Grow = "grow",
    }
}

named! {
    /// What stands round a text in part A (R20).
    pub enum Frame: "frame" {
        /// `[CLS]` before it and end-of-text behind it.
        Glm = "glm",
        /// The same, but no end-of-text behind `[gMASK]`, as GLM's own generator has it.
        GlmGenerator = "glm-generator",
        /// Nothing, as ChatGLM-6B was published: the text with its mask, then `[START]`.
        ChatGlm = "chatglm",
    }
}

named! {
    /// Over what the probability of an item's token is taken in answers.
    pub enum Score: "score" {
        /// The whole vocabulary (E12).
        Full = "full",
        /// What the catalogue lets follow: an item's score is its share (E30).
        Legal = "legal",
    }
}

/// How rows are made and what becomes of what the model says of them. Keys of its serde form are
/// the settings' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Rules {
    /// Ids of the prompt templates; training draws among them, asking takes the family's first.
    pub template: Vec<String>,
    /// A file of templates beside the built-in ones.
    pub templates: Option<PathBuf>,
    /// Behaviours that a prompt shows at most; 0 = all that fit (R9).
    pub behaviours: usize,
    /// Which behaviours of a history are shown where not all of them are (R8).
    pub sampling: Sampling,
    /// Rows of a sample at most; of the history goes what does not fit.
    pub max_row: usize,
    /// Ids of part B.
    pub intra: PartB,
    /// Ids of part A.
    pub enc_intra: PartA,
    /// What follows a failed match.
    pub trie_match: Match,
    /// Id with which later units of a span begin, 1 or 2 (R31).
    pub restart: u32,
    /// How separate tokens are numbered.
    pub plain_run: PlainRun,
    /// What stands round a text.
    pub frame: Frame,
    /// What prompts say of candidates.
    pub candidates: Listing,
    /// Over what the probability of an item's token is taken.
    pub score: Score,
    /// What logits are divided by before that, where the catalogue decides (R41).
    pub temperature: f64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            template: vec!["2-3".to_owned()],
            templates: None,
            behaviours: 0,
            sampling: Sampling::Windows,
            max_row: 1024,
            intra: PartB::Entity,
            enc_intra: PartA::One,
            trie_match: Match::Rescan,
            restart: 1,
            plain_run: PlainRun::Restart,
            frame: Frame::Glm,
            candidates: Listing::Score,
            score: Score::Full,
            temperature: 1.0,
        }
    }
}

/// Rules as somebody asks for them: what is `None` is as the model learnt it, or as usual.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Wanted {
    /// Ids of the prompt templates; training draws among them, asking takes the family's first.
    pub template: Option<Vec<String>>,
    /// A file of templates beside the built-in ones.
    pub templates: Option<PathBuf>,
    /// Behaviours shown at most; 0 = all that fit.
    pub behaviours: Option<usize>,
    /// Which behaviours of a history are shown where not all of them are.
    pub sampling: Option<Sampling>,
    /// Rows of a sample at most.
    pub max_row: Option<usize>,
    /// Ids of part B.
    pub intra: Option<PartB>,
    /// Ids of part A; where nothing was learnt, those that go with `intra`.
    pub enc_intra: Option<PartA>,
    /// What follows a failed match.
    pub trie_match: Option<Match>,
    /// Id with which later units of a span begin.
    pub restart: Option<u32>,
    /// How separate tokens are numbered.
    pub plain_run: Option<PlainRun>,
    /// What stands round a text; where nothing was learnt, what the model's family was published
    /// with.
    pub frame: Option<Frame>,
    /// What prompts say of candidates.
    pub candidates: Option<Listing>,
    /// Over what the probability of an item's token is taken; where nothing was learnt, the whole
    /// vocabulary.
    pub score: Option<Score>,
    /// What logits are divided by before that, where the catalogue decides.
    pub temperature: Option<f64>,
}

impl From<Rules> for Wanted {
    fn from(rules: Rules) -> Wanted {
        Wanted {
            template: Some(rules.template),
            templates: rules.templates,
            behaviours: Some(rules.behaviours),
            sampling: Some(rules.sampling),
            max_row: Some(rules.max_row),
            intra: Some(rules.intra),
            enc_intra: Some(rules.enc_intra),
            trie_match: Some(rules.trie_match),
            restart: Some(rules.restart),
            plain_run: Some(rules.plain_run),
            frame: Some(rules.frame),
            candidates: Some(rules.candidates),
            score: Some(rules.score),
            temperature: Some(rules.temperature),
        }
    }
}

impl Wanted {
    /// Every rule: as it is asked for, otherwise as learnt, otherwise as usual. Where nothing was
    /// learnt, part A goes with part B: GLM numbers none of it (R26), and `frame` is the model
    /// family's.
    pub fn over(&self, learnt: Option<&Rules>, frame: Frame) -> Rules {
        let alone = Rules {
            enc_intra: match self.intra {
                Some(PartB::Glm) => PartA::Off,
                _ => PartA::One,
            },
            frame,
            ..Rules::default()
        };
        let base = learnt.unwrap_or(&alone);
        Rules {
            template: self.template.as_ref().unwrap_or(&base.template).clone(),
            templates: self.templates.as_ref().or(base.templates.as_ref()).cloned(),
            behaviours: self.behaviours.unwrap_or(base.behaviours),
            sampling: self.sampling.unwrap_or(base.sampling),
            max_row: self.max_row.unwrap_or(base.max_row),
            intra: self.intra.unwrap_or(base.intra),
            enc_intra: self.enc_intra.unwrap_or(base.enc_intra),
            trie_match: self.trie_match.unwrap_or(base.trie_match),
            restart: self.restart.unwrap_or(base.restart),
            plain_run: self.plain_run.unwrap_or(base.plain_run),
            frame: self.frame.unwrap_or(base.frame),
            candidates: self.candidates.unwrap_or(base.candidates),
            score: self.score.unwrap_or(base.score),
            temperature: self.temperature.unwrap_or(base.temperature),
        }
    }

    /// Tells of the files that are read.
    pub fn tell(&self, outputs: &mut Outputs) {
        if let Some(templates) = &self.templates {
            outputs.reads("setting `templates`", templates);
        }
    }
}

/// What rows are for: held-out templates are never trained on (R39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Examples to learn from.
    Training,
    /// Prompts to answer.
    Decoding,
}

impl Rules {
    /// The templates that there are: the built-in ones, and those of the file.
    pub fn known(&self) -> Result<Templates> {
        let mut known = Templates::builtin();
        if let Some(path) = &self.templates {
            known.extend(Templates::load(path)?)?;
        }
        Ok(known)
    }

    /// The same rules with every template named: [`ALL`] stands for all that training may use of
    /// `families`.
    pub fn spelled_out(self, families: &[Family]) -> Result<Rules> {
        if self.template != [ALL] {
            return Ok(self);
        }
        let known = self.known()?;
        let own = |&family: &Family| known.training(family).map(|t| t.id.clone());
        let template = families.iter().flat_map(own).collect();
        Ok(Rules { template, ..self })
    }

    /// Rows and prompts of `dataset` for a model with position tables of `max_positions` + 1 rows.
    /// Refuses a template that is not there or, for training, held out.
    pub fn tasks<'a>(
        &self,
        dataset: &'a Dataset,
        max_positions: usize,
        purpose: Purpose,
        seed: u64,
    ) -> Result<Tasks<'a>> {
        let glm = self.intra == PartB::Glm;
        let mode = IntraMode {
            ids: if glm { Ids::Glm } else { Ids::Entity },
            rescan: self.trie_match == Match::Rescan,
            restart: self.restart,
            plain_grow: self.plain_run == PlainRun::Grow,
        };
        let enc_intra = match self.enc_intra {
            PartA::Off => EncIntra::Off,
            PartA::Zero => EncIntra::Zero,
            PartA::One => EncIntra::One,
        };
        let options = SampleOptions {
            cls: self.frame != Frame::ChatGlm,
            part_a_eos: match self.frame {
                Frame::Glm => PartAEos::Always,
                Frame::GlmGenerator => PartAEos::Glm,
                Frame::ChatGlm => PartAEos::Never,
            },
            enc_intra,
            max_row: self.max_row.min(max_positions),
            last_position: max_positions as u32,
        };
        let intra = Intra::new(dataset.pool(), mode);
        let builder = SampleBuilder::new(dataset.vocab().special(), intra, options);
        let known = self.known()?;
        let ids = self.template.iter();
        let chosen: Vec<&Template> = ids.map(|id| known.get(id)).collect::<Result<_>>()?;
        if let (Purpose::Training, Some(held)) = (purpose, chosen.iter().find(|t| !t.seen)) {
            return Err(Fault::Usage.error(format!(
                "setting `template`: {}: expected a training template, got one held out for \
                zero-shot \
                 evaluation; choose another",
                held.id
            )));
        }
        let habits = Habits {
            behaviours: self.behaviours,
            sampling: self.sampling,
            candidates: self.candidates,
            seed,
        };
        let tasks = Tasks::new(dataset, builder, &chosen, habits)?;
        Ok(match purpose {
            Purpose::Training => tasks,
            Purpose::Decoding => tasks.with_others(known.iter()),
        })
    }
}
