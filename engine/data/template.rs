//! Prompt templates: wording in a data file, parsed to pieces, and held against what its family can
//! fill in and answer (R35, E1, E25).

use super::family::Family;
use super::span::Level;
use crate::base::{choose, nearest, unreadable, Fault};
use anyhow::Result;
use serde::Deserialize;
use std::fmt;
use std::path::Path;

/// What a template takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The display name, or "the customer" (A18).
    User,
    /// "name : value" pairs of the user; nothing where there are none.
    Profile,
    /// Items, oldest first; shortened where there is no room (E26).
    History,
    /// Items with the stars that the user gave them, oldest first; shortened likewise.
    Ratings,
    /// Items to choose from; "the catalogue" where they are not to be listed (E10).
    Candidates,
    /// One item.
    Item,
    /// The stars that the user gave the item.
    Stars,
    /// A number of stars, right or wrong.
    Count,
    /// The headline of the user's review of the item.
    Headline,
    /// What an explanation is about, one word or a few.
    Feature,
    /// The body of the user's review; its end goes where there is no room.
    Review,
}

const FIELDS: [(&str, Field); 11] = [
    ("user", Field::User),
    ("profile", Field::Profile),
    ("history", Field::History),
    ("ratings", Field::Ratings),
    ("candidates", Field::Candidates),
    ("item", Field::Item),
    ("stars", Field::Stars),
    ("n", Field::Count),
    ("headline", Field::Headline),
    ("feature", Field::Feature),
    ("review", Field::Review),
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
    /// Stars, such as "4.8".
    Stars,
    /// "like" or "dislike": four stars or more, or fewer.
    Like,
    /// Prose: of the explanation family the explanation, of the review family the headline.
    Text,
    /// Both, "4.8 , prose" (E23).
    StarsText,
}

const ANSWERS: [(&str, Answer); 6] = [
    ("item", Answer::Item),
    ("yes_no", Answer::YesNo),
    ("stars", Answer::Stars),
    ("like", Answer::Like),
    ("text", Answer::Text),
    ("stars_text", Answer::StarsText),
];

impl Answer {
    /// The word for it in files of templates.
    pub fn name(self) -> &'static str {
        word_of(&ANSWERS, self)
    }

    /// Whether it is written as text, rather than chosen among items.
    pub fn is_written(self) -> bool {
        matches!(self, Answer::Stars | Answer::Like | Answer::Text | Answer::StarsText)
    }
}

/// What templates of a family may ask for, each with the fields that it needs for that, and the
/// other fields that the family has values for.
fn abilities(family: Family) -> (&'static [(Answer, &'static [Field])], &'static [Field]) {
    use Field::*;
    match family {
        Family::Sequential => (
            &[(Answer::Item, &[History]), (Answer::YesNo, &[Item])],
            &[User, Profile, History, Ratings, Candidates],
        ),
        Family::Direct => (
            &[(Answer::Item, &[]), (Answer::YesNo, &[Item])],
            &[User, Profile, History, Ratings, Candidates],
        ),
        Family::Rating => (
            &[(Answer::Stars, &[Item]), (Answer::Like, &[Item]), (Answer::YesNo, &[Item, Count])],
            &[User, Profile, History, Ratings],
        ),
        Family::Explanation => (
            &[(Answer::Text, &[Item]), (Answer::StarsText, &[Item])],
            &[User, Profile, History, Ratings, Stars, Headline, Feature],
        ),
        Family::Review => (
            &[(Answer::Text, &[Review]), (Answer::Stars, &[Review])],
            &[User, Profile, History, Ratings, Item, Stars],
        ),
    }
}

/// Whether a field says what is asked for (E25).
fn gives_away(field: Field, answer: Answer) -> bool {
    match answer {
        Answer::Stars | Answer::StarsText => field == Field::Stars,
        Answer::Item | Answer::YesNo | Answer::Like | Answer::Text => false,
    }
}

/// Refuses parts that the family cannot fill in, or without what the answer is about.
fn check(family: Family, answer: Answer, continues: bool, parts: &[Part]) -> Result<(), String> {
    let (asks, fields) = abilities(family);
    if continues && (family, answer) != (Family::Sequential, Answer::Item) {
        return Err(format!(
            "continues: expected an item of family sequential as the answer, got {} of {family}",
            answer.name()
        ));
    }
    if continues && parts.contains(&Part::Field(Field::History)) {
        return Err(
            "expected no {history} in the text where the answer continues it, got it".into()
        );
    }
    let Some((_, needed)) = asks.iter().find(|(able, _)| *able == answer) else {
        let able: Vec<&str> = asks.iter().map(|(able, _)| able.name()).collect();
        return Err(format!(
            "answer: expected one of {} of family {family}, got {}",
            able.join(", "),
            answer.name()
        ));
    };
    let begun = |field: &Field| continues && *field == Field::History;
    let shown = |field: &Field| parts.contains(&Part::Field(*field)) || begun(field);
    if let Some(missing) = needed.iter().find(|field| !shown(field)) {
        return Err(format!(
            "expected {{{}}} where {} is asked of family {family}, got none",
            word_of(&FIELDS, *missing),
            answer.name()
        ));
    }
    // Of what is not needed, only what has a value and is not the answer.
    let known = |field: Field| fields.contains(&field) && !gives_away(field, answer);
    let listed = |field: Field| field != Field::Candidates || answer == Answer::Item;
    let strange = FIELDS.iter().find(|(_, field)| {
        shown(field) && !needed.contains(field) && !(known(*field) && listed(*field))
    });
    if let Some((name, _)) = strange {
        return Err(format!(
            "expected fields that have a value, and not the answer's, where {} is asked of family \
             {family}, got {{{name}}}",
            answer.name()
        ));
    }
    Ok(())
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
    pub family: Family,
    /// What fills its mask.
    pub answer: Answer,
    /// False: held out for zero-shot evaluation; training refuses it (R39).
    pub seen: bool,
    /// Taken only where it is named, and never as one of all.
    pub by_name: bool,
    /// Whether the answer begins with the history, which it continues, instead of the text showing
    /// it.
    pub continues: bool,
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
    #[serde(default)]
    by_name: bool,
    #[serde(default)]
    continues: bool,
    text: String,
}

fn seen() -> bool {
    true
}

/// The word that stands for all templates of a family.
pub const ALL: &str = "all";

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
    /// `stars`, `like`, `text`, `stars_text`), `text`, `seen` (true unless given), `by_name` and
    /// `continues` (false unless given). Refuses unknown keys, families and fields, a text without
    /// exactly one mask, a field that does not stand behind a blank, that the family has no value
    /// for or that is the answer, and an id given twice.
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
            let Entry { id, family, answer, seen, by_name, continues, text } = entry.into_inner();
            if id.trim().is_empty() {
                return Err(refuse(at, "id: expected a name, got an empty text".into()));
            }
            if templates.iter().any(|t| t.id == id) {
                return Err(refuse(at, format!("{id}: expected distinct ids, got this one twice")));
            }
            if id == ALL {
                let got = format!("id: expected another name than {ALL}, which stands for all");
                return Err(refuse(at, got));
            }
            let own = |what: String| refuse(at, format!("{id}: {what}"));
            let family: Family = family.parse().map_err(|error: anyhow::Error| {
                let said = error.to_string();
                own(format!("family: {}", said.strip_prefix("task: ").unwrap_or(&said)))
            })?;
            let parts = parse_text(&text).map_err(own)?;
            check(family, answer, continues, &parts).map_err(own)?;
            templates.push(Template { id, family, answer, seen, by_name, continues, parts });
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

    /// The templates of a family that all training ones are: zero-shot ones are left out (R39).
    pub fn training(&self, family: Family) -> impl Iterator<Item = &Template> {
        self.of(family).filter(|t| t.seen)
    }

    /// The templates of a family but those that have to be named.
    pub fn of(&self, family: Family) -> impl Iterator<Item = &Template> {
        self.0.iter().filter(move |t| t.family == family && !t.by_name)
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
