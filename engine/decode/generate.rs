//! Free generation: masks of a text filled one after another, positions by the automaton (R34).
//! Several texts are written together; each keeps its own search, all share passes.

use super::beam::BeamSearch;
use super::finite::{all_finite, Found, NotFinite};
use super::grammar::Grammar;
use super::writing::{Answer, Limits, Writing};
use crate::data::{Batch, Sample};
use crate::model::{Choices, Extension, KvCache, Model};
use anyhow::Result;

/// A text to be filled: a row without part B, and the inter ids of its masks in order.
#[derive(Clone, Debug)]
pub struct Blanks {
    /// The text.
    pub part_a: Sample,
    /// Inter ids of its masks, in order.
    pub masks: Vec<u32>,
}

/// A text with all that decides what is written into it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The text.
    pub blanks: &'a Blanks,
    /// What is fixed for it.
    pub limits: Limits<'a>,
    /// What its answers may be made of.
    pub grammar: Grammar<'a>,
    /// How they are searched.
    pub writing: Writing,
}

/// Fills the masks of every text greedily, in order; earlier answers stay visible and each begins
/// with a fresh automaton. A text's answers have the same bits whatever texts stand beside it.
/// Refuses a model that gives what is no number.
pub fn greedy(model: &Model, texts: &[&Blanks], limits: Limits) -> Result<Vec<Vec<Answer>>> {
    all_finite(greedy_each(model, texts, limits)?)
}

/// As [`greedy`], every text with its own end.
pub fn greedy_each(
    model: &Model,
    texts: &[&Blanks],
    limits: Limits,
) -> Result<Vec<Found<Vec<Answer>>>> {
    let (grammar, writing) = (Grammar::Free, Writing::GREEDY);
    let requests = texts.iter().map(|&blanks| Request { blanks, limits, grammar, writing });
    let asked: Vec<Request> = requests.collect();
    let found = write_each(model, &asked)?;
    Ok(found.into_iter().map(|found| Ok(found?.into_iter().flatten().collect())).collect())
}

/// The best answers for each mask of every text, best first, in the order of the masks. A mask is
/// filled by its best answer before the next one is begun: earlier answers stay visible, and each
/// begins with a fresh automaton. What a text is given has the same bits whatever texts stand
/// beside it. A mask stays open, without an answer, where a grammar has none that is long enough.
/// Refuses settings that [`Writing::check`] refuses.
pub fn write_each(model: &Model, asked: &[Request]) -> Result<Vec<Found<Vec<Vec<Answer>>>>> {
    for request in asked {
        request.writing.check(request.limits.tokens)?;
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut texts: Vec<Text> = asked.iter().map(Text::new).collect();
    let batch = Batch::of(asked.iter().map(|request| &request.blanks.part_a));
    let (mut cache, _) = KvCache::prefill(model, &batch, KvCache::SLOTS * texts.len())?;
    let mut used = 0u32;
    loop {
        let mut extension = Extension::new();
        let mut questions = Vec::new();
        let mut rows = Vec::new();
        for (number, text) in texts.iter_mut().enumerate() {
            let Some((mask, search)) = text.open.as_mut() else { continue };
            for beam in search.live() {
                beam.path.push(used);
                let (token, id) = beam.fed(asked[number].limits.start);
                let position = model.config.produced(*mask, id);
                extension.push(number as u32, token, position, used, &beam.path);
                used += 1;
            }
            let before = questions.len();
            questions.extend(search.questions());
            rows.push((number, before..questions.len()));
        }
        if rows.is_empty() {
            break;
        }
        cache.reserve(model, used as usize)?;
        let hidden = cache.extend(model, &extension)?;
        let choices = model.choose(hidden.view(), &questions)?;
        for (number, rows) in rows {
            texts[number].take(&choices[rows]);
        }
    }
    Ok(texts.into_iter().map(|text| text.found).collect())
}

/// A text in the making.
struct Text<'a> {
    request: Request<'a>,
    /// The answers for the masks that are filled.
    found: Found<Vec<Vec<Answer>>>,
    /// The inter id of the mask that is being filled, and the search for its answer; none once all
    /// masks are filled, or none can be.
    open: Option<(u32, BeamSearch<'a>)>,
    /// Slots of all that fills the earlier masks.
    path: Vec<u32>,
}

impl<'a> Text<'a> {
    fn new(request: &Request<'a>) -> Text<'a> {
        let (found, path) = (Ok(Vec::new()), Vec::new());
        let mut text = Text { request: *request, found, open: None, path };
        text.begin(0);
        text
    }

    /// Begins with a mask, where there is one, behind what fills the earlier ones.
    fn begin(&mut self, number: usize) {
        let Request { blanks, limits, grammar, writing } = self.request;
        let search = || BeamSearch::new(limits, grammar, writing, &self.path);
        let mask = blanks.masks.get(number);
        self.open = mask.map(|&mask| (mask, search()));
    }

    /// Tells the search what may follow its beams, and goes on to the next mask when it is over.
    /// All of the best answer was fed by then, so that later answers see it as they do in a row of
    /// training.
    fn take(&mut self, choices: &[Choices]) {
        let Some((mask, mut search)) = self.open.take() else { return };
        search.take(choices);
        if search.live().next().is_some() {
            self.open = Some((mask, search));
            return;
        }
        let Ok(answers) = search.answers() else {
            self.found = Err(NotFinite);
            return;
        };
        if let Some((_, path)) = answers.first() {
            self.path.clone_from(path);
        }
        let Ok(found) = &mut self.found else { return };
        found.push(answers.into_iter().map(|(answer, _)| answer).collect());
        let filled = found.len();
        self.begin(filled);
    }
}
