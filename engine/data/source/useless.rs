//! What makes a data set useless for learning, unless it is meant so.

use super::gather::Gathered;
use super::{Allowance, Clock, Events, RawItem, Reading};
use crate::base::Fault;
use anyhow::Result;

/// Refuses a source without any titles, with one title for all, or of which nobody knows the order;
/// `looked` is what was looked at.
pub fn judge(
    items: &[RawItem],
    gathered: &Gathered,
    reading: &Reading,
    events: &str,
    looked: &[String],
) -> Result<()> {
    if gathered.events.is_empty() {
        return Ok(());
    }
    let mut wrong: Vec<(Allowance, String)> = Vec::new();
    let says = |text: Option<&str>| text.is_some_and(|text| !text.trim().is_empty());
    let named = |item: &RawItem| item.title().is_some() || says(item.text_id());
    let bought = gathered.events.item.iter().map(|&item| &items[item as usize]);
    if !items.iter().any(named) {
        wrong.push((Allowance::NoTitles, "titles of items, got none".to_owned()));
    } else if let Some(first) = bought.clone().next().filter(|_| !bought.clone().any(named)) {
        // The two tables write their ids in different ways.
        let words = format!(
            "titles of items that have events, got some of others alone (first: item {} has none)",
            first.id()
        );
        wrong.push((Allowance::NoTitles, words));
    } else if let Some(words) = alike(items, &gathered.events) {
        wrong.push((Allowance::EqualTitles, words));
    }
    if let (Clock::None, Some(user)) = (gathered.clock, &gathered.unordered) {
        let words =
            format!("times of events, or another sign of their order, got none (user {user})");
        wrong.push((Allowance::NoTimes, words));
    }
    wrong.retain(|(allowance, _)| !reading.allows(*allowance));
    if wrong.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = wrong.iter().map(|(_, words)| words.as_str()).collect();
    let names: Vec<&str> = wrong.iter().map(|(allowance, _)| allowance.name()).collect();
    let column = match wrong[0].0 {
        Allowance::NoTimes => "setting `time-column`",
        Allowance::NoTitles => "setting `title-column`",
        Allowance::EqualTitles => {
            "setting `title-column` or setting `item-column` (item_id where nothing is said)"
        }
    };
    Err(Fault::Data.error(format!(
        "{events}: expected {}; looked at {}; name the column with {column}, or allow it with \
        setting `allow = {}`",
        words.join(", and "),
        looked.join(" and "),
        names.join(",")
    )))
}

/// The one title that all items have, or all events of several: nothing can be told apart by it.
fn alike(items: &[RawItem], events: &Events) -> Option<String> {
    let first = items.first()?.title()?;
    let words = |of: String| {
        let title: String = first.chars().take(40).collect();
        Some(format!("different titles, got {title:?} for all {of}"))
    };
    if items.len() > 1 && items.iter().all(|item| item.title() == Some(first)) {
        return words(format!("{} items", items.len()));
    }
    if items.len() == 1 && events.len() > 1 {
        return words(format!("{} events", events.len()));
    }
    None
}
