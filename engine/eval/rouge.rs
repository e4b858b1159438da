//! ROUGE of P5's and PETER's script (E22), and of the `rouge-score` package without stemming (E23).

use std::collections::{HashMap, HashSet};

/// Precision, recall and F of one pair, 0 … 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge {
    /// Matches as a share of what was generated.
    pub precision: f64,
    /// Matches as a share of the reference.
    pub recall: f64,
    /// Their harmonic mean.
    pub f: f64,
}

/// ROUGE-1, ROUGE-2 and ROUGE-L of one pair.
pub type Triple = [Rouge; 3];

/// Words as P5's script splits them: at single blanks, so that two make an empty word; case kept.
pub fn words_p5(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// Words as `rouge-score` finds them: lower case, runs of a–z and 0–9.
pub fn words_std(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

/// As P5's script computes it: n-grams as sets, and an L whose β is P / R, which puts it below the
/// harmonic mean.
pub fn p5(generated: &str, reference: &str) -> Triple {
    let (generated, reference) = (words_p5(generated), words_p5(reference));
    let grams = |n: usize| {
        let left: HashSet<&[&str]> = generated.windows(n).collect();
        let right: HashSet<&[&str]> = reference.windows(n).collect();
        let both = left.intersection(&right).count() as f64;
        let (precision, recall) = (share(both, left.len()), share(both, right.len()));
        Rouge { precision, recall, f: 2.0 * precision * recall / (precision + recall + 1e-8) }
    };
    let common = longest_common(&generated, &reference) as f64;
    let (precision, recall) = (share(common, generated.len()), share(common, reference.len()));
    let beta = precision / (recall + 1e-12);
    let f = (1.0 + beta * beta) * recall * precision / (recall + beta * beta * precision + 1e-12);
    [grams(1), grams(2), Rouge { precision, recall, f }]
}

/// As `rouge-score` computes it: n-grams as counts, F the harmonic mean.
pub fn std(generated: &str, reference: &str) -> Triple {
    let (generated, reference) = (words_std(generated), words_std(reference));
    let grams = |n: usize| {
        let mut left: HashMap<&[String], usize> = HashMap::new();
        for gram in reference.windows(n) {
            *left.entry(gram).or_default() += 1;
        }
        let mut both = 0.0;
        for gram in generated.windows(n) {
            if let Some(count) = left.get_mut(gram).filter(|count| **count > 0) {
                *count -= 1;
                both += 1.0;
            }
        }
        let count = |words: &[String]| (words.len() + 1).saturating_sub(n);
        harmonic(share(both, count(&generated)), share(both, count(&reference)))
    };
    let common = longest_common(&generated, &reference) as f64;
    [grams(1), grams(2), harmonic(share(common, generated.len()), share(common, reference.len()))]
}

fn share(part: f64, whole: usize) -> f64 {
    part / whole.max(1) as f64
}

fn harmonic(precision: f64, recall: f64) -> Rouge {
    let sum = precision + recall;
    let f = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
    Rouge { precision, recall, f }
}

/// Length of the longest common subsequence.
fn longest_common<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_subsequence_need_not_be_contiguous() {
        assert_eq!(longest_common(b"abcbdab", b"bdcaba"), 4);
        assert_eq!(longest_common::<u8>(b"", b"abc"), 0);
    }

    #[test]
    fn empty_texts_score_nothing() {
        for triple in [p5("", "a b"), std("", "a b"), std("!?", "")] {
            assert!(triple.iter().all(|r| r.f == 0.0), "{triple:?}");
        }
    }
}
