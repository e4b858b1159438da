//! Nearest titles of the recent history: sublinear TF-IDF over words, word pairs and category
//! names.

use super::baseline::Baseline;
use super::truth::Item;
use std::collections::HashMap;

/// What [`TitleNeighbours`] weighs; the defaults are those chosen on the validation items of Toys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Length of the category part beside a title part of length 1.
    pub category: f64,
    /// An event k places before the last counts gamma^k; 0 looks at the last alone.
    pub gamma: f64,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { category: 0.3, gamma: 0.4 }
    }
}

/// Features seen k times in n texts of which `df` hold them weigh (1 + ln k) · (ln((1 + n) / (1 +
/// df)) + 1). Words and word pairs of the title make one unit vector, category names another of
/// length `category`; both together are scaled to 1. An item's score is the sum of its cosines with
/// the history's items, weighted by age; an item is no neighbour of itself.
pub struct TitleNeighbours {
    name: &'static str,
    gamma: f64,
    /// Features of item i are `features[start[i]..start[i + 1]]`.
    start: Vec<usize>,
    features: Vec<(u32, f64)>,
    /// Items of feature f are `items[bearers[f]..bearers[f + 1]]`.
    bearers: Vec<usize>,
    items: Vec<(u32, f64)>,
}

/// Below this share of the last event an event is left out.
const NEGLIGIBLE: f64 = 1e-12;

impl TitleNeighbours {
    /// Reads the titles and category names of a catalogue.
    pub fn fit(catalogue: &[Item<'_>], weights: Weights) -> TitleNeighbours {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut number = |feature: String| {
            let next = numbers.len() as u32;
            *numbers.entry(feature).or_insert(next)
        };
        let parts: Vec<[Vec<(u32, f64)>; 2]> = catalogue
            .iter()
            .map(|item| {
                let words = words(item.title);
                let pairs = words.windows(2).map(|pair| pair.join(" "));
                let title = words.iter().cloned().chain(pairs).map(&mut number).collect();
                let mut categories = item.categories.clone();
                categories.sort_unstable();
                categories.dedup();
                // A control character keeps category names apart from words.
                let categories =
                    categories.into_iter().map(|name| number(format!("\u{1}{name}"))).collect();
                [counted(title), counted(categories)]
            })
            .collect();

        let mut texts_with = vec![0.0; numbers.len()];
        for &(feature, _) in parts.iter().flatten().flatten() {
            texts_with[feature as usize] += 1.0;
        }
        let texts = catalogue.len() as f64;
        let rarity =
            |feature: u32| ((1.0 + texts) / (1.0 + texts_with[feature as usize])).ln() + 1.0;
        let (mut start, mut features) = (vec![0], Vec::new());
        for mut parts in parts {
            for (part, length) in parts.iter_mut().zip([1.0, weights.category]) {
                for (feature, value) in part.iter_mut() {
                    *value = (1.0 + value.ln()) * rarity(*feature);
                }
                scale(part, length);
            }
            let mut row = parts.concat();
            row.retain(|&(_, value)| value != 0.0);
            scale(&mut row, 1.0);
            features.append(&mut row);
            start.push(features.len());
        }

        let mut bearers = vec![0; texts_with.len() + 1];
        for &(feature, _) in &features {
            bearers[feature as usize + 1] += 1;
        }
        for f in 0..texts_with.len() {
            bearers[f + 1] += bearers[f];
        }
        let (mut free, mut items) = (bearers.clone(), vec![(0, 0.0); features.len()]);
        for (item, bounds) in start.windows(2).enumerate() {
            for &(feature, value) in &features[bounds[0]..bounds[1]] {
                items[free[feature as usize]] = (item as u32, value);
                free[feature as usize] += 1;
            }
        }
        let name =
            if weights.gamma == 0.0 { "titles, last item" } else { "titles, history with recency" };
        TitleNeighbours { name, gamma: weights.gamma, start, features, bearers, items }
    }

    fn features_of(&self, item: u32) -> &[(u32, f64)] {
        &self.features[self.start[item as usize]..self.start[item as usize + 1]]
    }
}

impl Baseline for TitleNeighbours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn score(&self, history: &[u32], scores: &mut [f64]) {
        scores.fill(0.0);
        let mut query: Vec<(u32, f64)> = Vec::new();
        let mut weight = 1.0;
        for &item in history.iter().rev() {
            query.extend(
                self.features_of(item).iter().map(|&(feature, value)| (feature, weight * value)),
            );
            let itself: f64 = self.features_of(item).iter().map(|(_, value)| value * value).sum();
            scores[item as usize] -= weight * itself;
            weight *= self.gamma;
            if weight < NEGLIGIBLE {
                break;
            }
        }
        query.sort_by_key(|&(feature, _)| feature);
        for run in query.chunk_by(|a, b| a.0 == b.0) {
            let feature = run[0].0 as usize;
            let weight: f64 = run.iter().map(|(_, value)| value).sum();
            for &(item, value) in &self.items[self.bearers[feature]..self.bearers[feature + 1]] {
                scores[item as usize] += weight * value;
            }
        }
    }
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

    fn item<'a>(title: &'a str, categories: &[&'a str]) -> Item<'a> {
        Item { id: "", surface: title, title, categories: categories.to_vec(), tie: 0 }
    }

    fn scores(gamma: f64, history: &[u32]) -> Vec<f64> {
        let catalogue = [
            item("Wooden train set", &["Trains"]),
            item("Train set, wooden", &["Trains"]),
            item("Wooden puzzle", &["Puzzles"]),
            item("", &["Puzzles"]),
            item("Kite", &[]),
        ];
        let neighbours = TitleNeighbours::fit(&catalogue, Weights { category: 0.3, gamma });
        let mut scores = vec![f64::NAN; 5];
        neighbours.score(history, &mut scores);
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
