//! Answers as tokens: what the answer to a template is, of which words it is made and how much room
//! it may take.

use crate::base::named::named;
use crate::base::Philox;
use crate::data::template::Answer;
use crate::data::text::Encoder;
use anyhow::Result;
use std::sync::Arc;

named! {
    /// What training is told to answer where stars are asked for (E2).
    pub enum RatingTargets: "rating-targets" {
        /// Around the middle of the star's interval, to one decimal, as P5.
        Gauss = "gauss",
        /// The stars themselves.
        Int = "int",
    }
}

/// Tokens of a written answer at most: what P5 gives one.
pub const MOST_WRITTEN: usize = 64;

/// Mean and deviation of what stands for so many stars, 1 to 5 (E2).
const AROUND: [(f64, f64); 5] =
    [(1.20, 0.10), (1.95, 0.225), (2.95, 0.225), (3.95, 0.225), (4.75, 0.125)];

/// Stands between stars and prose in one answer (E23).
pub const BETWEEN: &str = " , ";

/// The words that templates answer with, in tokens.
pub struct Words {
    /// "yes" and "no".
    pub yes: Arc<[u32]>,
    /// See `yes`.
    pub no: Arc<[u32]>,
    like: Arc<[u32]>,
    dislike: Arc<[u32]>,
    /// Tokens of the longest number of stars.
    stars: usize,
    between: usize,
}

impl Words {
    /// By an encoder.
    pub fn of(encoder: &Encoder) -> Result<Words> {
        let mut stars = 0;
        for tenths in 5..=50 {
            let told = format!(" {:.1}", f64::from(tenths) / 10.0);
            for text in [told, format!(" {}", of_tenths(tenths))] {
                stars = stars.max(encoder.plain(&text)?.len());
            }
        }
        Ok(Words {
            yes: encoder.plain(" yes")?,
            no: encoder.plain(" no")?,
            like: encoder.plain(" like")?,
            dislike: encoder.plain(" dislike")?,
            stars,
            between: encoder.plain(BETWEEN.trim_end())?.len(),
        })
    }

    /// Whether something is liked: four stars or more.
    pub fn liked(&self, stars: f32) -> &Arc<[u32]> {
        if stars >= 4.0 {
            &self.like
        } else {
            &self.dislike
        }
    }

    /// Tokens that an answer may have in a row of at most `rows`; of an item, `longest`.
    pub fn room(&self, answer: Answer, longest: usize, rows: usize) -> usize {
        let written = MOST_WRITTEN.min(rows / 2);
        match answer {
            Answer::Item => longest,
            Answer::YesNo => self.yes.len().max(self.no.len()),
            Answer::Like => self.like.len().max(self.dislike.len()),
            Answer::Stars => self.stars,
            Answer::Text => written,
            Answer::StarsText => written + self.stars + self.between,
        }
    }
}

/// Stars as text: "4" or "4.8".
fn of_tenths(tenths: u32) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

/// What training is told where a user gave `stars`, from 1 to 5: a number of one decimal, "4.0"
/// among them, or the stars.
pub fn told(targets: RatingTargets, stars: f32, rng: &mut Philox) -> String {
    let class = f64::from(stars).round().clamp(1.0, 5.0) as usize;
    let (mean, deviation) = AROUND[class - 1];
    match targets {
        RatingTargets::Gauss => {
            let drawn = (mean + deviation * rng.normal()).clamp(1.0, 5.0);
            format!("{drawn:.1}")
        }
        RatingTargets::Int => said(stars),
    }
}

/// A number of stars to be asked about where a user gave `stars`, and whether it is the right one:
/// half of the time, otherwise one of the other four.
pub fn count(stars: f32, rng: &mut Philox) -> (f32, bool) {
    let right = f64::from(stars).round().clamp(1.0, 5.0) as usize;
    let is_right = rng.uniform() >= 0.5;
    let other = 1 + (right + rng.below(4)) % 5;
    (if is_right { right } else { other } as f32, is_right)
}

/// Stars as a prompt says them, in the shortest form: "4", "3.5".
pub fn said(stars: f32) -> String {
    of_tenths((f64::from(stars) * 10.0).round().max(0.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn what_training_is_told_lies_around_its_class() {
        let mut rng = Philox::new(1, Stream::Templates, 0);
        for (stars, (mean, deviation)) in (1..=5).zip(AROUND) {
            let drawn: Vec<f64> = (0..20_000)
                .map(|_| {
                    let text = told(RatingTargets::Gauss, stars as f32, &mut rng);
                    assert!(text.len() == 3 && ("1.0"..="5.0").contains(&&*text), "{text}");
                    text.parse().unwrap()
                })
                .collect();
            let n = drawn.len() as f64;
            let average = drawn.iter().sum::<f64>() / n;
            let spread = (drawn.iter().map(|x| (x - average).powi(2)).sum::<f64>() / n).sqrt();
            // Clipping and rounding to a tenth move both a little.
            assert!((average - mean).abs() < 0.02, "{stars}: {average}");
            assert!((spread - deviation).abs() < 0.03, "{stars}: {spread}");
            assert_eq!(told(RatingTargets::Int, stars as f32, &mut rng), stars.to_string());
        }
        assert_eq!((said(3.5), said(4.0)), ("3.5".to_owned(), "4".to_owned()));
    }
}
