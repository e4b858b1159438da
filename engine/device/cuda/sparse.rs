//! Products of which only few elements count: those of a dense product that are asked for, and sums
//! of few rows.

use super::*;
use crate::device::ops::Sparse;

impl Sparse for Cuda {
    fn sampled_product(
        &self,
        y: ViewMut,
        x: View,
        table: View,
        first: View,
        ids: View,
    ) -> Result<()> {
        let parameters = interface::SampledProduct {
            y: (&y).into(),
            x: x.into(),
            table: table.into(),
            first: first.into(),
            ids: ids.into(),
            rows: count(x.rows()),
            table_rows: count(table.rows()),
            count: count(ids.shape().count()),
            cols: count(x.cols()),
        };
        let addresses = [x.address(), table.address()];
        let (entry, _) = self.entries.sampled_product.of(x.dtype(), x.cols(), &addresses);
        self.launch(entry, grid(self, entry, 32 * ids.shape().count()), parameters)
    }

    fn sparse_product(
        &self,
        y: ViewMut,
        table: View,
        first: View,
        ids: View,
        places: View,
        weights: View,
    ) -> Result<()> {
        let (rows, cols) = (y.rows(), y.cols());
        let addresses = [y.as_view().address(), table.address()];
        let (entry, many) = self.entries.sparse_product.of(y.dtype(), cols, &addresses);
        let blocks = [rows as u32, cols.div_ceil(many * entry.threads()) as u32, 1];
        let parameters = interface::SparseProduct {
            y: (&y).into(),
            table: interface::Table {
                table: table.into(),
                ids: ids.into(),
                rows: count(table.rows()),
                dtype: code(table.dtype()),
            },
            first: first.into(),
            places: places.into(),
            weights: weights.into(),
            rows: count(rows),
            cols: count(cols),
            many: count(weights.shape().count()),
            unused: 0,
        };
        self.launch(entry, Grid { blocks, shared: 0 }, parameters)
    }
}
