//! Rows of the model: the only maker of positions and masks, for training, for prompts, for scoring.

use super::intra::{EncIntra, Intra, START_ID};
use super::vocab::Special;

/// One training row or one prompt.
///
/// Part A is `tokens[..context]` (bidirectional), part B the rest (causal). A prompt ends with [START].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Names the example for dropout: the same example draws the same masks wherever it is packed.
    pub example: u64,
    pub tokens: Vec<u32>,
    /// [inter, intra], each as long as `tokens`.
    pub positions: [Vec<u32>; 2],
    pub context: usize,
    /// (row, token to be predicted from it, weight in the loss), ascending rows.
    pub targets: Vec<(u32, u32, f32)>,
}

/// A stretch of part A.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The tokens of one entity.
    Entity(Vec<u32>),
    /// Separate tokens.
    Plain(Vec<u32>),
    /// A mask token, to be answered in part B.
    Mask(u32),
}

impl Piece {
    /// Tokens it takes in part A.
    pub fn len(&self) -> usize {
        match self {
            Piece::Entity(tokens) | Piece::Plain(tokens) => tokens.len(),
            Piece::Mask(_) => 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether end-of-text closes part A (R20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartAEnd {
    #[default]
    Always,
    /// As GLM's own generator: not where the text ends with [gMASK].
    Glm,
    Never,
}

/// What is fixed for all rows of a run.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub special: Special,
    pub intra: &'a Intra<'a>,
    pub enc_intra: EncIntra,
    pub part_a_end: PartAEnd,
    /// Whether [CLS] comes first (R20).
    pub cls: bool,
    /// Position ids above this are clamped (R25).
    pub max_position: u32,
}

impl Rules<'_> {
    /// Tokens that part A takes beside its pieces.
    pub fn frame(&self) -> usize {
        usize::from(self.cls) + usize::from(self.part_a_end != PartAEnd::Never)
    }

    /// The row of `pieces` and the answers to its first masks, in order. With `ended` each answer is followed by [END] as
    /// a target; part B's tokens but the last are inputs (R17, R18).
    pub fn row(&self, example: u64, pieces: &[Piece], answers: &[&[u32]]) -> Sample {
        let (mut sample, masks) = self.part_a(example, pieces);
        assert!(answers.len() <= masks.len(), "{} answers for {} masks", answers.len(), masks.len());
        for (answer, &mask) in answers.iter().zip(&masks) {
            self.start(&mut sample, mask);
            for (&token, id) in answer.iter().zip(self.intra.ids(answer)) {
                sample.targets.push((sample.tokens.len() as u32 - 1, token, 1.0));
                self.push(&mut sample, token, mask, id);
            }
            sample.targets.push((sample.tokens.len() as u32 - 1, self.special.end, 1.0));
        }
        sample
    }

    /// The row that asks for the first mask of `pieces`: part A and [START]. Also returns the inter id of that mask, with
    /// which every produced token is fed back.
    pub fn prompt(&self, example: u64, pieces: &[Piece]) -> (Sample, u32) {
        let (mut sample, masks) = self.part_a(example, pieces);
        let mask = *masks.first().expect("a prompt has a mask");
        self.start(&mut sample, mask);
        (sample, mask)
    }

    fn part_a(&self, example: u64, pieces: &[Piece]) -> (Sample, Vec<u32>) {
        let mut sample = Sample { example, ..Sample::default() };
        // The text starts at 1 with or without [CLS] drawn (R22).
        let mut inter = 1;
        let mut masks = Vec::new();
        if self.cls {
            self.push(&mut sample, self.special.cls, 0, 0);
        }
        for piece in pieces {
            match piece {
                Piece::Entity(tokens) => {
                    for (k, &token) in tokens.iter().enumerate() {
                        self.push(&mut sample, token, inter, self.enc_intra.id(k as u32));
                        inter += 1;
                    }
                }
                Piece::Plain(tokens) => {
                    for &token in tokens {
                        self.push(&mut sample, token, inter, 0);
                        inter += 1;
                    }
                }
                Piece::Mask(token) => {
                    masks.push(inter);
                    self.push(&mut sample, *token, inter, 0);
                    inter += 1;
                }
            }
        }
        let ends_with_gmask = sample.tokens.last() == Some(&self.special.gmask);
        let closes = match self.part_a_end {
            PartAEnd::Always => true,
            PartAEnd::Glm => !ends_with_gmask,
            PartAEnd::Never => false,
        };
        if closes {
            self.push(&mut sample, self.special.eos, inter, 0);
        }
        sample.context = sample.tokens.len();
        (sample, masks)
    }

    fn start(&self, sample: &mut Sample, mask: u32) {
        self.push(sample, self.special.start, mask, START_ID);
    }

    fn push(&self, sample: &mut Sample, token: u32, inter: u32, intra: u32) {
        sample.tokens.push(token);
        sample.positions[0].push(inter.min(self.max_position));
        sample.positions[1].push(intra.min(self.max_position));
    }
}
