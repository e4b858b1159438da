//! Products of which only few elements count: those of a dense product that are asked for, and sums
//! of few rows. A loss over few columns is both: its logits forwards, its gradients backwards.

use super::*;

/// What a backend does with matrices of which each row has few columns.
pub trait Sparse {
    /// y\[j\] = x\[r\]·table\[ids\[j\]\] for j in `first[r]..first[r + 1]` (a sampled product of
    /// dense matrices, SDDMM). The order of the sum depends on h alone.
    ///
    /// shapes: y `[N]` f32, x `[R, h]`, table `[V, h]` of x's dtype, first `[R + 1]` u32 from 0 to
    /// N, ids `[N]` u32 below V.
    /// refuses: bounds that descend and ids from V on, where the backend sees them.
    fn sampled_product(
        &self,
        y: ViewMut,
        x: View,
        table: View,
        first: View,
        ids: View,
    ) -> Result<()>;

    /// y\[r\] = Σ weights\[places\[j\]\]·table\[ids\[j\]\] over j in `first[r]..first[r + 1]`, in
    /// that order (a product of a sparse and a dense matrix, SpMM); 0 where there is no j.
    ///
    /// shapes: y `[R, h]`, table `[V, h]` of a float dtype of its own, first `[R + 1]` u32 from 0
    /// to N, ids `[N]` u32 below V, places `[N]` u32 below M, weights `[M]` f32.
    /// refuses: bounds that descend, ids from V on and places from M on, where the backend sees
    /// them.
    fn sparse_product(
        &self,
        y: ViewMut,
        table: View,
        first: View,
        ids: View,
        places: View,
        weights: View,
    ) -> Result<()>;
}

impl Device {
    /// [`Sparse::sampled_product`], checked.
    pub fn sampled_product(
        &self,
        y: ViewMut,
        x: View,
        table: View,
        first: View,
        ids: View,
    ) -> Result<()> {
        let (op, count) = ("sampled_product", ids.shape().count());
        self.expect(op, "x", x, x.rows(), x.cols(), Float)?;
        self.expect(op, "table", table, table.rows(), x.cols(), Exactly(x.dtype()))?;
        self.expect_count(op, "y", y.as_view(), count, F32)?;
        self.expect_first(op, first, x.rows())?;
        self.expect_count(op, "ids", ids, count, U32)?;
        match count {
            0 => Ok(()),
            _ => self.0.sampled_product(y, x, table, first, ids),
        }
    }

    /// [`Sparse::sparse_product`], checked.
    pub fn sparse_product(
        &self,
        y: ViewMut,
        table: View,
        first: View,
        ids: View,
        places: View,
        weights: View,
    ) -> Result<()> {
        let (op, count) = ("sparse_product", ids.shape().count());
        self.expect(op, "y", y.as_view(), y.rows(), y.cols(), Float)?;
        self.expect(op, "table", table, table.rows(), y.cols(), Float)?;
        self.expect_first(op, first, y.rows())?;
        self.expect_count(op, "ids", ids, count, U32)?;
        self.expect_count(op, "places", places, count, U32)?;
        self.expect_count(op, "weights", weights, weights.shape().count(), F32)?;
        match y.shape().count() {
            0 => Ok(()),
            _ => self.0.sparse_product(y, table, first, ids, places, weights),
        }
    }
}
