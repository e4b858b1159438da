//! Both sets of text metrics over a corpus of (generated, reference) pairs (E21–E23).

use super::bleu::{words_13a, Bleu, Smoothing};
use super::rouge;

/// Numbers one pair adds to the sums that [`values`] reads: two sets of BLEU counts, six ROUGE F.
pub const WIDTH: usize = 26;

/// Where in a row ROUGE-1 stands; the others follow it.
pub const FIRST_ROUGE: usize = 20;

/// Names in the order of [`values`]; all × 100.
pub const NAMES: [&str; 10] = [
    "bleu-2",
    "bleu-4",
    "rouge-1",
    "rouge-2",
    "rouge-l",
    "std bleu-2",
    "std bleu-4",
    "std rouge-1",
    "std rouge-2",
    "std rouge-l",
];

/// What one pair adds to the sums.
pub fn row(generated: &str, reference: &str) -> [f64; WIDTH] {
    let words = |text| str::split_whitespace(text).collect::<Vec<_>>();
    let p5 = Bleu::of_pair(&words(generated), &words(reference));
    let std = Bleu::of_pair(&words_13a(generated), &words_13a(reference));
    let mut row = [0.0; WIDTH];
    row[..10].copy_from_slice(&p5.to_row());
    row[10..20].copy_from_slice(&std.to_row());
    row[FIRST_ROUGE..23].copy_from_slice(&rouge::p5(generated, reference).map(|r| r.f));
    row[23..].copy_from_slice(&rouge::std(generated, reference).map(|r| r.f));
    row
}

/// The metrics of the sums of `n` rows.
pub fn values(sums: &[f64], n: usize) -> [f64; 10] {
    let (p5, std) = (Bleu::from_row(&sums[..10]), Bleu::from_row(&sums[10..20]));
    let mean = |i: usize| if n == 0 { 0.0 } else { 100.0 * sums[i] / n as f64 };
    let bleu = |order| p5.score(order, Smoothing::None);
    let bleu_std = |order| std.score(order, Smoothing::Exponential);
    [
        bleu(2),
        bleu(4),
        mean(20),
        mean(21),
        mean(22),
        bleu_std(2),
        bleu_std(4),
        mean(23),
        mean(24),
        mean(25),
    ]
}

/// Whether a text is the reference, word for word.
pub fn is_exact(generated: &str, reference: &str) -> bool {
    generated.split_whitespace().eq(reference.split_whitespace())
}

/// Share of generated texts that differ from all others (PETER's unique sentence ratio).
pub fn distinct(texts: &[&str]) -> f64 {
    let mut sorted = texts.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if texts.is_empty() {
        0.0
    } else {
        sorted.len() as f64 / texts.len() as f64
    }
}

/// Share of generated texts that hold their feature word (PETER's feature matching ratio).
pub fn feature_matching(pairs: &[(&str, &str)]) -> f64 {
    let holds =
        |(text, feature): &&(&str, &str)| text.split_whitespace().any(|word| word == *feature);
    if pairs.is_empty() {
        0.0
    } else {
        pairs.iter().filter(holds).count() as f64 / pairs.len() as f64
    }
}

/// "4.0 , sturdy and bright" → stars and explanation, split at the first " , " (templates 3-7,
/// 3-8).
pub fn split_rating(text: &str) -> (&str, &str) {
    text.split_once(" , ").unwrap_or(("", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_score_everything() {
        let row = row("a sturdy little puzzle", "a sturdy little puzzle");
        for (name, value) in NAMES.iter().zip(values(&row, 1)) {
            assert!((value - 100.0).abs() < 1e-5, "{name} {value}");
        }
    }

    #[test]
    fn ratios_and_splits() {
        assert_eq!(distinct(&["a", "b", "a"]), 2.0 / 3.0);
        assert_eq!(feature_matching(&[("nice game", "game"), ("games", "game")]), 0.5);
        assert_eq!(split_rating("4.0 , good , really"), ("4.0", "good , really"));
        assert_eq!(split_rating("good"), ("", "good"));
    }
}
