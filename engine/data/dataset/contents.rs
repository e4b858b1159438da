//! What a `.bin` says must be possible: a writer's mistake, or malice, leaves checksums whole.
//!
//! [`super::check`] has seen that every number points at something. Here what is counted, ordered
//! or said twice is compared with itself, so that what follows may rely on it.

use super::check::damaged;
use super::format::*;
use super::negatives::NEGATIVES;
use super::write::Lengths;
use super::Dataset;
use crate::data::records::Part;
use crate::data::trie::Trie;
use anyhow::Result;
use rayon::prelude::*;

/// Refuses contents that no writer of ours makes.
pub fn check(data: &Dataset) -> Result<()> {
    let wrong = |section: Section, what: String| {
        damaged(&data.shown, format!("section {section:?}: {what}: it is corrupt"))
    };
    items(data).map_err(|what| wrong(Section::ItemToken, what))?;
    for (by_id, ids) in [(Section::ItemById, Section::ItemId), (Section::UserById, Section::UserId)]
    {
        order(data, by_id, ids).map_err(|what| wrong(by_id, what))?;
    }
    users(data).map_err(|(section, what)| wrong(section, what))?;
    for section in [Section::EventRating, Section::ReviewRating] {
        if let Some(stars) = data.array::<f32>(section).iter().find(|stars| stars.is_infinite()) {
            return Err(wrong(section, format!("expected stars or none, got {stars}")));
        }
    }
    let mut splits = data.reviews().filter_map(|review| review.split);
    if let Some(split) = splits.find(|split| Part::named(split).is_none()) {
        let what = format!("expected train, validation or test, got {split:?}");
        return Err(wrong(Section::ReviewText, what));
    }
    catalogue(data).map_err(|what| wrong(Section::CatalogueMember, what))?;
    let special = specials(data);
    if data.pool().token[1..].iter().any(|&token| special[token as usize]) {
        return Err(wrong(Section::PoolNodeToken, "expected no special tokens".into()));
    }
    counts(data).map_err(|what| wrong(Section::Header, what))
}

/// By token: whether it is a special one, which no text has.
fn specials(data: &Dataset) -> Vec<bool> {
    let mut special = vec![false; data.vocab.size()];
    for id in data.vocab.specials() {
        special[id as usize] = true;
    }
    special
}

/// Every item has tokens, none of them special.
fn items(data: &Dataset) -> Result<(), String> {
    let special = specials(data);
    let bad = (0..data.items() as u32).into_par_iter().find_any(|&i| {
        let tokens = tokens(data, i);
        tokens.is_empty() || tokens.iter().any(|&token| special[token as usize])
    });
    match bad {
        None => Ok(()),
        Some(i) => Err(format!("expected tokens of a text for item {i}, got none or special ones")),
    }
}

fn tokens(data: &Dataset, item: u32) -> &[u32] {
    data.list(Section::ItemTokenStart, Section::ItemToken, item)
}

/// Ids are distinct, and `by_id` has them in the order of their bytes.
fn order(data: &Dataset, by_id: Section, ids: Section) -> Result<(), String> {
    let (order, ids) = (data.array::<u32>(by_id), data.array::<u32>(ids));
    let id = |&i: &u32| data.string(ids[i as usize]);
    match order.par_windows(2).any(|pair| id(&pair[0]) >= id(&pair[1])) {
        false => Ok(()),
        true => Err("expected distinct ids in ascending order".to_owned()),
    }
}

/// Every user has events; negatives are few and distinct.
fn users(data: &Dataset) -> Result<(), (Section, String)> {
    let bad = (0..data.users() as u32).into_par_iter().find_map_any(|u| {
        if data.list::<u32>(Section::EventStart, Section::EventItem, u).is_empty() {
            return Some((Section::EventStart, format!("expected events of user {u}, got none")));
        }
        let mut negatives = data.negatives(u).to_vec();
        let count = negatives.len();
        negatives.sort_unstable();
        negatives.dedup();
        (count > NEGATIVES || negatives.len() < count).then(|| {
            let what = format!("expected at most {NEGATIVES} distinct negatives of user {u}");
            (Section::NegativeStart, what)
        })
    });
    bad.map_or(Ok(()), Err)
}

/// The catalogue's trie is the items' tokens: each item is a member once, where its tokens end.
fn catalogue(data: &Dataset) -> Result<(), String> {
    let trie = data.catalogue();
    let mut node_of = vec![Trie::ROOT; data.items()];
    for node in 1..trie.nodes() as u32 {
        for &item in trie.members(node) {
            if std::mem::replace(&mut node_of[item as usize], node) != Trie::ROOT {
                return Err(format!("expected item {item} once"));
            }
        }
    }
    let bad = (0..data.items() as u32)
        .into_par_iter()
        .find_any(|&i| trie.find(tokens(data, i)) != Some(node_of[i as usize]));
    match bad {
        None => Ok(()),
        Some(i) => Err(format!("expected item {i} where its tokens end")),
    }
}

/// The header's counts are those of the sections, as far as these tell.
fn counts(data: &Dataset) -> Result<(), String> {
    let counts = &data.header.counts;
    let starts = |section: Section| data.array::<u64>(section).windows(2).map(|w| w[1] - w[0]);
    let titles =
        Lengths::of(starts(Section::ItemTokenStart).map(|length| length as usize).collect());
    let negatives = || starts(Section::NegativeStart);
    let known = |section: Section| data.array::<f32>(section).iter().filter(|x| !x.is_nan());
    let few = starts(Section::EventStart).filter(|&events| events < 3).count();
    for (name, header, counted) in [
        ("short_users", counts.short_users, few),
        ("rated", counts.rated, known(Section::EventRating).count()),
        ("long_titles", counts.long_titles, titles.long),
        ("tokens_median", counts.tokens_median, titles.median),
        ("tokens_p95", counts.tokens_p95, titles.p95),
        ("tokens_max", counts.tokens_max, titles.max),
        ("catalogue_nodes", counts.catalogue_nodes, data.catalogue().nodes()),
        ("pool_nodes", counts.pool_nodes, data.pool().nodes()),
        ("negatives_min", counts.negatives_min, negatives().min().unwrap_or(0) as usize),
        ("negatives_max", counts.negatives_max, negatives().max().unwrap_or(0) as usize),
    ] {
        if header != counted {
            return Err(format!("{name}: expected {counted}, as counted, got {header}"));
        }
    }
    // A decimal read back may differ in its last place.
    let near = (counts.tokens_mean - titles.mean).abs() <= 1e-9 * titles.mean;
    if !near {
        let (mean, got) = (titles.mean, counts.tokens_mean);
        return Err(format!("tokens_mean: expected {mean}, as counted, got {got}"));
    }
    let members = data.pool().members.len();
    for (name, header, most) in [
        ("untitled", counts.untitled, counts.items),
        ("collisions", counts.collisions, counts.items),
        ("named_by_id", counts.named_by_id, counts.items),
        ("entities", counts.entities, members),
    ] {
        if header > most {
            return Err(format!("{name}: expected at most {most}, got {header}"));
        }
    }
    Ok(())
}
