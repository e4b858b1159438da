//! Where answers go: a file or standard output, the trace and the settings beside it; and going on
//! with them.

use super::answer::Answered;
use super::id::Id;
use super::identity::Identity;
use super::job::Job;
use super::learnt::{length_penalty, Learnt};
use super::line::{self, Labelled};
use super::prior::Prior;
use super::settings::Settings;
use crate::base::outputs::{append, is_kept};
use crate::base::text::visible_json;
use crate::base::{write_whole, Fault, Held, Outputs, Standing};
use crate::data::rules::Frame;
use crate::data::task::sampled_users;
use crate::data::template::ALL;
use crate::data::Dataset;
use anyhow::{Context, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How the name of a side file ends.
const END: &str = ".settings.json";

/// The side file of predictions: all that is needed to repeat them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// What was asked, of which model, under which rules.
    pub decode: Job,
    /// How many users were asked; `None` of prompts, which nobody counts before they are read.
    #[serde(default)]
    pub asked: Option<usize>,
    /// What of that decides the answers.
    #[serde(flatten)]
    pub identity: Identity,
}

impl Side {
    /// Where the side file of predictions is written: `NAME.settings.json` beside `NAME`, so that
    /// two outputs in one folder never share it.
    pub fn path(predictions: &Path) -> PathBuf {
        let mut name = predictions.file_name().unwrap_or_default().to_os_string();
        name.push(END);
        predictions.with_file_name(name)
    }

    /// The side file of `predictions`, where there is one: its own, or another program's, which may
    /// leave the extension of the predictions out.
    pub fn file_beside(predictions: &Path) -> Option<PathBuf> {
        let candidates = [Side::path(predictions), predictions.with_extension(&END[1..])];
        candidates.into_iter().find(|path| path.is_file())
    }

    /// What the side file of `predictions` holds, where there is one. Other programs' files are
    /// read too, so it is a value first; [`Side::of`] makes it one of ours.
    pub fn beside(predictions: &Path) -> Result<Option<Value>> {
        if predictions == Path::new("-") {
            return Ok(None);
        }
        let Some(path) = Side::file_beside(predictions) else { return Ok(None) };
        let place = path.display();
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Fault::Data.error(format!("settings: {place}: {e}")))?;
        // The first line holds what is needed; a file that is one JSON value over several lines is
        // read whole.
        let first = text.lines().next().unwrap_or("");
        let value = serde_json::from_str(first).or_else(|_| serde_json::from_str(&text));
        let value: Value = value.map_err(|e| {
            let problem = format!("expected a JSON object, got {e}");
            Fault::Data.error(format!("settings: {place}: {problem}; repair or remove the file"))
        })?;
        // Ours under the shorter name are those of other predictions.
        let others = path != Side::path(predictions) && Side::of(&value).is_some();
        Ok((!others).then_some(value))
    }

    /// Whether the side file at `path` is ours and its predictions are gone: it says nothing any
    /// more.
    pub fn is_idle(path: &Path) -> bool {
        let name = path.as_os_str().to_str().and_then(|name| name.strip_suffix(END));
        let idle = name.is_some_and(|predictions| !Path::new(predictions).exists());
        let text = || std::fs::read(path).ok();
        idle && text().is_some_and(|text| serde_json::from_slice::<Side>(&text).is_ok())
    }

    /// What made the predictions, in words.
    pub fn words(&self) -> String {
        let Settings { source, rules, answers, .. } = &self.decode.settings;
        let adapter = source.adapter.as_ref();
        let adapter = adapter.map_or(String::new(), |run| format!(" with {}", run.display()));
        let asked = match (&self.decode.prompts, self.asked) {
            (None, Some(asked)) => {
                let users = self.decode.task.is_of_users();
                let several = self.decode.settings.rules.template.as_deref() == Some(&[ALL.into()]);
                let what = match (several, users) {
                    (true, _) => "questions",
                    (false, true) => "users",
                    (false, false) => "records",
                };
                format!("{asked} {what} of split {}", self.decode.split)
            }
            _ => "prompts".to_owned(),
        };
        let rules = rules.over(None, Frame::Glm);
        let usual = length_penalty(rules.score);
        let rules = Learnt {
            rules,
            length_penalty: answers.length_penalty.unwrap_or(usual),
            gelu: source.gelu,
        };
        let prior = match &answers.prior {
            Prior::None => String::new(),
            prior => format!(
                ", fused with the best {} of {prior} by {}, weights {}",
                answers.best_of_prior(),
                answers.fusion.unwrap_or_default(),
                self.identity.settings["prior"]["weights"]
            ),
        };
        format!(
            "engine {}, weights {}{adapter}, {asked}, data {:08x}, {} {} beams{prior}, rules: \
            {rules}",
            self.identity.engine,
            source.weights.display(),
            self.identity.data_hash,
            answers.mode,
            answers.beams,
        )
    }

    /// The users that were asked, ascending; `None` where prompts were.
    pub fn users(&self, dataset: &Dataset) -> Option<Vec<u32>> {
        let Job { prompts, task, split, users, settings, .. } = &self.decode;
        let of_users = prompts.is_none() && task.is_of_users();
        of_users.then(|| sampled_users(dataset, *split, *users, settings.source.seed))
    }

    /// Refuses another data set than the predictions were made with.
    pub fn expect_data(&self, predictions: &Path, dataset: &Dataset) -> Result<()> {
        let (made, given) = (self.identity.data_hash, dataset.hash());
        if made == given {
            return Ok(());
        }
        Err(Fault::Data.error(format!(
            "setting `data`: {}: expected the .bin that {} was made with ({made:08x}), got another \
            ({given:08x}); give that one, or decode again with this one",
            dataset.name(),
            predictions.display()
        )))
    }

    /// The side file that a value is, if it is one that this engine wrote.
    pub fn of(value: &Value) -> Option<Side> {
        serde_json::from_value(value.clone()).ok()
    }
}

/// Claims where the answers of a job go, their trace and their settings. With `resume` what an
/// earlier run left there is gone on with. Refuses settings that contradict one another.
pub fn claim(job: &Job, mut outputs: Outputs, resume: bool) -> Result<Held> {
    job.check(resume)?;
    job.settings.tell(&mut outputs);
    if let Some(prompts) = &job.prompts {
        outputs.reads("setting `prompts`", Path::new(prompts));
    }
    let standing = || if resume { Standing::Continued } else { Standing::Resumable };
    let out = Path::new(&job.out);
    outputs.file("setting `out`", out, standing());
    if let Some(trace) = &job.trace {
        outputs.file("setting `trace`", trace, standing());
    }
    if job.out != "-" && is_kept(out) {
        let settings = if resume { Standing::Continued } else { Standing::Ours(Side::is_idle) };
        outputs.file("the settings of setting `out`", &Side::path(out), settings);
    }
    outputs.claim()
}

/// Time after which lines that were written are brought to disk.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Answers, one JSON line each, and their trace.
pub struct Output {
    out: Box<dyn Write>,
    trace: Option<BufWriter<File>>,
    /// Of both what is a file, the trace in front.
    files: Vec<(PathBuf, File)>,
    /// When they were brought to disk.
    settled: Instant,
}

impl Output {
    /// Opens the output and says how many answers it holds already: none unless `resume`. Then
    /// lines that the end of a process cut off are taken away, and so is what the trace has more or
    /// fewer of; `settings` must be of the identity of before, and the lines' ids the first of
    /// `ids`.
    pub fn open(
        settings: &Side,
        resume: bool,
        ids: impl Iterator<Item = Result<Id>>,
    ) -> Result<(Output, usize)> {
        let job = &settings.decode;
        let mut done = 0;
        let mut bytes = [0, 0];
        let trace = job.trace.as_deref();
        if job.out == "-" {
            let mut files = Vec::new();
            let trace = trace.map(|path| continued(path, 0, &mut files)).transpose()?;
            let (out, settled) = (Box::new(std::io::stdout().lock()), Instant::now());
            return Ok((Output { out, trace, files, settled }, 0));
        }
        let path = Path::new(&job.out);
        let side = Side::path(path);
        if resume && path.is_file() {
            // Without its trace no answer is whole.
            let mut traced: Option<Box<dyn BufRead>> = match trace {
                Some(path) if path.exists() => {
                    Some(Box::new(BufReader::new(named(path, File::open(path))?)))
                }
                Some(_) => Some(Box::new(std::io::empty())),
                None => None,
            };
            let mut answers = BufReader::new(named(path, File::open(path))?);
            let mut ids = ids;
            while let Some((id, length)) = whole_line(&mut answers)? {
                if done == 0 {
                    // Where nothing is answered yet, there is nothing to fit to.
                    same_identity(path, &side, &settings.identity)?;
                }
                let traced = traced.as_mut().map(whole_line).transpose()?;
                if let Some(None) = traced {
                    break;
                }
                let expected = ids.next().transpose()?;
                if expected.as_ref() != Some(&id) {
                    return Err(Fault::Data.error(format!(
                        "setting `resume`: {}:{}: expected the answer to {}, got one to {id}; use \
                        another setting `out`",
                        path.display(),
                        done + 1,
                        expected.map_or("nothing".to_owned(), |id| id.to_string()),
                    )));
                }
                done += 1;
                bytes[0] += length;
                bytes[1] += traced.flatten().map_or(0, |(_, length)| length);
            }
        }
        let mut files = Vec::new();
        let trace = trace.map(|path| continued(path, bytes[1], &mut files)).transpose()?;
        let out = Box::new(continued(path, bytes[0], &mut files)?);
        // Before the first answer, so that no answer is ever without them.
        if is_kept(path) {
            write_whole(&side, serde_json::to_string(settings)? + "\n")?;
        }
        Ok((Output { out, trace, files, settled: Instant::now() }, done))
    }

    /// Writes answers and hands them on line by line. The trace goes first: a run that ends in
    /// between has no answer without one.
    pub fn write(
        &mut self,
        dataset: &Dataset,
        questions: &[Labelled],
        answers: &[Answered],
    ) -> Result<()> {
        let pairs = || questions.iter().zip(answers);
        if let Some(trace) = &mut self.trace {
            for (question, answered) in pairs() {
                let line = line::trace(dataset, question, answered).to_string();
                writeln!(trace, "{}", visible_json(&line))?;
            }
            trace.flush()?;
        }
        for (question, answered) in pairs() {
            let line = line::answer(dataset, question, answered).to_string();
            writeln!(self.out, "{}", visible_json(&line))?;
            self.out.flush()?;
        }
        match self.settled.elapsed() > SETTLED_AFTER {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Brings what was written to disk: now and then, and at the end.
    pub fn settle(&mut self) -> Result<()> {
        for (path, file) in &self.files {
            named(path, file.sync_data())?;
        }
        self.settled = Instant::now();
        Ok(())
    }
}

fn named<T>(path: &Path, result: std::io::Result<T>) -> Result<T> {
    result.with_context(|| path.display().to_string())
}

/// A file of which the first `bytes` stay, to be written on; it joins `files` if it is one.
fn continued(path: &Path, bytes: u64, files: &mut Vec<(PathBuf, File)>) -> Result<BufWriter<File>> {
    let file = named(path, append(path, bytes))?;
    if named(path, file.metadata())?.is_file() {
        files.push((path.to_owned(), named(path, file.try_clone())?));
    }
    Ok(BufWriter::new(file))
}

/// The id of the next line that ends and is JSON, and the line's length in bytes.
fn whole_line(reader: &mut impl BufRead) -> Result<Option<(Id, u64)>> {
    let mut line = Vec::new();
    let length = reader.read_until(b'\n', &mut line)? as u64;
    let whole = line.last() == Some(&b'\n');
    let json = serde_json::from_slice::<IgnoredAny>(&line).is_ok();
    let id = || Id::of_line(&line).unwrap_or_else(|_| Id::null());
    Ok((whole && json).then(|| (id(), length)))
}

/// Refuses to go on with what was begun as something else.
fn same_identity(path: &Path, side: &Path, now: &Identity) -> Result<()> {
    let before = std::fs::read_to_string(side).unwrap_or_default();
    let before = before.lines().next().and_then(|line| serde_json::from_str::<Side>(line).ok());
    match before {
        Some(before) => before.identity.expect(now, side),
        None => Err(Fault::Usage.error(format!(
            "setting `resume`: {}: expected what it was begun with in the first line of {}, got \
             none; use another setting `out`",
            path.display(),
            side.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_count() {
        let mut text = "{\"id\":1}\n{\"id\":2}\n{\"id\":3}".as_bytes();
        let ids =
            std::iter::from_fn(|| whole_line(&mut text).unwrap()).map(|(id, _)| id.to_string());
        assert_eq!(ids.collect::<Vec<_>>(), ["1", "2"]);
    }
}
