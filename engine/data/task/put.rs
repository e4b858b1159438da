//! Questions about the data's own users and records, as prompts: what is asked, among what, and
//! what is right.

use super::words::count;
use super::{sampled, sampled_users, Matter, Split, Tasks};
use crate::base::{Fault, Philox, Stream};
use crate::data::family::Family;
use crate::data::form::Form;
use crate::data::records::{Part, Record};
use crate::data::sample::{Prompt, Sample};
use crate::data::template::{Answer, Field};
use anyhow::Result;

/// A question, ready for the model.
pub enum Put {
    /// Which item of the whole catalogue.
    Item {
        /// A row that ends with `[START]`.
        prompt: Sample,
        /// The right one.
        target: u32,
    },
    /// Which of these.
    Among {
        /// A row that ends with `[START]`.
        prompt: Sample,
        /// Items, each once, the right one among them.
        candidates: Vec<u32>,
        /// The right one.
        target: u32,
    },
    /// Whether each of these.
    YesNo {
        /// A row that ends with `[START]` for each.
        prompts: Vec<Sample>,
        /// Items, each once, the right one among them.
        candidates: Vec<u32>,
        /// The right one.
        target: u32,
        /// Tokens of "yes" and of "no".
        words: [Vec<u32>; 2],
    },
    /// What is to be written.
    Written {
        /// The text with its mask.
        prompt: Prompt,
        /// The item in question.
        item: u32,
        /// Tokens of the answer at most.
        room: usize,
    },
}

impl Tasks<'_> {
    /// Ids of the templates by which the data's own users and records of a family are asked: the
    /// first of `named` that is the family's, where none is named the first there is, or with `all`
    /// every one, held out or not. Refuses names of which none is the family's.
    pub fn wordings(&self, family: Family, named: &[String], all: bool) -> Result<Vec<String>> {
        if !all {
            let own = named.iter().find(|id| self.form(family, Some(id)).is_ok());
            let id = own.or(named.first()).map(String::as_str);
            return Ok(vec![self.form(family, id)?.id().to_owned()]);
        }
        let mut ids: Vec<String> = Vec::new();
        let own = |form: &&Form| form.family() == family && !form.by_name();
        for form in self.forms.iter().chain(&self.others).filter(own) {
            if !ids.iter().any(|known| known == form.id()) {
                ids.push(form.id().to_owned());
            }
        }
        Ok(ids)
    }

    /// Whom or what the template `id` can be asked about in a split, ascending; a seeded sample of
    /// at most `count`, 0 = all: users of the sequential and direct families, records of the
    /// others.
    pub fn subjects(
        &self,
        family: Family,
        id: &str,
        split: Split,
        count: usize,
    ) -> Result<Vec<u32>> {
        let form = self.form(family, Some(id))?;
        if family.is_of_users() {
            return Ok(sampled_users(self.dataset, split, count, self.habits.seed));
        }
        let numbers = self.sampled_records(split, count, |record| self.answers(form, record));
        let asked = numbers.iter().map(|&number| &self.records().all()[number as usize]);
        asked.filter(|r| !r.stars.is_nan()).try_for_each(|r| self.check_stars(r))?;
        Ok(numbers)
    }

    /// A seeded sample of at most `count` records of a split, 0 = all, of those that will do.
    pub(super) fn sampled_records(
        &self,
        split: Split,
        count: usize,
        will_do: impl Fn(&Record) -> bool,
    ) -> Vec<u32> {
        let all = (0..).zip(self.records().all());
        let own = all.filter(|(_, record)| record.part == Part::from(split) && will_do(record));
        let mut numbers = own.map(|(number, _)| number).collect();
        sampled(&mut numbers, count, self.habits.seed);
        numbers
    }

    /// Whether a record has what a form shows, and something to compare an answer with.
    pub(super) fn answers(&self, form: &Form, record: &Record) -> bool {
        let review = record.review.map(|number| self.dataset.review(number as usize));
        let said = |text: Option<&str>| text.is_some_and(|text| !text.trim().is_empty());
        let of = |field: Field| match field {
            Field::Stars => !record.stars.is_nan(),
            Field::Headline => said(review.and_then(|review| review.summary)),
            Field::Feature => said(review.and_then(|review| review.feature)),
            Field::Review => said(review.and_then(|review| review.text)),
            _ => true,
        };
        let shown = [Field::Stars, Field::Headline, Field::Feature, Field::Review];
        let shown = shown.into_iter().filter(|&field| form.asks(field)).all(of);
        let prose = match form.family() {
            Family::Review => of(Field::Headline),
            _ => said(review.and_then(|review| review.explanation)),
        };
        // A history of nothing cannot be shown.
        let history = !form.asks(Field::History) || !self.known(record).is_empty();
        let answered = match form.answer() {
            Answer::Text => prose,
            Answer::StarsText => prose && of(Field::Stars),
            _ => of(Field::Stars),
        };
        shown && answered && history
    }

    /// The events that a prompt about a record may show: those of training before it.
    pub(super) fn known(&self, record: &Record) -> &[u32] {
        let events = Split::training(self.dataset.user(record.user).items);
        let until = events.iter().position(|&item| item == record.item);
        &events[..until.unwrap_or(events.len())]
    }

    /// The question of the template `id` about a user or a record of the data.
    pub fn put(&self, family: Family, id: &str, subject: u32, split: Split) -> Result<Put> {
        let form = self.form(family, Some(id))?;
        if family.is_of_users() {
            return self.put_user(form, subject, split);
        }
        let record = self.records().all()[subject as usize];
        let asks_count = form.answer() == Answer::YesNo;
        let count = asks_count.then(|| self.count_of(&record, subject));
        let matter = Matter { count, example: u64::MAX, ..Matter::default() };
        let prompt = self.of_record(form, &record, matter)?;
        let rows = self.builder.options().max_row;
        let room = self.words.room(form.answer(), self.longest, rows);
        Ok(Put::Written { prompt, item: record.item, room })
    }

    /// The stars that a question about a record asks yes or no of: as often the right ones as
    /// others, the same whoever asks.
    fn count_of(&self, record: &Record, number: u32) -> f32 {
        let seed = self.dataset.settings().seed;
        let mut rng = Philox::new(seed, Stream::Candidates, 1 << 32 | u64::from(number));
        count(record.stars, &mut rng).0
    }

    /// The prompt about a record.
    pub(super) fn of_record(
        &self,
        form: &Form,
        record: &Record,
        matter: Matter<'_>,
    ) -> Result<Prompt> {
        let matter = Matter { item: Some(record.item), record: Some(record), ..matter };
        self.text(record.user, 0..self.known(record).len(), form, matter)
    }

    fn put_user(&self, form: &Form, user: u32, split: Split) -> Result<Put> {
        let events = self.dataset.user(user).items;
        let Some(shown) = split.shown(events.len()) else {
            return Err(Fault::Data.error(format!(
                "user: {}: expected 3 events or more, got {}; ask by a history",
                self.dataset.user(user).id,
                events.len()
            )));
        };
        let target = events[shown];
        let matter = Matter { example: u64::MAX, ..Matter::default() };
        let text =
            |matter: Matter<'_>| self.builder.prompt(0, &self.text(user, 0..shown, form, matter)?);
        // The direct family chooses among stored candidates, whether a list shows them or not.
        let whole = form.family() == Family::Sequential && !form.asks(Field::Candidates);
        if whole && form.answer() == Answer::Item {
            return Ok(Put::Item { prompt: text(matter)?, target });
        }
        let candidates = self.choices(user, target);
        if form.answer() == Answer::YesNo {
            let ask = |&item: &u32| text(Matter { item: Some(item), ..matter });
            let prompts = candidates.iter().map(ask).collect::<Result<_>>()?;
            let words = [self.words.yes.to_vec(), self.words.no.to_vec()];
            return Ok(Put::YesNo { prompts, candidates, target, words });
        }
        let shopper = super::Shopper { candidates: &candidates, ..matter.shopper };
        let prompt = text(Matter { shopper, kept: Some(target), ..matter })?;
        Ok(Put::Among { prompt, candidates, target })
    }
}
