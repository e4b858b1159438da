//! Rows of a table as text: attributes, behaviours, and which behaviours are kept (R3, R6-R9).

use super::numeral::DAY;
use super::record::NO_TIME;
use super::sample::Prompt;
use super::span::{is_sentence_end, Unit};
use super::vocab::Vocab;
use crate::base::named::named;
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Stands between members of a list; the blank behind it belongs to the next member (R3, R6, R7).
pub const SEPARATOR: &str = " ,";

/// A piece of text as tokens, encoded alone (R3): an entity, or plain text of separate tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Whether the piece is an entity.
    pub entity: bool,
}

impl<'a> Piece<'a> {
    /// A piece that is an entity.
    pub const fn entity(tokens: &'a [u32]) -> Piece<'a> {
        Piece { tokens, entity: true }
    }

    /// A piece of separate tokens.
    pub const fn plain(tokens: &'a [u32]) -> Piece<'a> {
        Piece { tokens, entity: false }
    }
}

/// The members of a written list, in order, without blanks around them; empty ones are none.
pub fn list_members(text: &str) -> impl Iterator<Item = &str> {
    text.split(SEPARATOR).map(str::trim).filter(|member| !member.is_empty())
}

/// The members of a produced list, in order: what stands between occurrences of the separator's
/// tokens, found from the front; empty ones are none, and without a separator all is one member.
pub fn list_tokens<'t>(tokens: &'t [u32], separator: &[u32]) -> Vec<&'t [u32]> {
    let (mut members, mut from, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() && !separator.is_empty() {
        if tokens[at..].starts_with(separator) {
            members.push(&tokens[from..at]);
            at += separator.len();
            from = at;
        } else {
            at += 1;
        }
    }
    members.push(&tokens[from..]);
    members.retain(|member| !member.is_empty());
    members
}

impl Prompt {
    /// Appends a piece: one unit for an entity, one a token for plain text.
    pub fn push(&mut self, piece: Piece) {
        let start = self.tokens.len() as u32;
        self.tokens.extend_from_slice(piece.tokens);
        let end = self.tokens.len() as u32;
        if piece.entity {
            assert!(start < end, "Prompt::push: an entity without tokens (R4)");
            self.units.push(Unit { start, len: end - start, entity: true });
        } else {
            self.units.extend((start..end).map(|start| Unit { start, len: 1, entity: false }));
        }
    }

    /// Appends a mask; no blank may stand before it (R20).
    pub fn push_mask(&mut self, mask: u32) {
        self.masks.push(self.tokens.len());
        self.push(Piece::plain(&[mask]));
    }

    /// Appends pieces with a separator between them.
    pub fn push_list<'p>(
        &mut self,
        pieces: impl IntoIterator<Item = Piece<'p>>,
        separator: &[u32],
    ) {
        for (i, piece) in pieces.into_iter().enumerate() {
            if i > 0 {
                self.push(Piece::plain(separator));
            }
            self.push(piece);
        }
    }

    /// Appends another text without masks.
    pub fn push_text(&mut self, text: &Prompt) {
        assert!(text.masks.is_empty(), "Prompt::push_text: a text with {} masks", text.masks.len());
        for unit in &text.units {
            self.push(Piece { tokens: &text.tokens[unit.range()], entity: unit.entity });
        }
    }
}

/// Encodes pieces alone and remembers them. Cheap to share: `&self` everywhere.
pub struct Encoder<'v> {
    encode: Box<Encode<'v>>,
    known: RwLock<HashMap<String, Arc<[u32]>>>,
}

/// Token ids of one piece, nothing added.
type Encode<'v> = dyn Fn(&str) -> Result<Vec<u32>> + Send + Sync + 'v;

/// A host that feeds ever new profiles must not fill the memory.
const MOST_KNOWN: usize = 1 << 16;

impl<'v> Encoder<'v> {
    /// Encodes by a function from text to token ids.
    pub fn new(encode: impl Fn(&str) -> Result<Vec<u32>> + Send + Sync + 'v) -> Encoder<'v> {
        Encoder { encode: Box::new(encode), known: RwLock::default() }
    }

    /// Encodes by a tokenizer.
    pub fn of(vocab: &'v Vocab) -> Encoder<'v> {
        Encoder::new(|piece| vocab.encode(piece))
    }

    /// Tokens of a piece of plain text.
    pub fn plain(&self, piece: &str) -> Result<Arc<[u32]>> {
        if let Some(tokens) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(piece) {
            return Ok(tokens.clone());
        }
        let tokens: Arc<[u32]> = (self.encode)(piece)?.into();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_KNOWN {
            known.insert(piece.to_owned(), tokens.clone());
        }
        Ok(tokens)
    }

    /// Tokens of an entity: the blank before it is its own (R3).
    pub fn entity(&self, value: &str) -> Result<Arc<[u32]>> {
        let tokens = self.plain(&format!(" {value}"))?;
        if value.trim().is_empty() || tokens.is_empty() {
            return Err(Fault::Data.error(format!(
                "entity: {value:?}: expected a text of at least one token, got none; leave the \
                value out"
            )));
        }
        Ok(tokens)
    }
}

/// Attributes as "name : value" pairs joined by " , " in schema order; consecutive values of one
/// name are a list (R6). Values are entities, names plain text (A2); blank values are missing and
/// skipped.
pub fn attributes_text(encoder: &Encoder, attributes: &[(&str, &str)]) -> Result<Prompt> {
    attributes_behind("", encoder, attributes)
}

/// The same behind a blank, where `lead` is one.
pub(super) fn attributes_behind(
    lead: &str,
    encoder: &Encoder,
    attributes: &[(&str, &str)],
) -> Result<Prompt> {
    let separator = encoder.plain(SEPARATOR)?;
    let mut text = Prompt::default();
    let mut last = None;
    for &(name, value) in attributes.iter().filter(|(_, value)| !value.trim().is_empty()) {
        let begins = text.tokens.is_empty();
        if !begins {
            text.push(Piece::plain(&separator));
        }
        if last != Some(name) {
            let blank = if begins { lead } else { " " };
            text.push(Piece::plain(&encoder.plain(&format!("{blank}{name} :"))?));
            last = Some(name);
        }
        text.push(Piece::entity(&encoder.entity(value)?));
    }
    Ok(text)
}

/// The text of blank infilling (R40): a user's attributes, then the behaviours, oldest first,
/// joined by " , " (R7).
///
/// `behaviours`: tokens of each item with its leading blank. As many are left out, by `choice`, as
/// do not fit into `limit` tokens
/// ([`Masking::longest_text`](super::span::Masking::longest_text)). Refuses a user without
/// attributes and behaviours, and one whose attributes, or the newest behaviour, do not fit.
pub fn behaviour_text(
    encoder: &Encoder,
    attributes: &[(&str, &str)],
    behaviours: &[&[u32]],
    choice: &Choice,
    limit: usize,
) -> Result<Behaviours> {
    let separator = encoder.plain(SEPARATOR)?;
    let mut text = attributes_text(encoder, attributes)?;
    let attributed = text.tokens.len();
    if attributed == 0 && behaviours.is_empty() {
        return Err(Fault::Data
            .error("user text: expected attributes or behaviours, got none; leave the user out"));
    }
    let between = if attributed > 0 && !behaviours.is_empty() { separator.len() } else { 0 };
    let room = limit.saturating_sub(attributed + between);
    let kept = choice.within(behaviours, separator.len(), room);
    if attributed > limit || (kept.is_empty() && !behaviours.is_empty()) {
        let newest = behaviours.last().map_or(0, |tokens| tokens.len());
        return Err(Fault::Data.error(format!(
            "user text: expected at most {limit} tokens, got {attributed} of attributes and \
            {newest} of the newest \
             behaviour; raise setting `max-row` or shorten them"
        )));
    }
    text.left_out.history = (behaviours.len() - kept.len()) as u64;
    if between > 0 {
        text.push(Piece::plain(&separator));
    }
    let begin = text.tokens.len();
    text.push_list(kept.iter().map(|&at| Piece::entity(behaviours[at])), &separator);
    Ok(Behaviours { text, begin, kept })
}

/// A text of behaviours.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviours {
    /// Attributes, then behaviours.
    pub text: Prompt,
    /// The token with which the behaviours begin.
    pub begin: usize,
    /// Which behaviours it holds, ascending.
    pub kept: Vec<usize>,
}

/// The display name among a user's attributes; ids are never shown (A18).
pub fn display_name<'a>(attributes: &[(&str, &'a str)]) -> Option<&'a str> {
    let named = |name: &str| {
        ["name", "display_name", "user_name"].contains(&name.to_ascii_lowercase().as_str())
    };
    attributes
        .iter()
        .find(|(name, value)| named(name) && !value.trim().is_empty())
        .map(|(_, value)| *value)
}

/// By id: whether the token ends a sentence where it stands alone (R12).
pub fn sentence_ends(vocab: &Vocab) -> Result<Vec<bool>> {
    (0..vocab.size() as u32).map(|id| Ok(is_sentence_end(&vocab.decode(&[id])?))).collect()
}

named! {
    /// Which behaviours are shown where not all of them are (R8).
    pub enum Sampling: "sampling" {
        /// Drawn from three windows of age, the young ones more densely.
        Windows = "windows",
        /// The newest.
        Recent = "recent",
        /// Drawn from all of them alike.
        Uniform = "uniform",
    }
}

/// Which behaviours of a history are shown where not all of them are (R8, R9).
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// How they are chosen.
    pub sampling: Sampling,
    /// Seconds, oldest first, one a behaviour; only windows ask for them.
    pub times: &'a [i64],
    /// The time of the target, or of the last event.
    pub reference: i64,
    /// Behaviours at most, whatever fits; 0 = no limit.
    pub most: usize,
    /// What it draws from: the same for the same example.
    pub rng: Philox,
}

impl Choice<'_> {
    /// The newest.
    pub fn recent() -> Choice<'static> {
        let rng = Philox::new(0, Stream::History, 0);
        Choice { sampling: Sampling::Recent, times: &[], reference: NO_TIME, most: 0, rng }
    }

    /// At most `budget` of `n` behaviours, as ascending indices. What is drawn for a budget is part
    /// of what is drawn for a larger one.
    fn of(&self, n: usize, budget: usize) -> Vec<usize> {
        let mut rng = self.rng.clone();
        if n <= budget {
            return (0..n).collect();
        }
        match self.sampling {
            Sampling::Recent => (n - budget..n).collect(),
            Sampling::Windows => {
                Windows::default().sample(self.times, self.reference, budget, &mut rng)
            }
            Sampling::Uniform => {
                let mut kept: Vec<usize> = (0..n).collect();
                rng.shuffle(&mut kept);
                kept.truncate(budget);
                kept.sort_unstable();
                kept
            }
        }
    }

    /// The behaviours that are shown, as ascending indices: as many as fit into `room` tokens with
    /// `separator` tokens between them (R9). None where not even the newest alone does.
    pub fn within(&self, behaviours: &[&[u32]], separator: usize, room: usize) -> Vec<usize> {
        let n = behaviours.len();
        let most = if self.most > 0 { self.most.min(n) } else { n };
        let fits = |kept: &[usize]| {
            let tokens: usize = kept.iter().map(|&at| behaviours[at].len() + separator).sum();
            tokens.saturating_sub(separator) <= room
        };
        // More behaviours take more room, so the most that fit are found by halving.
        let mut best = self.of(n, most);
        if fits(&best) {
            return best;
        }
        let (mut fewest, mut beyond) = (0, most);
        best.clear();
        while fewest + 1 < beyond {
            let middle = fewest + (beyond - fewest) / 2;
            let kept = self.of(n, middle);
            match fits(&kept) {
                true => (fewest, best) = (middle, kept),
                false => beyond = middle,
            }
        }
        // The one that was drawn may be long where the newest is short.
        if best.is_empty() && n > 0 && fits(&[n - 1]) {
            best.push(n - 1);
        }
        best
    }
}

/// Windows of age from which long histories are sampled (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Younger than this is short-term.
    pub short_days: u32,
    /// This old and older is long-term.
    pub long_days: u32,
    /// Percent of the budget for short, medium and long.
    pub shares: [u32; 3],
}

impl Default for Windows {
    fn default() -> Self {
        Windows { short_days: 14, long_days: 180, shares: [60, 30, 10] }
    }
}

impl Windows {
    /// Refuses windows out of order and shares that are not 100 percent together.
    pub fn check(&self) -> Result<()> {
        if self.shares.iter().map(|&s| u64::from(s)).sum::<u64>() != 100
            || self.short_days > self.long_days
        {
            return Err(Fault::Usage.error(format!(
                "history windows: expected shares of 100 percent together and short before long, \
                got {self:?}; see the settings of training"
            )));
        }
        Ok(())
    }

    /// Shares of the budget for short, medium and long, by largest remainder (ties: short, medium,
    /// long).
    fn quotas(&self, budget: usize) -> [usize; 3] {
        let mut quotas = self.shares.map(|share| budget * share as usize / 100);
        let mut order = [0, 1, 2];
        order.sort_by_key(|&w| std::cmp::Reverse(budget * self.shares[w] as usize % 100));
        let missing = budget - quotas.iter().sum::<usize>();
        order[..missing].iter().for_each(|&w| quotas[w] += 1);
        quotas
    }

    /// Draws at most `budget` of the behaviours, as ascending indices (R8).
    ///
    /// `times`: seconds, oldest first; `reference`: the time of the target, or of the last event.
    /// Without all of the times windows go by rank from the end: the last 20 % are short, the next
    /// 30 % medium. A window that has too few gives its rest to short, then medium, then long.
    pub fn sample(
        &self,
        times: &[i64],
        reference: i64,
        budget: usize,
        rng: &mut Philox,
    ) -> Vec<usize> {
        let n = times.len();
        if n <= budget {
            return (0..n).collect();
        }
        let known = reference != NO_TIME && !times.contains(&NO_TIME);
        let day = |days: u32| i128::from(days) * i128::from(DAY);
        let mut windows: [Vec<usize>; 3] = Default::default();
        for (i, &time) in times.iter().enumerate() {
            let age = i128::from(reference) - i128::from(time);
            let rank = n - 1 - i;
            windows[match known {
                true if age < day(self.short_days) => 0,
                true if age < day(self.long_days) => 1,
                false if rank * 10 < n * 2 => 0,
                false if rank * 10 < n * 5 => 1,
                _ => 2,
            }]
            .push(i);
        }
        let mut take = self.quotas(budget);
        let mut rest = 0;
        for (take, window) in take.iter_mut().zip(&windows) {
            rest += take.saturating_sub(window.len());
            *take = (*take).min(window.len());
        }
        for (take, window) in take.iter_mut().zip(&windows) {
            let more = rest.min(window.len() - *take);
            *take += more;
            rest -= more;
        }
        let mut kept = Vec::with_capacity(budget);
        for (take, mut window) in take.into_iter().zip(windows) {
            rng.shuffle(&mut window);
            kept.extend_from_slice(&window[..take]);
        }
        kept.sort_unstable();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_falls_into_its_members() {
        let members = |text| list_members(text).collect::<Vec<_>>();
        assert_eq!(members(" Lego City , Doll, red , Ball"), ["Lego City", "Doll, red", "Ball"]);
        assert_eq!(members(" , Doll , "), ["Doll"]);
        assert!(members(" ").is_empty());
        assert_eq!(list_tokens(&[1, 0, 0, 2, 3, 0], &[0]), [&[1][..], &[2, 3]]);
        assert_eq!(list_tokens(&[1, 0, 2, 0, 9, 3], &[0, 9]), [&[1, 0, 2][..], &[3]]);
        assert_eq!(list_tokens(&[0, 0, 9], &[0, 9]), [&[0][..]]);
        assert_eq!(list_tokens(&[1, 2], &[]), [&[1, 2][..]]);
        assert!(list_tokens(&[], &[0]).is_empty());
    }
}
