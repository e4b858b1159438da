//! The largest elements of rows.

use super::*;

/// What a backend does to choose.
pub trait Select {
    /// The k largest of each row, descending, ties by smaller column; what is not a number counts
    /// as -∞.
    ///
    /// shapes: values `[R, k]` f32, columns `[R, k]` u32, x `[R, n]`, n ≥ k.
    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()>;
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
}
