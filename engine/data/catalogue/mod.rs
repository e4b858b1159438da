//! What the items are called and how their names become tokens: surfaces (E11), the entity pool
//! (R4) and the two tries.

mod surface;

pub use surface::{clean, Duplicates};

use super::source::{Raw, RawItem};
use super::trie::Trie;
use super::vocab::Vocab;
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;
use rayon::prelude::*;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Surfaces of more tokens are kept whole and counted (A23).
pub const LONG_SURFACE: usize = 64;
/// Surfaces of more tokens cannot stand in any row and are refused (R22).
pub const ROW_LIMIT: usize = 1024;

/// A (name, value) pair of an item or user; the value is an entity.
pub type Attribute = (String, String);

/// The catalogue in tokens.
pub struct Catalogue {
    /// `[items]` the unique text of each item.
    pub surfaces: Vec<String>,
    /// `[items]` tokens of " " + surface.
    pub tokens: Vec<Vec<u32>>,
    /// `[items]` brand, category names, then further attributes in the source's order.
    pub attributes: Vec<Vec<Attribute>>,
    /// `[users]` attributes in the source's order.
    pub user_attributes: Vec<Vec<Attribute>>,
    /// Item surfaces in the form that follows a mask; members are items.
    pub trie: Trie<'static>,
    /// Items and attribute values in both blank forms; members are entities: items by their number,
    /// then the distinct values.
    pub pool: Trie<'static>,
    /// Number of entities in the pool.
    pub entities: usize,
    /// Items without a title.
    pub untitled: usize,
    /// Items whose text was also another item's before they were told apart.
    pub collisions: usize,
    /// Items whose text is `item <id>`, for want of anything else.
    pub named_by_id: usize,
}

impl Catalogue {
    /// Builds everything that follows from the raw catalogue and a tokenizer. `seed` orders the
    /// items of one leaf (E16b); ids never do.
    ///
    /// Refuses an empty catalogue, a surface of more than [`ROW_LIMIT`] tokens, and a tokenizer
    /// that cannot tell two surfaces apart.
    pub fn build(raw: &Raw, vocab: &Vocab, duplicates: Duplicates, seed: u64) -> Result<Catalogue> {
        if raw.items.is_empty() {
            return Err(Fault::Data
                .error("items: expected at least one, got an empty catalogue; check the source"));
        }
        let made = surface::surfaces(&raw.items, duplicates);
        let mut surfaces = made.texts;
        let mut tokens = encode_all(vocab, surfaces.iter().map(|s| format!(" {s}")).collect())?;
        if duplicates == Duplicates::Apart {
            tell_apart(&mut surfaces, &mut tokens, raw, vocab)?;
        }
        check_lengths(&raw.items, &surfaces, &tokens)?;

        let mut by_hash: Vec<u32> = (0..raw.items.len() as u32).collect();
        by_hash.sort_by_key(|&i| (tie(seed, i), i));
        let sequences: Vec<&[u32]> =
            by_hash.iter().map(|&i| tokens[i as usize].as_slice()).collect();
        let trie = Trie::build(&sequences, &by_hash);

        let attributes: Vec<Vec<Attribute>> = raw.items.iter().map(item_attributes).collect();
        let user_attributes: Vec<Vec<Attribute>> =
            raw.users.iter().map(|u| cleaned(&u.attributes)).collect();
        let (pool, entities) =
            pool(&surfaces, &tokens, attributes.iter().chain(&user_attributes), vocab)?;
        Ok(Catalogue {
            surfaces,
            tokens,
            attributes,
            user_attributes,
            trie,
            pool,
            entities,
            untitled: made.untitled,
            collisions: made.collisions,
            named_by_id: made.named_by_id,
        })
    }
}

/// The seeded hash of an item that decides ties (E16b).
pub fn tie(seed: u64, item: u32) -> u64 {
    Philox::new(seed, Stream::Ties, u64::from(item)).next_u64()
}

/// The texts a tokenizer is trained on: titles (or what stands for them) with the blank before
/// them, and names of categories and brands.
pub fn training_texts(items: &[RawItem]) -> Vec<String> {
    let mut texts: Vec<String> = surface::surfaces(items, Duplicates::Shared)
        .texts
        .into_iter()
        .map(|s| format!(" {s}"))
        .collect();
    for item in items {
        for path in &item.categories {
            texts.extend(path.iter().map(|name| format!(" {}", clean(name))));
        }
        texts.extend(item.brand.iter().map(|brand| format!(" {}", clean(brand))));
    }
    texts
}

fn encode_all(vocab: &Vocab, pieces: Vec<String>) -> Result<Vec<Vec<u32>>> {
    pieces.par_iter().with_min_len(64).map(|piece| vocab.encode(piece)).collect()
}

/// Numbers the items whose surfaces differ as text but not as tokens.
fn tell_apart(
    surfaces: &mut [String],
    tokens: &mut [Vec<u32>],
    raw: &Raw,
    vocab: &Vocab,
) -> Result<()> {
    // Two rounds: a number that itself collides is told apart in the second.
    for _ in 0..2 {
        let groups = alike(tokens);
        if groups.is_empty() {
            return Ok(());
        }
        let members: Vec<usize> = groups.iter().flat_map(|group| group.iter().copied()).collect();
        surface::number(surfaces, groups, &raw.items);
        for i in members {
            tokens[i] = vocab.encode(&format!(" {}", surfaces[i]))?;
        }
    }
    match alike(tokens).first() {
        None => Ok(()),
        Some(group) => Err(Fault::Model.error(format!(
            "tokenizer: items {} and {}: expected different tokens for {:?} and {:?}, got the \
            same; \
             use a tokenizer that loses no characters (byte-level BPE)",
            raw.items[group[0]].id, raw.items[group[1]].id, surfaces[group[0]], surfaces[group[1]]
        ))),
    }
}

fn alike(tokens: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by(|&a, &b| tokens[a].cmp(&tokens[b]).then(a.cmp(&b)));
    order
        .chunk_by(|&a, &b| tokens[a] == tokens[b])
        .filter(|g| g.len() > 1)
        .map(<[usize]>::to_vec)
        .collect()
}

fn check_lengths(items: &[RawItem], surfaces: &[String], tokens: &[Vec<u32>]) -> Result<()> {
    let bad: Vec<usize> =
        (0..items.len()).filter(|&i| tokens[i].is_empty() || tokens[i].len() > ROW_LIMIT).collect();
    let Some(&first) = bad.first() else { return Ok(()) };
    let mut message = format!(
        "item {}: expected a title of 1 to {ROW_LIMIT} tokens, got {} for {:?}",
        items[first].id,
        tokens[first].len(),
        surfaces[first].chars().take(60).collect::<String>()
    );
    if bad.len() > 1 {
        // Writing to a string does not fail.
        let _ = write!(message, " (and {} more such items)", bad.len() - 1);
    }
    Err(Fault::Data.error(format!("{message}; mend the titles")))
}

/// Brand, every category name once, further attributes; cleaned, none empty.
fn item_attributes(item: &RawItem) -> Vec<Attribute> {
    let mut pairs: Vec<Attribute> = Vec::new();
    pairs.extend(item.brand.iter().map(|brand| ("brand".to_owned(), brand.clone())));
    pairs
        .extend(item.categories.iter().flatten().map(|name| ("category".to_owned(), name.clone())));
    pairs.extend(item.attributes.iter().cloned());
    cleaned(&pairs)
}

/// Values as they become entities: normalised, not empty, each pair once.
pub fn cleaned(pairs: &[Attribute]) -> Vec<Attribute> {
    let mut out: Vec<Attribute> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let pair = (clean(name), clean(value));
        if !pair.0.is_empty() && !pair.1.is_empty() && !out.contains(&pair) {
            out.push(pair);
        }
    }
    out
}

/// The entity pool (R4) over both blank forms (R3), and its number of entities.
fn pool<'a>(
    surfaces: &[String],
    tokens: &[Vec<u32>],
    attributes: impl Iterator<Item = &'a Vec<Attribute>>,
    vocab: &Vocab,
) -> Result<(Trie<'static>, usize)> {
    let mut number: HashMap<&str, u32> = HashMap::new();
    let mut values: Vec<&str> = Vec::new();
    for (_, value) in attributes.flatten() {
        number.entry(value).or_insert_with(|| {
            values.push(value);
            (surfaces.len() + values.len() - 1) as u32
        });
    }
    let entities = surfaces.len() + values.len();
    let bare: Vec<String> = surfaces
        .iter()
        .map(String::as_str)
        .chain(values.iter().copied())
        .map(String::from)
        .collect();
    let blank: Vec<String> = values.iter().map(|value| format!(" {value}")).collect();
    let bare = encode_all(vocab, bare)?;
    let blank = encode_all(vocab, blank)?;

    let mut sequences: Vec<&[u32]> = tokens.iter().chain(&blank).map(Vec::as_slice).collect();
    let mut members: Vec<u32> = (0..entities as u32).collect();
    for (i, bare) in bare.iter().enumerate() {
        // A tokenizer that puts a blank before every piece has one form only.
        if bare.as_slice() != sequences[i] {
            sequences.push(bare);
            members.push(i as u32);
        }
    }
    if let Some(place) = sequences.iter().position(|s| s.is_empty()) {
        let entity = members[place] as usize;
        let text = if entity < surfaces.len() {
            &surfaces[entity]
        } else {
            values[entity - surfaces.len()]
        };
        return Err(Fault::Data.error(format!(
            "entity {text:?}: expected at least one token, got none; mend the value or use another \
            tokenizer"
        )));
    }
    Ok((Trie::build(&sequences, &members), entities))
}
