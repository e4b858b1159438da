/// One training row or one prompt: the only maker of positions and masks.
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
