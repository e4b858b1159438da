//! By which rules questions are asked: what is wanted, laid over what the model learnt by.

use super::learnt::{differing, length_penalty, Learnt};
use super::settings::{Settings, Way};
use crate::data::rules::Frame;
use crate::data::template::ALL;
use anyhow::Result;
use std::path::PathBuf;

/// Where the rules come from that questions are asked by.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What the model learnt by, and the folder that says so.
    pub learnt: Option<(PathBuf, Learnt)>,
    /// What it is asked by.
    pub asked: Learnt,
    /// The templates that somebody asked for, rather than the run's.
    pub typed: Vec<String>,
    /// Whether every template of a family is to ask, whatever was learnt by.
    pub all: bool,
    /// Where the two differ, because somebody asked for it: a sentence each.
    pub differences: Vec<String>,
}

impl Decided {
    /// Every rule of `settings`: as they say, otherwise as the model learnt it, otherwise as usual,
    /// for a model whose family has its texts in `frame`.
    pub fn of(settings: &Settings, frame: Frame) -> Result<Decided> {
        let learnt = settings.source.learnt()?;
        let (wanted, usual) = (&settings.answers, learnt.as_ref().map(|(_, learnt)| learnt));
        let mut rules = settings.rules.clone();
        let all = rules.template.as_deref() == Some(&[ALL.to_owned()]);
        if all {
            rules.template = None;
        }
        let typed = rules.template.clone().unwrap_or_default();
        let rules = rules.over(usual.map(|learnt| &learnt.rules), frame);
        let penalty = match (wanted.search, usual) {
            (Way::Exact, _) => 0.0,
            (Way::Beam, Some(learnt)) => learnt.length_penalty,
            (Way::Beam, None) => length_penalty(rules.score),
        };
        let asked = Learnt {
            rules,
            length_penalty: wanted.length_penalty.unwrap_or(penalty),
            gelu: settings.source.gelu.or(usual.and_then(|learnt| learnt.gelu)),
        };
        let differences = usual.map(|learnt| differing(&learnt.compared(), &asked.compared()));
        let differences = differences.unwrap_or_default();
        Ok(Decided { learnt, asked, typed, all, differences })
    }

    /// `settings` with all that was decided, so that they say it themselves.
    pub fn within(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        settings.rules = self.asked.rules.clone().into();
        if self.all {
            settings.rules.template = Some(vec![ALL.to_owned()]);
        }
        settings.answers.length_penalty = Some(self.asked.length_penalty);
        settings.source.gelu = self.asked.gelu;
        settings
    }
}
