//! The largest elements of rows.

use super::*;

/// What a backend does to choose.
pub trait Select {
    /// The k largest of each row, descending, ties by smaller column; what is not a number counts
    /// as -∞.
    ///
    /// shapes: values `[R, k]` f32, columns `[R, k]` u32, x `[R, n]`, n ≥ k.
    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()>;

    /// Of row r the k largest of x\[j\] for j in `first[r]..first[r + 1]`, as [`Select::top_k`]
    /// has them, and their places among these, 0 the first; -∞ and `u32::MAX` behind the last where
    /// there are fewer.
    ///
    /// shapes: values `[R, k]` f32, places `[R, k]` u32, x `[N]` f32, first `[R + 1]` u32 from 0 to
    /// N.
    /// refuses: bounds that descend, where the backend sees them.
    fn choice_top_k(&self, values: ViewMut, places: ViewMut, x: View, first: View) -> Result<()>;
}

impl Device {
    /// [`Select::top_k`], checked. Refuses more values than x has columns.
    pub fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        let (op, k) = ("top_k", values.cols());
        self.expect(op, "x", x, x.rows(), x.cols(), Float)?;
        ensure!(k <= x.cols(), "{op}: values: expected at most {} columns, got {k}", x.cols());
        self.expect(op, "values", values.as_view(), x.rows(), k, F32)?;
        self.expect(op, "columns", columns.as_view(), x.rows(), k, U32)?;
        match x.rows() * k {
            0 => Ok(()),
            _ => self.0.top_k(values, columns, x),
        }
    }

    /// [`Select::choice_top_k`], checked.
    pub fn choice_top_k(
        &self,
        values: ViewMut,
        places: ViewMut,
        x: View,
        first: View,
    ) -> Result<()> {
        let (op, rows, k) = ("choice_top_k", values.rows(), values.cols());
        self.expect_count(op, "x", x, x.shape().count(), F32)?;
        self.expect_first(op, first, rows)?;
        self.expect(op, "values", values.as_view(), rows, k, F32)?;
        self.expect(op, "places", places.as_view(), rows, k, U32)?;
        match rows * k {
            0 => Ok(()),
            _ => self.0.choice_top_k(values, places, x, first),
        }
    }
}
