//! Holds a row of our own against what any correct table must obey (E27).

use super::law;
use super::ranking::Scores;
use super::report::Row;
use super::text;

/// Computed metrics hold the laws up to rounding.
const TOLERANCE: f64 = 1e-9;

/// The laws that a row breaks, in words: always our fault.
pub fn broken(row: &Row) -> Vec<String> {
    let value = |name: &str| row.metrics.value(name);
    let mut broken = Vec::new();
    if row.metrics.get("hr@1").is_some() {
        let [hr1, hr5, ndcg5, hr10, ndcg10, mrr10] = Scores::NAMES.map(value);
        let scores = Scores { hr1, hr5, hr10, ndcg5, ndcg10, mrr10, n: row.n };
        broken.extend(law::of_ranking(&scores, TOLERANCE));
    }
    if row.metrics.get("rmse").is_some() {
        broken.extend(law::of_errors(value("rmse"), value("mae"), TOLERANCE));
    }
    if row.metrics.get("bleu-4").is_some() {
        broken.extend(law::of_text(&text::NAMES.map(value)));
    }
    broken
}

/// What is true in practice but no theorem, where a row breaks it.
pub fn rare(row: &Row) -> Option<String> {
    let value = |name: &str| row.metrics.get(name).map(|metric| metric.value);
    let rare = law::of_rouge(value("rouge-1")?, value("rouge-l")?, TOLERANCE)?;
    Some(format!("{rare}, which is rare"))
}
