//! Rows of many samples, one after another, no padding.

/// Sequences one after another; one row is one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub tokens: Vec<u32>,
    pub positions: [Vec<u32>; 2],
    /// [S + 1] row where each sequence begins; the last entry is the number of rows.
    pub starts: Vec<u32>,
    /// [S] length of part A.
    pub contexts: Vec<u32>,
    /// [S] names of the examples, for dropout.
    pub examples: Vec<u64>,
    /// Rows that carry loss, ascending; with the token each predicts and its weight.
    pub target_rows: Vec<u32>,
    pub target_ids: Vec<u32>,
    pub target_weights: Vec<f32>,
}
