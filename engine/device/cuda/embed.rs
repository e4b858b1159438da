//! Rows of tables: sums of up to three, and their gradients.

use super::*;

/// Shared memory of `embed_backward`: a float a warp, then a word of flags a warp.
const SHARED: usize = 2 * 32 * 4;

pub(super) fn embed(cuda: &Cuda, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
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
    cuda.launch(&format!("embed_{}", suffix(y.dtype())), Grid::of(y.rows(), THREADS), &arguments)
}

pub(super) fn embed_backward(cuda: &Cuda, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
    let blocks = [dy.rows() as u32, dy.cols().div_ceil(THREADS as usize) as u32, 1];
    let arguments = [
        Arg::from(&d_table),
        dy.into(),
        ids.into(),
        count(d_table.rows()),
        count(dy.rows()),
        count(dy.cols()),
    ];
    let grid = Grid { blocks, threads: THREADS, shared: SHARED };
    cuda.launch(&format!("embed_backward_{}", suffix(dy.dtype())), grid, &arguments)
}
