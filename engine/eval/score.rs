//! Single questions as they were answered, and the scores that steps of a ladder are compared by.

use super::ranking::Scores;
use super::{rating, text};
use crate::base::named::named;

/// How one question was answered: what the main row of a group is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Number of the user.
    pub user: u32,
    /// Number of the item that is asked for, or about.
    pub item: u32,
    /// Of a list of items.
    pub list: Option<Placed>,
    /// What was said minus what was given, in stars.
    pub off: Option<f64>,
    /// Of a text.
    pub text: Option<Box<Written>>,
}

impl Answered {
    /// A question with nothing said of its answer.
    pub const fn question(user: u32, item: u32) -> Answered {
        Answered { user, item, list: None, off: None, text: None }
    }
}

/// Where the target stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Place of the target, from 1; `None` for a miss.
    pub rank: Option<u32>,
    /// Outputs of the list.
    pub outputs: u32,
    /// Those of them that are an item.
    pub valid: u32,
}

/// A text beside its reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// [`text::row`].
    pub row: [f64; text::WIDTH],
    /// Whether it is the reference, word for word.
    pub exact: bool,
}

impl Written {
    /// Of a text and its reference.
    pub fn of(generated: &str, reference: &str) -> Written {
        Written {
            row: text::row(generated, reference),
            exact: text::is_exact(generated, reference),
        }
    }
}

/// What a score is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Lists of items.
    Lists,
    /// Stars.
    Stars,
    /// Texts.
    Texts,
}

impl Subject {
    /// All of them.
    pub const ALL: [Subject; 3] = [Subject::Lists, Subject::Stars, Subject::Texts];

    /// Whether the answer to a question can be scored by it.
    pub const fn has(self, answered: &Answered) -> bool {
        match self {
            Subject::Lists => answered.list.is_some(),
            Subject::Stars => answered.off.is_some(),
            Subject::Texts => answered.text.is_some(),
        }
    }

    /// What answers are compared by where nobody says.
    pub const fn usual(self) -> [Score; 2] {
        match self {
            Subject::Lists => [Score::Hr10, Score::Ndcg10],
            Subject::Stars => [Score::Rmse, Score::Mae],
            Subject::Texts => [Score::Bleu4, Score::RougeL],
        }
    }
}

named! {
    /// What is compared between steps.
    pub enum Score: "metrics" {
        /// Whether the target is at rank 1.
        Hr1 = "hr@1",
        /// Whether it is among the first five.
        Hr5 = "hr@5",
        /// 1 / log₂(rank + 1) among the first five.
        Ndcg5 = "ndcg@5",
        /// Whether it is among the first ten.
        Hr10 = "hr@10",
        /// 1 / log₂(rank + 1) among the first ten.
        Ndcg10 = "ndcg@10",
        /// 1 / rank among the first ten.
        Mrr10 = "mrr@10",
        /// Share of the outputs that are an item.
        Validity = "validity",
        /// √ of the mean squared difference in stars.
        Rmse = "rmse",
        /// Mean absolute difference in stars.
        Mae = "mae",
        /// BLEU of one and two words (E21), × 100.
        Bleu2 = "bleu-2",
        /// BLEU of one to four words, × 100.
        Bleu4 = "bleu-4",
        /// F of single words (E22), × 100.
        Rouge1 = "rouge-1",
        /// F of pairs of words, × 100.
        Rouge2 = "rouge-2",
        /// F of the longest common subsequence, × 100.
        RougeL = "rouge-l",
        /// Whether the text is the reference, word for word.
        Exact = "exact",
    }
}

impl Score {
    /// What it is about.
    pub const fn subject(self) -> Subject {
        match self {
            Score::Hr1 | Score::Hr5 | Score::Ndcg5 | Score::Hr10 | Score::Ndcg10 => Subject::Lists,
            Score::Mrr10 | Score::Validity => Subject::Lists,
            Score::Rmse | Score::Mae => Subject::Stars,
            Score::Bleu2 | Score::Bleu4 | Score::Rouge1 | Score::Rouge2 => Subject::Texts,
            Score::RougeL | Score::Exact => Subject::Texts,
        }
    }

    /// Numbers that one question adds to the sums that [`Score::value`] reads.
    pub const fn width(self) -> usize {
        match self {
            // Of a corpus BLEU is no mean over its texts: all of its counts are summed.
            Score::Bleu2 | Score::Bleu4 => text::WIDTH,
            _ => 1,
        }
    }

    /// Adds the numbers of a question, which must have been answered by what this is about.
    pub fn put(self, answered: &Answered, to: &mut Vec<f64>) {
        match self.subject() {
            Subject::Lists => {
                let Placed { rank, outputs, valid } =
                    answered.list.unwrap_or_else(|| missing(self));
                to.push(match Scores::NAMES.iter().position(|name| *name == self.name()) {
                    Some(at) => Scores::of_user(rank)[at],
                    None => f64::from(valid) / f64::from(outputs.max(1)),
                });
            }
            Subject::Stars => {
                let [square, distance] = rating::row(answered.off.unwrap_or_else(|| missing(self)));
                to.push(if self == Score::Rmse { square } else { distance });
            }
            Subject::Texts => {
                let written = answered.text.as_ref().unwrap_or_else(|| missing(self));
                match self {
                    Score::Exact => to.push(f64::from(written.exact)),
                    Score::Bleu2 | Score::Bleu4 => to.extend(written.row),
                    _ => to.push(written.row[text::FIRST_ROUGE + self.among_texts() - 2]),
                }
            }
        }
    }

    /// The score of the sums of `n` questions.
    pub fn value(self, sums: &[f64], n: usize) -> f64 {
        let mean = sums[0] / n.max(1) as f64;
        match self {
            Score::Rmse => mean.sqrt(),
            Score::Bleu2 | Score::Bleu4 => text::values(sums, n)[self.among_texts()],
            Score::Rouge1 | Score::Rouge2 | Score::RougeL => 100.0 * mean,
            _ => mean,
        }
    }

    /// The place of a metric of texts among theirs.
    fn among_texts(self) -> usize {
        let place = text::NAMES.iter().position(|name| *name == self.name());
        place.unwrap_or_else(|| panic!("Score::among_texts: {self} is none"))
    }
}

fn missing<T>(score: Score) -> T {
    panic!("Score::put: {score} of an answer without it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every score of one question is the metric of the same name, in whatever it was answered.
    #[test]
    fn a_score_is_the_metric_of_its_name() {
        let (said, meant) = ("the red kite goes on from it", "the red kite goes on from the drum");
        let answered = Answered {
            list: Some(Placed { rank: Some(3), outputs: 4, valid: 3 }),
            off: Some(-0.5),
            text: Some(Box::new(Written::of(said, meant))),
            ..Answered::question(1, 2)
        };
        let value = |score: Score| {
            let mut row = Vec::new();
            score.put(&answered, &mut row);
            assert_eq!(row.len(), score.width(), "{score}");
            assert!(score.subject().has(&answered));
            score.value(&row, 1)
        };
        for (at, name) in Scores::NAMES.iter().enumerate() {
            assert_eq!(value(name.parse().unwrap()), Scores::of_user(Some(3))[at], "{name}");
        }
        let texts = text::values(&text::row(said, meant), 1);
        for (name, expected) in text::NAMES.iter().zip(texts).take(5) {
            assert_eq!(value(name.parse().unwrap()), expected, "{name}");
            assert!(expected > 0.0, "{name}");
        }
        assert_eq!([Score::Rmse, Score::Mae].map(value), [0.5, 0.5]);
        assert_eq!((value(Score::Validity), value(Score::Exact)), (0.75, 0.0));
        assert!(Written::of("It  is so ", "It is so").exact);
    }

    #[test]
    fn every_score_is_of_a_subject_that_has_usual_ones() {
        for subject in Subject::ALL {
            assert!(subject.usual().iter().all(|score| score.subject() == subject));
            assert!(!subject.has(&Answered::question(0, 0)));
        }
    }
}
