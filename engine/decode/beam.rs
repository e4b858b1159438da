//! Beam search over the whole vocabulary, for the answer of one mask. Every step takes the best W
//! extensions of the live beams, ordered by summed log-probability; those by a token that ends a
//! text move to the finished pool with score sum/length^alpha; the search ends when no beam is live
//! (E12b). Knows no model: it asks of each live beam what may follow, and is told.
//!
//! * Ties: the beam whose tokens come first; of one beam the larger logit, then the smaller token.
//! * Groups share W equally and take turns at every step (Vijayakumar et al. 2016): an extension
//!   stands lambda lower for each beam of an earlier group that went on by the same token. Only the
//!   order within the group knows of it, the sums do not (in transformers they carry it on); and
//!   ends are not counted, for an end is no word.
//! * A beam as long as an answer may be is asked once more, whether its end is among the best; one
//!   that does not end then is unfinished, and stands behind all that ended.
//! * A search is over as soon as nothing live can come among the answers that are returned: a sum
//!   only falls, and no length makes more of it than the longest.

use super::finite::{Found, NotFinite};
use super::grammar::{Grammar, Place};
use super::writing::{Answer, Limits, Writing};
use crate::data::intra::START_ID;
use crate::data::IntraState;
use crate::model::{Among, Choices, Question};
use std::cmp::Ordering;

/// A text in the making.
#[derive(Clone, Debug)]
pub struct Beam {
    /// What was written, with the ids with which it is fed, and the log-probability of each.
    answer: Answer,
    sum: f64,
    /// Where the automaton and the grammar stand behind it.
    state: IntraState,
    place: Place,
    /// Whatever the one who feeds it remembers of it: slots of all that was fed.
    pub path: Vec<u32>,
}

impl Beam {
    /// The token that is fed next, and its intra id.
    pub fn fed(&self, start: u32) -> (u32, u32) {
        let last = self.answer.tokens.last().zip(self.answer.ids.last());
        last.map_or((start, START_ID), |(&token, &id)| (token, id))
    }
}

/// Beams that compete with one another.
struct Group {
    live: Vec<Beam>,
    /// Answers that ended.
    ended: usize,
}

/// An extension of a live beam.
struct Candidate {
    beam: usize,
    /// Its place among those of its beam.
    rank: usize,
    token: u32,
    log_prob: f32,
    sum: f64,
    /// By what it is chosen: the sum, less what its likeness to earlier groups costs.
    worth: f64,
}

/// The search for the answer of one mask.
pub struct BeamSearch<'a> {
    limits: Limits<'a>,
    grammar: Grammar<'a>,
    writing: Writing,
    groups: Vec<Group>,
    /// Tokens of every live beam.
    length: usize,
    /// The best that ended, best first, each text once; with the paths of their beams.
    finished: Vec<(Answer, Vec<u32>)>,
    /// Those that the limit cut off, likewise.
    cut: Vec<(Answer, Vec<u32>)>,
    /// Whether all numbers so far are numbers.
    finite: bool,
}

impl<'a> BeamSearch<'a> {
    /// A search that begins behind `path`; `writing` must have passed [`Writing::check`].
    pub fn new(
        limits: Limits<'a>,
        grammar: Grammar<'a>,
        writing: Writing,
        path: &[u32],
    ) -> BeamSearch<'a> {
        let beam = || Beam {
            answer: Answer::default(),
            sum: 0.0,
            state: limits.intra.start(),
            place: grammar.start(),
            path: path.to_vec(),
        };
        let group = |_| Group { live: vec![beam()], ended: 0 };
        BeamSearch {
            limits,
            grammar,
            writing,
            groups: (0..writing.groups).map(group).collect(),
            length: 0,
            finished: Vec::new(),
            cut: Vec::new(),
            finite: true,
        }
    }

    /// The live beams: what each is fed next must be, and [`BeamSearch::take`] told what may follow
    /// it. None: the search is over.
    pub fn live(&mut self) -> impl Iterator<Item = &mut Beam> {
        self.groups.iter_mut().flat_map(|group| &mut group.live)
    }

    /// What is asked behind each live beam, in their order.
    pub fn questions(&self) -> impl Iterator<Item = Question> + use<'_, 'a> {
        self.groups.iter().flat_map(|group| &group.live).map(|beam| {
            let mut repeated = Vec::new();
            if self.writing.repetition_penalty != 1.0 {
                repeated.clone_from(&beam.answer.tokens);
                repeated.sort_unstable();
                repeated.dedup();
            }
            let among = match self.grammar.legal(&beam.place, self.limits.end) {
                Some(tokens) => Among::These(tokens),
                None => Among::Best(self.writing.beams),
            };
            Question {
                penalty: self.writing.repetition_penalty,
                repeated,
                banned: if self.is_short() { self.limits.ends().collect() } else { Vec::new() },
                among,
            }
        })
    }

    /// Whether an answer may not end yet.
    fn is_short(&self) -> bool {
        self.length < self.writing.min_tokens
    }

    /// One step of the rule: what may follow each live beam, in their order.
    pub fn take(&mut self, choices: &[Choices]) {
        if !choices.iter().all(|choices| self.is_known(choices)) {
            self.finite = false;
            self.groups.clear();
            return;
        }
        let mut choices = choices;
        // The tokens by which earlier groups go on.
        let mut written = Vec::new();
        for mut group in std::mem::take(&mut self.groups) {
            let (own, others) = choices.split_at(group.live.len());
            choices = others;
            let best = self.best(&group.live, own, &written);
            group = self.extended(group, best, &mut written);
            self.groups.push(group);
        }
        self.length += 1;
        if self.is_decided() {
            self.groups.clear();
        }
    }

    /// Whether all numbers are finite but those of tokens that were banned.
    fn is_known(&self, choices: &Choices) -> bool {
        let banned = |token| self.is_short() && self.limits.is_end(token);
        let mut numbers = choices.log_probs.iter().zip(&choices.tokens);
        numbers.all(|(&p, &token)| p.is_finite() || p == f32::NEG_INFINITY && banned(token))
    }

    /// The best extensions of the live beams of a group, best first.
    fn best(&self, live: &[Beam], choices: &[Choices], written: &[u32]) -> Vec<Candidate> {
        let mut all = Vec::new();
        for (beam, choices) in choices.iter().enumerate() {
            let known = choices.tokens.iter().zip(&choices.log_probs).enumerate();
            for (rank, (&token, &log_prob)) in known.filter(|(_, (_, p))| p.is_finite()) {
                let sum = live[beam].sum + f64::from(log_prob);
                let same = written.iter().filter(|&&other| other == token).count();
                let worth = match same {
                    0 => sum,
                    _ => sum - self.writing.diversity * same as f64,
                };
                all.push(Candidate { beam, rank, token, log_prob, sum, worth });
            }
        }
        all.sort_by(|a, b| {
            let tokens = |x: &Candidate| live[x.beam].answer.tokens.as_slice();
            b.worth
                .total_cmp(&a.worth)
                .then_with(|| tokens(a).cmp(tokens(b)))
                .then(a.rank.cmp(&b.rank))
        });
        all.truncate(self.writing.width());
        all
    }

    /// The group behind its best extensions.
    fn extended(&mut self, group: Group, best: Vec<Candidate>, written: &mut Vec<u32>) -> Group {
        let Group { live, mut ended } = group;
        let mut next = Vec::new();
        let mut ends = vec![false; live.len()];
        let full = self.length == self.limits.tokens;
        for by in best {
            let beam = &live[by.beam];
            if self.limits.is_end(by.token) {
                ended += 1;
                ends[by.beam] = true;
                self.finish(beam, &by);
            } else if !full {
                written.push(by.token);
                next.push(self.extend(beam, &by));
            }
        }
        if full {
            for (beam, _) in live.iter().zip(ends).filter(|(_, ends)| !ends) {
                let answer =
                    Answer { score: self.score(beam.sum, self.length), ..beam.answer.clone() };
                self.keep(answer, &beam.path);
            }
        }
        if self.writing.early_stopping && ended >= self.writing.width() {
            next.clear();
        }
        Group { live: next, ended }
    }

    fn extend(&self, beam: &Beam, by: &Candidate) -> Beam {
        let mut next = beam.clone();
        let (state, id) = self.limits.intra.step(beam.state, by.token);
        next.state = state;
        next.place = self.grammar.step(&beam.place, by.token);
        next.sum = by.sum;
        next.answer.tokens.push(by.token);
        next.answer.ids.push(id);
        next.answer.log_probs.push(by.log_prob);
        next
    }

    fn finish(&mut self, beam: &Beam, by: &Candidate) {
        let mut answer = beam.answer.clone();
        answer.log_probs.push(by.log_prob);
        answer.score = self.score(by.sum, self.length + 1);
        answer.ended = true;
        self.keep(answer, &beam.path);
    }

    /// sum/length^alpha; an answer without a token counts as one.
    fn score(&self, sum: f64, length: usize) -> f64 {
        sum / (length.max(1) as f64).powf(self.writing.length_penalty)
    }

    /// Keeps an answer if it is among the best of its kind; a text that another group or another
    /// end wrote too stays once, as the better one.
    fn keep(&mut self, answer: Answer, path: &[u32]) {
        let (end, most) = (self.limits.end, self.writing.returned);
        let kept = if answer.ended { &mut self.finished } else { &mut self.cut };
        if let Some(at) = kept.iter().position(|(other, _)| other.tokens == answer.tokens) {
            if kept[at].0.score >= answer.score {
                return;
            }
            kept.remove(at);
        }
        let place = kept.partition_point(|(other, _)| best_first(other, &answer, end).is_lt());
        kept.insert(place, (answer, path.to_vec()));
        kept.truncate(most);
    }

    /// Whether no live beam can still come among what is returned.
    fn is_decided(&self) -> bool {
        let Some((last, _)) = self.finished.get(self.writing.returned - 1) else { return false };
        let most = |beam: &Beam| self.score(beam.sum, self.limits.tokens + 1);
        let mut live = self.groups.iter().flat_map(|group| &group.live);
        live.all(|beam| most(beam) < last.score)
    }

    /// The best answers, best first, those that ended before those that were cut off, each with the
    /// path of its beam. None at all only where a grammar has nothing that is long enough.
    pub fn answers(self) -> Found<Vec<(Answer, Vec<u32>)>> {
        if !self.finite {
            return Err(NotFinite);
        }
        let mut answers = self.finished;
        answers.extend(self.cut);
        answers.truncate(self.writing.returned);
        Ok(answers)
    }
}

/// The order of answers of a kind: by score, equal scores by their tokens.
fn best_first(a: &Answer, b: &Answer, end: u32) -> Ordering {
    let tokens = |answer: &Answer| [&answer.tokens[..], &[end]].concat();
    b.score.total_cmp(&a.score).then_with(|| tokens(a).cmp(&tokens(b)))
}
