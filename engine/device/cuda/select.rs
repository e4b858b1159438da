//! The largest elements of rows.

use super::*;

/// A value and a column a warp.
const SHARED: usize = 32 * 8;

pub(super) fn top_k(cuda: &Cuda, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
    let arguments = [
        Arg::from(&values),
        Arg::from(&columns),
        x.into(),
        count(x.rows()),
        count(x.cols()),
        count(values.cols()),
    ];
    let grid = Grid::of(x.rows(), THREADS).shared(SHARED);
    cuda.launch(&format!("top_k_{}", suffix(x.dtype())), grid, &arguments)
}
