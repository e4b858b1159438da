//! Prompts as JSON lines: `{"id", "task"?, "history": […], "profile"?, "candidates"?}`,
//! `{"id", "task"?, "user", "candidates"?}` or `{"id", "task"?, "text", "candidates"?}`, each with
//! `"top"?`, `"exclude"?` and `"template"?`.

use super::answer::{Answer, Answered, Output, Parts, Scored, Written};
use super::id::{of_source, Id};
use super::open::Recommender;
use super::question::{Asked, Question, Rows, Wishes};
use crate::base::text::MARK;
use crate::base::{nearest, open_stream, unreadable, Fault};
use crate::data::names::Name;
use crate::data::source::attribute;
use crate::data::{Cut, Dataset, Family, Sample};
use anyhow::{Context, Result};
use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::{json, Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes of a line at most where nobody says otherwise: what a broken host sends must not fill the
/// memory. A line of prompts that can be answered has some thousands.
pub const LONGEST_LINE: usize = 1 << 20;

/// Values of a profile at most: each becomes texts and tokens of its own, and a row has room for
/// some hundreds.
const MOST_VALUES: usize = 1000;

/// A prompt as a line gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What the answer bears as well.
    pub id: Id,
    /// What is asked, in one word.
    pub task: Option<String>,
    /// Names of items, oldest first.
    pub history: Option<Vec<Name>>,
    /// What is known of the person.
    pub profile: Option<Map<String, Value>>,
    /// Names of items.
    pub candidates: Option<Vec<Name>>,
    /// A text with masks.
    pub text: Option<String>,
    /// A user of the data set, whose events are the history.
    pub user: Option<Name>,
    /// Items of the answer.
    pub top: Option<usize>,
    /// Names of items that the answer does not show.
    pub exclude: Option<Vec<Name>>,
    /// Id of the template that words the question.
    pub template: Option<String>,
}

/// A line that is no prompt.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// The line's own id, null where none can be read.
    pub id: Id,
    /// Why it is none.
    pub error: String,
}

/// A line as it was read, without its end.
pub enum RawLine {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Longer than the bytes that a line may have; it was passed over.
    TooLong(usize),
}

impl RawLine {
    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        match self {
            RawLine::Bytes(bytes) => bytes.capacity(),
            RawLine::TooLong(_) => 0,
        }
    }

    /// Reads the prompt. Refuses what is no JSON object, one without an id, and a key that means
    /// nothing.
    pub fn parse(&self) -> Result<Line, Refused> {
        let refuse = |id: Id, error: String| Err(Refused { id, error: format!("prompt: {error}") });
        let bytes = match self {
            RawLine::Bytes(bytes) => bytes,
            RawLine::TooLong(most) => {
                let error = format!(
                    "expected a line of at most {most} bytes, got a longer one; shorten it, or \
                     raise setting `max-line`"
                );
                return refuse(Id::null(), error);
            }
        };
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
            let error = format!("expected a JSON object, got: {error}; mend the line");
            return refuse(Id::null(), error);
        }
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            let error = "expected a JSON object, got another value; mend the line".to_owned();
            return refuse(Id::null(), error);
        }
        let id = match Id::of_line(bytes) {
            Ok(id) => id,
            Err(why) => return refuse(Id::null(), format!("id: {why}; give every line one")),
        };
        serde_json::from_slice(bytes).or_else(|error| {
            let keys = KEYS.join(", ");
            refuse(id, format!("expected {keys}, got: {error}; {}", advice(bytes)))
        })
    }
}

/// What a line may say.
const KEYS: [&str; 10] = [
    "id",
    "task",
    "history",
    "user",
    "text",
    "profile",
    "candidates",
    "top",
    "exclude",
    "template",
];

/// What to do about a line that is no prompt: a key that nobody knows may be a slip.
fn advice(line: &[u8]) -> String {
    let keys: HashMap<String, IgnoredAny> = serde_json::from_slice(line).unwrap_or_default();
    let unknown = keys.keys().filter(|key| !KEYS.contains(&key.as_str())).min();
    let near = unknown.and_then(|key| nearest(key, KEYS));
    near.map_or("mend the line".to_owned(), |key| format!("nearest is {key}"))
}

/// Lines one after another; the last one may lack its end. A byte-order mark and lines of nothing
/// but white space are passed over.
pub struct RawLines {
    reader: BufReader<File>,
    /// Nothing was read yet.
    fresh: bool,
    shown: String,
    longest: usize,
}

impl RawLines {
    /// The lines of a file. Refuses one that cannot be read.
    pub fn open(path: &Path) -> Result<RawLines> {
        let shown = path.display().to_string();
        let file = open_stream(path).map_err(|error| refuse_file(path, &error))?;
        Ok(RawLines { reader: BufReader::new(file), fresh: true, shown, longest: LONGEST_LINE })
    }

    /// Standard input. Nobody else may read it: what is read ahead stays here.
    pub fn standard_input() -> Result<RawLines> {
        let input = io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
        Ok(RawLines {
            reader: BufReader::new(File::from(input)),
            fresh: true,
            shown: "standard input".to_owned(),
            longest: LONGEST_LINE,
        })
    }

    /// The same lines, of which none may have more than `bytes`; [`LONGEST_LINE`] otherwise.
    pub fn at_most(self, bytes: usize) -> RawLines {
        RawLines { longest: bytes, ..self }
    }

    /// Bytes of a line at most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The next line; may wait for it.
    pub fn read(&mut self) -> Result<Option<RawLine>> {
        loop {
            let mut line = read(&mut self.reader, self.longest)
                .with_context(|| format!("setting `prompts`: {}", self.shown))?;
            let first = std::mem::take(&mut self.fresh);
            if let Some(RawLine::Bytes(bytes)) = &mut line {
                if first && bytes.starts_with(MARK) {
                    bytes.drain(..MARK.len());
                }
                if bytes.trim_ascii().is_empty() {
                    continue;
                }
            }
            return Ok(line);
        }
    }

    /// Whether the next line is here already, so that reading it does not wait.
    pub fn is_ready(&self) -> bool {
        let buffer = self.reader.buffer();
        let whole = buffer.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
        !buffer[..whole].trim_ascii().is_empty()
    }

    /// Whether nothing of a line is here yet.
    pub fn is_empty(&self) -> bool {
        self.reader.buffer().is_empty()
    }
}

fn read(reader: &mut impl BufRead, longest: usize) -> io::Result<Option<RawLine>> {
    let mut line = Vec::new();
    if reader.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > longest {
        reader.skip_until(b'\n')?;
        return Ok(Some(RawLine::TooLong(longest)));
    }
    // It was read into twice the room at times, and may wait for long.
    line.shrink_to_fit();
    Ok(Some(RawLine::Bytes(line)))
}

/// The error of a file of prompts that cannot be read.
pub fn refuse_file(path: &Path, why: &io::Error) -> anyhow::Error {
    unreadable(Fault::Usage, "setting `prompts`", path, "a file of JSON lines", why)
}

/// The ids of a file's prompts, null where a line of at most `longest` bytes has none.
pub fn ids(path: &Path, longest: usize) -> Result<impl Iterator<Item = Result<Id>>> {
    let mut lines = RawLines::open(path)?.at_most(longest);
    Ok(std::iter::from_fn(move || {
        let line = lines.read().transpose()?;
        Some(line.map(|line| line.parse().map_or_else(|refused| refused.id, |line| line.id)))
    }))
}

/// crc32 of a file of prompts.
pub fn hash(path: &Path) -> Result<String> {
    let mut lines = RawLines::open(path)?;
    let mut crc = crc32fast::Hasher::new();
    loop {
        let bytes = lines
            .reader
            .fill_buf()
            .with_context(|| format!("setting `prompts`: {}", lines.shown))?;
        if bytes.is_empty() {
            return Ok(format!("{:08x}", crc.finalize()));
        }
        crc.update(bytes);
        let length = bytes.len();
        lines.reader.consume(length);
    }
}

/// A question with what its line says beside it.
pub struct Labelled {
    /// The line's own id.
    pub id: Id,
    /// What is asked, in one word.
    pub task: String,
    /// The question as rows, or why there are none.
    pub asked: Asked,
}

/// What a line asks. A line that cannot be asked is a question too: its answer says why. `task` is
/// the task of a line with a history that names none.
pub fn ask(recommender: &Recommender, line: &RawLine, task: Family) -> Labelled {
    let refuse = |id, why| Labelled { id, task: task.to_string(), asked: Asked::refused(why) };
    match line.parse() {
        Err(refused) => refuse(refused.id, refused.error),
        Ok(line) => {
            let id = line.id.clone();
            let read = question(line, task).and_then(|(task, question, wishes)| {
                let asked = recommender.ask_with(&question, &wishes)?;
                Ok(Labelled { id: id.clone(), task, asked })
            });
            read.unwrap_or_else(|error| refuse(id, format!("prompt: {error:#}")))
        }
    }
}

/// The task, the question and the wishes of a line.
fn question(line: Line, usual: Family) -> Result<(String, Question, Wishes)> {
    let Line { id: _, task, history, profile, candidates, text, user, top, exclude, template } =
        line;
    let wishes = Wishes { top, exclude: exclude.unwrap_or_default(), template };
    if history.is_none() && profile.is_some() {
        return Err(Fault::Data.error(
            "profile: expected it beside a history, got a text or a user; say it in the text, or \
            leave it out: the data knows its users",
        ));
    }
    if text.is_none() {
        let task = task.as_deref().unwrap_or(usual.name());
        if task != Family::Sequential.name() {
            let near = nearest(task, Family::NAMES.iter().copied());
            let near = near.filter(|near| *near != task);
            let advice =
                near.map_or("ask for it by a text".to_owned(), |near| format!("nearest is {near}"));
            return Err(Fault::Data.error(format!(
                "task: expected sequential beside a history, got {task}; {advice}"
            )));
        }
    }
    let sequential = || Family::Sequential.name().to_owned();
    match (history, user, text) {
        (Some(history), None, None) => {
            let profile = profile_of(profile.unwrap_or_default())?;
            Ok((sequential(), Question::History { history, profile, candidates }, wishes))
        }
        (None, Some(user), None) => {
            Ok((sequential(), Question::Latest { user, candidates }, wishes))
        }
        (None, None, Some(text)) => {
            let task = task.unwrap_or_else(|| "text".to_owned());
            Ok((task, Question::Text { text, candidates }, wishes))
        }
        (history, user, text) => {
            let given = [history.is_some(), user.is_some(), text.is_some()];
            let got = match given.into_iter().filter(|&given| given).count() {
                0 => "neither",
                2 => "both",
                _ => "all of them",
            };
            Err(Fault::Data.error(format!(
                "expected a history or a text, or a user of the data, got {got}; give one of them"
            )))
        }
    }
}

/// What a profile says, as users' attributes say it; a list gives several values of one name (R6).
fn profile_of(profile: Map<String, Value>) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for (name, value) in profile {
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        if pairs.len() + values.len() > MOST_VALUES {
            return Err(Fault::Data.error(format!(
                "profile: {name}: expected at most {MOST_VALUES} values in all, got more; no row \
                 has room for them"
            )));
        }
        for value in values {
            if value.is_array() || value.is_object() {
                return Err(Fault::Data.error(format!(
                    "profile: {name}: expected a text, a number or a list of these, got {value}; \
                     flatten it"
                )));
            }
            pairs.extend(attribute(&name, value));
        }
    }
    Ok(pairs)
}

/// The line of an answer.
pub fn answer(dataset: &Dataset, question: &Labelled, answered: &Answered) -> String {
    let Labelled { id: own, task, asked } = question;
    let mut line = Map::new();
    if let Answer::Refused(why) = &answered.answer {
        line.insert("error".into(), json!(why));
        return own.line(line);
    }
    line.insert("task".into(), json!(task));
    if let Some(template) = &asked.template {
        line.insert("template".into(), json!(template));
    }
    if let Some(target) = asked.target {
        line.insert("target".into(), of_source(dataset.item(target).id));
    }
    match &answered.answer {
        Answer::Items(items) => {
            let shown = items.iter().map(|found| {
                let item = dataset.item(found.item);
                let mut shown = json!({
                    "item": of_source(item.id), "title": item.surface, "score": found.score,
                    "valid": true,
                });
                // What was produced has a length, by which another penalty would rank (E13).
                if !found.tokens.is_empty() {
                    shown["length"] = json!(found.tokens.len());
                }
                if let Some(Parts { model, prior }) = found.parts {
                    (shown["model"], shown["prior"]) = (json!(model), json!(prior));
                }
                shown
            });
            line.insert("items".into(), shown.collect());
        }
        Answer::Outputs(outputs) => {
            let shown = outputs.iter().map(|one| {
                let id = one.item.map(|item| of_source(dataset.item(item).id));
                json!({
                    "item": id, "title": one.text, "score": one.score,
                    "valid": one.item.is_some(),
                })
            });
            line.insert("items".into(), shown.collect());
        }
        Answer::Text(written) => {
            let texts: Vec<&str> = written.iter().map(|one| one.text.as_str()).collect();
            line.insert("text".into(), json!(texts.join("\n")));
            if texts.len() > 1 {
                line.insert("texts".into(), json!(texts));
            }
            line.insert("ended".into(), json!(written.iter().all(|one| one.ended)));
        }
        Answer::Refused(_) => unreachable!("refusals have left by now"),
    }
    if matches!(asked.rows, Rows::Popular(_)) {
        line.insert("from".into(), json!("popularity"));
    }
    if asked.unknown > 0 {
        line.insert("unknown".into(), json!(asked.unknown));
    }
    let Cut { samples: _, history, profile, candidates, review, clamped } = asked.cut();
    let lost = [
        ("truncated", history),
        ("truncated_profile", profile),
        ("truncated_candidates", candidates),
        ("truncated_review", review),
        ("clamped", clamped),
    ];
    for (name, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
        line.insert(name.into(), json!(count));
    }
    if let Some(row) = asked.rows.first() {
        line.insert("tokens".into(), json!(row.tokens.len()));
    }
    line.insert("seconds".into(), json!((answered.seconds * 1e6).round() / 1e6));
    own.line(line)
}

/// The line of an answer's trace: all that recomputes its scores elsewhere.
pub fn trace(dataset: &Dataset, question: &Labelled, answered: &Answered) -> String {
    let Some(row) = question.asked.rows.first() else {
        return answer(dataset, question, answered);
    };
    let prompt = json!({
        "input_ids": row.tokens, "positions": row.positions, "context": row.context,
    });
    let mut line = Map::new();
    line.insert("prompt".into(), prompt);
    let of_item = |found: &Scored| {
        json!({
            "item": of_source(dataset.item(found.item).id), "tokens": found.tokens,
            "positions": found.positions, "log_probs": found.log_probs,
        })
    };
    let of_text = |one: &Written| {
        let Written { tokens, positions, ended, .. } = one;
        json!({"tokens": tokens, "positions": positions, "ended": ended})
    };
    let of_output = |one: &Output| {
        json!({
            "item": one.item.map(|item| of_source(dataset.item(item).id)), "tokens": one.tokens,
            "positions": one.positions, "log_probs": one.log_probs,
        })
    };
    if let Rows::YesNo { prompts, items, words } = &question.asked.rows {
        let of_prompt = |(row, &item): (&Sample, &u32)| {
            json!({
                "item": of_source(dataset.item(item).id), "input_ids": row.tokens,
                "positions": row.positions, "context": row.context,
            })
        };
        line.shift_remove("prompt");
        line.insert("prompts".into(), prompts.iter().zip(items).map(of_prompt).collect());
        line.insert("words".into(), json!(words));
    }
    match &answered.answer {
        Answer::Items(items) => line.insert("items".into(), items.iter().map(of_item).collect()),
        Answer::Outputs(all) => line.insert("items".into(), all.iter().map(of_output).collect()),
        Answer::Text(texts) => line.insert("answers".into(), texts.iter().map(of_text).collect()),
        Answer::Refused(_) => unreachable!("rows that exist are answered"),
    };
    question.id.line(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Line, Refused> {
        RawLine::Bytes(line.as_bytes().to_vec()).parse()
    }

    #[test]
    fn what_is_no_prompt_is_refused_with_its_id_where_there_is_one() {
        for (line, id, words) in [
            ("", "null", "EOF"),
            ("{\"id\": 1", "null", "EOF"),
            ("[1]", "null", "another value"),
            ("{\"text\": \"x\"}", "null", "id: missing"),
            ("{\"id\": 1, \"id\": 2}", "null", "duplicate"),
            ("{\"id\": 7, \"history\": [[]]}", "7", "title of an item"),
            ("{\"id\": \"a\", \"histroy\": []}", "\"a\"", "histroy"),
            ("{\"id\": 7, \"history\": 3}", "7", "sequence"),
            ("\u{0}", "null", "JSON object"),
        ] {
            let refused = parse(line).unwrap_err();
            assert_eq!(refused.id.to_string(), id, "{line}");
            assert!(refused.error.contains(words), "{line}: {}", refused.error);
        }
        for id in ["2.5", "1e2", "18446744073709551616", "\"\\u001b\"", "[1, {}]", "null"] {
            let line = parse(&format!("{{\"text\": \"x\", \"id\": {id}}}")).unwrap();
            assert_eq!(line.id.to_string(), id);
        }
        assert!(RawLine::Bytes(vec![0xff, 0xfe]).parse().is_err());
        assert_eq!(
            parse("{\"id\": \"a\", \"history\": [1, \"x\"]}").unwrap().history.unwrap().len(),
            2
        );
    }

    #[test]
    fn a_line_too_long_is_passed_over_and_the_next_one_read() {
        let mut input = b"12345\n123456\n1\nlast".as_slice();
        let mut lines = Vec::new();
        while let Some(line) = read(&mut input, 5).unwrap() {
            lines.push(match line {
                RawLine::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                RawLine::TooLong(most) => format!("more than {most}"),
            });
        }
        assert_eq!(lines, ["12345", "more than 5", "1", "last"]);
    }
}
