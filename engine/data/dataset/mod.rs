//! The `.bin`: written once by `prepare`, read or memory-mapped by everything else.
//! docs/bin-format.md describes it.

mod check;
mod contents;
mod format;
mod negatives;
mod write;

pub use format::{Header, Settings, Statistics, VERSION};
pub use write::{write, Recipe};

use super::catalogue;
use super::record::{Item, Review, User};
use super::split::Parts;
use super::trie::Trie;
use super::vocab::Vocab;
use crate::base::{Fault, Map};
use anyhow::Result;
use bytemuck::Pod;
use format::{Section, NONE, SECTIONS};
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// A prepared `.bin`.
pub struct Dataset {
    map: Map,
    /// Byte range of each section.
    sections: Vec<Range<usize>>,
    header: Header,
    vocab: Vocab,
    name: String,
    hash: u32,
    /// What errors call the file.
    shown: String,
}

impl Dataset {
    /// Opens a `.bin` and checks all that later reading relies on: header, table, all checksums,
    /// bounds, every index, all text, and that what it says twice agrees.
    ///
    /// Refuses, each with its own sentence, what is no `.bin`, one of another version, a truncated
    /// one, one with bytes behind its end and one that is damaged.
    pub fn open(path: &Path) -> Result<Dataset> {
        let data = check::open(path)?;
        contents::check(&data)?;
        Ok(data)
    }

    /// Reads every byte and compares all checksums.
    pub fn verify(&self) -> Result<()> {
        check::checksums(&self.map, &self.shown)?;
        self.map.unchanged()?;
        let (stored, actual) = (&self.header.tokenizer_hash, format!("{:08x}", self.vocab.hash()));
        if *stored != actual {
            return Err(Fault::Data.error(format!(
                "{}: expected the tokenizer {stored} that its header names, got {actual}; prepare \
                the data again",
                self.shown
            )));
        }
        Ok(())
    }

    /// The file as memory: what was made of it counts while it is unchanged.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Refuses a tokenizer other than the one the file was made with.
    pub fn expect_vocab(&self, vocab: &Vocab) -> Result<()> {
        let (made, given) = (&self.header.tokenizer_hash, format!("{:08x}", vocab.hash()));
        if *made == given {
            return Ok(());
        }
        Err(Fault::Model.error(format!(
            "{}: expected the tokenizer it was made with ({made}, {} ids), got another ({given}, \
            {} ids); \
             prepare the data with this tokenizer or take the weights that belong to the data",
            self.shown,
            self.header.tokenizer_size,
            vocab.size()
        )))
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.header.counts.items
    }

    /// Item number `i`. Panics from [`Dataset::items`] on.
    pub fn item(&self, i: u32) -> Item<'_> {
        let place = i as usize;
        let title = self.array::<u32>(Section::ItemTitle)[place];
        Item {
            id: self.string(self.array::<u32>(Section::ItemId)[place]),
            surface: self.string(self.array::<u32>(Section::ItemSurface)[place]),
            title: self.optional(title),
            tokens: self.list(Section::ItemTokenStart, Section::ItemToken, i),
        }
    }

    /// Attribute values of an item as (name, value), e.g. ("category", "Board Games"): brand,
    /// category names, then the others in source order.
    pub fn item_attributes(&self, i: u32) -> Vec<(&str, &str)> {
        self.pairs(Section::ItemAttributeStart, Section::ItemAttribute, i)
    }

    /// Index of the item with this source id.
    pub fn find_item(&self, id: &str) -> Option<u32> {
        self.find(Section::ItemById, Section::ItemId, id)
    }

    /// These parts of every user's events, oldest first.
    pub fn sequences(&self, parts: Parts) -> Vec<&[u32]> {
        (0..self.users() as u32).map(|user| parts.of(self.user(user).items)).collect()
    }

    /// Number of users.
    pub fn users(&self) -> usize {
        self.header.counts.users
    }

    /// User number `u` with all events. Panics from [`Dataset::users`] on.
    pub fn user(&self, u: u32) -> User<'_> {
        User {
            id: self.string(self.array::<u32>(Section::UserId)[u as usize]),
            items: self.list(Section::EventStart, Section::EventItem, u),
            times: self.list(Section::EventStart, Section::EventTime, u),
            ratings: self.list(Section::EventStart, Section::EventRating, u),
        }
    }

    /// Index of the user with this source id.
    pub fn find_user(&self, id: &str) -> Option<u32> {
        self.find(Section::UserById, Section::UserId, id)
    }

    /// Attribute values of a user as (name, value), in source order.
    pub fn user_attributes(&self, u: u32) -> Vec<(&str, &str)> {
        self.pairs(Section::UserAttributeStart, Section::UserAttribute, u)
    }

    /// The stored, seeded 99 negatives of a user (E4): distinct, never touched by the user; fewer
    /// where the catalogue has no more.
    pub fn negatives(&self, u: u32) -> &[u32] {
        self.list(Section::NegativeStart, Section::Negative, u)
    }

    /// Number of review records; most sources have none.
    pub fn review_count(&self) -> usize {
        self.header.counts.reviews
    }

    /// Review number `r`. Panics from [`Dataset::review_count`] on.
    pub fn review(&self, r: usize) -> Review<'_> {
        let [user, item] = self.array::<[u32; 2]>(Section::ReviewPair)[r];
        let text = self.array::<[u32; 5]>(Section::ReviewText)[r].map(|text| self.optional(text));
        let [summary, text, explanation, feature, split] = text;
        let rating = self.array::<f32>(Section::ReviewRating)[r];
        Review { user, item, rating, summary, text, explanation, feature, split }
    }

    /// Review records in source order.
    pub fn reviews(&self) -> impl ExactSizeIterator<Item = Review<'_>> {
        (0..self.review_count()).map(|r| self.review(r))
    }

    /// Catalogue trie: item surfaces in the form that follows a mask; it constrains decoding.
    /// Members are items, those of one leaf in the order of [`Dataset::tie`].
    pub fn catalogue(&self) -> Trie<'_> {
        self.trie([
            Section::CatalogueFirstChild,
            Section::CatalogueNodeToken,
            Section::CatalogueFirstMember,
            Section::CatalogueMember,
        ])
    }

    /// The trie of these items alone, to choose among them; members as in [`Dataset::catalogue`].
    pub fn catalogue_of(&self, items: &[u32]) -> Trie<'static> {
        let mut items = items.to_vec();
        items.sort_by_key(|&i| (self.tie(i), i));
        items.dedup();
        let tokens: Vec<&[u32]> = items.iter().map(|&i| self.item(i).tokens).collect();
        Trie::build(&tokens, &items)
    }

    /// Entity pool: items and attribute values in both blank forms; it numbers, through `Intra`.
    /// Members are entities: items by their index, then the distinct attribute values.
    pub fn pool(&self) -> Trie<'_> {
        self.trie([
            Section::PoolFirstChild,
            Section::PoolNodeToken,
            Section::PoolFirstMember,
            Section::PoolMember,
        ])
    }

    /// The seeded hash of an item that orders equal scores, smaller first (E16b).
    pub fn tie(&self, i: u32) -> u64 {
        catalogue::tie(self.header.settings.seed, i)
    }

    /// The tokenizer that the file was made with.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// crc32 over the whole file's section checksums.
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// File stem, e.g. "toys".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts, as `prepare` printed them.
    pub fn statistics(&self) -> &Statistics {
        &self.header.counts
    }

    /// How the file was made.
    pub fn settings(&self) -> &Settings {
        &self.header.settings
    }

    /// Name, bytes and length of every section, for `inspect`.
    pub fn sections(&self) -> impl Iterator<Item = (String, usize)> + '_ {
        SECTIONS
            .iter()
            .zip(&self.sections)
            .map(|((section, _), range)| (format!("{section:?}"), range.len()))
    }

    fn array<T: Pod>(&self, section: Section) -> &[T] {
        bytemuck::cast_slice(&self.map[self.sections[section as usize].clone()])
    }

    /// The part of `values` that belongs to number `i`.
    fn list<T: Pod>(&self, start: Section, values: Section, i: u32) -> &[T] {
        let start = self.array::<u64>(start);
        &self.array::<T>(values)[start[i as usize] as usize..start[i as usize + 1] as usize]
    }

    fn string(&self, number: u32) -> &str {
        let start = self.array::<u64>(Section::StringStart);
        let bytes = self.array::<u8>(Section::StringBytes);
        let range = start[number as usize] as usize..start[number as usize + 1] as usize;
        std::str::from_utf8(&bytes[range]).expect("checked when the file was opened")
    }

    fn optional(&self, number: u32) -> Option<&str> {
        (number != NONE).then(|| self.string(number))
    }

    fn pairs(&self, start: Section, values: Section, i: u32) -> Vec<(&str, &str)> {
        self.list::<[u32; 2]>(start, values, i)
            .iter()
            .map(|&[n, v]| (self.string(n), self.string(v)))
            .collect()
    }

    fn find(&self, by_id: Section, ids: Section, id: &str) -> Option<u32> {
        let (order, ids) = (self.array::<u32>(by_id), self.array::<u32>(ids));
        let place = order.binary_search_by(|&i| self.string(ids[i as usize]).cmp(id)).ok()?;
        Some(order[place])
    }

    fn trie(&self, [first_child, token, first_member, members]: [Section; 4]) -> Trie<'_> {
        let array = |section| Cow::Borrowed(self.array::<u32>(section));
        Trie {
            first_child: array(first_child),
            token: array(token),
            first_member: array(first_member),
            members: array(members),
        }
    }
}
