//! Reads what `engine decode` wrote: one JSON object a line.

pub use super::asked::Asked;
use super::grounding::{normal, Titles};
use super::truth::{Split, Truth};
use crate::base::text::MARK;
use crate::base::Fault;
use crate::data::template::Templates;
use crate::data::{Cut, Family};
use anyhow::{bail, Result};
use serde::{Deserialize, Deserializer};
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io::BufRead;

/// One line.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Number of the user.
    pub user: u32,
    /// The item in question: the held-out one of a ranking, the rated or explained one of the other
    /// families.
    pub item: u32,
    /// Outputs, best first: the items each names, none for an invalid one, several where items
    /// share its title.
    pub slots: Vec<Vec<u32>>,
    /// The outputs' scores, as long as `slots`; NaN where the line gives none.
    pub scores: Vec<f32>,
    /// The outputs' tokens, as many as `slots`; 0 where the line gives none.
    pub lengths: Vec<u32>,
    /// What fused scores were made of, the model's and the prior's, as many as `slots` (E29); none
    /// where any output lacks them.
    pub parts: Vec<[f64; 2]>,
    /// What was generated as text, empty where nothing was.
    pub text: String,
    /// The text that it is compared with, empty where none is.
    pub reference: String,
    /// The feature word of an explanation, empty where the line gives none.
    pub feature: String,
    /// The line says that the prompt could not be answered.
    pub failed: bool,
    /// What decoding took, 0 where the line does not say.
    pub seconds: f64,
    /// What the prompt did not say, where the line tells.
    pub cut: Cut,
}

/// All predictions of one template, in file order.
#[derive(Clone, Debug)]
pub struct Group {
    /// The task that its lines name.
    pub task: Family,
    /// The template that its lines name, empty where they name none.
    pub template: String,
    /// What the template asks for.
    pub family: Asked,
    /// Its lines.
    pub predictions: Vec<Prediction>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(serde_json::Number),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

#[derive(Deserialize)]
struct Output {
    item: Option<Id>,
    title: Option<String>,
    /// Null is no score, and another thing than none: whatever wrote it had no number to write.
    #[serde(default, deserialize_with = "given")]
    score: Option<Option<f32>>,
    valid: Option<bool>,
    #[serde(default)]
    length: u32,
    model: Option<f64>,
    prior: Option<f64>,
}

/// A field that is there, be it null.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<f32>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct Line {
    id: Id,
    task: Option<String>,
    template: Option<String>,
    target: Option<Id>,
    items: Option<Vec<Output>>,
    text: Option<String>,
    reference: Option<String>,
    feature: Option<String>,
    error: Option<String>,
    seconds: Option<f64>,
    #[serde(default)]
    truncated: u64,
    #[serde(default)]
    truncated_profile: u64,
    #[serde(default)]
    truncated_candidates: u64,
    #[serde(default)]
    truncated_review: u64,
    #[serde(default)]
    clamped: u64,
}

/// Turns lines into [`Group`]s for one `.bin` and split.
pub struct Reader<'a> {
    truth: &'a Truth<'a>,
    split: Split,
    /// Surfaces, then titles; made when an output names no item by its id.
    named: OnceCell<[Titles; 2]>,
    /// Lines whose answers nobody judges, by template.
    passed_over: RefCell<BTreeMap<String, usize>>,
}

impl<'a> Reader<'a> {
    /// For predictions of one split.
    pub fn new(truth: &'a Truth<'a>, split: Split) -> Reader<'a> {
        Reader { truth, split, named: OnceCell::new(), passed_over: RefCell::default() }
    }

    /// What was read and is not judged, a line each.
    pub fn passed_over(&self) -> Vec<String> {
        let lines = self.passed_over.borrow();
        let words = lines.iter().map(|(template, lines)| {
            format!("rating {template}: {lines} lines passed over, whose answers are no stars")
        });
        words.collect()
    }

    /// The items of a surface, otherwise of a title, in the `.bin`'s order of ties (E16b).
    fn named(&self, title: &str) -> &[u32] {
        let [surfaces, titles] = self.named.get_or_init(|| {
            let order = self.truth.tie_order();
            let of = |text: fn(&super::truth::Item<'a>) -> &'a str| {
                let pairs =
                    order.iter().map(|&item| (item, text(&self.truth.items[item as usize])));
                Titles::new(pairs.filter(|(_, text)| !text.is_empty()))
            };
            [of(|item| item.surface), of(|item| item.title)]
        });
        let by_surface = surfaces.find(title);
        if by_surface.is_empty() {
            titles.find(title)
        } else {
            by_surface
        }
    }

    /// Reads a whole file; `name` stands for it in messages.
    ///
    /// Refuses, with the line's number: what is no prediction, users and items that the `.bin` does
    /// not hold, a second prediction for the same question, a target other than the `.bin`'s.
    ///
    /// `templates` are those that the lines may have been asked by.
    pub fn read(
        &self,
        mut source: impl BufRead,
        name: &str,
        templates: &Templates,
    ) -> Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of: HashMap<(Family, String), usize> = HashMap::new();
        let mut seen: HashSet<(usize, u32, Option<u32>)> = HashSet::new();
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            let length = source.read_until(b'\n', &mut bytes);
            let length = length
                .map_err(|e| Fault::Data.error(format!("predictions: {name}:{number}: {e}")))?;
            if length == 0 {
                break;
            }
            if number == 1 && bytes.starts_with(MARK) {
                bytes.drain(..MARK.len());
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let refuse = |what: &str, problem: String| {
                Fault::Data.error(format!("{what}: {name}:{number}: {problem}"))
            };
            let line: Line = serde_json::from_slice(&bytes).map_err(|e| {
                let problem =
                    format!("expected a JSON object as `engine decode` writes it, got {e}");
                refuse(
                    "predictions",
                    format!("{problem}; repair the line or decode again with setting `resume`"),
                )
            })?;
            let task = line.task.as_deref().map_or(Ok(Family::Sequential), str::parse);
            let task = task.map_err(|problem| refuse("predictions", problem.to_string()))?;
            let template = line.template.clone().unwrap_or_default();
            let words = templates.iter().find(|known| known.id == template);
            let family = Asked::of(task, &template, words, line.reference.is_some());
            let Some(family) = family else {
                *self.passed_over.borrow_mut().entry(template).or_default() += 1;
                continue;
            };
            let prediction =
                self.prediction(line, family).map_err(|(what, problem)| refuse(what, problem))?;
            let next = groups.len();
            let group = *group_of.entry((task, template.clone())).or_insert(next);
            if group == next {
                groups.push(Group { task, template, family, predictions: Vec::new() });
            } else if groups[group].family != family {
                let got = format!("expected answers of one kind for task {task}, got both kinds");
                bail!(refuse("task", format!("{got}; give every line its template")));
            }
            // A ranking is asked once a user, the other families once a user and item.
            let question = (group, prediction.user, (!family.ranks()).then_some(prediction.item));
            if !seen.insert(question) {
                let id = self.truth.users[prediction.user as usize].id;
                let got =
                    format!("expected one prediction a question, got a second one for user {id}");
                bail!(refuse("predictions", format!("{got}; keep one of the two lines")));
            }
            groups[group].predictions.push(prediction);
        }
        if let (true, Some((template, _))) =
            (groups.is_empty(), self.passed_over.borrow().first_key_value())
        {
            bail!(Fault::Data.error(format!(
                "task: {name}: expected a template whose answer is a number of stars, got \
                {template}; rating metrics are made of 1-1, 1-2, 1-5, 1-6, 1-7 and 1-10"
            )));
        }
        if groups.is_empty() {
            let problem =
                "expected a JSON line for each prediction, got none; give a file that `engine \
                decode` wrote";
            bail!(Fault::Data.error(format!("predictions: {name}: {problem}")));
        }
        Ok(groups)
    }

    fn prediction(&self, line: Line, family: Asked) -> Result<Prediction, (&'static str, String)> {
        let truth = self.truth;
        let id = line.id.to_string();
        let user = truth.find_user(&id).ok_or_else(|| {
            let got = format!("expected a user of {}, got {id:?}", truth.name);
            ("user", format!("{got}; evaluate with the .bin that the predictions were made with"))
        })?;
        let case = truth.users[user as usize].case(user, self.split);
        let target = match &line.target {
            None => None,
            Some(id) => Some(truth.find_item(&id.to_string()).ok_or_else(|| {
                let got = format!("expected an item of {}, got \"{id}\"", truth.name);
                (
                    "target",
                    format!("{got}; evaluate with the .bin that the predictions were made with"),
                )
            })?),
        };
        let held_out = || {
            case.map(|case| case.target).ok_or_else(|| {
                let got =
                    format!("expected a user with a {} item, got user {id}", self.split.name());
                ("user", format!("{got}, whose events are too few; leave the line out"))
            })
        };
        let item = if family.ranks() {
            let held_out = held_out()?;
            if let Some(target) = target.filter(|&target| target != held_out) {
                let name = |item: u32| truth.items[item as usize].id;
                let expected = format!(
                    "expected item {}, user {id}'s {} item",
                    name(held_out),
                    self.split.name()
                );
                let advice =
                    "evaluate with the .bin and setting `split` that the predictions were \
                    made with";
                return Err(("target", format!("{expected}, got {}; {advice}", name(target))));
            }
            held_out
        } else {
            match target {
                Some(target) => target,
                None => held_out()?,
            }
        };
        let failed = line.error.is_some();
        if family.ranks() && !failed && line.items.is_none() {
            return Err((
                "predictions",
                "expected a list `items`, got none; decode with this task again".into(),
            ));
        }
        let reference = match family.has_text() {
            true => self.reference(&line, user, item).map_err(|problem| ("reference", problem))?,
            false => String::new(),
        };
        let mut written = truth.written.get(&(user, item)).into_iter().flatten();
        let known = written.find_map(|written| written.feature.map(str::to_owned));
        let outputs = line.items.unwrap_or_default();
        let scores =
            outputs.iter().map(|output| output.score.flatten().unwrap_or(f32::NAN)).collect();
        let lengths = outputs.iter().map(|output| output.length).collect();
        let both = outputs.iter().map(|output| Some([output.model?, output.prior?]));
        let parts = both.collect::<Option<_>>().unwrap_or_default();
        let slots = outputs.into_iter().map(|output| self.slot(output)).collect::<Result<_, _>>();
        Ok(Prediction {
            user,
            item,
            slots: slots.map_err(|problem| ("item", problem))?,
            scores,
            lengths,
            parts,
            text: line.text.unwrap_or_default(),
            reference,
            feature: line.feature.or(known).unwrap_or_default(),
            failed,
            seconds: line.seconds.unwrap_or(0.0),
            cut: Cut {
                history: line.truncated,
                profile: line.truncated_profile,
                candidates: line.truncated_candidates,
                review: line.truncated_review,
                clamped: line.clamped,
                ..Cut::default()
            }
            .counted(),
        })
    }

    /// The text that an answer is compared with: the line's, which must not contradict the `.bin`,
    /// or else the `.bin`'s.
    fn reference(&self, line: &Line, user: u32, item: u32) -> Result<String, String> {
        let headline = line.task.as_deref() == Some(Family::Review.name());
        let written = self.truth.written.get(&(user, item)).into_iter().flatten();
        let known: Vec<&str> =
            written.filter_map(|w| if headline { w.summary } else { w.explanation }).collect();
        match &line.reference {
            Some(given) if known.is_empty() || known.contains(&given.as_str()) => Ok(given.clone()),
            Some(given) => Err(format!(
                "expected {:?} as in {}, got {given:?}; evaluate with the .bin that the \
                predictions were made with",
                known[0], self.truth.name
            )),
            None => known.first().map(|text| text.to_string()).ok_or_else(|| {
                let got = format!(
                    "expected a text to compare with, got none from the line or {}",
                    self.truth.name
                );
                format!("{got}; add a string `reference` to the line")
            }),
        }
    }

    /// The items that an output names: by its id, otherwise by its text, as a surface or else as a
    /// title. None where its score is no number.
    fn slot(&self, output: Output) -> Result<Vec<u32>, String> {
        if output.score.is_some_and(|score| !score.is_some_and(f32::is_finite)) {
            return Ok(Vec::new());
        }
        match (output.valid, output.item, output.title) {
            (Some(false), _, _) | (_, None, None) => Ok(Vec::new()),
            (_, Some(id), _) => match self.truth.find_item(&id.to_string()) {
                Some(item) => Ok(vec![item]),
                None => Err(format!(
                    "expected an item of {} or \"valid\": false, got \"{id}\"; evaluate with the \
                    .bin that the \
                     predictions were made with",
                    self.truth.name
                )),
            },
            (_, None, Some(title)) => {
                let title = normal(&title);
                Ok(self.named(&title).to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::{Item, User};
    use super::*;

    fn truth() -> Truth<'static> {
        let item = |id, surface, title| Item { id, surface, title, categories: vec![], tie: 0 };
        let user = |id, items: &'static [u32]| User {
            id,
            items,
            times: &[0; 3][..items.len()],
            ratings: &[4.0; 3][..items.len()],
            negatives: &[],
        };
        Truth::new(
            "toys",
            7,
            vec![
                item("10", "Gloom", "Gloom"),
                item("11", "Gloom #2", "Gloom"),
                item("12", "Kite", "Kite  X"),
            ],
            vec![user("1", &[0, 1, 2]), user("u2", &[2, 0, 2]), user("3", &[1])],
        )
    }

    fn read(text: &str) -> Result<Vec<Group>> {
        let truth = truth();
        Reader::new(&truth, Split::Test).read(text.as_bytes(), "p.jsonl", &Templates::builtin())
    }

    #[test]
    fn outputs_are_found_by_id_surface_and_title() {
        let line = r#"{"id": 1, "task": "sequential", "template": "2-3", "target": "12", "items": [
            {"item": 10, "title": "Gloom", "score": -1.5, "valid": true},
            {"item": null, "title": " Gloom  #2"}, {"title": "Kite X"}, {"title": "Nothing"},
            {"item": "12", "valid": false}, {"item": 10, "score": null},
            {"item": 10, "score": 1e39}], "later": "field"}"#;
        let groups = read(&line.replace('\n', " ")).unwrap();
        let prediction = &groups[0].predictions[0];
        assert_eq!(prediction.slots, [vec![0], vec![1], vec![2], vec![], vec![], vec![], vec![]]);
        assert_eq!((prediction.item, prediction.scores[0]), (2, -1.5));
        assert_eq!(groups[0].family, Asked::Full);
    }

    #[test]
    fn a_shared_title_names_all_its_items() {
        let mut truth = truth();
        truth.items[0].surface = "Gloom by A";
        let reader = Reader::new(&truth, Split::Test);
        let groups = reader
            .read(&br#"{"id": 1, "items": [{"title": "Gloom"}]}"#[..], "p", &Templates::builtin())
            .unwrap();
        let mut slot = groups[0].predictions[0].slots[0].clone();
        slot.sort_unstable();
        assert_eq!(slot, [0, 1]);
    }

    #[test]
    fn bad_lines_are_refused_with_their_place() {
        let good = r#"{"id": "u2", "items": []}"#;
        let cases = [
            (r#"{"id": 1, "items": ["#, "JSON object"),
            (r#"[1]"#, "JSON object"),
            (r#"{"items": []}"#, "id"),
            (r#"{"id": 99, "items": []}"#, "got \"99\""),
            (r#"{"id": 1, "target": 10, "items": []}"#, "expected item 12"),
            (r#"{"id": 1, "target": "zz", "items": []}"#, "zz"),
            (r#"{"id": 1, "items": [{"item": 77}]}"#, "77"),
            (r#"{"id": 1}"#, "`items`"),
            (r#"{"id": 3, "items": []}"#, "too few"),
            (r#"{"id": "u2", "items": []}"#, "second"),
            (r#"{"id": 1, "task": "dance", "items": []}"#, "dance"),
            (r#"{"id": 1, "task": "explanation", "text": "like"}"#, "reference"),
        ];
        for (line, part) in cases {
            let error = read(&format!("{good}\n\n{line}\n")).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("p.jsonl:3: ") && message.contains(part), "{message}");
            assert_eq!(Fault::of(&error), Some(Fault::Data), "{message}");
            assert!(!message.contains('\n'));
        }
        assert!(read("\n").unwrap_err().to_string().contains("got none"));
        // What nobody judges is passed over, but not where there is nothing else.
        let liked = r#"{"id": 1, "task": "rating", "template": "1-4", "text": "like"}"#;
        assert!(read(liked).unwrap_err().to_string().contains("got 1-4"));
        assert_eq!(read(&format!("{good}\n{liked}")).unwrap().len(), 1);
        assert_eq!(Fault::of(&read("\u{0}\u{1}").unwrap_err()), Some(Fault::Data));
    }

    #[test]
    fn templates_make_groups_and_failures_are_kept() {
        let groups = read(
            r#"{"id": 1, "template": "2-3", "items": []}
            {"id": 1, "template": "2-13", "error": "x"}
            {"id": 1, "task": "rating", "template": "1-6", "target": 10, "text": "4.0"}"#,
        )
        .unwrap();
        assert_eq!(groups.len(), 3);
        assert!(groups[1].predictions[0].failed);
        assert_eq!((groups[2].predictions[0].item, groups[2].family), (0, Asked::Stars));
    }
}
