//! Softmax against targets: cross-entropy with its gradient, over all columns or among few of
//! them, log-probabilities at given columns.

use super::*;

/// What the rows of [`Loss::choice_loss`] are to choose of their choices.
#[derive(Clone, Copy, Debug)]
pub enum Aim<'a> {
    /// `[T]` u32: the place of the right one among them, 0 the first.
    Place(View<'a>),
    /// `[N]` f32: a share for each of them, 1 together for each row; zero of a choice of
    /// probability zero costs nothing.
    Shares(View<'a>),
}

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

    /// Cross-entropy among few. Of row t the logits are z = logits\[j\] for j in
    /// `first[t]..first[t + 1]`, p = softmax(z/temperature), and q is its aim: loss\[t\] =
    /// -temperature·Σ q·ln p in nats; the logits become weights\[t\]·(p - q), their own gradient
    /// whatever the temperature. A row without choices loses 0, whatever its aim.
    ///
    /// shapes: loss and weights `[T]` f32, logits `[N]` f32, first `[T + 1]` u32 from 0 to N.
    /// refuses: bounds that descend and places beyond the choices, where the backend sees them.
    fn choice_loss(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        first: View,
        aim: Aim,
        weights: View,
        temperature: f32,
    ) -> Result<()>;

    /// Log-probabilities among few. Of row r the logits are z = logits\[j\] for j in
    /// `first[r]..first[r + 1]`, and become log_softmax(z/temperature) in nats; all of the row
    /// become NaN where one of them is no finite number.
    ///
    /// shapes: logits `[N]` f32, first `[R + 1]` u32 from 0 to N.
    /// refuses: bounds that descend, where the backend sees them.
    fn choice_log_probs(&self, logits: ViewMut, first: View, temperature: f32) -> Result<()>;

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

    /// [`Loss::choice_loss`], checked. Refuses a temperature that is not above 0 and finite.
    pub fn choice_loss(
        &self,
        loss: ViewMut,
        logits: ViewMut,
        first: View,
        aim: Aim,
        weights: View,
        temperature: f32,
    ) -> Result<()> {
        let (op, rows, count) = ("choice_loss", loss.shape().count(), logits.shape().count());
        self.expect_count(op, "loss", loss.as_view(), rows, F32)?;
        self.expect_count(op, "logits", logits.as_view(), count, F32)?;
        self.expect_first(op, first, rows)?;
        match aim {
            Aim::Place(places) => self.expect_count(op, "aim", places, rows, U32)?,
            Aim::Shares(shares) => self.expect_count(op, "aim", shares, count, F32)?,
        }
        self.expect_count(op, "weights", weights, rows, F32)?;
        expect_temperature(op, temperature)?;
        match rows {
            0 => Ok(()),
            _ => self.0.choice_loss(loss, logits, first, aim, weights, temperature),
        }
    }

    /// [`Loss::choice_log_probs`], checked. Refuses a temperature that is not above 0 and finite.
    pub fn choice_log_probs(&self, logits: ViewMut, first: View, temperature: f32) -> Result<()> {
        let (op, count) = ("choice_log_probs", logits.shape().count());
        let rows = first.shape().count().saturating_sub(1);
        self.expect_count(op, "logits", logits.as_view(), count, F32)?;
        self.expect_first(op, first, rows)?;
        expect_temperature(op, temperature)?;
        match rows * count {
            0 => Ok(()),
            _ => self.0.choice_log_probs(logits, first, temperature),
        }
    }

    /// [`Loss::log_probs_at`], checked.
    pub fn log_probs_at(&self, y: ViewMut, logits: View, first: View, ids: View) -> Result<()> {
        let (op, count) = ("log_probs_at", ids.shape().count());
        self.expect(op, "logits", logits, logits.rows(), logits.cols(), Float)?;
        self.expect_count(op, "y", y.as_view(), count, F32)?;
        self.expect_first(op, first, logits.rows())?;
        self.expect_count(op, "ids", ids, count, U32)?;
        match count {
            0 => Ok(()),
            _ => self.0.log_probs_at(y, logits, first, ids),
        }
    }
}

fn expect_temperature(op: &str, temperature: f32) -> Result<()> {
    ensure!(
        temperature > 0.0 && temperature.is_finite(),
        "{op}: temperature: expected a finite number above 0, got {temperature}"
    );
    Ok(())
}
