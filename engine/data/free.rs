//! Prompts written by hand: names of masks become blanks, all else is plain text in which entities
//! are recognised (R5).

use super::sample::Prompt;
use super::span::{segment, Level};
use super::template::MASKS;
use super::text::Piece;
use super::trie::Trie;
use super::vocab::Vocab;
use crate::base::Fault;
use anyhow::Result;

/// A text as a prompt. `[MASK]`, `[sMASK]` and `[gMASK]` in it are masks, and blanks before them go
/// (R20); the name of any other special token is text like all text. Without a pool no entities are
/// recognised.
///
/// Refuses a text without a mask.
pub fn free_text(vocab: &Vocab, pool: Option<&Trie>, text: &str) -> Result<Prompt> {
    let special = vocab.special();
    let mut prompt = Prompt::default();
    let mut rest = text;
    loop {
        let found = MASKS.iter().filter_map(|(name, level)| Some((rest.find(name)?, name, level)));
        let next = found.min_by_key(|(at, ..)| *at);
        let plain = next.map_or(rest, |(at, ..)| rest[..at].trim_end());
        let tokens = vocab.encode(plain)?;
        for unit in segment(pool, &tokens, &[]) {
            prompt.push(Piece { tokens: &tokens[unit.range()], entity: unit.entity });
        }
        let Some((at, name, level)) = next else { break };
        prompt.push_mask(match level {
            Level::Entity => special.mask,
            Level::Sentence => special.smask,
            Level::Document => special.gmask,
        });
        rest = &rest[at + name.len()..];
    }
    if prompt.masks.is_empty() {
        return Err(Fault::Data.error(format!(
            "text: expected one of {} where the answer goes, got none; put one in",
            MASKS.map(|(name, _)| name).join(", ")
        )));
    }
    Ok(prompt)
}
