//! What is asked of the model: the next item of a user, and blanks in the user's own history (R35,
//! R40).

use super::dataset::Dataset;
use super::free::free_text;
use super::record::NO_TIME;
use super::sample::{Cut, Prompt, Sample, SampleBuilder};
use super::span::{cut, MaskUnits, Masking};
use super::template::{Answer, Field, Fields, Form, Template};
use super::text::{
    attributes_behind, behaviour_text, display_name, sentence_ends, Choice, Encoder, Sampling,
};
use crate::base::named::named;
use crate::base::{choose, Fault, Philox, Stream};
use anyhow::Result;
use std::ops::Range;

/// Bytes of text that a token stands for at most, on average over a row: the longest words and runs
/// of white space in published vocabularies.
const LONGEST_TOKEN: usize = 128;

/// Users with fewer events have no held-out ones: they are training only.
pub const FEWEST: usize = 3;

named! {
    /// Which of a user's events is asked for: leave-one-out. All before it are shown.
    pub enum Split: "split" {
        /// The last event is asked for.
        Test = "test",
        /// The last but one is.
        Validation = "validation",
    }
}

impl Split {
    /// Number of events shown of `events`: the place of the one that is asked for. None where there
    /// are fewer than [`FEWEST`].
    pub fn shown(self, events: usize) -> Option<usize> {
        let behind = match self {
            Split::Test => 1,
            Split::Validation => 2,
        };
        (events >= FEWEST).then(|| events - behind)
    }
}

named! {
    /// What numbers the tokens of part B in training (R24).
    pub enum TrainIds: "train-ids" {
        /// What numbers them in decoding.
        Automaton = "automaton",
        /// The entities that the text is known to have, which a decoder cannot know.
        Annotated = "annotated",
    }
}

/// Which training examples are drawn.
pub struct Mix {
    /// What numbers their blanks.
    pub ids: TrainIds,
    /// How blanks are drawn.
    pub masking: Masking,
    /// Share of blank infilling; the rest asks for the next item (R40).
    pub blanks: f64,
    /// Probability that an example begins at a random event instead of the user's first.
    pub windows: f64,
}

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

/// Builds the rows of a data set under one set of rules.
pub struct Tasks<'a> {
    dataset: &'a Dataset,
    builder: SampleBuilder<'a>,
    encoder: Encoder<'a>,
    forms: Vec<Form>,
    /// Of templates that a question may name beside these.
    others: Vec<Form>,
    /// The templates of `forms` in words.
    wording: Vec<String>,
    /// By token id (R12).
    sentence_ends: Vec<bool>,
    /// Longest prompt text, the same for training and decoding.
    limit: usize,
    /// Tokens of the longest surface.
    longest: usize,
    /// Behaviours that a prompt shows at most; 0 = all that fit.
    behaviours: usize,
    /// Which of them where not all are.
    sampling: Sampling,
    seed: u64,
}

impl<'a> Tasks<'a> {
    /// Refuses a template that is no item template, and a row limit that the longest surface alone
    /// passes.
    pub fn new(
        dataset: &'a Dataset,
        builder: SampleBuilder<'a>,
        templates: &[&Template],
        behaviours: usize,
        seed: u64,
    ) -> Result<Tasks<'a>> {
        let encoder = Encoder::of(dataset.vocab());
        let mut forms = Vec::with_capacity(templates.len());
        for template in templates {
            if template.answer != Answer::Item {
                return Err(Fault::Usage.error(format!(
                    "setting `template`: {}: expected one that asks for an item, got another; \
                    choose among next, 2-1 to 2-6 and 2-13",
                    template.id
                )));
            }
            forms.push(template.encode(&encoder, dataset.vocab().special())?);
        }
        if forms.is_empty() {
            return Err(Fault::Usage.error("templates: expected at least one, got none"));
        }
        let longest =
            (0..dataset.items() as u32).map(|i| dataset.item(i).tokens.len()).max().unwrap_or(0);
        let limit = builder.longest_prompt(longest);
        if limit <= longest {
            return Err(Fault::Usage.error(format!(
                "setting `max-row`: expected room for two of the longest surface's {longest} \
                tokens, got {} rows; raise it",
                builder.options().max_row
            )));
        }
        let sentence_ends = sentence_ends(dataset.vocab())?;
        Ok(Tasks {
            dataset,
            builder,
            encoder,
            forms,
            others: Vec::new(),
            wording: templates.iter().map(ToString::to_string).collect(),
            sentence_ends,
            limit,
            longest,
            behaviours,
            sampling: Sampling::Windows,
            seed,
        })
    }

    /// With behaviours chosen in another way where not all are shown.
    pub fn sampled(self, sampling: Sampling) -> Tasks<'a> {
        Tasks { sampling, ..self }
    }

    /// With `templates` as well, for questions that name one: those of them that ask for an item,
    /// in words that the tokenizer has.
    pub fn with_others<'t>(mut self, templates: impl Iterator<Item = &'t Template>) -> Tasks<'a> {
        let asks = |template: &&Template| template.answer == Answer::Item;
        let special = self.dataset.vocab().special();
        let encoded = templates.filter(asks).flat_map(|t| t.encode(&self.encoder, special));
        self.others = encoded.collect();
        self
    }

    /// The form of the template `id`; of the first one without.
    fn form(&self, id: Option<&str>) -> Result<&Form> {
        let Some(id) = id else { return Ok(&self.forms[0]) };
        let mut all = self.forms.iter().chain(&self.others);
        all.find(|form| form.id() == id).ok_or_else(|| {
            let ids: Vec<&str> = self.others.iter().map(Form::id).collect();
            let advice = choose(id, ids.iter().copied());
            Fault::Data.error(format!(
                "template: expected one that asks for an item, of {}, got {id:?}; {advice}",
                ids.join(", ")
            ))
        })
    }

    /// Refuses a template that shows what a user of the data set does not bring along: those of
    /// training, or with `first` the one that asks.
    pub fn check_of_users(&self, first: bool) -> Result<()> {
        let forms = if first { &self.forms[..1] } else { &self.forms[..] };
        let more = |form: &&Form| form.asks(Field::Candidates) || form.asks(Field::Item);
        match forms.iter().find(more) {
            None => Ok(()),
            Some(form) => Err(Fault::Usage.error(format!(
                "setting `template`: {}: expected one that shows what a user brings along, got one \
                that shows candidates; choose among next, 2-1 to 2-6 and 2-13, or ask by setting \
                `prompts` with candidates in every line",
                form.id()
            ))),
        }
    }

    /// Whether the template `id` (the first one without) shows a history.
    pub fn shows_history(&self, id: Option<&str>) -> Result<bool> {
        Ok(self.form(id)?.asks(Field::History))
    }

    /// Its templates in words: training draws among them, decoding asks with the first.
    pub fn wording(&self) -> &[String] {
        &self.wording
    }

    /// The maker of its rows.
    pub fn builder(&self) -> &SampleBuilder<'a> {
        &self.builder
    }

    /// Events `shown` of a user as the prompt of `form`; ages count to the event after them (R8).
    /// A profile has half of the room at most: its last attributes go.
    fn text(&self, user: u32, shown: Range<usize>, form: &Form, example: u64) -> Result<Prompt> {
        let record = self.dataset.user(user);
        let reference = record.times.get(shown.end).copied().unwrap_or(record.times[shown.end - 1]);
        let attributes = self.dataset.user_attributes(user);
        let profile = self.profile(form, &attributes, self.limit / 2)?;
        let shopper = Shopper {
            history: &record.items[shown.clone()],
            attributes: &attributes,
            candidates: &[],
        };
        self.fill(shopper, profile, &record.times[shown], reference, form, example)
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
        Ok((!told.tokens.is_empty() || told.untold > 0).then_some(told))
    }

    /// The first of the attributes that have at most `most` tokens; the last remain untold.
    fn told(&self, lead: &str, attributes: &[(&str, &str)], most: usize) -> Result<Prompt> {
        let mut shown = attributes.len();
        loop {
            let text = attributes_behind(lead, &self.encoder, &attributes[..shown])?;
            if text.tokens.len() <= most {
                return Ok(Prompt { untold: attributes.len() - shown, ..text });
            }
            shown = (shown * most / text.tokens.len()).min(shown - 1);
        }
    }

    /// The one way from a history to a prompt, for users of the data set and for others.
    fn fill(
        &self,
        shopper: Shopper,
        profile: Option<Prompt>,
        times: &[i64],
        reference: i64,
        form: &Form,
        example: u64,
    ) -> Result<Prompt> {
        let Shopper { history, attributes, candidates } = shopper;
        let tokens = |item: u32| self.dataset.item(item).tokens;
        let history: Vec<&[u32]> = history.iter().map(|&item| tokens(item)).collect();
        let choice = Choice { most: self.behaviours, ..self.choice(times, reference, example) };
        let candidates: Vec<&[u32]> = candidates.iter().map(|&item| tokens(item)).collect();
        let name = match display_name(attributes) {
            Some(name) => Some(self.encoder.entity(name)?),
            None => None,
        };
        let fields = Fields {
            user: name.as_deref(),
            profile: profile.as_ref(),
            history: &history,
            choice: Some(&choice),
            candidates: &candidates,
            item: None,
        };
        let untold = profile.as_ref().map_or(0, |profile| profile.untold);
        Ok(Prompt { untold, ..form.fill(&fields, self.limit)? })
    }

    /// Which of the behaviours at `times` an example shows where it cannot show all (R8).
    fn choice<'t>(&self, times: &'t [i64], reference: i64, example: u64) -> Choice<'t> {
        let rng = Philox::new(self.seed, Stream::History, example);
        Choice { sampling: self.sampling, times, reference, most: 0, rng }
    }

    /// The prompt that asks for the next item of somebody whom the data set need not know, by the
    /// template `id`; by the first one without. Refuses a profile that it does not show.
    pub fn ask(&self, shopper: Shopper, id: Option<&str>) -> Result<Sample> {
        let (form, known) = (self.form(id)?, shopper.attributes);
        self.readable("profile", known.iter().map(|(n, v)| n.len() + v.len()).sum())?;
        let named = form.asks(Field::User) && display_name(known).is_some();
        if !(known.is_empty() || named || form.asks(Field::Profile)) {
            return Err(Fault::Data.error(format!(
                "profile: expected a template that shows it, got {}; choose another, or leave the \
                key out",
                form.id()
            )));
        }
        let profile = self.profile(form, known, usize::MAX)?;
        let times = vec![NO_TIME; shopper.history.len()];
        let prompt = self.fill(shopper, profile, &times, NO_TIME, form, u64::MAX)?;
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
            {tokens}; shorten it, ask for \
             fewer tokens or raise setting `max-row`",
            prompt.masks.len()
        )))
    }

    /// Tokens of the longest surface: room that an item needs as an answer.
    pub fn longest_item(&self) -> usize {
        self.longest
    }

    /// The prompt that asks for the event after the first `shown` of a user: a row ending in
    /// `[START]`.
    pub fn prompt(&self, user: u32, shown: usize) -> Result<Sample> {
        self.prompt_by(None, user, shown)
    }

    /// The same by the template `id`; by the first one without.
    pub fn prompt_by(&self, id: Option<&str>, user: u32, shown: usize) -> Result<Sample> {
        self.builder.prompt(0, &self.text(user, 0..shown, self.form(id)?, u64::MAX)?)
    }

    /// Users with something to learn from: two events or more before the validation item.
    pub fn learners(&self) -> Vec<u32> {
        (0..self.dataset.users() as u32).filter(|&u| self.training_events(u).len() >= 2).collect()
    }

    /// The events that training may see: all but the last two, or all of a user too short to be
    /// split.
    fn training_events(&self, user: u32) -> &'a [u32] {
        let items = self.dataset.user(user).items;
        &items[..Split::Validation.shown(items.len()).unwrap_or(items.len())]
    }

    /// Training example `example` about `user`: what is drawn depends on (seed, example) alone.
    pub fn training(&self, user: u32, example: u64, mix: &Mix) -> Result<Sample> {
        let items = self.training_events(user);
        let mut rng = Philox::new(self.seed, Stream::Templates, example);
        let window = rng.uniform() < mix.windows;
        if rng.uniform() < mix.blanks {
            // Two events or more stay.
            let first = if window { rng.below(items.len() - 1) } else { 0 };
            return self.blanks(user, first..items.len(), example, mix);
        }
        let target = 1 + rng.below(items.len() - 1);
        let first = if window { rng.below(target) } else { 0 };
        let form = &self.forms[rng.below(self.forms.len())];
        let answer = self.dataset.item(items[target]).tokens;
        self.builder.answered(example, &self.text(user, first..target, form, example)?, &[answer])
    }

    /// Blank infilling over the user's attributes and as many of these events as fit (R40); their
    /// ages count to the last of them (R8).
    fn blanks(&self, user: u32, events: Range<usize>, example: u64, mix: &Mix) -> Result<Sample> {
        let masking = &mix.masking;
        let record = self.dataset.user(user);
        let (items, times) = (&record.items[events.clone()], &record.times[events]);
        let choice = self.choice(times, times.last().copied().unwrap_or(NO_TIME), example);
        let attributes = self.dataset.user_attributes(user);
        let behaviours: Vec<&[u32]> = items.iter().map(|&i| self.dataset.item(i).tokens).collect();
        let limit = masking.longest_text(self.builder.options().max_row);
        // Room for the newest event stays, whichever it is, and for what parts it from them.
        let untold = self.told("", &attributes, limit.saturating_sub(self.longest + 4))?.untold;
        let told = &attributes[..attributes.len() - untold];
        let text = behaviour_text(&self.encoder, told, &behaviours, &choice, limit)?;
        let ends = |at: usize| self.sentence_ends[text.tokens[at] as usize];
        let (level, spans) = masking.draw(&text.units, ends, self.seed, example);
        let units = match masking.units {
            MaskUnits::Entity => text.units,
            MaskUnits::Token => cut(&text.units, &spans),
        };
        let sample = match mix.ids {
            TrainIds::Automaton => {
                self.builder.infilling(example, &text.tokens, &units, &spans, level)?
            }
            TrainIds::Annotated => {
                self.builder.infilling_as_annotated(example, &text.tokens, &units, &spans, level)?
            }
        };
        let cut = Cut::of(text.dropped as u64, untold as u64, sample.cut.clamped);
        Ok(Sample { cut, ..sample })
    }
}

/// The users of step `step` (from 1) with the numbers of their examples: each epoch is a seeded
/// order of all learners.
pub fn examples_of_step(
    learners: &[u32],
    per_step: usize,
    seed: u64,
    step: u64,
) -> Vec<(u32, u64)> {
    let n = learners.len() as u64;
    let (first, last) = ((step - 1) * per_step as u64, step * per_step as u64);
    let mut chosen = Vec::with_capacity(per_step);
    for epoch in first / n..=(last - 1) / n {
        let mut order = learners.to_vec();
        Philox::new(seed, Stream::Shuffle, epoch).shuffle(&mut order);
        let range = first.max(epoch * n)..last.min((epoch + 1) * n);
        chosen.extend(range.map(|example| (order[(example - epoch * n) as usize], example)));
    }
    chosen
}

/// A seeded sample of at most `count` users that have a target in `split`, ascending.
pub fn sampled_users(dataset: &Dataset, split: Split, count: usize, seed: u64) -> Vec<u32> {
    let mut users: Vec<u32> = (0..dataset.users() as u32)
        .filter(|&u| split.shown(dataset.user(u).items.len()).is_some())
        .collect();
    if count > 0 && count < users.len() {
        Philox::new(seed, Stream::Users, 0).shuffle(&mut users);
        users.truncate(count);
        users.sort_unstable();
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_learner_once_an_epoch_whatever_the_step_size() {
        let learners: Vec<u32> = (0..37).collect();
        for per_step in [1, 5, 37, 50] {
            let all: Vec<(u32, u64)> = (1..=74u64.div_ceil(per_step))
                .flat_map(|s| examples_of_step(&learners, per_step as usize, 3, s))
                .collect();
            for epoch in 0..2 {
                let mut users: Vec<u32> =
                    all.iter().filter(|e| e.1 / 37 == epoch).map(|e| e.0).collect();
                users.sort_unstable();
                assert_eq!(users, learners);
            }
            assert_eq!(
                all.iter().map(|e| e.1).take(74).collect::<Vec<_>>(),
                (0..74).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn leave_one_out() {
        assert_eq!(Split::Test.shown(5), Some(4));
        assert_eq!(Split::Validation.shown(5), Some(3));
        assert_eq!(Split::Test.shown(2), None);
        assert_eq!(Split::Validation.shown(0), None);
    }
}
