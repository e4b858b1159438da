//! Softmax against targets: cross-entropy with its gradient, log-probabilities at given columns.

use super::*;

/// What a backend does with logits.
pub trait Loss {
    /// loss\[t\] = log Σ exp(logits\[t\]) - logits\[t, targets\[t\]\] in nats; logits become
    /// weights\[t\]·(softmax - one-hot), their own gradient.
    ///
    /// shapes: loss and weights `[T]` f32, logits `[T, V]`, targets `[T]` u32 below V.
    /// refuses: rows without columns; targets from V on, where the backend sees them.
    fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()>;

    /// y\[j\] = log_softmax(logits\[r\])\[ids\[j\]\] in nats, for j in `first[r]..first[r + 1]`.
    ///
    /// shapes: y `[N]` f32, logits `[R, V]`, first `[R + 1]` u32 from 0 to N, ids `[N]` u32 below
    /// V.
    /// refuses: bounds that descend and ids from V on, where the backend sees them.
    fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()>;
}

impl Device {
    /// [`Loss::cross_entropy`], checked. Refuses rows without columns.
    pub fn cross_entropy(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        targets: View,
        weights: View,
    ) -> Result<()> {
        let (op, rows, cols) = ("cross_entropy", logits.rows(), logits.cols());
        self.expect(op, "logits", logits.as_view(), rows, cols, Float)?;
        self.expect_count(op, "loss", loss.as_view(), rows, F32)?;
        self.expect_count(op, "targets", targets, rows, U32)?;
        self.expect_count(op, "weights", weights, rows, F32)?;
        ensure!(rows == 0 || cols > 0, "{op}: logits: expected columns, got {}", logits.shape());
        match rows {
            0 => Ok(()),
            _ => self.0.cross_entropy(loss, logits, targets, weights),
        }
    }

    /// [`Loss::log_probs_at`], checked.
    pub fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let (op, count) = ("log_probs_at", ids.shape().count());
        self.expect(op, "logits", logits, logits.rows(), logits.cols(), Float)?;
        self.expect_count(op, "y", y.as_view(), count, F32)?;
        self.expect_count(op, "first", first, logits.rows() + 1, U32)?;
        self.expect_count(op, "ids", ids, count, U32)?;
        match count {
            0 => Ok(()),
            _ => self.0.log_probs_at(y, logits, first, ids),
        }
    }
}
