//! Questions about users and prompts, answered in groups, as JSON lines.

use super::budget::Budget;
use super::decode::Decode;
use super::inspect::memory::Answering;
use super::prompts::{Line, RawLine};
use crate::base::Fault;
use crate::data::catalogue::cleaned;
use crate::data::source::attributes;
use crate::data::task::{Shopper, Split, Tasks};
use crate::data::{Dataset, Names, Sample, Trie};
use crate::decode::{
    greedy, recommend_each, score_all, Answer, Blanks, Finished, Limits, Prompt, Rules,
};
use crate::model::{LoraConfig, Model, Tune};
use anyhow::{Context, Result};
use serde_json::{json, Value};
use std::time::Instant;

/// What is asked, as rows for the model.
pub struct Question {
    id: Value,
    task: String,
    template: Option<String>,
    /// The item that comes next, where it is known.
    target: Option<u32>,
    ask: Ask,
}

enum Ask {
    Items {
        prompt: Prompt,
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

/// An answer as it is written.
pub struct Answered {
    pub line: Value,
    pub trace: Value,
    /// The question could not be asked; the line says why.
    pub refused: bool,
}

/// What the model made of a question.
enum Outcome {
    Items(Vec<Finished>),
    Text(Vec<Answer>),
    Refused,
}

/// Makes questions and answers them.
pub struct Answerer<'a> {
    args: &'a Decode,
    model: &'a Model,
    budget: Budget,
    dataset: &'a Dataset,
    tasks: Tasks<'a>,
    catalogue: Trie<'a>,
    names: Names<'a>,
    specials: Vec<u32>,
}

/// A source id as JSON: a number where it is one.
pub fn id(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(n) if n.to_string() == text => json!(n),
        _ => json!(text),
    }
}

impl<'a> Answerer<'a> {
    pub fn new(
        args: &'a Decode,
        model: &'a Model,
        dataset: &'a Dataset,
        tasks: Tasks<'a>,
    ) -> Result<Answerer<'a>> {
        let (catalogue, names) = (dataset.catalogue(), Names::new(dataset));
        let specials = dataset.vocab().specials();
        let adapter = |lora: &LoraConfig| Tune::Lora { config: lora.clone(), positions: false };
        let budget = Budget::of(model, &model.lora().map_or(Tune::Nothing, adapter))?;
        Ok(Answerer { args, model, budget, dataset, tasks, catalogue, names, specials })
    }

    /// What comes after the events of a user that a split shows.
    pub fn user(&self, user: u32, split: Split) -> Result<Question> {
        let record = self.dataset.user(user);
        let shown = split.shown(record.items.len()).expect("chosen users have a target");
        let target = record.items[shown];
        let sample = self.tasks.prompt(user, shown)?;
        let mut left_out = self.left_out(&record.items[..shown]);
        left_out.retain(|&item| item != target);
        Ok(Question {
            id: id(record.id),
            task: self.args.task.clone(),
            template: Some(self.args.rows.template[0].clone()),
            target: Some(target),
            ask: items(sample, None, left_out),
        })
    }

    /// What a line asks. A line that cannot be asked is a question too: its answer says why.
    pub fn prompt(&self, line: &RawLine) -> Question {
        let refuse = |id, error| Question {
            id,
            task: self.args.task.clone(),
            template: None,
            target: None,
            ask: Ask::Refused(error),
        };
        match line.parse() {
            Err(refused) => refuse(refused.id, refused.error),
            Ok(line) => {
                let id = line.id.clone();
                self.read(line).unwrap_or_else(|error| refuse(id, format!("prompt: {error:#}")))
            }
        }
    }

    fn read(&self, line: Line) -> Result<Question> {
        let Line { id, task, history, profile, candidates, text } = line;
        let candidates = candidates.map(|names| self.find("candidates", &names)).transpose()?;
        if candidates.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                Fault::Data.error("candidates: expected at least one, got none; leave the key out")
            );
        }
        let within = candidates.as_ref().map(|items| self.dataset.catalogue_of(items));
        match (history, text) {
            (Some(history), None) => {
                let task = task.unwrap_or_else(|| self.args.task.clone());
                if task != "sequential" {
                    return Err(Fault::Data.error(format!(
                        "task: expected sequential beside a history, got {task}; ask for it by a \
                        text"
                    )));
                }
                let history = self.find("history", &history)?;
                let profile = cleaned(&profile_of(profile.unwrap_or_default())?);
                let known: Vec<(&str, &str)> =
                    profile.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let candidates = candidates.as_deref().unwrap_or_default();
                let sample = self.tasks.ask(Shopper {
                    history: &history,
                    attributes: &known,
                    candidates,
                })?;
                let template = Some(self.args.rows.template[0].clone());
                let ask = items(sample, within, self.left_out(&history));
                Ok(Question { id, task, template, target: None, ask })
            }
            (None, Some(text)) => {
                if profile.is_some() {
                    return Err(Fault::Data.error(
                        "profile: expected it beside a history, got a text; say it in the text",
                    ));
                }
                let task = task.unwrap_or_else(|| "text".to_owned());
                Ok(Question {
                    id,
                    task,
                    template: None,
                    target: None,
                    ask: self.text(&text, within)?,
                })
            }
            (history, _) => Err(Fault::Data.error(format!(
                "expected a history or a text, got {}; give one of them",
                if history.is_some() { "both" } else { "neither" }
            ))),
        }
    }

    fn text(&self, text: &str, within: Option<Trie<'static>>) -> Result<Ask> {
        let builder = self.tasks.builder();
        let prompt = self.tasks.free(text, self.args.segment_free_text == "trie")?;
        let masks = prompt.masks.len();
        if masks == 1 && (within.is_some() || self.args.constrain == "trie") {
            self.tasks.check_room(&prompt, self.tasks.longest_item())?;
            return Ok(items(builder.prompt(0, &prompt)?, within, Vec::new()));
        }
        if within.is_some() {
            return Err(Fault::Data.error(format!(
                "text: expected one mask for the candidates to fill, got {masks}; write a line for \
                each"
            )));
        }
        self.tasks.check_room(&prompt, self.args.max_new_tokens)?;
        let (part_a, masks) = builder.part_a(0, &prompt)?;
        Ok(Ask::Text { first: builder.prompt(0, &prompt)?, blanks: Blanks { part_a, masks } })
    }

    fn find(&self, what: &str, names: &[Value]) -> Result<Vec<u32>> {
        names
            .iter()
            .map(|name| self.names.find(name))
            .collect::<Result<_>>()
            .with_context(|| what.to_owned())
    }

    fn left_out(&self, history: &[u32]) -> Vec<u32> {
        let mut items = if self.args.filter_history { history.to_vec() } else { Vec::new() };
        items.sort_unstable();
        items.dedup();
        items
    }

    /// The answers of a group, in its order. What they hold, but for the time, does not depend on
    /// who is asked together.
    pub fn answer(&self, questions: &[Question]) -> Result<Vec<Answered>> {
        let begun = Instant::now();
        let (mut searched, mut scored, mut written) = (Vec::new(), Vec::new(), Vec::new());
        let (mut search_at, mut score_at, mut write_at) = (Vec::new(), Vec::new(), Vec::new());
        for (at, question) in questions.iter().enumerate() {
            match &question.ask {
                Ask::Items { prompt, within, left_out } => {
                    let trie = within.as_ref().unwrap_or(&self.catalogue);
                    if within.is_some() || self.args.mode == "score-all" {
                        score_at.push(at);
                        scored.push((self.rules(trie, self.args.top + left_out.len()), prompt));
                    } else {
                        search_at.push(at);
                        searched.push((self.rules(trie, self.args.beams + left_out.len()), prompt));
                    }
                }
                Ask::Text { blanks, .. } => {
                    write_at.push(at);
                    written.push(blanks);
                }
                Ask::Refused(_) => {}
            }
        }
        let mut outcomes: Vec<Outcome> = questions.iter().map(|_| Outcome::Refused).collect();
        let found = self.recommend(&searched)?;
        search_at.iter().zip(found).for_each(|(&at, found)| outcomes[at] = Outcome::Items(found));
        let found = score_all(self.model, &scored)?;
        score_at.iter().zip(found).for_each(|(&at, found)| outcomes[at] = Outcome::Items(found));
        let answers = greedy(self.model, &written, self.limits())?;
        write_at
            .iter()
            .zip(answers)
            .for_each(|(&at, answers)| outcomes[at] = Outcome::Text(answers));
        let seconds = begun.elapsed().as_secs_f64() / questions.len().max(1) as f64;
        let seconds = (seconds * 1e6).round() / 1e6;
        questions
            .iter()
            .zip(&outcomes)
            .map(|(question, outcome)| self.write(question, outcome, seconds))
            .collect()
    }

    /// What [`recommend_each`] finds, in groups that there is memory for.
    fn recommend(&self, mut asked: &[(Rules, &Prompt)]) -> Result<Vec<Vec<Finished>>> {
        let mut found = Vec::with_capacity(asked.len());
        while !asked.is_empty() {
            let rows: Vec<usize> = asked.iter().map(|(_, prompt)| prompt.sample.rows()).collect();
            let beams = asked.iter().map(|(rules, _)| rules.width).max().unwrap_or(0);
            let answering = Answering::items(self.dataset, beams);
            let (group, later) = asked.split_at(self.budget.together(&rows, answering));
            found.extend(recommend_each(self.model, group)?.0);
            asked = later;
        }
        Ok(found)
    }

    fn rules<'r>(&'r self, trie: &'r Trie<'r>, width: usize) -> Rules<'r> {
        Rules {
            trie,
            intra: self.tasks.builder().intra(),
            end: self.tasks.builder().special().end,
            width,
            length_penalty: self.args.length_penalty,
            look_ahead: true,
        }
    }

    fn limits(&self) -> Limits<'_> {
        let special = self.tasks.builder().special();
        Limits {
            intra: self.tasks.builder().intra(),
            start: special.start,
            end: special.end,
            specials: &self.specials,
            tokens: self.args.max_new_tokens,
        }
    }

    fn write(&self, question: &Question, outcome: &Outcome, seconds: f64) -> Result<Answered> {
        let id = &question.id;
        let mut line = json!({"id": id, "task": question.task});
        if let Some(template) = &question.template {
            line["template"] = json!(template);
        }
        if let Some(target) = question.target {
            line["target"] = self::id(self.dataset.item(target).id);
        }
        let (row, trace) = match (&question.ask, outcome) {
            (Ask::Items { prompt, within, left_out }, Outcome::Items(found)) => {
                let trie = within.as_ref().unwrap_or(&self.catalogue);
                let all = found
                    .iter()
                    .flat_map(|f| trie.members(f.node).iter().map(move |&item| (item, f)));
                let shown: Vec<(u32, &Finished)> = all
                    .filter(|(item, _)| left_out.binary_search(item).is_err())
                    .take(self.args.top)
                    .collect();
                line["items"] = shown.iter().map(|&(item, f)| self.item(item, f)).collect();
                let traced = |&(item, f): &(u32, &Finished)| {
                    json!({
                        "item": self::id(self.dataset.item(item).id), "tokens": f.tokens,
                        "positions": positions(prompt.mask_position, &f.ids), "log_probs": f.log_probs,
                    })
                };
                (&prompt.sample, json!({"items": shown.iter().map(traced).collect::<Vec<_>>()}))
            }
            (Ask::Text { first, blanks }, Outcome::Text(answers)) => {
                let texts =
                    answers.iter().map(|answer| self.dataset.vocab().decode(&answer.tokens));
                let texts = texts
                    .map(|text| Ok(text?.trim().to_owned()))
                    .collect::<Result<Vec<String>>>()?;
                line["text"] = json!(texts.join("\n"));
                if texts.len() > 1 {
                    line["texts"] = json!(texts);
                }
                line["ended"] = json!(answers.iter().all(|answer| answer.ended));
                let traced = |(answer, mask): (&Answer, &u32)| {
                    json!({
                        "tokens": answer.tokens, "positions": positions(*mask, &answer.ids),
                        "ended": answer.ended,
                    })
                };
                let answers: Vec<Value> = answers.iter().zip(&blanks.masks).map(traced).collect();
                (first, json!({"answers": answers}))
            }
            (Ask::Refused(error), _) => {
                let line = json!({"id": id, "error": error});
                return Ok(Answered { trace: line.clone(), line, refused: true });
            }
            _ => unreachable!("items are answered with items, texts with texts"),
        };
        line["tokens"] = json!(row.tokens.len());
        line["seconds"] = json!(seconds);
        let prompt =
            json!({"input_ids": row.tokens, "positions": row.positions, "context": row.context});
        let mut whole = json!({"id": id, "prompt": prompt});
        for (key, value) in trace.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        Ok(Answered { line, trace: whole, refused: false })
    }

    fn item(&self, item: u32, found: &Finished) -> Value {
        let item = self.dataset.item(item);
        json!({"item": id(item.id), "title": item.surface, "score": found.score, "valid": true})
    }
}

fn items(sample: Sample, within: Option<Trie<'static>>, left_out: Vec<u32>) -> Ask {
    Ask::Items { prompt: Prompt { mask_position: sample.mask_inter(), sample }, within, left_out }
}

/// Positions with which produced tokens are fed back: the mask's, and each its own intra id.
fn positions(mask: u32, ids: &[u32]) -> [Vec<u32>; 2] {
    [vec![mask; ids.len()], ids.to_vec()]
}

/// What a profile says, as users' attributes say it; a list gives several values of one name (R6).
fn profile_of(profile: serde_json::Map<String, Value>) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for (name, value) in profile {
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        for value in values {
            if value.is_array() || value.is_object() {
                return Err(Fault::Data.error(format!(
                    "profile: {name}: expected a text, a number or a list of these, got {value}; \
                    flatten it"
                )));
            }
            pairs.extend(attributes([(name.clone(), value)].into_iter().collect()));
        }
    }
    Ok(pairs)
}
