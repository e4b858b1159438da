//! The largest elements of rows.

use super::*;
use crate::device::ops::Select;

impl Select for Cuda {
    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        let parameters = interface::TopK {
            values: (&values).into(),
            columns: (&columns).into(),
            x: x.into(),
            rows: count(x.rows()),
            cols: count(x.cols()),
            k: count(values.cols()),
            unused: 0,
        };
        let (entry, _) = self.entries.top_k.of(x.dtype(), x.cols(), &[x.address()]);
        self.launch(entry, Grid::of(x.rows()).shared(interface::TOP_K_SHARED), parameters)
    }
}
