//! What a batch is told: what is asked, of which model, and where the answers go.

use super::line::LONGEST_LINE;
use super::prior::Prior;
use super::ranges::within_ranges;
use super::settings::{Mode, Settings};
use crate::base::Fault;
use crate::data::task::Split;
use crate::data::template::ALL;
use crate::data::Family;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is asked and where the answers go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Job {
    /// Of which model, under which rules.
    #[serde(flatten)]
    pub settings: Settings,
    /// JSON lines to answer instead of the data's users; "-" = standard input.
    pub prompts: Option<String>,
    /// What is asked about users; of prompts, the task of a line that names none.
    pub task: Family,
    /// Which event of every user is asked for, without prompts.
    pub split: Split,
    /// Only a seeded sample of this many users; 0 = all.
    pub users: usize,
    /// Questions answered together at most; no answer depends on it.
    pub batch: usize,
    /// Milliseconds that a line from a stream waits for others that are being read.
    pub max_wait: u64,
    /// Bytes of a line at most; a longer one is refused unread.
    pub max_line: u64,
    /// Bytes of lines that are held at once: those that wait and those that are being answered.
    pub max_memory: u64,
    /// Where the JSON lines go; "-" = standard output.
    pub out: String,
    /// Where a line a request goes with all that recomputes its scores elsewhere.
    pub trace: Option<PathBuf>,
}

impl Default for Job {
    fn default() -> Job {
        Job {
            settings: Settings::default(),
            prompts: None,
            task: Family::Sequential,
            split: Split::Test,
            users: 0,
            batch: 64,
            max_wait: 10,
            max_line: LONGEST_LINE as u64,
            max_memory: 16 * LONGEST_LINE as u64,
            out: "-".to_owned(),
            trace: None,
        }
    }
}

impl Job {
    /// Refuses numbers out of range and settings that contradict one another.
    pub fn check(&self, resume: bool) -> Result<()> {
        within_ranges!(self, users batch max_wait max_line max_memory);
        self.settings.check()?;
        let refuse = |what: &str| Err(Fault::Usage.error(format!("decode: {what}")));
        if self.max_memory / 2 < self.max_line {
            return refuse(&format!(
                "setting `max-memory`: expected at least twice setting `max-line`, which is {}, \
                 got {}; a line is read while another is answered",
                self.max_line, self.max_memory
            ));
        }
        if resume && self.out == "-" {
            return refuse(
                "setting `resume`: expected setting `out` to name a file to go on with, got \
                standard output; name the file",
            );
        }
        let prior = &self.settings.answers.prior;
        if *prior != Prior::None && !self.task.is_of_users() {
            return refuse(&format!(
                "setting `prior`: expected setting `task` of {} or {}, whose answers are lists of \
                items, got {}; leave one of them out",
                Family::Sequential,
                Family::Direct,
                self.task
            ));
        }
        // Of the data's own questions those for the next item alone are answered out of the whole
        // catalogue.
        let answers = &self.settings.answers;
        let of_catalogue =
            [("mode", answers.mode != Mode::Trie), ("filter-history", answers.filter_history)];
        let another = self.prompts.is_none() && self.task != Family::Sequential;
        if let Some((name, _)) = of_catalogue.into_iter().find(|(_, given)| another && *given) {
            return refuse(&format!(
                "setting `{name}`: expected setting `task` of {}, whose answers are out of the \
                whole catalogue, got {}; leave one of them out",
                Family::Sequential,
                self.task
            ));
        }
        let all = self.settings.rules.template.as_deref() == Some(&[ALL.to_owned()]);
        if self.prompts.is_some() && all {
            return refuse(
                "setting `template = all`: expected one template for prompts, got all; name it in \
                the lines, or ask the users of setting `data`",
            );
        }
        Ok(())
    }
}
