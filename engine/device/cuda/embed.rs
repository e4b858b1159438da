//! Rows of tables: sums of up to three, and their gradients.

use super::*;
use crate::device::ops::Embed;

/// Shared memory of `embed_backward`: a float a warp, then a word of flags a warp.
const SHARED: usize = 2 * 32 * 4;

impl Embed for Cuda {
    fn embed(&self, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        let mut arguments = vec![Arg::from(&y)];
        for i in 0..3 {
            arguments.extend(match tables.get(i) {
                Some(&(table, ids)) => {
                    [table.into(), ids.into(), count(table.rows()), Arg::U32(code(table.dtype()))]
                }
                None => [Arg::Address(0), Arg::Address(0), Arg::U32(0), Arg::U32(0)],
            });
        }
        arguments.extend([count(y.rows()), count(y.cols()), add(write)]);
        let addresses: Vec<u64> =
            tables.iter().map(|(table, _)| table.address()).chain([y.address()]).collect();
        let (entry, _) = entry("embed", y.dtype(), y.cols(), &addresses);
        self.launch(&entry, Grid::of(y.rows(), THREADS), &arguments)
    }

    fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        let (entry, many) =
            entry("embed_backward", dy.dtype(), dy.cols(), &[d_table.address(), dy.address()]);
        let blocks = [dy.rows() as u32, dy.cols().div_ceil(many * THREADS as usize) as u32, 1];
        let arguments = [
            Arg::from(&d_table),
            dy.into(),
            ids.into(),
            count(d_table.rows()),
            count(dy.rows()),
            count(dy.cols()),
        ];
        let grid = Grid { blocks, threads: THREADS, shared: SHARED };
        self.launch(&entry, grid, &arguments)
    }
}
