//! A raw source and its catalogue become a `.bin`.

use super::format::*;
use super::negatives::Negatives;
use crate::base::{write_atomically, Fault};
use crate::data::catalogue::{Catalogue, Duplicates, ItemRepr, Pairs, LONG_SURFACE};
use crate::data::source::{Raw, RawItem};
use crate::data::texts::Texts;
use crate::data::vocab::Vocab;
use anyhow::Result;
use bytemuck::Pod;
use rayon::prelude::*;
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;

/// What is chosen at `prepare`.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// Decides negatives, the order of ties, and the numbers of items that are shown as numbers.
    pub seed: u64,
    /// The source's format, for the record.
    pub format: String,
    /// What items are shown as (E1).
    pub repr: ItemRepr,
    /// What becomes of items with the same text (E11, E16).
    pub duplicates: Duplicates,
}

/// Builds the catalogue of `raw` and writes the `.bin`, whole or not at all.
///
/// The same input gives the same bytes. Returns the counts, and lines of the summary about what was
/// left out. Refuses what [`Catalogue::build`] refuses.
pub fn write(
    path: &Path,
    raw: &Raw,
    vocab: &Vocab,
    recipe: &Recipe,
) -> Result<(Statistics, Vec<String>)> {
    let shown = (recipe.repr, recipe.duplicates);
    let catalogue = Catalogue::build(raw, vocab, shown, recipe.seed)?;
    let negatives = Negatives::of(raw, recipe.seed);
    let counts = count(raw, &catalogue, &negatives);
    let header = Header {
        counts: counts.clone(),
        tokenizer_hash: format!("{:08x}", vocab.hash()),
        tokenizer_size: vocab.size(),
        settings: Settings {
            seed: recipe.seed,
            format: recipe.format.clone(),
            clock: raw.clock.name().to_owned(),
            unique_surfaces: recipe.duplicates == Duplicates::Apart,
            item_repr: recipe.repr,
        },
    };
    let mut strings = Strings::default();
    let sections = sections(raw, &catalogue, vocab, &negatives, &header, &mut strings);
    save(path, &sections)?;
    Ok((counts, catalogue.notes))
}

fn count(raw: &Raw, catalogue: &Catalogue, negatives: &Negatives) -> Statistics {
    let lengths = Lengths::of(catalogue.tokens.iter().map(Vec::len).collect());
    let drawn = || negatives.start.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
    Statistics {
        users: raw.users.len(),
        items: raw.items.len(),
        interactions: raw.events.len(),
        short_users: raw.events.start.windows(2).filter(|pair| pair[1] - pair[0] < 3).count(),
        rated: raw.events.rating.iter().filter(|rating| !rating.is_nan()).count(),
        reviews: raw.reviews.len(),
        untitled: catalogue.untitled,
        collisions: catalogue.collisions,
        named_by_id: catalogue.named_by_id,
        long_titles: lengths.long,
        tokens_mean: lengths.mean,
        tokens_median: lengths.median,
        tokens_p95: lengths.p95,
        tokens_max: lengths.max,
        catalogue_nodes: catalogue.trie.nodes(),
        pool_nodes: catalogue.pool.nodes(),
        entities: catalogue.entities,
        negatives_min: drawn().min().unwrap_or(0),
        negatives_max: drawn().max().unwrap_or(0),
    }
}

/// How long titles are, in tokens: what the header tells of them.
pub struct Lengths {
    /// Titles of more than [`LONG_SURFACE`] tokens.
    pub long: usize,
    /// Tokens per title.
    pub mean: f64,
    /// The middle one.
    pub median: usize,
    /// 95 of 100 have at most as many.
    pub p95: usize,
    /// Of the longest.
    pub max: usize,
}

impl Lengths {
    /// Of titles of so many tokens each, at least one.
    pub fn of(mut lengths: Vec<usize>) -> Lengths {
        lengths.sort_unstable();
        let count = lengths.len() as f64;
        // Nearest rank: the smallest length that at least this share of the titles does not exceed.
        let quantile = |share: f64| lengths[((share * count).ceil() as usize).max(1) - 1];
        Lengths {
            long: lengths.iter().filter(|&&length| length > LONG_SURFACE).count(),
            mean: lengths.iter().sum::<usize>() as f64 / count,
            median: quantile(0.5),
            p95: quantile(0.95),
            max: quantile(1.0),
        }
    }
}

/// The bytes of every section, in the order of [`SECTIONS`].
fn sections<'a>(
    raw: &'a Raw,
    catalogue: &'a Catalogue,
    vocab: &'a Vocab,
    negatives: &'a Negatives<'a>,
    header: &Header,
    strings: &'a mut Strings,
) -> Vec<(Section, Bytes<'a>)> {
    let mut out: Vec<(Section, Bytes)> = Vec::with_capacity(SECTIONS.len());
    let mut put = |section: Section, bytes: Bytes<'a>| out.push((section, bytes));

    put(Section::Header, Bytes::Owned(serde_json::to_vec(header).expect("plain data")));
    put(Section::Tokenizer, Bytes::Borrowed(vocab.json()));

    put(Section::ItemId, bytes_of(raw.items.iter().map(|item| strings.intern(item.id()))));
    put(Section::ItemSurface, bytes_of(catalogue.surfaces.iter().map(|text| strings.intern(text))));
    let titled = |item: &'a RawItem| item.title().filter(|title| !title.trim().is_empty());
    put(Section::ItemTitle, bytes_of(raw.items.iter().map(|item| strings.optional(titled(item)))));
    put(Section::ItemTokenStart, starts(catalogue.tokens.iter().map(Vec::len)));
    put(Section::ItemToken, bytes_of(catalogue.tokens.iter().flatten().copied()));
    put(Section::ItemAttributeStart, lent(&catalogue.attributes.start));
    put(Section::ItemAttribute, strings.pairs(&catalogue.attributes, &catalogue.texts));
    put(Section::ItemById, by_id(raw.items.iter().map(RawItem::id)));

    put(Section::UserId, bytes_of(raw.users.iter().map(|id| strings.intern(id))));
    put(Section::EventStart, lent(&raw.events.start));
    put(Section::EventItem, lent(&raw.events.item));
    put(Section::EventTime, lent(&raw.events.time));
    put(Section::EventRating, lent(&raw.events.rating));
    put(Section::UserAttributeStart, lent(&catalogue.user_attributes.start));
    put(Section::UserAttribute, strings.pairs(&catalogue.user_attributes, &catalogue.texts));
    put(Section::UserById, by_id(raw.users.iter()));
    put(Section::NegativeStart, lent(&negatives.start));
    put(Section::Negative, Bytes::Drawn(negatives));

    put(Section::CatalogueFirstChild, lent(&catalogue.trie.first_child));
    put(Section::CatalogueNodeToken, lent(&catalogue.trie.token));
    put(Section::CatalogueFirstMember, lent(&catalogue.trie.first_member));
    put(Section::CatalogueMember, lent(&catalogue.trie.members));
    put(Section::PoolFirstChild, lent(&catalogue.pool.first_child));
    put(Section::PoolNodeToken, lent(&catalogue.pool.token));
    put(Section::PoolFirstMember, lent(&catalogue.pool.first_member));
    put(Section::PoolMember, lent(&catalogue.pool.members));

    put(Section::ReviewPair, bytes_of(raw.reviews.iter().map(|review| [review.user, review.item])));
    put(Section::ReviewRating, bytes_of(raw.reviews.iter().map(|review| review.rating)));
    let texts = raw.reviews.iter().map(|review| {
        [&review.summary, &review.text, &review.explanation, &review.feature, &review.split]
            .map(|text| strings.optional(text.as_deref()))
    });
    put(Section::ReviewText, bytes_of(texts));
    let (bytes, start) = strings.texts.parts();
    out.push((Section::StringStart, lent(start)));
    out.push((Section::StringBytes, Bytes::Borrowed(bytes.as_bytes())));
    out.sort_by_key(|(section, _)| *section as u32);
    out
}

/// What a section holds.
enum Bytes<'a> {
    /// Its own.
    Owned(Vec<u8>),
    /// What stands in memory as it will in the file.
    Borrowed(&'a [u8]),
    /// What is made when it is asked for.
    Drawn(&'a Negatives<'a>),
}

impl Bytes<'_> {
    fn len(&self) -> usize {
        match self {
            Bytes::Owned(bytes) => bytes.len(),
            Bytes::Borrowed(bytes) => bytes.len(),
            Bytes::Drawn(negatives) => negatives.start[negatives.start.len() - 1] as usize * 4,
        }
    }

    /// Hands all of them to `take`, in order.
    fn each<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self {
            Bytes::Owned(bytes) => take(bytes),
            Bytes::Borrowed(bytes) => take(bytes),
            Bytes::Drawn(negatives) => negatives.each(|items| take(bytemuck::cast_slice(items))),
        }
    }
}

fn lent<T: Pod>(values: &[T]) -> Bytes<'_> {
    Bytes::Borrowed(bytemuck::cast_slice(values))
}

fn bytes_of<T: Pod>(values: impl Iterator<Item = T>) -> Bytes<'static> {
    let mut bytes = Vec::with_capacity(values.size_hint().0 * std::mem::size_of::<T>());
    for value in values {
        bytes.extend_from_slice(bytemuck::bytes_of(&value));
    }
    Bytes::Owned(bytes)
}

/// Running sums of lengths, beginning with 0.
fn starts(lengths: impl Iterator<Item = usize>) -> Bytes<'static> {
    let mut sum = 0u64;
    let mut bytes = Vec::with_capacity((lengths.size_hint().0 + 1) * 8);
    bytes.extend_from_slice(&sum.to_le_bytes());
    for length in lengths {
        sum += length as u64;
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
    Bytes::Owned(bytes)
}

fn by_id<'a>(ids: impl Iterator<Item = &'a str>) -> Bytes<'static> {
    let ids: Vec<&str> = ids.collect();
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_unstable_by_key(|&i| ids[i as usize]);
    bytes_of(order.into_iter())
}

/// The string table: equal short strings are stored once, in the order in which they first come.
#[derive(Default)]
struct Strings {
    texts: Texts,
    /// By the number of an attribute's text: its place in the table, [`NONE`] until it is known.
    places: Vec<u32>,
}

impl Strings {
    fn intern(&mut self, text: &str) -> u32 {
        // Whole reviews seldom repeat; looking for them would cost more than they take.
        if text.len() <= 256 {
            self.texts.number(text)
        } else {
            self.texts.push(text)
        }
    }

    fn optional(&mut self, text: Option<&str>) -> u32 {
        text.map_or(NONE, |text| self.intern(text))
    }

    fn pairs(&mut self, pairs: &Pairs, texts: &Texts) -> Bytes<'static> {
        self.places.resize(texts.len(), NONE);
        let mut place = |text: u32| match self.places[text as usize] {
            NONE => {
                let place = self.intern(texts.get(text));
                // A long one is stored each time.
                if texts.get(text).len() <= 256 {
                    self.places[text as usize] = place;
                }
                place
            }
            known => known,
        };
        bytes_of(pairs.of.iter().map(|pair| pair.map(&mut place)))
    }
}

/// Lays the sections out and writes them.
fn save(path: &Path, sections: &[(Section, Bytes)]) -> Result<()> {
    let zeros = [0u8; ALIGN];
    let filling = |length: usize| &zeros[..aligned(length) - length];
    let crcs: Vec<u32> = sections
        .par_iter()
        .map(|(_, bytes)| {
            let mut crc = crc32fast::Hasher::new();
            let Ok(()) = bytes.each(|bytes| {
                crc.update(bytes);
                Ok::<(), Infallible>(())
            });
            crc.update(filling(bytes.len()));
            crc.finalize()
        })
        .collect();
    let mut table = Vec::with_capacity(aligned(sections.len() * ENTRY));
    let mut offset = PROLOGUE + aligned(sections.len() * ENTRY);
    for ((section, bytes), crc) in sections.iter().zip(crcs) {
        let entry = Entry {
            section: *section as u32,
            crc,
            offset: offset as u64,
            length: bytes.len() as u64,
            reserved: 0,
        };
        table.extend_from_slice(bytemuck::bytes_of(&entry));
        offset += aligned(bytes.len());
    }
    table.resize(aligned(table.len()), 0);
    let mut prologue = Prologue {
        magic: MAGIC,
        version: VERSION,
        sections: sections.len() as u32,
        length: offset as u64,
        table_crc: crc32fast::hash(&table),
        reserved: [0; 32],
        crc: 0,
    };
    prologue.crc = crc32fast::hash(&bytemuck::bytes_of(&prologue)[..PROLOGUE - 4]);

    write_atomically(path, |file| {
        file.write_all(bytemuck::bytes_of(&prologue))?;
        file.write_all(&table)?;
        for (_, bytes) in sections {
            bytes.each(|bytes| file.write_all(bytes))?;
            file.write_all(filling(bytes.len()))?;
        }
        Ok(())
    })
    .map_err(|e| {
        Fault::Device.error(format!(
            "{}: expected room to write, got: {}; check the folder and the disk",
            path.display(),
            e.root_cause()
        ))
    })
}

const _: () = assert!(cfg!(target_endian = "little"), "the format is written as the memory stands");
