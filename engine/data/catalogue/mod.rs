//! What the items are called and how their names become tokens: surfaces (E11), the entity pool
//! (R4) and the two tries.

mod pairs;
mod surface;

pub use pairs::Pairs;
pub use surface::{clean, surfaces, Duplicates, ItemRepr, NUMBERED};

use super::source::{Raw, RawItem};
use super::texts::Texts;
use super::trie::Trie;
use super::vocab::Vocab;
use crate::base::{Fault, Philox, Stream};
use anyhow::Result;
use rayon::prelude::*;
use surface::Surfaces;

/// Surfaces of more tokens are kept whole and counted (A23).
pub const LONG_SURFACE: usize = 64;
/// Surfaces of more tokens cannot stand in any row and are cut (R22).
pub const ROW_LIMIT: usize = 1024;
/// Tokens that are left of them: room for a history beside it.
const CUT_SURFACE: usize = 256;

/// A (name, value) pair of an item or user; the value is an entity.
pub type Attribute = (String, String);

/// The catalogue in tokens.
pub struct Catalogue {
    /// `[items]` the unique text of each item.
    pub surfaces: Vec<String>,
    /// `[items]` tokens of " " + surface.
    pub tokens: Vec<Vec<u32>>,
    /// Names and values of attributes.
    pub texts: Texts,
    /// Of items: brand, category names, then further attributes in the source's order.
    pub attributes: Pairs,
    /// Of users, in the source's order.
    pub user_attributes: Pairs,
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
    /// Lines of the summary: what the tokenizer does not take, what was too long.
    pub notes: Vec<String>,
}

impl Catalogue {
    /// Builds everything that follows from the raw catalogue and a tokenizer. `seed` orders the
    /// items of one leaf (E16b); ids never do.
    ///
    /// A surface of more than [`ROW_LIMIT`] tokens is cut, and characters that the tokenizer lacks
    /// are left out; both are counted. Refuses an empty catalogue, and a tokenizer that cannot tell
    /// two surfaces apart.
    pub fn build(
        raw: &Raw,
        vocab: &Vocab,
        (repr, duplicates): (ItemRepr, Duplicates),
        seed: u64,
    ) -> Result<Catalogue> {
        if raw.items.is_empty() {
            return Err(Fault::Data
                .error("items: expected at least one, got an empty catalogue; check the source"));
        }
        let made = match repr {
            ItemRepr::Title => surface::surfaces(&raw.items, duplicates),
            ItemRepr::Id => Surfaces {
                texts: surface::numbers(raw.items.len(), seed).collect(),
                ..Surfaces::default()
            },
        };
        let mut surfaces = made.texts;
        let mut tokens = vocab.encode_all(BLANK, &surfaces)?;
        let (mut notes, unnamed) = mend(&mut surfaces, &mut tokens, &raw.items, vocab)?;
        if duplicates == Duplicates::Apart {
            tell_apart(&mut surfaces, &mut tokens, raw, vocab)?;
        }

        let mut by_hash: Vec<u32> = (0..raw.items.len() as u32).collect();
        by_hash.sort_by_key(|&i| (tie(seed, i), i));
        let sequences: Vec<&[u32]> =
            by_hash.iter().map(|&i| tokens[i as usize].as_slice()).collect();
        let trie = Trie::build(&sequences, &by_hash);

        let mut texts = Texts::default();
        let mut attributes = Pairs::of(&raw.items, &mut texts, item_attributes);
        let mut user_attributes =
            Pairs::of(&raw.attributes, &mut texts, |attributes| cleaned(attributes));
        user_attributes.fill(raw.users.len());
        notes.extend(drop_silent(&mut [&mut attributes, &mut user_attributes], &texts, vocab)?);
        let values = values(&[&attributes, &user_attributes], &texts);
        let (pool, entities) = pool(&surfaces, &tokens, &values, vocab)?;
        Ok(Catalogue {
            surfaces,
            tokens,
            texts,
            attributes,
            user_attributes,
            trie,
            pool,
            entities,
            untitled: made.untitled,
            collisions: made.collisions,
            named_by_id: made.named_by_id + unnamed,
            notes,
        })
    }
}

/// The seeded hash of an item that decides ties (E16b).
pub fn tie(seed: u64, item: u32) -> u64 {
    Philox::new(seed, Stream::Ties, u64::from(item)).next_u64()
}

/// The texts a tokenizer is trained on: what the items are shown as under this `seed` with the
/// blank before it, and names of categories and brands.
pub fn training_texts(
    items: &[RawItem],
    repr: ItemRepr,
    seed: u64,
) -> impl Iterator<Item = String> + '_ {
    let shown: Box<dyn Iterator<Item = String>> = match repr {
        ItemRepr::Title => Box::new(items.iter().map(|item| surface::title(item).text())),
        ItemRepr::Id => Box::new(surface::numbers(items.len(), seed)),
    };
    let titles = shown.map(|text| format!(" {text}"));
    let names = items.iter().flat_map(|item| {
        item.category_names().chain(item.brand()).map(|name| format!(" {}", clean(name)))
    });
    titles.chain(names)
}

/// What is before an entity in one of its two forms (R3); in the other it stands bare.
const BLANK: &str = " ";

fn encode(vocab: &Vocab, text: &str) -> Result<Vec<u32>> {
    vocab.encode(&format!("{BLANK}{text}"))
}

/// Makes surfaces that no row can hold, or of which the tokenizer knows no character, such as can:
/// the first lose their end, the others are named by their ids. Lines of the summary, and how many
/// are named so.
fn mend(
    surfaces: &mut [String],
    tokens: &mut [Vec<u32>],
    items: &[RawItem],
    vocab: &Vocab,
) -> Result<(Vec<String>, usize)> {
    let (mut cut, mut unnamed) = (Vec::new(), Vec::new());
    for i in 0..surfaces.len() {
        if tokens[i].is_empty() {
            surfaces[i] = clean(&format!("item {}", items[i].id()));
            tokens[i] = encode(vocab, &surfaces[i])?;
            unnamed.push(i);
        }
        if tokens[i].len() > ROW_LIMIT {
            cut.push(i);
        }
        while tokens[i].len() > ROW_LIMIT {
            let share = CUT_SURFACE as f64 / tokens[i].len() as f64;
            let most = (surfaces[i].chars().count() as f64 * share) as usize;
            let shorter: String = surfaces[i].chars().take(most.max(1)).collect();
            surfaces[i] = clean(&shorter);
            tokens[i] = encode(vocab, &surfaces[i])?;
        }
        if tokens[i].is_empty() {
            return Err(Fault::Model.error(format!(
                "tokenizer: item {}: expected at least one token for {:?}, got none; use a \
                tokenizer that has its characters",
                items[i].id(),
                surfaces[i]
            )));
        }
    }
    let mut notes = Vec::new();
    if vocab.has_unknown() {
        let lost: Vec<(usize, &String)> = surfaces
            .iter()
            .enumerate()
            .collect::<Vec<_>>()
            .into_par_iter()
            .filter(|(_, text)| vocab.lost(text) > 0)
            .collect();
        if let Some((first, text)) = lost.first() {
            notes.push(format!(
                "titles with characters that the tokenizer lacks, left out of their tokens: {} \
                (first: item {}, {:?})",
                lost.len(),
                items[*first].id(),
                text.chars().take(60).collect::<String>()
            ));
        }
    }
    let line = |what: &str, found: &[usize]| {
        found.first().map(|&i| format!("{what}: {} (first: item {})", found.len(), items[i].id()))
    };
    let unknown = "titles without any character that the tokenizer has, named by their ids";
    notes.extend(line(unknown, &unnamed));
    let long = format!("titles of more than {ROW_LIMIT} tokens, cut at some {CUT_SURFACE}");
    notes.extend(line(&long, &cut));
    Ok((notes, unnamed.len()))
}

/// Takes away attributes of which the tokenizer knows no character; the line of the summary.
fn drop_silent(all: &mut [&mut Pairs], texts: &Texts, vocab: &Vocab) -> Result<Option<String>> {
    if !vocab.has_unknown() {
        return Ok(None);
    }
    let mut silent = vec![None; texts.len()];
    for [_, value] in all.iter().flat_map(|pairs| &pairs.of) {
        if silent[*value as usize].is_none() {
            silent[*value as usize] = Some(vocab.encode(texts.get(*value))?.is_empty());
        }
    }
    let (mut count, mut first) = (0, None);
    for pairs in all {
        pairs.retain(|value| {
            let keep = silent[value as usize] != Some(true);
            if !keep {
                first.get_or_insert(value);
                count += 1;
            }
            keep
        });
    }
    Ok(first.map(|value| {
        format!(
            "attributes without any character that the tokenizer has, left out: {count} (first: \
            {:?})",
            texts.get(value)
        )
    }))
}

/// The distinct values of all attributes, in the order in which they come.
fn values<'t>(all: &[&Pairs], texts: &'t Texts) -> Vec<&'t str> {
    let mut seen = vec![false; texts.len()];
    let values = all.iter().flat_map(|pairs| &pairs.of).map(|[_, value]| *value);
    let new = values.filter(|&value| !std::mem::replace(&mut seen[value as usize], true));
    new.map(|value| texts.get(value)).collect()
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
            tokens[i] = encode(vocab, &surfaces[i])?;
        }
    }
    match alike(tokens).first() {
        None => Ok(()),
        Some(group) => Err(Fault::Model.error(format!(
            "tokenizer: items {} and {}: expected different tokens for {:?} and {:?}, got the \
            same; \
             use a tokenizer that loses no characters (byte-level BPE)",
            raw.items[group[0]].id(),
            raw.items[group[1]].id(),
            surfaces[group[0]],
            surfaces[group[1]]
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

/// Brand, every category name once, further attributes; cleaned, none empty.
fn item_attributes(item: &RawItem) -> Vec<Attribute> {
    let brand = item.brand().map(|brand| ("brand", brand));
    let categories = item.category_names().map(|name| ("category", name));
    let pairs = brand.into_iter().chain(categories).chain(item.attributes());
    clean_pairs(pairs)
}

/// Values as they become entities: normalised, not empty, each pair once.
pub fn cleaned(pairs: &[Attribute]) -> Vec<Attribute> {
    clean_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn clean_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Attribute> {
    let mut out: Vec<Attribute> = Vec::new();
    for (name, value) in pairs {
        let pair = (clean(name), clean(value));
        if !pair.0.is_empty() && !pair.1.is_empty() && !out.contains(&pair) {
            out.push(pair);
        }
    }
    out
}

/// The entity pool (R4) over both blank forms (R3), and its number of entities.
fn pool(
    surfaces: &[String],
    tokens: &[Vec<u32>],
    values: &[&str],
    vocab: &Vocab,
) -> Result<(Trie<'static>, usize)> {
    let entities = surfaces.len() + values.len();
    let mut bare = vocab.encode_all("", surfaces)?;
    bare.extend(vocab.encode_all("", values)?);
    let blank = vocab.encode_all(BLANK, values)?;

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
