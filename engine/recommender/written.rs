//! Answers that are written as text: free prompts, the record families, and items that are asked
//! for under no trie, as one list, or by what a text is nearest to (E12).

use super::answer::{fed_back, Answer, Outcome, Output, Scored};
use super::budget::Beams;
use super::open::Recommender;
use super::question::{Asked, Rows};
use super::settings::{Answers, Mode};
use crate::data::task::{Tasks, MOST_WRITTEN};
use crate::data::text::SEPARATOR;
use crate::data::{Sample, Trie};
use crate::decode::{self, nearest_each, write_each, Blanks, Grammar, Limits, Request, Writing};
use anyhow::Result;

impl Recommender {
    /// Whether items of the whole catalogue are asked for as text.
    pub(super) fn writes_items(&self) -> bool {
        matches!(self.settings.answers.mode, Mode::Free | Mode::Ground | Mode::List)
    }

    /// Writes what is to be written, in groups that there is memory for.
    pub(super) fn write(
        &self,
        tasks: &Tasks,
        catalogue: &Trie,
        asked: &[&Asked],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let answers = &self.settings.answers;
        let (builder, specials) = (tasks.builder(), self.dataset().vocab().specials());
        let separator = self.dataset().vocab().encode(SEPARATOR)?;
        let penalty = self.decided.asked.length_penalty;
        let list = Grammar::List { items: catalogue, separator: &separator };
        // The blanks of questions for items are made here: they lack a part A of their own.
        let mut own: Vec<(usize, Blanks)> = Vec::new();
        for (at, asked) in asked.iter().enumerate() {
            let Rows::Items { prompt, within: None, .. } = &asked.rows else { continue };
            if self.writes_items() {
                own.push((at, blanks_of(prompt)));
            }
        }
        let mut requests: Vec<(usize, Request)> = Vec::new();
        let limits = |tokens: usize| Limits {
            intra: builder.intra(),
            start: builder.special().start,
            end: builder.special().end,
            specials: &specials,
            tokens,
        };
        for (at, asked) in asked.iter().enumerate() {
            let Rows::Text { blanks, room, .. } = &asked.rows else { continue };
            // As much as training gives an answer, unless less is wanted.
            let wanted = answers.max_new_tokens;
            let tokens = match *room {
                Some(room) if wanted >= MOST_WRITTEN => room,
                Some(room) => room.min(wanted),
                None => wanted,
            };
            let writing = answers.texts(tokens, penalty);
            let (limits, grammar) = (limits(tokens), Grammar::Free);
            requests.push((at, Request { blanks, limits, grammar, writing }));
        }
        for (at, blanks) in &own {
            let longest = tasks.longest_item();
            let left_out = match &asked[*at].rows {
                Rows::Items { left_out, .. } => left_out.len(),
                _ => 0,
            };
            let top = asked[*at].top.unwrap_or(answers.top) + left_out;
            let (tokens, grammar, writing) = match answers.mode {
                Mode::List => (top * (longest + separator.len()), list, Writing::GREEDY),
                Mode::Ground => (longest, Grammar::Free, Writing::GREEDY),
                _ => {
                    let beams = answers.beams.max(top);
                    (longest, Grammar::Free, Answers::titles(beams, penalty))
                }
            };
            requests.push((*at, Request { blanks, limits: limits(tokens), grammar, writing }));
        }
        self.write_groups(&requests, specials.len(), outcomes)
    }

    /// Writes for all requests, each the place of its question, in groups that there is memory for.
    fn write_groups(
        &self,
        requests: &[(usize, Request)],
        specials: usize,
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let takes = |one: &Request| {
            let legal = match one.grammar {
                Grammar::Free => 0,
                Grammar::Item(items) | Grammar::List { items, .. } => {
                    items.children(Trie::ROOT).len() + 1
                }
            };
            let masks = one.blanks.masks.len();
            Beams::texts(&one.writing, masks, one.limits.tokens, legal, specials)
        };
        let mut rest = requests;
        while !rest.is_empty() {
            let rows: Vec<usize> = rest.iter().map(|(_, one)| one.blanks.part_a.rows()).collect();
            let plan = rest.iter().map(|(_, one)| takes(one)).reduce(Beams::larger);
            let together = self.budget.together(&rows, plan.expect("some are left"));
            let (group, later) = rest.split_at(together);
            rest = later;
            let own: Vec<Request> = group.iter().map(|(_, request)| *request).collect();
            for ((at, _), found) in group.iter().zip(write_each(&self.model, &own)?) {
                outcomes[*at] = found.map_or_else(Outcome::NotFinite, Outcome::Text);
            }
        }
        Ok(())
    }

    /// The words of what was written.
    pub(super) fn text_of(&self, answer: &decode::Answer) -> Result<String> {
        Ok(self.dataset().vocab().decode(&answer.tokens)?.trim().to_owned())
    }

    /// What was written where an item was asked for, the best `top`: outputs of beams, or the items
    /// of one list; items in `left_out`, ascending, are not shown.
    pub(super) fn generated(
        &self,
        catalogue: &Trie,
        (prompt, left_out): (&Sample, &[u32]),
        answers: Vec<decode::Answer>,
        top: usize,
    ) -> Result<Answer> {
        let stays = |item: u32| left_out.binary_search(&item).is_err();
        if self.settings.answers.mode == Mode::List {
            let separator = self.dataset().vocab().encode(SEPARATOR)?;
            let grammar = Grammar::List { items: catalogue, separator: &separator };
            let answer = answers.into_iter().next().unwrap_or_default();
            let mut shown: Vec<Scored> = Vec::new();
            for node in grammar.items(&answer.tokens).unwrap_or_default() {
                for &item in catalogue.members(node) {
                    let rank = shown.len();
                    // Rank is the place in the list; what is named again has its place already.
                    if stays(item) && shown.iter().all(|other| other.item != item) {
                        shown.push(Scored {
                            score: of_place(rank),
                            ..super::answer::bare((item, 0.0))
                        });
                    }
                }
            }
            shown.truncate(top);
            return Ok(Answer::Items(shown));
        }
        let outputs = answers.into_iter().map(|answer| {
            let text = self.text_of(&answer)?;
            let item = self.names(|names| names.find_title(&text));
            Ok(Output {
                item,
                score: answer.score,
                positions: fed_back(prompt.mask_inter(), &answer.ids),
                log_probs: answer.log_probs,
                tokens: answer.tokens,
                text,
            })
        });
        let mut outputs = outputs.collect::<Result<Vec<Output>>>()?;
        outputs.retain(|one| one.item.is_none_or(stays));
        outputs.truncate(top);
        Ok(Answer::Outputs(outputs))
    }

    /// The items that written texts are nearest to, of each question that is answered so.
    pub(super) fn ground(
        &self,
        tasks: &Tasks,
        asked: &[&Asked],
        outcomes: &[Outcome],
    ) -> Result<Vec<Option<Answer>>> {
        let mut grounded: Vec<Option<Answer>> = asked.iter().map(|_| None).collect();
        if self.settings.answers.mode != Mode::Ground {
            return Ok(grounded);
        }
        let (mut at_of, mut texts) = (Vec::new(), Vec::new());
        for (at, (asked, outcome)) in asked.iter().zip(outcomes).enumerate() {
            let (Rows::Items { .. }, Outcome::Text(answers)) = (&asked.rows, outcome) else {
                continue;
            };
            let written = answers.first().and_then(|all| all.first());
            let tokens = written.map_or(&[][..], |answer| &answer.tokens);
            texts.push(tasks.builder().text(0, tokens)?);
            at_of.push(at);
        }
        if texts.is_empty() {
            return Ok(grounded);
        }
        let (items, order) = self.grounding()?;
        let texts: Vec<&Sample> = texts.iter().collect();
        let shown = |at: &usize| {
            let Rows::Items { left_out, .. } = &asked[*at].rows else { return 0 };
            asked[*at].top.unwrap_or(self.settings.answers.top) + left_out.len()
        };
        let most = at_of.iter().map(shown).max().unwrap_or(0);
        let longest = texts.iter().map(|text| text.rows()).max().unwrap_or(0);
        let pass = self.budget.reading(longest, 0);
        for (at, found) in at_of.iter().zip(nearest_each(&self.model, items, &texts, most, pass)?) {
            let asked = asked[*at];
            let Rows::Items { left_out, .. } = &asked.rows else { continue };
            let top = asked.top.unwrap_or(self.settings.answers.top);
            grounded[*at] = Some(match found {
                Err(why) => Answer::Refused(why.to_string()),
                Ok(near) => {
                    let ranked = near.iter().map(|n| (order[n.item as usize], -n.distance));
                    let shown = ranked.filter(|(item, _)| left_out.binary_search(item).is_err());
                    Answer::Items(shown.take(top).map(super::answer::bare).collect())
                }
            });
        }
        Ok(grounded)
    }
}

/// Part A of a prompt of one mask, which `[START]` ends, and the mask.
fn blanks_of(prompt: &Sample) -> Blanks {
    let mut part_a = prompt.clone();
    let masks = vec![prompt.mask_inter()];
    part_a.tokens.truncate(prompt.context);
    part_a.positions.iter_mut().for_each(|ids| ids.truncate(prompt.context));
    Blanks { part_a, masks }
}

/// The score of a place in a list, from 0: the less the later, and of the first 0 and not its
/// negative, which would be written as -0.0.
fn of_place(place: usize) -> f64 {
    0.0 - place as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_list_scores_no_negative_zero() {
        let written = |place| serde_json::json!(of_place(place)).to_string();
        assert_eq!([0, 1, 2].map(written), ["0.0", "-1.0", "-2.0"]);
    }
}
