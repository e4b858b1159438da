//! Prompt templates: wording in a data file, parsed to pieces, encoded once, filled for each
//! example (R35, E1, E26).

use super::sample::Prompt;
use super::span::Level;
use super::text::{Choice, Encoder, Piece, SEPARATOR};
use super::vocab::Special;
use crate::base::{choose, nearest, unreadable, Fault};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What a template takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The display name, or "the customer" (A18).
    User,
    /// "name : value" pairs of the user; nothing where there are none.
    Profile,
    /// Items, oldest first; the one field that may be shortened (E26).
    History,
    /// Items to choose from.
    Candidates,
    /// One item.
    Item,
}

const FIELDS: [(&str, Field); 5] = [
    ("user", Field::User),
    ("profile", Field::Profile),
    ("history", Field::History),
    ("candidates", Field::Candidates),
    ("item", Field::Item),
];

pub(super) const MASKS: [(&str, Level); 3] =
    [("[MASK]", Level::Entity), ("[sMASK]", Level::Sentence), ("[gMASK]", Level::Document)];

/// What a template asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// An item of the catalogue.
    Item,
    /// "yes" or "no".
    YesNo,
    /// Free text or a number.
    Text,
}

/// A piece of a template's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands as it is.
    Plain(String),
    /// The value of a field.
    Field(Field),
    /// A mask, where the answer belongs.
    Mask(Level),
}

/// A way to word a task: plain text, fields, and one mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, such as "2-3".
    pub id: String,
    /// The task that it words.
    pub family: String,
    /// What fills its mask.
    pub answer: Answer,
    /// False: held out for zero-shot evaluation; training refuses it (R39).
    pub seen: bool,
    /// Text, fields and mask in order.
    pub parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    template: Vec<toml::Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    family: String,
    answer: Answer,
    #[serde(default = "seen")]
    seen: bool,
    text: String,
}

fn seen() -> bool {
    true
}

/// A set of templates with distinct ids, in the order of their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates(Vec<Template>);

impl Templates {
    /// The templates that come with the engine.
    pub fn builtin() -> Templates {
        Templates::parse(include_str!("templates.toml"), "templates.toml")
            .expect("the built-in templates are valid")
    }

    /// Reads a user's own file.
    pub fn load(path: &Path) -> Result<Templates> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            unreadable(Fault::Usage, "setting `templates`", path, "a file of templates", &e)
        })?;
        Templates::parse(&text, &path.display().to_string())
    }

    /// Reads TOML: a list of `[[template]]` with `id`, `family`, `answer` (`item`, `yes_no`,
    /// `text`), `text`, and `seen` (true unless given). Refuses unknown keys and fields, a text
    /// without exactly one mask, a field that does not stand behind a blank, and an id given twice.
    pub fn parse(text: &str, origin: &str) -> Result<Templates> {
        let line = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let refuse = |at: usize, what: String| {
            Fault::Usage
                .error(format!("templates: {origin}:{}: {what}; mend the template", line(at)))
        };
        let file: File = toml::from_str(text).map_err(|e| {
            let message = e.message().replace('\n', " ");
            refuse(
                e.span().map_or(0, |span| span.start),
                format!("expected a list of templates, got: {message}"),
            )
        })?;
        let mut templates: Vec<Template> = Vec::with_capacity(file.template.len());
        for entry in file.template {
            let at = entry.span().start;
            let Entry { id, family, answer, seen, text } = entry.into_inner();
            if id.trim().is_empty() {
                return Err(refuse(at, "id: expected a name, got an empty text".into()));
            }
            if templates.iter().any(|t| t.id == id) {
                return Err(refuse(at, format!("{id}: expected distinct ids, got this one twice")));
            }
            let parts = parse_text(&text).map_err(|what| refuse(at, format!("{id}: {what}")))?;
            templates.push(Template { id, family, answer, seen, parts });
        }
        Ok(Templates(templates))
    }

    /// Adds another set; refuses an id that both have.
    pub fn extend(&mut self, more: Templates) -> Result<()> {
        for template in more.0 {
            if self.0.iter().any(|t| t.id == template.id) {
                return Err(Fault::Usage.error(format!(
                    "templates: {}: expected a new id, got one that exists; rename the template",
                    template.id
                )));
            }
            self.0.push(template);
        }
        Ok(())
    }

    /// The template with this id.
    pub fn get(&self, id: &str) -> Result<&Template> {
        self.0.iter().find(|t| t.id == id).ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|t| t.id.as_str()).collect();
            let advice = choose(id, known.iter().copied());
            Fault::Usage.error(format!(
                "setting `template`: {id}: expected one of {}, got none of them; {advice}",
                known.join(", ")
            ))
        })
    }

    /// All templates, in the order of their file.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.iter()
    }

    /// The templates of a family that training may use: the zero-shot ones are left out (R39).
    pub fn training<'t>(&'t self, family: &'t str) -> impl Iterator<Item = &'t Template> {
        self.0.iter().filter(move |t| t.family == family && t.seen)
    }
}

fn parse_text(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    let flush = |plain: &mut String, parts: &mut Vec<Part>| {
        if !plain.is_empty() {
            parts.push(Part::Plain(std::mem::take(plain)));
        }
    };
    while let Some(next) = rest.chars().next() {
        if let Some((name, level)) = MASKS.iter().find(|(name, _)| rest.starts_with(name)) {
            // R20: no blank is left before a mask.
            plain.truncate(plain.trim_end().len());
            flush(&mut plain, &mut parts);
            parts.push(Part::Mask(*level));
            rest = &rest[name.len()..];
        } else if next == '{' {
            let end = rest.find('}').ok_or("expected `}` behind `{`, got the end of the text")?;
            let name = &rest[1..end];
            let field = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
            let field = field.ok_or_else(|| {
                let advice = nearest(name, FIELDS.iter().map(|(known, _)| *known));
                let advice = advice.map_or(String::new(), |name| format!(", nearest is {name}"));
                format!(
                    "expected one of {}, got {{{name}}}{advice}",
                    FIELDS.map(|(name, _)| format!("{{{name}}}")).join(", ")
                )
            })?;
            // R3: the blank before an entity belongs to the entity's piece.
            if plain.pop().map_or(!parts.is_empty(), |last| last != ' ') {
                return Err(format!("expected a blank before {{{name}}}, got none"));
            }
            flush(&mut plain, &mut parts);
            if parts.contains(&Part::Field(field)) {
                return Err(format!("expected {{{name}}} at most once, got it twice"));
            }
            parts.push(Part::Field(field));
            rest = &rest[end + 1..];
        } else if next == '}' {
            return Err("expected `{` before `}`, got none".into());
        } else {
            plain.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    flush(&mut plain, &mut parts);
    match parts.iter().filter(|part| matches!(part, Part::Mask(_))).count() {
        1 => Ok(parts),
        masks => Err(format!("expected exactly one of [MASK], [sMASK], [gMASK], got {masks}")),
    }
}

/// The values of an example's fields. Tokens of entities have their leading blank.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// The display name; "the customer" without one.
    pub user: Option<&'a [u32]>,
    /// "name : value" pairs of the user, where there are any.
    pub profile: Option<&'a Prompt>,
    /// Oldest first.
    pub history: &'a [&'a [u32]],
    /// Which of them are shown where not all fit; without it, the newest.
    pub choice: Option<&'a Choice<'a>>,
    /// Items to choose from.
    pub candidates: &'a [&'a [u32]],
    /// The one item in question.
    pub item: Option<&'a [u32]>,
}

/// A template in tokens: plain text is encoded once.
#[derive(Clone, Debug)]
pub struct Form {
    id: String,
    parts: Vec<FormPart>,
    separator: Arc<[u32]>,
    anyone: Arc<[u32]>,
}

#[derive(Clone, Debug)]
enum FormPart {
    Plain(Arc<[u32]>),
    Field(Field),
    Mask(u32),
}

/// Id, family and text as it was parsed: blanks that mean nothing are gone.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.id, self.family)?;
        for (place, part) in self.parts.iter().enumerate() {
            let blank = if place > 0 { " " } else { "" };
            match part {
                Part::Plain(text) => f.write_str(text)?,
                Part::Field(field) => write!(f, "{blank}{{{}}}", word_of(&FIELDS, *field))?,
                Part::Mask(level) => f.write_str(word_of(&MASKS, *level))?,
            }
        }
        Ok(())
    }
}

fn word_of<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).expect("every value has its word").0
}

impl Template {
    /// The template in tokens. Refuses what the tokenizer cannot encode.
    pub fn encode(&self, encoder: &Encoder, special: Special) -> Result<Form> {
        let part = |part: &Part| {
            Ok(match part {
                Part::Plain(text) => FormPart::Plain(encoder.plain(text)?),
                Part::Field(field) => FormPart::Field(*field),
                Part::Mask(Level::Entity) => FormPart::Mask(special.mask),
                Part::Mask(Level::Sentence) => FormPart::Mask(special.smask),
                Part::Mask(Level::Document) => FormPart::Mask(special.gmask),
            })
        };
        let parts = self.parts.iter().map(part).collect::<Result<_>>();
        Ok(Form {
            id: self.id.clone(),
            parts: parts.with_context(|| format!("template {}", self.id))?,
            separator: encoder.plain(SEPARATOR)?,
            anyone: encoder.plain(" the customer")?,
        })
    }
}

impl Form {
    /// The id of the template.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the template takes in a field.
    pub fn asks(&self, field: Field) -> bool {
        self.parts.iter().any(|part| matches!(part, FormPart::Field(asked) if *asked == field))
    }

    /// Whether the template begins with a field, rather than has a blank before it.
    pub fn begins_with(&self, field: Field) -> bool {
        matches!(self.parts.first(), Some(FormPart::Field(first)) if *first == field)
    }

    /// The prompt of one example, at most `limit` tokens long: of the history as much is left out,
    /// by its choice, as does not fit; nothing else ever (E26).
    ///
    /// Refuses a field without a value, but for the profile of somebody who has none, and an
    /// example that does not fit with the newest of its history alone.
    pub fn fill(&self, fields: &Fields, limit: usize) -> Result<Prompt> {
        let missing = |what: &str| {
            Err(Fault::Data.error(format!(
                "template {}: {what}: expected a value, got none; choose another",
                self.id
            )))
        };
        // Everything but the history, whose length decides how much of that fits.
        let list = |items: &[&[u32]]| {
            items.iter().map(|t| t.len()).sum::<usize>()
                + self.separator.len() * items.len().saturating_sub(1)
        };
        let mut fixed = 0;
        let mut asks_history = false;
        for part in &self.parts {
            fixed += match part {
                FormPart::Plain(tokens) => tokens.len(),
                FormPart::Mask(_) => 1,
                FormPart::Field(Field::User) => fields.user.unwrap_or(&self.anyone).len(),
                FormPart::Field(Field::Profile) => {
                    fields.profile.map_or(0, |profile| profile.tokens.len())
                }
                FormPart::Field(Field::History) if fields.history.is_empty() => {
                    return missing("history")
                }
                FormPart::Field(Field::History) => {
                    asks_history = true;
                    0
                }
                FormPart::Field(Field::Candidates) if fields.candidates.is_empty() => {
                    return missing("candidates")
                }
                FormPart::Field(Field::Candidates) => list(fields.candidates),
                FormPart::Field(Field::Item) => match fields.item {
                    Some(item) => item.len(),
                    None => return missing("item"),
                },
            };
        }
        let recent = Choice::recent();
        let choice = fields.choice.unwrap_or(&recent);
        let kept = match asks_history {
            true => {
                let room = limit.saturating_sub(fixed);
                choice.within(fields.history, self.separator.len(), room)
            }
            false => Vec::new(),
        };
        if fixed > limit || (asks_history && kept.is_empty()) {
            let newest = if asks_history {
                fields.history.last().map_or(0, |tokens| tokens.len())
            } else {
                0
            };
            return Err(Fault::Data.error(format!(
                "template {}: expected a prompt of at most {limit} tokens, got {fixed} and \
                {newest} of the newest \
                 behaviour; raise setting `max-row` or shorten the fields",
                self.id
            )));
        }

        // What is more than somebody wants to be shown is not missed.
        let wanted = match (asks_history, choice.most) {
            (false, _) => 0,
            (true, 0) => fields.history.len(),
            (true, most) => most.min(fields.history.len()),
        };
        let mut prompt = Prompt { dropped: wanted - kept.len(), ..Prompt::default() };
        for part in &self.parts {
            match part {
                FormPart::Plain(tokens) => prompt.push(Piece::plain(tokens)),
                FormPart::Mask(mask) => prompt.push_mask(*mask),
                FormPart::Field(Field::User) => prompt.push(match fields.user {
                    Some(name) => Piece::entity(name),
                    None => Piece::plain(&self.anyone),
                }),
                FormPart::Field(Field::Profile) => {
                    fields.profile.into_iter().for_each(|profile| prompt.push_text(profile))
                }
                FormPart::Field(Field::History) => {
                    let kept = kept.iter().map(|&at| Piece::entity(fields.history[at]));
                    prompt.push_list(kept, &self.separator);
                }
                FormPart::Field(Field::Candidates) => {
                    let items = fields.candidates.iter();
                    prompt.push_list(items.map(|tokens| Piece::entity(tokens)), &self.separator);
                }
                FormPart::Field(Field::Item) => {
                    fields.item.into_iter().for_each(|item| prompt.push(Piece::entity(item)))
                }
            }
        }
        Ok(prompt)
    }
}
