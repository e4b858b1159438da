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

    fn choice_top_k(&self, values: ViewMut, places: ViewMut, x: View, first: View) -> Result<()> {
        let rows = values.rows();
        let parameters = interface::ChoiceTopK {
            values: (&values).into(),
            places: (&places).into(),
            x: x.into(),
            first: first.into(),
            rows: count(rows),
            k: count(values.cols()),
        };
        let grid = Grid::of(rows).shared(interface::TOP_K_SHARED);
        self.launch(self.entries.choice_top_k, grid, parameters)
    }
}
