//! The bytes of a `.bin`; docs/bin-format.md says the same in prose.
//!
//! prologue (64 bytes) · section table (32 bytes a section, filled up to 64) · sections, each
//! filled up to 64 with zeros. All numbers are little-endian.

use crate::data::catalogue::ItemRepr;
use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

/// The first eight bytes. The first is no ASCII, the last two tell text-mode copies.
pub const MAGIC: [u8; 8] = *b"\x8aENGB\r\n\x1a";
/// Raised with every change that an older reader would misread.
pub const VERSION: u32 = 1;
/// Sections begin at multiples of this, so that a memory map of them casts to any number type.
pub const ALIGN: usize = 64;

/// The first 64 bytes; the same in all versions.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Prologue {
    /// [`MAGIC`]: what tells a `.bin` from other files.
    pub magic: [u8; 8],
    /// [`VERSION`] of the format.
    pub version: u32,
    /// Number of sections.
    pub sections: u32,
    /// Length of the whole file in bytes.
    pub length: u64,
    /// crc32 of the section table with its filling.
    pub table_crc: u32,
    /// Zero; for what a later version needs.
    pub reserved: [u8; 32],
    /// crc32 of the 60 bytes before it.
    pub crc: u32,
}

/// One row of the section table.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Entry {
    /// [`Section`] as a number.
    pub section: u32,
    /// crc32 of the section with its filling.
    pub crc: u32,
    /// Where the section begins, from the start of the file.
    pub offset: u64,
    /// Length in bytes without filling.
    pub length: u64,
    /// Zero; for what a later version needs.
    pub reserved: u64,
}

/// Bytes of the prologue.
pub const PROLOGUE: usize = std::mem::size_of::<Prologue>();
/// Bytes of a row of the section table.
pub const ENTRY: usize = std::mem::size_of::<Entry>();
const _: () = assert!(PROLOGUE == 64 && ENTRY == 32);

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident : $element:ty,)*) => {
        /// What a file holds, in this order, each once. "String" is a place in the string table,
        /// u32::MAX none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Section { $($(#[$doc])* $name,)* }

        /// All sections with the size of their elements in bytes.
        pub const SECTIONS: &[(Section, usize)] =
            &[$((Section::$name, std::mem::size_of::<$element>()),)*];
    };
}

sections! {
    /// [`Header`] as JSON.
    Header: u8,
    /// The tokenizer.json.
    Tokenizer: u8,
    /// [strings + 1] where each string begins in `StringBytes`.
    StringStart: u64,
    /// UTF-8.
    StringBytes: u8,
    /// [items] string: the id in the source.
    ItemId: u32,
    /// [items] string: the surface.
    ItemSurface: u32,
    /// [items] string or none: the title as given.
    ItemTitle: u32,
    /// [items + 1] where each item's tokens begin.
    ItemTokenStart: u64,
    /// Tokens of " " + surface.
    ItemToken: u32,
    /// [items + 1] where each item's attributes begin.
    ItemAttributeStart: u64,
    /// Pairs of strings: name, value.
    ItemAttribute: [u32; 2],
    /// [items] items in the byte order of their ids.
    ItemById: u32,
    /// [users] string: the id in the source.
    UserId: u32,
    /// [users + 1] where each user's events begin.
    EventStart: u64,
    /// [events] item.
    EventItem: u32,
    /// [events] seconds, i64::MIN where unknown.
    EventTime: i64,
    /// [events] stars, NaN where unknown.
    EventRating: f32,
    /// [users + 1] where each user's attributes begin.
    UserAttributeStart: u64,
    /// Pairs of strings: name, value.
    UserAttribute: [u32; 2],
    /// [users] users in the byte order of their ids.
    UserById: u32,
    /// [users + 1] where each user's negatives begin.
    NegativeStart: u64,
    /// Items.
    Negative: u32,
    /// [nodes + 1], the catalogue trie.
    CatalogueFirstChild: u32,
    /// [nodes]
    CatalogueNodeToken: u32,
    /// [nodes + 1]
    CatalogueFirstMember: u32,
    /// Items.
    CatalogueMember: u32,
    /// [nodes + 1], the entity pool.
    PoolFirstChild: u32,
    /// [nodes]
    PoolNodeToken: u32,
    /// [nodes + 1]
    PoolFirstMember: u32,
    /// Entities.
    PoolMember: u32,
    /// [reviews] user, item.
    ReviewPair: [u32; 2],
    /// [reviews] stars, NaN where unknown.
    ReviewRating: f32,
    /// [reviews] strings or none: summary, text, explanation, feature, split.
    ReviewText: [u32; 5],
}

/// No string.
pub const NONE: u32 = u32::MAX;

/// The JSON header: what `inspect` shows and what cannot be counted from the sections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What was counted when the file was made.
    pub counts: Statistics,
    /// crc32 of the tokenizer's canonical JSON, as eight hexadecimal digits.
    pub tokenizer_hash: String,
    /// Number of token ids, special ones included.
    pub tokenizer_size: usize,
    /// How the file was made.
    pub settings: Settings,
}

/// How the file was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Decides the negatives (E4) and the order of equal scores and of items of one leaf (E16b).
    pub seed: u64,
    /// Format of the source: `folder`, `amazon` …
    pub format: String,
    /// What times count from: `none`, `unix_time`, `seconds_since_first`.
    pub clock: String,
    /// Whether items of one title are told apart (E11) or share a leaf (E16).
    pub unique_surfaces: bool,
    /// What items are shown as (E1): `title`, which is not written, or `id`.
    #[serde(default, skip_serializing_if = "is_title")]
    pub item_repr: ItemRepr,
}

fn is_title(repr: &ItemRepr) -> bool {
    *repr == ItemRepr::Title
}

/// Counts of a prepared data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Users with at least one event.
    pub users: usize,
    /// Items of the catalogue.
    pub items: usize,
    /// Events of all users.
    pub interactions: usize,
    /// Users with fewer than three events: no test and validation item can be split off, so they
    /// only train.
    pub short_users: usize,
    /// Events with a rating.
    pub rated: usize,
    /// Texts that users wrote about items.
    pub reviews: usize,
    /// Items without a title.
    pub untitled: usize,
    /// Items whose text was also another item's before they were told apart.
    pub collisions: usize,
    /// Items whose text is `item <id>`, for want of anything else.
    pub named_by_id: usize,
    /// Items of more than 64 tokens.
    pub long_titles: usize,
    /// Tokens per title.
    pub tokens_mean: f64,
    /// The middle one of the numbers of tokens per title.
    pub tokens_median: usize,
    /// 95 of 100 titles have at most as many tokens.
    pub tokens_p95: usize,
    /// Tokens of the longest title.
    pub tokens_max: usize,
    /// Nodes of the trie of items.
    pub catalogue_nodes: usize,
    /// Nodes of the trie of entities.
    pub pool_nodes: usize,
    /// Distinct entities in the pool: items and attribute values.
    pub entities: usize,
    /// Negatives a user, the fewest and the most.
    pub negatives_min: usize,
    /// The most negatives that a user has.
    pub negatives_max: usize,
}

/// `n` rounded up to the next multiple of [`ALIGN`].
pub fn aligned(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_section() {
        let document = include_str!("../../../docs/bin-format.md");
        for (number, (section, _)) in SECTIONS.iter().enumerate() {
            let row = format!("| {number} | {section:?} |");
            assert!(document.contains(&row), "docs/bin-format.md lacks {row}");
        }
    }
}
