//! The synthetic shop: the best that anybody can do in it, and how well its customers were served.

use super::report::Hits;
use crate::base::Fault;
use crate::data::source::synthetic::{BestHits, BestStars, Shape, Shop};
use crate::data::task::Split;
use crate::data::Dataset;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What somebody who knows how a shop is made can do at best: what is left is chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Of the users' last events.
    pub test: BestHits,
    /// Of those before them.
    pub validation: BestHits,
    /// Of the stars of all reviews.
    pub stars: BestStars,
}

impl Best {
    /// Of the shop that `source` asks for; `None` where that is no synthetic one. Refuses what
    /// preparing refuses.
    pub fn of(source: &Path) -> Option<Result<Best>> {
        let best = |shape| {
            let shop = Shop::of(shape);
            let hits = |split: Split| shop.best_hits(|events| split.shown(events));
            let (test, validation) = (hits(Split::Test), hits(Split::Validation));
            Best { test, validation, stars: shop.best_stars() }
        };
        Some(Shape::asked(source)?.map(best))
    }

    /// Lines of a summary of `source`; none where that is no synthetic shop.
    pub fn notes(source: &Path) -> Result<Vec<String>> {
        let Some(Best { test, validation, stars }) = Best::of(source).transpose()? else {
            return Ok(Vec::new());
        };
        let hits = |hits: BestHits| {
            let BestHits { events, first, ten } = hits;
            format!("HR@1 {first:.4}, HR@10 {ten:.4} of {events} users")
        };
        let mut notes = Vec::new();
        if test.events > 0 {
            notes.push(format!("best possible, test: {}", hits(test)));
            notes.push(format!("best possible, validation: {}", hits(validation)));
        }
        if stars.reviews > 0 {
            let BestStars { reviews, rmse, mae } = stars;
            notes.push(format!(
                "best possible, stars: RMSE {rmse:.4} by the mean, MAE {mae:.4} by the median, of \
                {reviews} reviews"
            ));
        }
        Ok(notes)
    }
}

/// Hits beside the best possible, as a table.
pub fn table(best: BestHits, found: &Hits) -> String {
    let mut text = format!("| method, {} users | HR@1 | HR@10 |\n|---|---|---|\n", found.users);
    let mut row = |name: &str, first: f64, ten: f64| {
        let _ = writeln!(text, "| {name} | {first:.4} | {ten:.4} |");
    };
    row("best possible", best.first, best.ten);
    row("engine", found.answers.first, found.answers.ten);
    found.baselines.iter().for_each(|(name, hits)| row(name, hits.first, hits.ten));
    text
}

/// A line of predictions, as far as it is told here.
#[derive(Deserialize)]
struct Line {
    id: Value,
    target: Value,
    items: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    item: Value,
    title: String,
}

/// Events of a history that are told, and items of a list.
const TOLD: usize = 4;

/// The first `count` customers of a file of predictions in words: what they bought, what was
/// recommended, and what they bought then.
pub fn stories(predictions: &Path, data: &Path, count: usize) -> Result<String> {
    let dataset = Dataset::open(data)?;
    let name = || predictions.display().to_string();
    let lines = BufReader::new(File::open(predictions).with_context(name)?).lines();
    let mut text = String::new();
    for (line, number) in lines.take(count).zip(1..) {
        let told = serde_json::from_str(&line.with_context(name)?).ok();
        let told = told.and_then(|line| story(&dataset, &line)).ok_or_else(|| {
            Fault::Data.error(format!(
                "{}:{number}: expected an answer to a user of {}, got another line; decode again",
                name(),
                data.display()
            ))
        })?;
        text += &told;
    }
    Ok(text)
}

/// One customer in words; `None` where the data set knows none of this id.
fn story(dataset: &Dataset, line: &Line) -> Option<String> {
    let id = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let user = dataset.user(dataset.find_user(&id(&line.id))?);
    let target = dataset.find_item(&id(&line.target))?;
    let history = &user.items[..Split::Test.shown(user.items.len())?];
    let newest = &history[history.len().saturating_sub(TOLD)..];
    let before = if newest.len() < history.len() { "… , " } else { "" };
    let surface = |&item: &u32| dataset.item(item).surface;
    let bought: Vec<&str> = newest.iter().map(surface).collect();
    let listed: Vec<&str> = line.items.iter().take(TOLD).map(|item| &*item.title).collect();
    let place = line.items.iter().position(|item| item.item == line.target);
    let hit = match place {
        Some(place) => format!("✓ place {} of {}", place + 1, line.items.len()),
        None => format!("✗ not among {}", line.items.len()),
    };
    Some(format!(
        "customer {}: bought {before}{}\n  → recommended {}\n  → then bought {} {hit}\n",
        id(&line.id),
        bought.join(" , "),
        listed.join(" , "),
        surface(&target)
    ))
}
