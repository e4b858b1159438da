//! Corpus BLEU with one reference (E21, E23).

use std::collections::HashMap;
use std::hash::Hash;

/// Longest n-gram that is counted.
pub const ORDER: usize = 4;

/// What a precision of zero becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Smoothing {
    /// It stays, and the score is 0 (P5, PETER).
    None,
    /// Every precision is (matches + 1) / (total + 1).
    AddOne,
    /// The i-th zero counts as 1 / (2^i · total): sacrebleu's default.
    Exponential,
}

/// The counts that BLEU is made of; those of a corpus are the sum of those of its pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bleu {
    /// Clipped matches of n-grams, n = 1 … 4.
    pub matches: [f64; ORDER],
    /// N-grams generated.
    pub totals: [f64; ORDER],
    /// Words generated.
    pub generated: f64,
    /// Words of the references.
    pub reference: f64,
}

impl Bleu {
    /// Counts of one generated text against its reference, both as words.
    pub fn of_pair<T: Eq + Hash>(generated: &[T], reference: &[T]) -> Bleu {
        let mut bleu = Bleu {
            generated: generated.len() as f64,
            reference: reference.len() as f64,
            ..Bleu::default()
        };
        for n in 1..=ORDER {
            let mut left: HashMap<&[T], u32> = HashMap::new();
            for gram in reference.windows(n) {
                *left.entry(gram).or_default() += 1;
            }
            for gram in generated.windows(n) {
                bleu.totals[n - 1] += 1.0;
                if let Some(count) = left.get_mut(gram).filter(|count| **count > 0) {
                    *count -= 1;
                    bleu.matches[n - 1] += 1.0;
                }
            }
        }
        bleu
    }

    /// As one row of numbers, for sums over resamples.
    pub fn to_row(self) -> [f64; 2 * ORDER + 2] {
        let mut row = [0.0; 2 * ORDER + 2];
        row[..ORDER].copy_from_slice(&self.matches);
        row[ORDER..2 * ORDER].copy_from_slice(&self.totals);
        row[2 * ORDER..].copy_from_slice(&[self.generated, self.reference]);
        row
    }

    /// The counts of a row of [`Bleu::to_row`], or of a sum of such.
    pub fn from_row(row: &[f64]) -> Bleu {
        let four = |from: usize| std::array::from_fn(|i| row[from + i]);
        Bleu {
            matches: four(0),
            totals: four(ORDER),
            generated: row[2 * ORDER],
            reference: row[2 * ORDER + 1],
        }
    }

    /// Matches over totals for n = 1 … 4; 0 where there was nothing to match.
    pub fn precisions(&self) -> [f64; ORDER] {
        std::array::from_fn(|i| {
            if self.totals[i] > 0.0 {
                self.matches[i] / self.totals[i]
            } else {
                0.0
            }
        })
    }

    /// exp(1 − r/c) where the generated side is not longer; 0 where it is empty.
    pub fn brevity(&self) -> f64 {
        if self.generated == 0.0 {
            0.0
        } else if self.generated > self.reference {
            1.0
        } else {
            (1.0 - self.reference / self.generated).exp()
        }
    }

    /// brevity · (∏ precision)^(1/order), × 100.
    pub fn score(&self, order: usize, smoothing: Smoothing) -> f64 {
        let mut product = 1.0;
        let mut zeros = 1.0;
        for n in 0..order {
            product *= match smoothing {
                Smoothing::AddOne => (self.matches[n] + 1.0) / (self.totals[n] + 1.0),
                Smoothing::Exponential if self.matches[n] == 0.0 && self.totals[n] > 0.0 => {
                    zeros *= 2.0;
                    1.0 / (zeros * self.totals[n])
                }
                _ => self.precisions()[n],
            };
        }
        100.0 * self.brevity() * product.powf(1.0 / order as f64)
    }
}

impl std::ops::AddAssign for Bleu {
    fn add_assign(&mut self, other: Bleu) {
        for n in 0..ORDER {
            self.matches[n] += other.matches[n];
            self.totals[n] += other.totals[n];
        }
        self.generated += other.generated;
        self.reference += other.reference;
    }
}

/// Words of sacrebleu's `13a`: entities resolved, ASCII punctuation and symbols apart, case kept.
pub fn words_13a(text: &str) -> Vec<String> {
    let mut text = text.trim_end().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, plain) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, plain);
    }
    let mut apart = String::from(" ");
    for c in text.chars() {
        // Stops, commas and hyphens depend on their neighbours and come below; apostrophes stay.
        if c.is_ascii_graphic()
            && !c.is_ascii_alphanumeric()
            && !matches!(c, '\'' | ',' | '-' | '.')
        {
            apart.extend([' ', c, ' ']);
        } else {
            apart.push(c);
        }
    }
    apart.push(' ');
    let digit = |c: char| c.is_ascii_digit();
    let stop = |c: char| matches!(c, '.' | ',');
    let text = spaced(&apart, |a, b| !digit(a) && stop(b), |a, b, to| to.extend([a, ' ', b, ' ']));
    let text = spaced(&text, |a, b| stop(a) && !digit(b), |a, b, to| to.extend([' ', a, ' ', b]));
    let text = spaced(&text, |a, b| digit(a) && b == '-', |a, b, to| to.extend([a, ' ', b, ' ']));
    text.split_whitespace().map(String::from).collect()
}

/// Rewrites every pair of neighbours that `is` one, from the left, none overlapping.
fn spaced(
    text: &str,
    is: impl Fn(char, char) -> bool,
    write: impl Fn(char, char, &mut String),
) -> String {
    let mut result = String::with_capacity(text.len() * 2);
    let mut rest = text.chars().peekable();
    while let Some(a) = rest.next() {
        match rest.peek() {
            Some(&b) if is(a, b) => {
                write(a, b, &mut result);
                rest.next();
            }
            _ => result.push(a),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_points_and_sentences_lose_theirs() {
        assert_eq!(
            words_13a("It's 3.5 inches, (really)! 4-6 year-olds &amp; up..."),
            [
                "It's",
                "3.5",
                "inches",
                ",",
                "(",
                "really",
                ")",
                "!",
                "4",
                "-",
                "6",
                "year-olds",
                "&",
                "up",
                ".",
                ".",
                "."
            ]
        );
    }

    #[test]
    fn nothing_generated_scores_nothing() {
        let bleu = Bleu::of_pair(&[], &["a"]);
        assert_eq!(bleu.score(4, Smoothing::None), 0.0);
        assert_eq!(bleu.score(4, Smoothing::Exponential), 0.0);
    }

    #[test]
    fn rows_carry_all_counts() {
        let bleu = Bleu::of_pair(&["a", "b", "c", "a"], &["a", "b", "a"]);
        assert_eq!(Bleu::from_row(&bleu.to_row()), bleu);
        assert_eq!(bleu.matches, [3.0, 1.0, 0.0, 0.0]);
    }
}
