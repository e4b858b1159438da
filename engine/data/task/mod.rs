//! What is asked of the model, as rows: the five families' prompts and answers, and blanks in a
//! user's own history (R35, R40).

mod choice;
mod course;
mod examples;
mod mix;
mod put;
mod tutor;
mod variant;
mod words;

pub use super::split::{Parts, Split, FEWEST};
pub use choice::Listing;
pub use course::{Course, Example, Lessons};
pub use mix::{Mix, TrainIds};
pub use put::Put;
pub use words::{RatingTargets, MOST_WRITTEN};

use super::dataset::Dataset;
use super::family::Family;
use super::form::{Candidates, Fields, Form};
use super::free::free_text;
use super::legal::Legal;
use super::record::NO_TIME;
use super::records::{is_held_out, Part, Record, Records};
use super::sample::{Prompt, Sample, SampleBuilder};
use super::span::segment;
use super::template::{Answer, Field, Template};
use super::text::{
    attributes_behind, display_name, sentence_ends, Choice, Encoder, Piece, Sampling,
};
use crate::base::{choose, Fault, Philox, Stream};
use anyhow::Result;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;
use tutor::Tutor;
use words::Words;

/// Bytes of text that a token stands for at most, on average over a row: the longest words and runs
/// of white space in published vocabularies.
const LONGEST_TOKEN: usize = 128;

/// Somebody who is asked about: what was chosen so far, and what is known of the person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shopper<'a> {
    /// Items, oldest first.
    pub history: &'a [u32],
    /// (name, value), in the order in which a profile shows them.
    pub attributes: &'a [(&'a str, &'a str)],
    /// Items that a template with a list of candidates shows.
    pub candidates: &'a [u32],
}

/// How prompts are made beside their templates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Behaviours that a prompt shows at most; 0 = all that fit (R9).
    pub behaviours: usize,
    /// Which of them where not all are shown (R8).
    pub sampling: Sampling,
    /// What prompts show of candidates.
    pub candidates: Listing,
    /// Decides what is drawn.
    pub seed: u64,
}

/// What a prompt is made from, beside its template.
#[derive(Clone, Copy, Default)]
struct Matter<'p> {
    shopper: Shopper<'p>,
    /// The user's events in another order.
    events: Option<&'p [u32]>,
    /// Times of the history, as long as that.
    times: &'p [i64],
    /// When it is asked.
    reference: i64,
    profile: Option<&'p Prompt>,
    ratings: &'p [Prompt],
    /// The candidate that a list never lacks.
    kept: Option<u32>,
    item: Option<u32>,
    /// What the user said of the item.
    record: Option<&'p Record>,
    count: Option<f32>,
    /// Names what is drawn.
    example: u64,
}

/// Builds the rows of a data set under one set of rules.
pub struct Tasks<'a> {
    dataset: &'a Dataset,
    builder: SampleBuilder<'a>,
    encoder: Encoder<'a>,
    forms: Vec<Form>,
    /// Of templates that a question may name beside these.
    others: Vec<Form>,
    /// By token id (R12).
    sentence_ends: Vec<bool>,
    words: Words,
    /// Tokens of the longest surface.
    longest: usize,
    habits: Habits,
    /// What training may see.
    parts: Parts,
    /// Made when somebody asks about one.
    records: OnceLock<Records>,
    /// Who says what else might come next.
    tutor: Option<Tutor>,
    /// Made when it decides among what something is learnt.
    legal: OnceLock<Legal<'a>>,
}

impl<'a> Tasks<'a> {
    /// Refuses to begin without a template, and a row limit that the longest surface alone passes.
    pub fn new(
        dataset: &'a Dataset,
        builder: SampleBuilder<'a>,
        templates: &[&Template],
        habits: Habits,
    ) -> Result<Tasks<'a>> {
        let encoder = Encoder::of(dataset.vocab());
        let special = dataset.vocab().special();
        let forms = templates.iter().map(|t| t.encode(&encoder, special));
        let forms: Vec<Form> = forms.collect::<Result<_>>()?;
        if forms.is_empty() {
            return Err(Fault::Usage.error("templates: expected at least one, got none"));
        }
        let longest =
            (0..dataset.items() as u32).map(|i| dataset.item(i).tokens.len()).max().unwrap_or(0);
        if builder.longest_prompt(longest) <= longest {
            return Err(Fault::Usage.error(format!(
                "setting `max-row`: expected room for two of the longest surface's {longest} \
                tokens, got {} rows; raise it",
                builder.options().max_row
            )));
        }
        Ok(Tasks {
            sentence_ends: sentence_ends(dataset.vocab())?,
            words: Words::of(&encoder)?,
            dataset,
            builder,
            encoder,
            forms,
            others: Vec::new(),
            longest,
            habits,
            parts: Parts::Train,
            records: OnceLock::new(),
            tutor: None,
            legal: OnceLock::new(),
        })
    }

    /// With other events to learn from.
    pub fn learning_from(self, parts: Parts) -> Tasks<'a> {
        Tasks { parts, ..self }
    }

    /// With `templates` as well, for questions that name one: those of them that the tokenizer has
    /// words for.
    pub fn with_others<'t>(mut self, templates: impl Iterator<Item = &'t Template>) -> Tasks<'a> {
        let special = self.dataset.vocab().special();
        self.others = templates.flat_map(|t| t.encode(&self.encoder, special)).collect();
        self
    }

    /// The form of the template `id` of a family; of the family's first one without.
    fn form(&self, family: Family, id: Option<&str>) -> Result<&Form> {
        let mut all = self.forms.iter().chain(&self.others).filter(|f| f.family() == family);
        let found = match id {
            None => all.next(),
            Some(id) => all.find(|form| form.id() == id),
        };
        found.ok_or_else(|| {
            // The others are all there are, these among them.
            let known = if self.others.is_empty() { &self.forms } else { &self.others };
            let known = known.iter().filter(|form| form.family() == family);
            let ids: Vec<&str> = known.map(Form::id).collect();
            let id = id.unwrap_or("none");
            let advice = choose(id, ids.iter().copied());
            Fault::Data.error(format!(
                "template: expected one of family {family}, of {}, got {id:?}; {advice}",
                ids.join(", ")
            ))
        })
    }

    /// The form of a template that asks for an item after a history; the first one without an id.
    fn next_form(&self, id: Option<&str>) -> Result<&Form> {
        let items = |form: &&Form| form.answer() == Answer::Item;
        let form = match id {
            Some(_) => Some(self.form(Family::Sequential, id)?).filter(items),
            None => {
                let mut all = self.forms.iter().chain(&self.others);
                all.find(|form| form.family() == Family::Sequential && items(form))
            }
        };
        form.ok_or_else(|| {
            Fault::Data.error(format!(
                "template: expected one that asks for an item, got {}; choose among next, 2-1 to \
                2-10 and 2-13",
                id.unwrap_or("none")
            ))
        })
    }

    /// Id of the template that asks for the next item where `id` is named, or none is.
    pub fn next_id(&self, id: Option<&str>) -> Result<&str> {
        self.next_form(id).map(Form::id)
    }

    /// The first of its own templates that asks for the next item of what a user brings along.
    pub fn next_template(&self) -> Option<&str> {
        let asks = |form: &&Form| {
            form.family() == Family::Sequential
                && form.answer() == Answer::Item
                && !form.asks(Field::Candidates)
        };
        self.forms.iter().find(asks).map(Form::id)
    }

    /// Families that have a template here, in the order of their first ones.
    pub fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = Vec::new();
        for form in &self.forms {
            if !families.contains(&form.family()) {
                families.push(form.family());
            }
        }
        families
    }

    /// Whether one of its own templates is such a one.
    pub fn has(&self, is: impl Fn(&Form) -> bool) -> bool {
        self.forms.iter().any(is)
    }

    /// Whether the answer to the template `id` of a family is an item.
    pub fn asks_item(&self, family: Family, id: &str) -> Result<bool> {
        Ok(self.form(family, Some(id))?.answer() == Answer::Item)
    }

    /// Whether the template `id` (the first one without) shows a history.
    pub fn shows_history(&self, id: Option<&str>) -> Result<bool> {
        Ok(self.next_form(id)?.asks(Field::History))
    }

    /// Its templates in words: training draws among them, decoding asks with the first of a family.
    pub fn wording(&self) -> Vec<String> {
        self.forms.iter().map(|form| form.words().to_owned()).collect()
    }

    /// The template `id` in words.
    pub fn in_words(&self, id: &str) -> String {
        let mut all = self.forms.iter().chain(&self.others);
        all.find(|form| form.id() == id).map_or(String::new(), |form| form.words().to_owned())
    }

    /// What all templates say, its own and the others, as a hash.
    pub fn all_words(&self) -> Result<String> {
        let mut crc = crc32fast::Hasher::new();
        self.forms.iter().chain(&self.others).for_each(|form| crc.update(form.words().as_bytes()));
        Ok(format!("all: {:08x}", crc.finalize()))
    }

    /// The maker of its rows.
    pub fn builder(&self) -> &SampleBuilder<'a> {
        &self.builder
    }

    /// What users said of items.
    pub fn records(&self) -> &Records {
        self.records.get_or_init(|| Records::of(self.dataset))
    }

    /// Tokens of a prompt of this form at most, the same for training and asking.
    fn limit(&self, form: &Form) -> usize {
        let rows = self.builder.options().max_row;
        self.builder.longest_prompt(self.words.room(form.answer(), self.longest, rows))
    }

    /// Events `shown` of a user as the prompt of `form`; ages count to the event after them (R8).
    /// A profile has half of the room at most: its last attributes go.
    fn text(
        &self,
        user: u32,
        shown: Range<usize>,
        form: &Form,
        matter: Matter<'_>,
    ) -> Result<Prompt> {
        let record = self.dataset.user(user);
        let last = shown.end.checked_sub(1).and_then(|last| record.times.get(last));
        let reference = record.times.get(shown.end).or(last).copied().unwrap_or(NO_TIME);
        let attributes = self.dataset.user_attributes(user);
        let profile = self.profile(form, &attributes, self.limit(form) / 2)?;
        let history = &matter.events.unwrap_or(record.items)[shown.clone()];
        let ratings = match form.asks(Field::Ratings) {
            true => self.ratings(user, shown.clone(), matter.record)?,
            false => Vec::new(),
        };
        let shopper = Shopper { history, attributes: &attributes, ..matter.shopper };
        let times = &record.times[shown];
        let (profile, ratings) = (profile.as_ref(), &ratings[..]);
        self.fill(form, Matter { shopper, times, reference, profile, ratings, ..matter })
    }

    /// What a user said of items, each as "title : stars": of the events that are shown, the latest
    /// of an item; where a record is asked about, of all others that are for training, but for what
    /// other families ask for.
    fn ratings(
        &self,
        user: u32,
        shown: Range<usize>,
        about: Option<&Record>,
    ) -> Result<Vec<Prompt>> {
        let said: Vec<(u32, f32)> = match about {
            Some(about) => {
                let others = self.records().of_user(user).iter().filter(|record| {
                    record.item != about.item
                        && record.part == Part::Training
                        && !is_held_out(self.dataset, user, record.item)
                });
                others.map(|record| (record.item, record.stars)).collect()
            }
            None => {
                let events = self.dataset.user(user);
                let mut seen = HashSet::new();
                let pairs = shown.rev().map(|at| (events.items[at], events.ratings[at]));
                let mut latest: Vec<_> = pairs.filter(|(item, _)| seen.insert(*item)).collect();
                latest.reverse();
                latest
            }
        };
        let text = |(item, stars): (u32, f32)| {
            let mut text = Prompt::default();
            text.push(Piece::entity(self.dataset.item(item).tokens));
            let stars = self.encoder.plain(&format!(" : {}", words::said(stars)))?;
            text.push(Piece::plain(&stars));
            Ok(text)
        };
        said.into_iter().filter(|(_, stars)| !stars.is_nan()).map(text).collect()
    }

    /// The profile of somebody with these attributes, where `form` shows one: the first of them
    /// that have at most `most` tokens.
    fn profile(
        &self,
        form: &Form,
        attributes: &[(&str, &str)],
        most: usize,
    ) -> Result<Option<Prompt>> {
        if !form.asks(Field::Profile) {
            return Ok(None);
        }
        let lead = if form.begins_with(Field::Profile) { "" } else { " " };
        let told = self.told(lead, attributes, most)?;
        Ok((!told.tokens.is_empty() || told.left_out.profile > 0).then_some(told))
    }

    /// The first of the attributes that have at most `most` tokens; the last remain untold.
    fn told(&self, lead: &str, attributes: &[(&str, &str)], most: usize) -> Result<Prompt> {
        let mut shown = attributes.len();
        loop {
            let mut text = attributes_behind(lead, &self.encoder, &attributes[..shown])?;
            if text.tokens.len() <= most {
                text.left_out.profile = (attributes.len() - shown) as u64;
                return Ok(text);
            }
            shown = (shown * most / text.tokens.len()).min(shown - 1);
        }
    }

    /// A text of the data in which entities are recognised (R5), behind a blank.
    fn said(&self, text: &str) -> Result<Prompt> {
        let tokens = self.dataset.vocab().encode(&format!(" {}", text.trim()))?;
        let units = segment(Some(&self.builder.intra().pool), &tokens, &[]);
        Ok(Prompt { tokens, units, ..Prompt::default() })
    }

    /// The one way from what is known to a prompt, for users of the data set and for others.
    fn fill(&self, form: &Form, matter: Matter) -> Result<Prompt> {
        let Matter { shopper, times, reference, profile, ratings, example, .. } = matter;
        let Shopper { history, attributes, candidates } = shopper;
        let tokens = |item: u32| self.dataset.item(item).tokens;
        let history: Vec<&[u32]> = history.iter().map(|&item| tokens(item)).collect();
        let most = self.habits.behaviours;
        let choice = Choice { most, ..self.choice(times, reference, example) };
        let texts = self.listed(candidates);
        let kept = matter.kept.and_then(|kept| candidates.iter().position(|&item| item == kept));
        let candidates = match self.habits.candidates {
            _ if candidates.is_empty() => Candidates::Unknown,
            Listing::Score => Candidates::Unlisted,
            Listing::Prompt | Listing::Both => Candidates::Listed { texts: &texts, kept },
        };
        let name = match display_name(attributes) {
            Some(name) => Some(self.encoder.entity(name)?),
            None => None,
        };
        let stars = |stars: f32| self.encoder.plain(&format!(" {}", words::said(stars)));
        let record = matter.record;
        let given = record.map(|record| record.stars).filter(|stars| !stars.is_nan());
        let given = given.map(stars).transpose()?;
        let count = matter.count.map(stars).transpose()?;
        let review = record.and_then(|record| record.review);
        let review = review.map(|number| self.dataset.review(number as usize));
        let text = |field: Field, text: Option<&str>| match text.filter(|_| form.asks(field)) {
            Some(text) => self.said(text).map(Some),
            None => Ok(None),
        };
        let headline = text(Field::Headline, review.and_then(|review| review.summary))?;
        let feature = text(Field::Feature, review.and_then(|review| review.feature))?;
        let body = text(Field::Review, review.and_then(|review| review.text))?;
        let fields = Fields {
            user: name.as_deref(),
            profile,
            history: &history,
            choice: Some(&choice),
            ratings,
            candidates,
            item: matter.item.map(tokens),
            stars: given.as_deref(),
            count: count.as_deref(),
            headline: headline.as_ref(),
            feature: feature.as_ref(),
            review: body.as_ref(),
        };
        let mut prompt = form.fill(&fields, self.limit(form))?;
        prompt.left_out.profile += profile.map_or(0, |profile| profile.left_out.profile);
        Ok(prompt)
    }

    /// Which of the behaviours at `times` an example shows where it cannot show all (R8).
    fn choice<'t>(&self, times: &'t [i64], reference: i64, example: u64) -> Choice<'t> {
        let rng = Philox::new(self.habits.seed, Stream::History, example);
        Choice { sampling: self.habits.sampling, times, reference, most: 0, rng }
    }

    /// The prompt that asks for the next item of somebody whom the data set need not know, by the
    /// template `id`; by the first one without. Refuses a profile that it does not show.
    pub fn ask(&self, shopper: Shopper, id: Option<&str>) -> Result<Sample> {
        let (form, known) = (self.next_form(id)?, shopper.attributes);
        self.readable("profile", known.iter().map(|(n, v)| n.len() + v.len()).sum())?;
        let named = form.asks(Field::User) && display_name(known).is_some();
        if !(known.is_empty() || named || form.asks(Field::Profile)) {
            return Err(Fault::Data.error(format!(
                "profile: expected a template that shows it, got {}; choose another, or leave the \
                key out",
                form.id()
            )));
        }
        let profile = self.profile(form, known, self.limit(form) / 2)?;
        let times = vec![NO_TIME; shopper.history.len()];
        let prompt = self.fill(
            form,
            Matter {
                shopper,
                times: &times,
                reference: NO_TIME,
                profile: profile.as_ref(),
                example: u64::MAX,
                ..Matter::default()
            },
        )?;
        self.builder.prompt(0, &prompt)
    }

    /// A text written by hand, in which names of masks stand for blanks (R5, R34). `segmented`:
    /// entities in it are recognised.
    pub fn free(&self, text: &str, segmented: bool) -> Result<Prompt> {
        self.readable("text", text.len())?;
        free_text(self.dataset.vocab(), segmented.then_some(&self.builder.intra().pool), text)
    }

    /// Refuses words that fit no row, before they are cut into tokens: that takes seconds and a few
    /// hundred bytes for each byte of a long text.
    fn readable(&self, what: &str, bytes: usize) -> Result<()> {
        let tokens = self.builder.longest_prompt(0);
        let most = tokens * LONGEST_TOKEN;
        if bytes <= most {
            return Ok(());
        }
        Err(Fault::Data.error(format!(
            "{what}: expected at most {most} bytes, more than {tokens} tokens stand for, got \
            {bytes}; shorten it"
        )))
    }

    /// Refuses a text that leaves no room in the row for an answer of `answer` tokens to each of
    /// its masks.
    pub fn check_room(&self, prompt: &Prompt, answer: usize) -> Result<()> {
        // Every answer stands behind its [START]; the first one's is counted with the frame.
        let answers = prompt.masks.len() * (answer + 1) - 1;
        let (limit, tokens) = (self.builder.longest_prompt(answers), prompt.tokens.len());
        if tokens <= limit {
            return Ok(());
        }
        Err(Fault::Data.error(format!(
            "text: expected at most {limit} tokens beside {} answers of {answer} tokens, got \
            {tokens}; shorten it, ask for fewer tokens or raise setting `max-row`",
            prompt.masks.len()
        )))
    }

    /// Tokens of the longest surface: room that an item needs as an answer.
    pub fn longest_item(&self) -> usize {
        self.longest
    }

    /// The prompt that asks for the event after the first `shown` of a user: a row ending in
    /// `[START]`. By the template `id`, which asks for an item; by the first one without.
    pub fn prompt(&self, id: Option<&str>, user: u32, shown: usize) -> Result<Sample> {
        let form = self.next_form(id)?;
        if form.asks(Field::Candidates) {
            return Err(Fault::Data.error(format!(
                "template: {}: expected one that shows what a user brings along, got one that \
                shows candidates; give them, or choose another",
                form.id()
            )));
        }
        let matter = Matter { example: u64::MAX, ..Matter::default() };
        self.builder.prompt(0, &self.text(user, 0..shown, form, matter)?)
    }
}

/// A seeded sample of at most `count` users that have a target in `split`, ascending.
pub fn sampled_users(dataset: &Dataset, split: Split, count: usize, seed: u64) -> Vec<u32> {
    let mut users: Vec<u32> = (0..dataset.users() as u32)
        .filter(|&u| split.shown(dataset.user(u).items.len()).is_some())
        .collect();
    sampled(&mut users, count, seed);
    users
}

/// Leaves a seeded sample of at most `count` of ascending numbers, 0 = all; they stay ascending.
fn sampled(numbers: &mut Vec<u32>, count: usize, seed: u64) {
    if count > 0 && count < numbers.len() {
        Philox::new(seed, Stream::Users, 0).shuffle(numbers);
        numbers.truncate(count);
        numbers.sort_unstable();
    }
}
