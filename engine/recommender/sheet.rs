//! A file of predictions, and what is known of how they were made.

use super::predictions::Side;
use super::prior::Prior;
use super::settings::Mode;
use crate::base::{open_stream, unreadable, Fault};
use crate::data::template::Templates;
use crate::data::Dataset;
use crate::eval::evaluation::Users;
use crate::eval::predictions::{Group, Reader};
use crate::eval::truth::Split;
use anyhow::Result;
use serde_json::Value;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// What is known of how predictions were made.
pub(super) struct Made {
    /// The file as it was named.
    path: PathBuf,
    /// What stands beside them; null where nothing does.
    beside: Value,
    /// That, where we wrote it.
    side: Option<Side>,
    /// The users that were asked, where they were users.
    asked: Option<Vec<u32>>,
}

impl Made {
    /// Reads what stands beside predictions. Refuses another data set than they were made with.
    pub fn read(path: &Path, dataset: &Dataset) -> Result<Made> {
        let beside = Side::beside(path)?.unwrap_or_default();
        let side = Side::of(&beside);
        side.as_ref().map_or(Ok(()), |side| side.expect_data(path, dataset))?;
        let asked = side.as_ref().and_then(|side| side.users(dataset));
        Ok(Made { path: path.to_owned(), beside, side, asked })
    }

    /// The file as messages name it.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What stands beside it, where we wrote it.
    pub fn side(&self) -> Option<&Side> {
        self.side.as_ref()
    }

    /// The ranker that was asked beside the model, and how the two became one.
    pub fn fused(&self) -> Option<String> {
        let answers = &self.side.as_ref()?.decode.settings.answers;
        let fusion = answers.fusion.unwrap_or_default();
        (answers.prior != Prior::None).then(|| format!("fused with {} by {fusion}", answers.prior))
    }

    /// The lines, by template.
    pub fn groups(&self, reader: &Reader) -> Result<Vec<Group>> {
        if self.path == Path::new("-") {
            let input = std::io::stdin().lock();
            return reader.read(input, "standard input", &self.templates());
        }
        let file = open_stream(&self.path).map_err(|e| {
            unreadable(Fault::Data, "predictions", &self.path, "what `decode` wrote", &e)
        })?;
        reader.read(BufReader::with_capacity(1 << 20, file), &self.name(), &self.templates())
    }

    /// That lines are missing, where the settings say how many questions about records, or by
    /// several templates, were asked: their tables count the lines that there are.
    pub fn unfinished(&self, groups: &[Group]) -> Option<String> {
        let asked = self.side.as_ref()?.asked?;
        let lines: usize = groups.iter().map(|group| group.predictions.len()).sum();
        let ranked = self.asked.is_some() && groups.len() == 1;
        (lines < asked && !ranked).then(|| {
            format!("{} of {asked} questions have no answer here, and do not count", asked - lines)
        })
    }

    /// The split that users were asked about, where the settings say.
    pub fn split(&self) -> Option<Split> {
        let asked = self.side.as_ref().filter(|_| self.asked.is_some());
        asked.map(|side| side.decode.split)
    }

    /// alpha by which the lists were ranked, where they hold all that the beams found (E13).
    pub fn length_penalty(&self) -> Option<f64> {
        let answers = &self.side.as_ref()?.decode.settings.answers;
        let whole = answers.mode == Mode::Trie
            && answers.top >= answers.beams
            && answers.prior == Prior::None;
        answers.length_penalty.filter(|_| whole)
    }

    /// Whether the lists hold every candidate of model and prior: by each alone they are as good as
    /// its own.
    pub fn both(&self) -> bool {
        let Some(side) = &self.side else { return false };
        let answers = &side.decode.settings.answers;
        let all = answers.best_of_prior() + answers.beams;
        answers.prior != Prior::None && answers.top >= all && !answers.filter_history
    }

    /// Whom the denominator counts where nobody says. Another program's settings may name a limit:
    /// a sample that was made on purpose.
    pub fn users(&self) -> Users {
        let limited = self.beside.get("limit").is_some_and(|limit| !limit.is_null());
        match (&self.asked, limited) {
            (Some(_), _) => Users::Asked,
            (None, true) => Users::Listed,
            (None, false) => Users::All,
        }
    }

    /// The users that were asked, ascending. Refuses where nobody knows and it matters.
    pub fn asked(&self, users: Users) -> Result<Vec<u32>> {
        match (&self.asked, users) {
            (Some(asked), _) => Ok(asked.clone()),
            (None, Users::Asked) => Err(Fault::Usage.error(format!(
                "setting `users = asked`: {}: expected settings beside it that say who was asked, \
                got none; choose all or listed",
                self.name()
            ))),
            (None, _) => Ok(Vec::new()),
        }
    }

    /// The templates that they may have been made by: ours, and the file of others that the
    /// settings name, where that still is one. Of what is not there it is not known whether a
    /// training may see it, and nothing else is lost.
    pub fn templates(&self) -> Templates {
        let mut all = Templates::builtin();
        let path =
            self.side.as_ref().and_then(|side| side.decode.settings.rules.templates.as_ref());
        let own = path.filter(|path| path.is_file()).map(|path| Templates::load(path));
        if let Some(Ok(own)) = own {
            let _ = all.extend(own);
        }
        all
    }

    /// Rank of the adapter that made them.
    pub fn rank(&self) -> Option<usize> {
        let adapter = self.side.as_ref()?.identity.adapter.as_ref()?;
        adapter.config.get("r")?.as_u64()?.try_into().ok()
    }

    /// What made them, in words.
    pub fn words(&self) -> String {
        let unknown = || "unknown: no settings of this engine stand beside them".to_owned();
        self.side.as_ref().map_or_else(unknown, Side::words)
    }

    /// What a reader should know of it before believing a number.
    pub fn remark(&self, split: Split) -> Option<String> {
        let Some(side) = &self.side else {
            return Some(
                "no settings of this engine stand beside the predictions: data, split and users \
                are taken to be those given here"
                    .to_owned(),
            );
        };
        let made = side.decode.split;
        (self.asked.is_some() && split != made)
            .then(|| format!("made for split {made}, judged as {split}"))
    }

    /// What stands beside them with one hash for all tensors of a model: a report is for people.
    pub fn settings(&self) -> Value {
        let mut settings = self.beside.clone();
        if let Some(Side { identity, .. }) = &self.side {
            settings["weights"] = identity.weights.hash().into();
            settings["adapter"] = identity.adapter.as_ref().map(|adapter| adapter.hash()).into();
        }
        settings
    }
}

/// What tables call each of several files: its name without ending, with as many of its folders as
/// tell it apart from all others; one that is given again has a number.
pub(super) fn names(files: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(files.len());
    for path in files {
        let deepest = path.components().count().max(1);
        let is_apart = |depth: &usize| {
            let own = tail(path, *depth);
            files.iter().filter(|other| tail(other, *depth) == own).count() == 1
        };
        let name = tail(path, (1..=deepest).find(is_apart).unwrap_or(deepest));
        let numbered = (2..).map(|n| format!("{name} ({n})"));
        let mut choices = std::iter::once(name.clone()).chain(numbered);
        names.extend(choices.find(|choice| !names.contains(choice)));
    }
    names
}

/// The last `depth` parts of a path, without the file's ending.
fn tail(path: &Path, depth: usize) -> String {
    if path == Path::new("-") {
        return "standard input".to_owned();
    }
    let whole = path.with_extension("");
    let parts: Vec<_> =
        whole.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts[parts.len().saturating_sub(depth)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_shortest_names_that_tell_them_apart() {
        let of = |files: &[&str]| names(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["a/x.jsonl", "b/y.jsonl", "-"]), ["x", "y", "standard input"]);
        assert_eq!(of(&["a/x.jsonl", "b/x.jsonl", "c/y"]), ["a/x", "b/x", "y"]);
        assert_eq!(of(&["x.jsonl", "b/x.jsonl"]), ["x", "b/x"]);
        assert_eq!(of(&["a/x.1", "a/x.2"]), ["a/x", "a/x (2)"]);
        assert_eq!(of(&["x", "x", "x"]), ["x", "x (2)", "x (3)"]);
    }
}
