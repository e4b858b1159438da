//! Softmax against targets: cross-entropy with its gradient, over all columns or among few of
//! them, log-probabilities at given columns.

use super::*;
use crate::device::ops::Loss;

impl Loss for Cuda {
    fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()> {
        let (rows, cols) = (logits.rows(), logits.cols());
        let parameters = interface::CrossEntropy {
            loss: (&loss).into(),
            logits: (&logits).into(),
            targets: targets.into(),
            weights: weights.into(),
            rows: count(rows),
            cols: count(cols),
        };
        let addresses = [logits.as_view().address()];
        let (entry, _) = self.entries.cross_entropy.of(logits.dtype(), cols, &addresses);
        self.launch(entry, Grid::of(rows).shared(interface::REDUCE_SHARED), parameters)
    }

    fn choice_loss(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        first: View,
        aim: Aim,
        weights: View,
        temperature: f32,
    ) -> Result<()> {
        let rows = loss.shape().count();
        let (places, shares) = match aim {
            Aim::Place(places) => (places.into(), Address::default()),
            Aim::Shares(shares) => (Address::default(), shares.into()),
        };
        let parameters = interface::ChoiceLoss {
            loss: (&loss).into(),
            logits: (&logits).into(),
            first: first.into(),
            places,
            shares,
            weights: weights.into(),
            rows: count(rows),
            temperature,
        };
        let grid = Grid::of(rows).shared(interface::REDUCE_SHARED);
        self.launch(self.entries.choice_loss, grid, parameters)
    }

    fn choice_log_probs(&self, logits: ViewMut, first: View, temperature: f32) -> Result<()> {
        let rows = first.shape().count() - 1;
        let parameters = interface::ChoiceLogProbs {
            logits: (&logits).into(),
            first: first.into(),
            rows: count(rows),
            temperature,
        };
        let grid = Grid::of(rows).shared(interface::REDUCE_SHARED);
        self.launch(self.entries.choice_log_probs, grid, parameters)
    }

    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let (rows, cols) = (logits.rows(), logits.cols());
        let parameters = interface::LogProbsAt {
            y: (&y).into(),
            logits: logits.into(),
            first: first.into(),
            ids: ids.into(),
            rows: count(rows),
            cols: count(cols),
        };
        let (entry, _) = self.entries.log_probs_at.of(logits.dtype(), cols, &[logits.address()]);
        self.launch(entry, Grid::of(rows).shared(interface::REDUCE_SHARED), parameters)
    }
}
