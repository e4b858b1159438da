use super::record::{Item, User};
use super::trie::Trie;
use super::vocab::Vocab;
use anyhow::Result;
use std::path::Path;

/// A prepared `.bin`, memory-mapped.
pub struct Dataset {}

impl Dataset {
    pub fn open(_path: &Path) -> Result<Dataset> {
        todo!()
    }
    pub fn items(&self) -> usize {
        todo!()
    }
    pub fn item(&self, _i: u32) -> Item<'_> {
        todo!()
    }
    /// Attribute values of an item as (name, value), e.g. ("category", "Board Games"), in source order.
    pub fn item_attributes(&self, _i: u32) -> Vec<(&str, &str)> {
        todo!()
    }
    /// Index of the item with this source id.
    pub fn find_item(&self, _id: &str) -> Option<u32> {
        todo!()
    }
    pub fn users(&self) -> usize {
        todo!()
    }
    pub fn user(&self, _u: u32) -> User<'_> {
        todo!()
    }
    pub fn find_user(&self, _id: &str) -> Option<u32> {
        todo!()
    }
    /// Attribute values of a user as (name, value).
    pub fn user_attributes(&self, _u: u32) -> Vec<(&str, &str)> {
        todo!()
    }
    /// The stored, seeded 99 negatives of a user (E4): distinct, never touched by the user.
    pub fn negatives(&self, _u: u32) -> &[u32] {
        todo!()
    }
    /// Catalogue trie: item surfaces in the form that follows a mask; it constrains decoding.
    pub fn catalogue(&self) -> Trie<'_> {
        todo!()
    }
    /// Entity pool: items and attribute values in both blank forms; it numbers, through `Intra`.
    pub fn pool(&self) -> Trie<'_> {
        todo!()
    }
    pub fn vocab(&self) -> &Vocab {
        todo!()
    }
    /// crc32 over the whole file's section checksums.
    pub fn hash(&self) -> u32 {
        todo!()
    }
    /// File stem, e.g. "toys".
    pub fn name(&self) -> &str {
        todo!()
    }
}
