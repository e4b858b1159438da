//! The largest elements of rows.

use super::*;
use crate::device::ops::Select;

/// Eight bytes each: the best of every thread, the 1024 places for what is found, the bound, the
/// last, a count.
const SHARED: usize = 8 * (THREADS as usize + 1024 + 3);

impl Select for Cuda {
    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        let arguments = [
            Arg::from(&values),
            Arg::from(&columns),
            x.into(),
            count(x.rows()),
            count(x.cols()),
            count(values.cols()),
        ];
        let grid = Grid::of(x.rows(), THREADS).shared(SHARED);
        let (entry, _) = entry("top_k", x.dtype(), x.cols(), &[x.address()]);
        self.launch(&entry, grid, &arguments)
    }
}
