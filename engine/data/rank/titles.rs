//! Nearest titles of the recent history: sublinear TF-IDF over words, word pairs and category
//! names.

use super::{recent, Asked, Lists, Ranker};
use rayon::prelude::*;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// What is read of an item.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    /// Empty where it has none.
    pub title: &'a str,
    /// Names of its categories.
    pub categories: Vec<&'a str>,
}

/// What [`Titles`] weighs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TitleSettings {
    /// Length of the category part beside a title part of length 1.
    pub category: f64,
    /// An event k places before the last counts gamma^k; 0 looks at the last alone.
    pub gamma: f64,
}

impl Default for TitleSettings {
    /// What the validation items of Toys chose.
    fn default() -> TitleSettings {
        TitleSettings { category: 0.3, gamma: 0.4 }
    }
}

/// Features seen k times in n texts of which `df` hold them weigh (1 + ln k) · (ln((1 + n) / (1 +
/// df)) + 1). Words and word pairs of the title make one unit vector, category names another of
/// length `category`; both together are scaled to 1. An item's score is the sum of its cosines with
/// the history's items, weighted by age; an item is no neighbour of itself.
#[derive(Clone)]
pub struct Titles {
    gamma: f64,
    index: Arc<Index>,
}

/// The part that no event decides.
struct Index {
    /// Features of each item with their weights, ascending.
    features: Lists<(u32, f64)>,
    /// Items of each feature with its weights there, ascending.
    bearers: Lists<(u32, f64)>,
}

impl Titles {
    /// Reads the titles and category names of a catalogue.
    pub fn fit(catalogue: &[Text<'_>], settings: TitleSettings) -> Titles {
        let hashed: Vec<[Vec<u64>; 2]> = catalogue.par_iter().map(hashes).collect();
        // A feature's number is the place of its first bearer in the catalogue: sums keep their
        // order.
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        let mut number = |feature: &u64| {
            let next = numbers.len() as u32;
            *numbers.entry(*feature).or_insert(next)
        };
        let number_all = |part: &Vec<u64>| counted(part.iter().map(&mut number).collect());
        let parts: Vec<Vec<(u32, f64)>> = hashed.iter().flatten().map(number_all).collect();
        drop(hashed);
        let mut texts_with = vec![0.0; numbers.len()];
        for &(feature, _) in parts.iter().flatten() {
            texts_with[feature as usize] += 1.0;
        }
        let texts = catalogue.len() as f64;
        let rarity =
            |feature: u32| ((1.0 + texts) / (1.0 + texts_with[feature as usize])).ln() + 1.0;
        let row = |parts: &[Vec<(u32, f64)>]| {
            let mut row = Vec::with_capacity(parts.iter().map(Vec::len).sum());
            for (part, length) in parts.iter().zip([1.0, settings.category]) {
                let weigh =
                    |&(feature, seen): &(u32, f64)| (feature, (1.0 + seen.ln()) * rarity(feature));
                let from = row.len();
                row.extend(part.iter().map(weigh));
                scale(&mut row[from..], length);
            }
            row.retain(|&(_, value)| value != 0.0);
            scale(&mut row, 1.0);
            row
        };
        let rows: Vec<Vec<(u32, f64)>> = parts.par_chunks(2).map(row).collect();
        drop(parts);
        let mut start = vec![0];
        start.extend(rows.iter().scan(0, |sum, row| {
            *sum += row.len();
            Some(*sum)
        }));
        let features = Lists { start, values: rows.concat() };
        let bearing = (0..catalogue.len()).flat_map(|item| {
            let bears = move |&(feature, value): &(u32, f64)| (feature, (item as u32, value));
            features.of(item).iter().map(bears)
        });
        let bearers = Lists::sorted(texts_with.len(), bearing, (0, 0.0));
        Titles { gamma: settings.gamma, index: Arc::new(Index { features, bearers }) }
    }

    /// The same titles with another weight of age.
    pub fn aged(&self, gamma: f64) -> Titles {
        Titles { gamma, ..self.clone() }
    }

    /// Adds the cosines to `scores`, the events of the history weighted by age.
    pub(super) fn add(&self, history: &[u32], gamma: f64, scores: &mut [f64]) {
        let mut query: Vec<(u32, f64)> = Vec::new();
        for (item, weight) in recent(history, gamma) {
            let features = self.index.features.of(item as usize);
            query.extend(features.iter().map(|&(feature, value)| (feature, weight * value)));
            let itself: f64 = features.iter().map(|(_, value)| value * value).sum();
            scores[item as usize] -= weight * itself;
        }
        query.sort_by_key(|&(feature, _)| feature);
        for run in query.chunk_by(|a, b| a.0 == b.0) {
            let weight: f64 = run.iter().map(|(_, value)| value).sum();
            for &(item, value) in self.index.bearers.of(run[0].0 as usize) {
                scores[item as usize] += weight * value;
            }
        }
    }
}

impl Ranker for Titles {
    fn name(&self) -> &'static str {
        match self.gamma == 0.0 {
            true => "titles, last item",
            false => "titles, history with recency",
        }
    }

    fn score(&self, asked: Asked<'_>, scores: &mut [f64]) {
        scores.fill(0.0);
        self.add(asked.history, self.gamma, scores);
    }
}

/// Hashes of the words and word pairs of a title, and of the category names: 64 bits tell all
/// texts of a catalogue apart.
fn hashes(text: &Text<'_>) -> [Vec<u64>; 2] {
    let hash = |kind: u8, words: &[String]| {
        let mut hasher = DefaultHasher::new();
        (kind, words).hash(&mut hasher);
        hasher.finish()
    };
    let words = words(text.title);
    let one = words.windows(1).map(|word| hash(1, word));
    let two = words.windows(2).map(|pair| hash(1, pair));
    let mut categories = text.categories.clone();
    categories.sort_unstable();
    categories.dedup();
    let categories = categories.into_iter().map(|name| hash(2, &[name.to_owned()]));
    [one.chain(two).collect(), categories.collect()]
}

/// Lower-case runs of letters, digits and underscores.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

/// How often each feature occurs, ascending.
fn counted(mut features: Vec<u32>) -> Vec<(u32, f64)> {
    features.sort_unstable();
    features.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as f64)).collect()
}

/// Makes a vector `length` long; one of nothing stays so.
fn scale(row: &mut [(u32, f64)], length: f64) {
    let norm = row.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|(_, value)| *value *= length / norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(gamma: f64, history: &[u32]) -> Vec<f64> {
        let item =
            |title, categories: &[&'static str]| Text { title, categories: categories.to_vec() };
        let catalogue = [
            item("Wooden train set", &["Trains"]),
            item("Train set, wooden", &["Trains"]),
            item("Wooden puzzle", &["Puzzles"]),
            item("", &["Puzzles"]),
            item("Kite", &[]),
        ];
        let titles = Titles::fit(&catalogue, TitleSettings { category: 0.3, gamma });
        let mut scores = vec![f64::NAN; 5];
        titles.score(Asked::history(history), &mut scores);
        scores
    }

    #[test]
    fn near_titles_come_first_and_an_item_is_not_its_own_neighbour() {
        let scores = scores(0.4, &[0]);
        assert!(scores[1] > scores[2] && scores[2] > scores[4], "{scores:?}");
        assert!(scores[0].abs() < 1e-12 && scores[4] == 0.0, "{scores:?}");
    }

    #[test]
    fn recent_events_weigh_more() {
        let recent = scores(0.4, &[2, 0]);
        let old = scores(0.4, &[0, 2]);
        assert!(recent[1] > old[1] && recent[3] < old[3], "{recent:?} {old:?}");
        assert_eq!(scores(0.0, &[2, 0]), scores(0.0, &[0]));
    }

    #[test]
    fn an_empty_item_scores_no_nan() {
        assert!(scores(0.4, &[4, 3]).iter().all(|score| score.is_finite()));
    }
}
