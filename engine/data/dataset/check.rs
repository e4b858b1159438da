//! Opening a `.bin`: nothing that a file holds may make a later access panic.

use super::format::*;
use super::Dataset;
use crate::base::{unreadable, Fault, Map};
use crate::data::vocab::Vocab;
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;

/// Up to this size a file is read into memory, where it stays as it was checked. A larger one is
/// mapped.
const READ_WHOLE: u64 = 256 << 20;
/// Bytes a thread checks at a time.
const CHUNK: usize = 4 << 20;

/// Opens a `.bin` and verifies all that later accesses rely on. Refuses what is truncated, damaged
/// or of another version.
pub fn open(path: &Path) -> Result<Dataset> {
    let shown = path.display().to_string();
    let refuse = |e| unreadable(Fault::Data, "data", path, "a .bin made by `prepare`", &e);
    let length = path.metadata().map_err(refuse)?.len();
    // What was read is checked as a whole and stays as it was checked. A larger file stays on disk;
    // somebody who writes over it can make values wrong: text is validated at each access, a slice
    // taken from wrong values panics, and `Map::unchanged` tells.
    let map = match length <= READ_WHOLE {
        true => Map::read(path),
        false => Map::open(path),
    };
    let map = map.map_err(refuse)?;
    if map.len() < PROLOGUE {
        return Err(damaged(
            &shown,
            format!(
                "expected at least {PROLOGUE} bytes, got {}: it is truncated or no .bin",
                map.len()
            ),
        ));
    }
    let entries = table(&map, &shown)?;
    // Of whatever size: what follows reads nearly all of it anyway, and no result may be wrong.
    compare(&map, &entries, &shown)?;
    let sections: Vec<Range<usize>> =
        entries.iter().map(|e| e.offset as usize..(e.offset + e.length) as usize).collect();
    let json = &map[sections[Section::Header as usize].clone()];
    let header: Header = serde_json::from_slice(json)
        .map_err(|e| damaged(&shown, format!("header: expected counts and settings, got: {e}")))?;
    let vocab = Vocab::from_json(&map[sections[Section::Tokenizer as usize].clone()])
        .with_context(|| format!("{shown}: stored tokenizer"))?;
    let hash = entries.iter().fold(crc32fast::Hasher::new(), |mut crc, entry| {
        crc.update(&entry.crc.to_le_bytes());
        crc
    });
    let name =
        path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let dataset = Dataset { map, sections, header, vocab, name, hash: hash.finalize(), shown };
    structure(&dataset)?;
    Ok(dataset)
}

/// Compares all checksums.
pub fn checksums(map: &[u8], shown: &str) -> Result<()> {
    compare(map, &table(map, shown)?, shown)
}

pub fn damaged(shown: &str, what: impl std::fmt::Display) -> anyhow::Error {
    Fault::Data.error(format!("{shown}: {what}; copy the file again or prepare the data again"))
}

/// Prologue and section table, checked.
fn table(map: &[u8], shown: &str) -> Result<Vec<Entry>> {
    let prologue: Prologue = bytemuck::pod_read_unaligned(&map[..PROLOGUE]);
    if prologue.magic != MAGIC {
        return Err(Fault::Data.error(format!(
            "{shown}: expected a .bin made by `prepare`, got another kind of file; give the .bin"
        )));
    }
    if prologue.version != VERSION {
        return Err(Fault::Data.error(format!(
            "{shown}: expected version {VERSION} of the format, got {}; prepare the data again \
            with this program",
            prologue.version
        )));
    }
    if prologue.crc != crc32fast::hash(&map[..PROLOGUE - 4]) {
        return Err(damaged(
            shown,
            "expected an undamaged start, got a wrong checksum in the first 64 bytes: it is \
            corrupt",
        ));
    }
    let actual = map.len() as u64;
    if actual != prologue.length {
        let what = if actual < prologue.length { "truncated" } else { "longer than it should be" };
        return Err(damaged(
            shown,
            format!("expected {} bytes, got {actual}: it is {what}", prologue.length),
        ));
    }
    let count = prologue.sections as usize;
    let end = PROLOGUE + aligned(SECTIONS.len() * ENTRY);
    if count != SECTIONS.len() || map.len() < end {
        return Err(damaged(
            shown,
            format!("expected {} sections, got {count}: it is corrupt", SECTIONS.len()),
        ));
    }
    let bytes = &map[PROLOGUE..end];
    if prologue.table_crc != crc32fast::hash(bytes) {
        return Err(damaged(
            shown,
            "expected an undamaged section table, got a wrong checksum: it is corrupt",
        ));
    }
    let entries: Vec<Entry> =
        bytes[..count * ENTRY].chunks_exact(ENTRY).map(bytemuck::pod_read_unaligned).collect();
    let mut offset = end as u64;
    for (entry, (section, size)) in entries.iter().zip(SECTIONS) {
        let room = map.len() as u64 - offset;
        let fits = entry.section == *section as u32
            && entry.offset == offset
            && entry.length <= room
            && entry.length % *size as u64 == 0
            && aligned(entry.length as usize) as u64 <= room;
        if !fits {
            return Err(damaged(
                shown,
                format!(
                    "expected section {section:?} at byte {offset}, got {entry:?}: it is corrupt"
                ),
            ));
        }
        offset += aligned(entry.length as usize) as u64;
    }
    if offset != map.len() as u64 {
        return Err(damaged(
            shown,
            format!("expected sections up to byte {actual}, got {offset}: it is corrupt"),
        ));
    }
    Ok(entries)
}

/// Compares the checksum of each section and its filling, in pieces, on all threads.
fn compare(map: &[u8], entries: &[Entry], shown: &str) -> Result<()> {
    let bad = entries.par_iter().zip(SECTIONS).find_first(|(entry, _)| {
        let start = entry.offset as usize;
        let bytes = &map[start..start + aligned(entry.length as usize)];
        let crc = bytes
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut crc = crc32fast::Hasher::new();
                crc.update(chunk);
                crc
            })
            // Joining checksums is exact and associative: the order of work does not show.
            .reduce(crc32fast::Hasher::new, |mut a, b| {
                a.combine(&b);
                a
            });
        crc.finalize() != entry.crc
    });
    match bad {
        None => Ok(()),
        Some((_, (section, _))) => Err(damaged(
            shown,
            format!(
                "expected an undamaged section {section:?}, got a wrong checksum: it is corrupt"
            ),
        )),
    }
}

/// Lengths agree with the counts, lists ascend, every number points at something.
fn structure(data: &Dataset) -> Result<()> {
    let shown = &data.shown;
    let counts = &data.header.counts;
    let wrong = |section: Section, what: String| {
        damaged(shown, format!("section {section:?}: {what}: it is corrupt"))
    };
    let length = |section: Section| {
        let size = SECTIONS[section as usize].1;
        data.sections[section as usize].len() / size
    };
    let expect = |section: Section, expected: usize| match length(section) {
        actual if actual == expected => Ok(()),
        actual => Err(wrong(section, format!("expected {expected} entries, got {actual}"))),
    };
    // Ascending starts from 0 to the number of values; `count` lists.
    let lists = |start: Section, count: usize, values: usize| {
        count
            .checked_add(1)
            .map_or(Err(wrong(start, "expected fewer entries".into())), |n| expect(start, n))?;
        let array = data.array::<u64>(start);
        let ascending = array[0] == 0 && array.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascending || array[count] != values as u64 {
            return Err(wrong(start, format!("expected entries that ascend from 0 to {values}")));
        }
        Ok(())
    };
    let below = |section: Section, limit: usize, none: bool| {
        let array: &[u32] =
            bytemuck::cast_slice(&data.map[data.sections[section as usize].clone()]);
        match array
            .par_iter()
            .with_min_len(1 << 16)
            .find_any(|&&x| x as usize >= limit && !(none && x == NONE))
        {
            None => Ok(()),
            Some(x) => Err(wrong(section, format!("expected numbers below {limit}, got {x}"))),
        }
    };

    let (items, users, events) = (counts.items, counts.users, counts.interactions);
    if items == 0 || items >= NONE as usize || users >= NONE as usize {
        return Err(wrong(
            Section::Header,
            format!("expected some items and users, got {items} and {users}"),
        ));
    }
    if data.vocab.size() != data.header.tokenizer_size {
        let (header, stored) = (data.header.tokenizer_size, data.vocab.size());
        return Err(wrong(
            Section::Tokenizer,
            format!("expected {header} ids, got {stored}, another tokenizer"),
        ));
    }
    let strings = length(Section::StringStart).saturating_sub(1);
    lists(Section::StringStart, strings, length(Section::StringBytes))?;
    check_text(data).map_err(|what| wrong(Section::StringBytes, what))?;

    for section in [Section::ItemId, Section::ItemSurface, Section::ItemTitle, Section::ItemById] {
        expect(section, items)?;
    }
    for section in [Section::UserId, Section::UserById] {
        expect(section, users)?;
    }
    for section in [Section::EventItem, Section::EventTime, Section::EventRating] {
        expect(section, events)?;
    }
    for section in [Section::ReviewPair, Section::ReviewRating, Section::ReviewText] {
        expect(section, counts.reviews)?;
    }
    lists(Section::ItemTokenStart, items, length(Section::ItemToken))?;
    lists(Section::ItemAttributeStart, items, length(Section::ItemAttribute))?;
    lists(Section::EventStart, users, events)?;
    lists(Section::UserAttributeStart, users, length(Section::UserAttribute))?;
    lists(Section::NegativeStart, users, length(Section::Negative))?;
    for section in [
        Section::ItemId,
        Section::ItemSurface,
        Section::ItemAttribute,
        Section::UserId,
        Section::UserAttribute,
    ] {
        below(section, strings, false)?;
    }
    for section in [Section::ItemTitle, Section::ReviewText] {
        below(section, strings, true)?;
    }
    for section in
        [Section::ItemById, Section::EventItem, Section::Negative, Section::CatalogueMember]
    {
        below(section, items, false)?;
    }
    below(Section::UserById, users, false)?;
    below(Section::ItemToken, data.vocab.size(), false)?;
    below(Section::PoolMember, counts.entities, false)?;
    let pairs = data.array::<[u32; 2]>(Section::ReviewPair);
    if let Some(pair) =
        pairs.iter().find(|[user, item]| *user as usize >= users || *item as usize >= items)
    {
        return Err(wrong(
            Section::ReviewPair,
            format!("expected a known user and item, got {pair:?}"),
        ));
    }
    for (trie, section) in
        [(data.catalogue(), Section::CatalogueNodeToken), (data.pool(), Section::PoolNodeToken)]
    {
        trie.check().with_context(|| format!("{shown}: section {section:?}"))?;
        let size = data.vocab.size();
        if let Some(token) = trie.token[1..].iter().find(|&&token| token as usize >= size) {
            return Err(wrong(section, format!("expected tokens below {size}, got {token}")));
        }
    }
    Ok(())
}

/// All strings are UTF-8 and none begins inside a character.
fn check_text(data: &Dataset) -> std::result::Result<(), String> {
    let bytes = data.array::<u8>(Section::StringBytes);
    let text = std::str::from_utf8(bytes).map_err(|e| format!("expected UTF-8, got: {e}"))?;
    match data
        .array::<u64>(Section::StringStart)
        .iter()
        .find(|&&at| !text.is_char_boundary(at as usize))
    {
        None => Ok(()),
        Some(at) => Err(format!(
            "expected strings of whole characters, got one that begins inside one at byte {at}"
        )),
    }
}
