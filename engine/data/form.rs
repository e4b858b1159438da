//! A template in tokens, filled for each example: what may be shortened gives way, nothing else
//! ever does (R35, E10, E26).

use super::family::Family;
use super::sample::{Cut, Prompt};
use super::span::{Level, Unit};
use super::template::{Answer, Field, Part, Template};
use super::text::{Choice, Encoder, Piece, SEPARATOR};
use super::vocab::Special;
use crate::base::Fault;
use anyhow::{Context, Result};
use std::sync::Arc;

/// The values of an example's fields. Tokens of entities and texts have their leading blank.
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
    /// An item and its stars each, oldest first; where there are any.
    pub ratings: &'a [Prompt],
    /// Items to choose from.
    pub candidates: Candidates<'a>,
    /// The one item in question.
    pub item: Option<&'a [u32]>,
    /// The stars that the user gave it.
    pub stars: Option<&'a [u32]>,
    /// A number of stars.
    pub count: Option<&'a [u32]>,
    /// The headline of the review.
    pub headline: Option<&'a Prompt>,
    /// What the explanation is about.
    pub feature: Option<&'a Prompt>,
    /// The body of the review.
    pub review: Option<&'a Prompt>,
}

/// What a prompt says of the items to choose from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Candidates<'a> {
    /// Nobody knows any.
    #[default]
    Unknown,
    /// That they are the catalogue's.
    Unlisted,
    /// Their texts. Where there is no room for all, the last go, but never the one at `kept`.
    Listed {
        /// Tokens of each.
        texts: &'a [&'a [u32]],
        /// The place of the one that stays.
        kept: Option<usize>,
    },
}

/// A template in tokens: plain text is encoded once.
#[derive(Clone, Debug)]
pub struct Form {
    id: String,
    family: Family,
    answer: Answer,
    by_name: bool,
    continues: bool,
    words: String,
    parts: Vec<FormPart>,
    separator: Arc<[u32]>,
    anyone: Arc<[u32]>,
    catalogue: Arc<[u32]>,
}

#[derive(Clone, Debug)]
enum FormPart {
    Plain(Arc<[u32]>),
    Field(Field),
    Mask(u32),
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
            family: self.family,
            answer: self.answer,
            by_name: self.by_name,
            continues: self.continues,
            words: {
                let begun = if self.continues { "{history} , " } else { "" };
                format!("{self} -> {begun}{}", self.answer.name())
            },
            parts: parts.with_context(|| format!("template {}", self.id))?,
            separator: encoder.plain(SEPARATOR)?,
            anyone: encoder.plain(" the customer")?,
            catalogue: encoder.plain(" the catalogue")?,
        })
    }
}

/// A field of which a part may have to do.
enum Shortened {
    /// The places that are shown.
    History(Vec<usize>),
    Ratings(usize),
    /// How many beside the one that stays.
    Candidates(usize),
    Review(usize),
}

impl Form {
    /// The id of the template.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The task that it words.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Id, family, text and what it asks for.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Whether it is taken only where it is named.
    pub fn by_name(&self) -> bool {
        self.by_name
    }

    /// What fills its mask.
    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// Whether the answer begins with the history.
    pub fn continues(&self) -> bool {
        self.continues
    }

    /// Whether the template takes in a field.
    pub fn asks(&self, field: Field) -> bool {
        self.fields().any(|asked| asked == field)
    }

    /// The fields that it takes in: in the order of its text, then what its answer begins with.
    fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        let shown = self.parts.iter().filter_map(|part| match part {
            FormPart::Field(field) => Some(*field),
            FormPart::Plain(_) | FormPart::Mask(_) => None,
        });
        shown.chain(self.continues.then_some(Field::History))
    }

    /// Whether the template begins with a field, rather than has a blank before it.
    pub fn begins_with(&self, field: Field) -> bool {
        matches!(self.parts.first(), Some(FormPart::Field(first)) if *first == field)
    }

    /// The prompt of one example, at most `limit` tokens long. What is shortened for that: of a
    /// history goes what its choice leaves out, of ratings the oldest, of candidates the last, of a
    /// review the end; nothing else ever (E26).
    ///
    /// Refuses a field without a value, but for the profile and the ratings of somebody who has
    /// none, and an example that does not fit with the newest of its history alone.
    pub fn fill(&self, fields: &Fields, limit: usize) -> Result<Prompt> {
        let (fixed, newest) = self.fixed(fields)?;
        if fixed + newest > limit {
            return Err(Fault::Data.error(format!(
                "template {}: expected a prompt of at most {limit} tokens, got {fixed} and \
                {newest} of the newest behaviour; raise setting `max-row` or shorten the fields",
                self.id
            )));
        }
        let mut room = limit - fixed;
        // The history has what the others may leave: its newest was promised room.
        let mut kept = Vec::new();
        for field in self.fields() {
            let promised =
                if kept.iter().any(|k| matches!(k, Shortened::History(_))) { 0 } else { newest };
            let Some((shortened, used)) = self.shorten(field, fields, room, promised) else {
                continue;
            };
            room -= used;
            kept.push(shortened);
        }
        Ok(self.laid_out(fields, &kept))
    }

    /// Tokens of all that is never shortened, and of the newest of the history.
    fn fixed(&self, fields: &Fields) -> Result<(usize, usize)> {
        let missing = |what: &str| {
            Fault::Data.error(format!(
                "template {}: {what}: expected a value, got none; choose another",
                self.id
            ))
        };
        let words = |part: &FormPart| match part {
            FormPart::Plain(tokens) => tokens.len(),
            FormPart::Mask(_) => 1,
            FormPart::Field(_) => 0,
        };
        let mut fixed: usize = self.parts.iter().map(words).sum();
        if self.continues {
            fixed += self.separator.len();
        }
        let mut newest = 0;
        for field in self.fields() {
            let of = |value: Option<&[u32]>, what: &str| {
                value.map(<[u32]>::len).ok_or_else(|| missing(what))
            };
            let text = |value: Option<&Prompt>, what: &str| {
                value.map(|text| text.tokens.len()).ok_or_else(|| missing(what))
            };
            fixed += match field {
                Field::User => fields.user.unwrap_or(&self.anyone).len(),
                Field::Profile => fields.profile.map_or(0, |profile| profile.tokens.len()),
                Field::Ratings => 0,
                Field::History => {
                    newest = of(fields.history.last().copied(), "history")?;
                    0
                }
                Field::Candidates => match fields.candidates {
                    Candidates::Unknown => return Err(missing("candidates")),
                    Candidates::Unlisted => self.catalogue.len(),
                    Candidates::Listed { texts: [], .. } => return Err(missing("candidates")),
                    Candidates::Listed { texts, kept } => kept.map_or(0, |at| texts[at].len()),
                },
                Field::Item => of(fields.item, "item")?,
                Field::Stars => of(fields.stars, "stars")?,
                Field::Count => of(fields.count, "n")?,
                Field::Headline => text(fields.headline, "headline")?,
                Field::Feature => text(fields.feature, "feature")?,
                Field::Review => text(fields.review, "review")?.min(1),
            };
        }
        Ok((fixed, newest))
    }

    /// How much of a field that may be shortened fits into `room`, of which `promised` are the
    /// history's, and the tokens that it takes of the room.
    fn shorten(
        &self,
        field: Field,
        fields: &Fields,
        room: usize,
        promised: usize,
    ) -> Option<(Shortened, usize)> {
        let between = self.separator.len();
        let recent = Choice::recent();
        let list = |choice: &Choice, members: &[&[u32]], room: usize| {
            let kept = choice.within(members, between, room);
            let used: usize = kept.iter().map(|&at| members[at].len()).sum();
            let used = used + between * kept.len().saturating_sub(1);
            (kept, used)
        };
        match field {
            Field::History => {
                let choice = fields.choice.unwrap_or(&recent);
                let (kept, used) = list(choice, fields.history, room);
                Some((Shortened::History(kept), used))
            }
            Field::Ratings => {
                let members: Vec<&[u32]> = fields.ratings.iter().map(|t| &t.tokens[..]).collect();
                let (kept, used) = list(&recent, &members, room - promised);
                Some((Shortened::Ratings(kept.len()), used))
            }
            Field::Candidates => {
                let Candidates::Listed { texts, kept } = fields.candidates else { return None };
                let room = room - promised;
                // The one that stays has its room already, but not what parts it from another.
                let (mut used, mut others) = (0, 0);
                for text in but(texts, kept) {
                    let apart = if others > 0 || kept.is_some() { between } else { 0 };
                    if used + text.len() + apart > room {
                        break;
                    }
                    (used, others) = (used + text.len() + apart, others + 1);
                }
                Some((Shortened::Candidates(others), used))
            }
            Field::Review => {
                let text = fields.review.map_or(0, |text| text.tokens.len());
                let shown = text.min(room - promised + 1);
                Some((Shortened::Review(shown), shown.saturating_sub(1)))
            }
            _ => None,
        }
    }

    /// The prompt, with so much of each field as was kept.
    fn laid_out(&self, fields: &Fields, kept: &[Shortened]) -> Prompt {
        let mut prompt = Prompt::default();
        let mut kept = kept.iter();
        for part in &self.parts {
            match part {
                FormPart::Plain(tokens) => prompt.push(Piece::plain(tokens)),
                FormPart::Mask(mask) => prompt.push_mask(*mask),
                FormPart::Field(field) => match field {
                    Field::User => prompt.push(match fields.user {
                        Some(name) => Piece::entity(name),
                        None => Piece::plain(&self.anyone),
                    }),
                    Field::Profile => fields.profile.into_iter().for_each(|p| prompt.push_text(p)),
                    Field::Item => fields.item.into_iter().for_each(|i| {
                        prompt.push(Piece::entity(i));
                    }),
                    Field::Stars => fields.stars.into_iter().for_each(|s| {
                        prompt.push(Piece::plain(s));
                    }),
                    Field::Count => fields.count.into_iter().for_each(|n| {
                        prompt.push(Piece::plain(n));
                    }),
                    Field::Headline => {
                        fields.headline.into_iter().for_each(|t| prompt.push_text(t));
                    }
                    Field::Feature => fields.feature.into_iter().for_each(|t| prompt.push_text(t)),
                    Field::Candidates if matches!(fields.candidates, Candidates::Unlisted) => {
                        prompt.push(Piece::plain(&self.catalogue));
                    }
                    Field::History | Field::Ratings | Field::Candidates | Field::Review => {
                        let shortened = kept.next().expect("each was shortened in this order");
                        self.push(&mut prompt, fields, shortened);
                    }
                },
            }
        }
        if self.continues {
            let Some(Shortened::History(kept)) = kept.next() else {
                unreachable!("it was the last to be shortened")
            };
            self.begin(&mut prompt, fields, kept);
        }
        prompt
    }

    /// Begins the answer with what was kept of the history.
    fn begin(&self, prompt: &mut Prompt, fields: &Fields, kept: &[usize]) {
        prompt.left_out.history += unshown(fields, kept);
        let begun = &mut prompt.begun;
        for &at in kept {
            let from = begun.tokens.len();
            begun.tokens.extend_from_slice(fields.history[at]);
            begun.items.push((at, from..begun.tokens.len()));
            begun.tokens.extend_from_slice(&self.separator);
        }
    }

    /// Appends what was kept of a field.
    fn push(&self, prompt: &mut Prompt, fields: &Fields, kept: &Shortened) {
        match *kept {
            Shortened::History(ref kept) => {
                prompt.left_out.history += unshown(fields, kept);
                let shown = kept.iter().map(|&at| Piece::entity(fields.history[at]));
                prompt.push_list(shown, &self.separator);
            }
            Shortened::Ratings(kept) => {
                let left_out = fields.ratings.len() - kept;
                prompt.left_out.history += left_out as u64;
                for (at, text) in fields.ratings[left_out..].iter().enumerate() {
                    if at > 0 {
                        prompt.push(Piece::plain(&self.separator));
                    }
                    prompt.push_text(text);
                }
            }
            Shortened::Candidates(others) => {
                let Candidates::Listed { texts, kept } = fields.candidates else { return };
                let mut listed: Vec<&[u32]> = but(texts, kept).take(others).collect();
                if let Some(at) = kept {
                    // As far from the beginning as among all of them: its place tells nothing.
                    listed.insert(at * (others + 1) / texts.len(), texts[at]);
                }
                prompt.left_out.candidates += (texts.len() - listed.len()) as u64;
                prompt.push_list(listed.into_iter().map(Piece::entity), &self.separator);
            }
            Shortened::Review(shown) => {
                let Some(text) = fields.review else { return };
                prompt.left_out.review += (text.tokens.len() - shown) as u64;
                prompt.push_text(&beginning(text, shown));
            }
        }
    }
}

/// Items of the history that are missed: what is more than somebody wants to be shown is not.
fn unshown(fields: &Fields, kept: &[usize]) -> u64 {
    let most = fields.choice.map_or(0, |choice| choice.most);
    let all = fields.history.len();
    let wanted = if most == 0 { all } else { most.min(all) };
    (wanted - kept.len()) as u64
}

/// All texts but the one at `kept`, in order.
fn but<'t>(texts: &'t [&'t [u32]], kept: Option<usize>) -> impl Iterator<Item = &'t [u32]> {
    texts.iter().enumerate().filter(move |(at, _)| Some(*at) != kept).map(|(_, text)| *text)
}

/// The first `most` tokens of a text; a unit that does not fit whole is separate tokens.
fn beginning(text: &Prompt, most: usize) -> Prompt {
    let mut short = Prompt { tokens: text.tokens[..most].to_vec(), ..Prompt::default() };
    for unit in text.units.iter().take_while(|unit| (unit.start as usize) < most) {
        match unit.range().end <= most {
            true => short.units.push(*unit),
            false => short.units.extend((unit.start..most as u32).map(|start| Unit {
                start,
                len: 1,
                entity: false,
            })),
        }
    }
    short
}

impl Prompt {
    /// What of its example it does not say, as a sample tells it.
    pub(super) fn cut(&self, clamped: u64) -> Cut {
        Cut { clamped, ..self.left_out }.counted()
    }
}
