//! Softmax against targets: cross-entropy with its gradient, log-probabilities at given columns.

use super::*;
use crate::device::ops::Loss;

const THREADS: u32 = 512;
/// A float a warp, for sums over a block.
const SHARED: usize = 32 * 4;

impl Loss for Cuda {
    fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()> {
        let (rows, cols) = (logits.rows(), logits.cols());
        let arguments = [
            Arg::from(&loss),
            Arg::from(&logits),
            targets.into(),
            weights.into(),
            count(rows),
            count(cols),
        ];
        let (entry, _) =
            entry("cross_entropy", logits.dtype(), cols, &[logits.as_view().address()]);
        self.launch(&entry, Grid::of(rows, THREADS).shared(SHARED), &arguments)
    }

    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let (rows, cols) = (logits.rows(), logits.cols());
        let arguments =
            [Arg::from(&y), logits.into(), first.into(), ids.into(), count(rows), count(cols)];
        let (entry, _) = entry("log_probs_at", logits.dtype(), cols, &[logits.address()]);
        self.launch(&entry, Grid::of(rows, THREADS).shared(SHARED), &arguments)
    }
}
