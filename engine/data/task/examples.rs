//! Examples to learn from: which records can be, and the rows that are made of them.

use super::choice::another;
use super::course::Example;
use super::mix::{Mix, TrainIds};
use super::variant::Variant;
use super::words::{count, told, BETWEEN};
use super::{sampled_users, Matter, Parts, Shopper, Split, Tasks};
use crate::base::{Fault, Philox, Stream};
use crate::data::family::Family;
use crate::data::form::Form;
use crate::data::legal::{self, Ends, Legal, Objective};
use crate::data::rank::Shares;
use crate::data::record::NO_TIME;
use crate::data::records::{is_held_out, Part, Record, SplitPolicy};
use crate::data::sample::{Numbered, Prompt, Sample};
use crate::data::span::{cut, MaskUnits, Span, Unit};
use crate::data::template::{Answer, Field};
use crate::data::text::{behaviour_text, Behaviours, SEPARATOR};
use anyhow::Result;
use std::ops::Range;
use std::sync::Arc;

impl Tasks<'_> {
    /// Whom or what a family can be learnt from, ascending: users with two training events or more
    /// of the sequential family, with one of the direct one; of the others the training records
    /// for which one of its templates has all it needs. Records whose answer has no room in a row
    /// are counted apart and left out.
    pub fn learners(&self, family: Family, policy: SplitPolicy) -> Result<(Vec<u32>, usize)> {
        let least = if self.begins_behind(family) { 2 } else { 1 };
        if family.is_of_users() {
            let users = 0..self.dataset.users() as u32;
            return Ok((users.filter(|&u| self.training_events(u).len() >= least).collect(), 0));
        }
        let (mut learners, mut too_long) = (Vec::new(), 0);
        for (number, record) in (0..).zip(self.records().all()) {
            let held = policy == SplitPolicy::Strict
                && is_held_out(self.dataset, record.user, record.item);
            if !self.may_learn(record.part) || held {
                continue;
            }
            if !record.stars.is_nan() {
                self.check_stars(record)?;
            }
            let able = self.able(family, record);
            match able.iter().any(|form| self.prose_fits(form, record)) {
                true => learners.push(number),
                false => too_long += usize::from(!able.is_empty()),
            }
        }
        Ok((learners, too_long))
    }

    /// Whether training may see records of a part.
    fn may_learn(&self, part: Part) -> bool {
        match self.parts {
            Parts::Train => part == Part::Training,
            Parts::TrainAndValidation => part != Part::Test,
        }
    }

    /// Refuses stars that no scale from 1 to 5 has.
    pub(super) fn check_stars(&self, record: &Record) -> Result<()> {
        if (0.5..=5.0).contains(&record.stars) {
            return Ok(());
        }
        let (user, item) = (self.dataset.user(record.user).id, self.dataset.item(record.item).id);
        Err(Fault::Data.error(format!(
            "data: user {user}, item {item}: expected stars from 0.5 to 5, got {}; bring the \
            source's ratings to that scale and prepare it again, or leave families with stars out",
            record.stars
        )))
    }

    /// The forms of a family that training draws among.
    fn own(&self, family: Family) -> impl Iterator<Item = &Form> {
        self.forms.iter().filter(move |form| form.family() == family)
    }

    /// Whether every template of a family shows a history, so that its examples begin behind one.
    fn begins_behind(&self, family: Family) -> bool {
        family == Family::Sequential || self.own(family).all(|form| form.asks(Field::History))
    }

    /// The forms of a family that a record can fill.
    fn able(&self, family: Family, record: &Record) -> Vec<&Form> {
        self.own(family).filter(|form| self.answers(form, record)).collect()
    }

    /// Whether the prose that answers a form leaves room for [`super::MOST_WRITTEN`] tokens.
    fn prose_fits(&self, form: &Form, record: &Record) -> bool {
        let rows = self.builder.options().max_row;
        let most = self.words.room(Answer::Text, 0, rows);
        let Some(prose) = self.prose(form, record) else { return true };
        // A token stands for one byte at least, so a short text need not be cut to be counted.
        let tokens = || self.dataset.vocab().encode(&format!(" {prose}"));
        prose.len() < most || tokens().is_ok_and(|tokens| tokens.len() <= most)
    }

    /// The prose that answers a form, where prose does.
    fn prose(&self, form: &Form, record: &Record) -> Option<&str> {
        let review = self.dataset.review(record.review? as usize);
        let prose = match (form.answer(), form.family()) {
            (Answer::Text | Answer::StarsText, Family::Review) => review.summary,
            (Answer::Text | Answer::StarsText, _) => review.explanation,
            _ => None,
        };
        prose.map(str::trim)
    }

    /// The events that training may see.
    pub(super) fn training_events(&self, user: u32) -> &[u32] {
        self.parts.of(self.dataset.user(user).items)
    }

    /// The row of a training example: what is drawn depends on (seed, number) alone.
    pub fn training(&self, asked: Example, mix: &Mix) -> Result<Sample> {
        let Example { family, subject, number } = asked;
        let user = match family.is_of_users() {
            true => subject,
            false => self.records().all()[subject as usize].user,
        };
        let mut rng = Philox::new(self.habits.seed, Stream::Templates, number);
        let window = rng.uniform() < mix.windows;
        let blanks = rng.uniform() < mix.blanks;
        let variant = self.variant(user, number, mix);
        let part = variant.part.clone();
        if blanks && part.len() >= 2 && !variant.is_pair {
            // Two events or more stay.
            let first = if window { rng.below(part.len() - 1) } else { 0 };
            return self.blanks(&variant, part.start + first..part.end, mix);
        }
        match family {
            Family::Sequential => {
                let drawn = part.start + 1 + rng.below(part.len() - 1);
                // Where all that is shown is learnt as well, all of it is shown.
                let all = self.own(family).all(Form::continues);
                let target = if all { part.end - 1 } else { drawn };
                let first = if window { rng.below(target - part.start) } else { 0 };
                self.of_user(family, &variant, part.start + first..target, mix, &mut rng)
            }
            Family::Direct => {
                let least = usize::from(self.begins_behind(family));
                let target = part.start + least + rng.below(part.len() - least);
                self.of_user(family, &variant, part.start..target, mix, &mut rng)
            }
            _ => self.of_a_record(family, subject, number, mix, &mut rng),
        }
    }

    /// Rows with the answers of what a split holds out of a family, by its own templates: of at
    /// most `count` users or records, 0 = all. Stars are told and items decided as in
    /// training, which is what a likelihood can be held against.
    pub fn held_out(
        &self,
        family: Family,
        split: Split,
        count: usize,
        mix: &Mix,
    ) -> Result<Vec<Sample>> {
        let able = |record: &Record| {
            self.able(family, record).iter().any(|form| self.prose_fits(form, record))
        };
        let subjects = match family.is_of_users() {
            true => sampled_users(self.dataset, split, count, self.habits.seed),
            false => self.sampled_records(split, count, able),
        };
        let row = |&subject: &u32| {
            // Numbers that no training reaches.
            let number = u64::MAX - u64::from(subject);
            let mut rng = Philox::new(self.habits.seed, Stream::Templates, number);
            if !family.is_of_users() {
                return self.of_a_record(family, subject, number, mix, &mut rng);
            }
            let items = self.dataset.user(subject).items;
            let at = split.shown(items.len()).expect("only such users were chosen");
            self.of_user(family, &Variant::plain(subject, number, items), 0..at, mix, &mut rng)
        };
        subjects.iter().map(row).collect()
    }

    /// An example that asks a user for the item after those that are shown, or whether it is one.
    fn of_user(
        &self,
        family: Family,
        variant: &Variant,
        shown: Range<usize>,
        mix: &Mix,
        rng: &mut Philox,
    ) -> Result<Sample> {
        let &Variant { user, number, ref items, .. } = variant;
        let event = variant.event(shown.end);
        let taught = || variant.taught.clone().or_else(|| self.taught(user, event));
        let taught = if mix.objective == Objective::Legal { taught() } else { None };
        let instead = taught.as_ref().filter(|_| rng.uniform() < mix.teacher_samples);
        let target = match instead {
            Some(taught) => self.drawn(taught, rng),
            None => items[shown.end],
        };
        // Nothing came before the first event, and nothing is shown of it.
        let fits = |form: &&Form| !(form.asks(Field::History) && shown.is_empty());
        let forms: Vec<&Form> = self.own(family).filter(fits).collect();
        let form = forms[rng.below(forms.len())];
        let matter = Matter { example: number, events: Some(items), ..Matter::default() };
        if form.answer() == Answer::YesNo {
            let taken = [self.training_events(user), &[target]].concat();
            let wrong = rng.uniform() < 0.5;
            let other = wrong.then(|| another(self.dataset.items(), &taken, rng)).flatten();
            let matter = Matter { item: Some(other.unwrap_or(target)), ..matter };
            let prompt = self.text(user, shown, form, matter)?;
            let word = if other.is_some() { &self.words.no } else { &self.words.yes };
            return self.answered(number, &prompt, word, &[], mix);
        }
        let choices = match form.asks(Field::Candidates) {
            true => self.new_choices(user, target, rng),
            false => Vec::new(),
        };
        let shopper = Shopper { candidates: &choices, ..Shopper::default() };
        let matter = Matter { shopper, kept: Some(target), ..matter };
        let prompt = self.text(user, shown.clone(), form, matter)?;
        let of = |place: Option<usize>| match place {
            Some(place) if variant.taught.is_none() => {
                self.taught(user, variant.event(shown.start + place))
            }
            Some(_) => None,
            None => taught.clone(),
        };
        self.item_row(number, &prompt, target, of, mix)
    }

    /// An example about what a user said of an item.
    fn of_a_record(
        &self,
        family: Family,
        subject: u32,
        number: u64,
        mix: &Mix,
        rng: &mut Philox,
    ) -> Result<Sample> {
        let targets = mix.rating_targets;
        let record = self.records().all()[subject as usize];
        let mut forms = self.able(family, &record);
        forms.retain(|form| self.prose_fits(form, &record));
        let form = forms[rng.below(forms.len())];
        let mut matter = Matter { example: number, ..Matter::default() };
        let stars = record.stars;
        let answer = match form.answer() {
            Answer::YesNo => {
                let (asked, is_right) = count(stars, rng);
                matter.count = Some(asked);
                let word = if is_right { &self.words.yes } else { &self.words.no };
                word.clone()
            }
            Answer::Like => self.words.liked(stars).clone(),
            Answer::Stars => self.encoder.plain(&format!(" {}", told(targets, stars, rng)))?,
            Answer::Text | Answer::StarsText => {
                let prose = self.prose(form, &record).expect("the form can be filled");
                let text = match form.answer() {
                    Answer::Text => format!(" {prose}"),
                    _ => format!(" {}{BETWEEN}{prose}", told(targets, stars, rng)),
                };
                // A text that comes once need not be remembered.
                self.dataset.vocab().encode(&text)?.into()
            }
            Answer::Item => unreachable!("no template of records asks for an item"),
        };
        let prompt = self.of_record(form, &record, matter)?;
        self.answered(number, &prompt, &answer, &[], mix)
    }

    /// The row of an answer of which `entities` are known to be some.
    fn answered(
        &self,
        number: u64,
        prompt: &Prompt,
        answer: &[u32],
        entities: &[Span],
        mix: &Mix,
    ) -> Result<Sample> {
        let by = match mix.ids {
            TrainIds::Automaton => Numbered::Automaton,
            TrainIds::Annotated => Numbered::Annotated(entities),
        };
        self.builder.answered_as(number, prompt, &[answer], by)
    }

    /// Blank infilling over the user's attributes and as many of these events as fit (R40); their
    /// ages count to the last of them (R8).
    fn blanks(&self, variant: &Variant, events: Range<usize>, mix: &Mix) -> Result<Sample> {
        let masking = &mix.masking;
        let &Variant { user, number, ref items, .. } = variant;
        let record = self.dataset.user(user);
        let (items, times) = (&items[events.clone()], &record.times[events.clone()]);
        let choice = self.choice(times, times.last().copied().unwrap_or(NO_TIME), number);
        let attributes = self.dataset.user_attributes(user);
        let behaviours: Vec<&[u32]> = items.iter().map(|&i| self.dataset.item(i).tokens).collect();
        let limit = masking.longest_text(self.builder.options().max_row);
        // Room for the newest event stays, whichever it is, and for what parts it from them.
        let most = limit.saturating_sub(self.longest + 4);
        let untold = self.told("", &attributes, most)?.left_out.profile;
        let told = &attributes[..attributes.len() - untold as usize];
        let text = behaviour_text(&self.encoder, told, &behaviours, &choice, limit)?;
        let Behaviours { mut text, begin, kept } = text;
        text.left_out.profile = untold;
        let ends = |at: usize| self.sentence_ends[text.tokens[at] as usize];
        let (level, spans) = masking.draw(&text.units, ends, self.habits.seed, number);
        let units = match masking.units {
            MaskUnits::Entity => text.units.clone(),
            MaskUnits::Token => cut(&text.units, &spans),
        };
        let (builder, tokens) = (&self.builder, &text.tokens);
        let mut sample = match mix.ids {
            TrainIds::Automaton => builder.infilling(number, tokens, &units, &spans, level)?,
            TrainIds::Annotated => {
                builder.infilling_as_annotated(number, tokens, &units, &spans, level)?
            }
        };
        if mix.objective == Objective::Legal {
            let from = text.units.partition_point(|unit| (unit.start as usize) < begin);
            let taught = |nth: usize| {
                let place = events.start + kept[nth];
                self.taught(user, variant.event(place))
            };
            let written = |span: &Span| written(span, &text.units[from..], taught);
            let answers: Vec<legal::Answer> = spans.iter().map(written).collect();
            self.legal()?.narrow(&mut sample, &answers, &mix.weights);
        }
        let cut = text.cut(sample.cut.clamped);
        Ok(Sample { cut, ..sample })
    }

    /// The row in which `item` answers a prompt; of what the answer begins with, all but the first
    /// item is learnt as it is, as nothing tells the first one. `taught` is what a teacher would
    /// have in place of each item of the history, by its place, and of the answer.
    fn item_row(
        &self,
        number: u64,
        prompt: &Prompt,
        item: u32,
        taught: impl Fn(Option<usize>) -> Option<Arc<Shares>>,
        mix: &Mix,
    ) -> Result<Sample> {
        let (begun, own) = (&prompt.begun, self.dataset.item(item).tokens);
        let tokens = begun.tokens.len() + own.len();
        let whole = 0..own.len();
        let mut sample = self.answered(number, prompt, own, std::slice::from_ref(&whole), mix)?;
        if mix.objective == Objective::Legal {
            let before = begun.items.iter().skip(1).map(|(place, tokens)| legal::Part {
                tokens: tokens.clone(),
                ends: Ends::Behind,
                taught: taught(Some(*place)),
            });
            let answer = legal::Part {
                tokens: begun.tokens.len()..tokens,
                ends: Ends::Answer,
                taught: taught(None),
            };
            let items = before.chain([answer]).collect();
            let answer = legal::Answer { tokens, items };
            self.legal()?.narrow(&mut sample, &[answer], &mix.weights);
        }
        if !begun.items.is_empty() {
            let second = begun.items.get(1).map_or(begun.tokens.len(), |(_, tokens)| tokens.start);
            let first = (sample.context + second) as u32;
            sample.targets.retain(|target| target.row >= first);
        }
        Ok(sample)
    }

    /// The catalogue as the legal objective sees it.
    fn legal(&self) -> Result<&Legal<'_>> {
        if let Some(legal) = self.legal.get() {
            return Ok(legal);
        }
        let separator = self.encoder.plain(SEPARATOR)?;
        let end = self.builder.special().end;
        Ok(self.legal.get_or_init(|| {
            let legal = Legal::new(self.dataset.catalogue(), end, &separator);
            match self.taken() {
                Some(taken) => legal.taught(taken),
                None => legal,
            }
        }))
    }
}

/// What a span of a text writes, `behaviours` being those of the text's units that are items and
/// what parts them. An item that begins before the span is not written from its first token.
/// `taught` is what a teacher would have in place of each.
fn written(
    span: &Span,
    behaviours: &[Unit],
    taught: impl Fn(usize) -> Option<Arc<Shares>>,
) -> legal::Answer {
    let items = behaviours.iter().filter(|unit| unit.entity).enumerate();
    let within = |unit: &Unit| span.contains(&(unit.start as usize));
    let list = behaviours.iter().filter(|unit| within(unit)).nth(1).is_some();
    let ends = if list { Ends::List } else { Ends::Answer };
    let items = items.filter(|(_, unit)| within(unit)).map(|(nth, unit)| {
        let Range { start, end } = unit.range();
        let tokens = start - span.start..end.min(span.end) - span.start;
        legal::Part { tokens, ends, taught: taught(nth) }
    });
    legal::Answer { tokens: span.len(), items: items.collect() }
}
