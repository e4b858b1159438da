//! Layer normalisation and its backward.

use super::*;

/// A float a warp, for sums over a block.
const SHARED: usize = 32 * 4;
/// Threads a block where a thread owns columns of all rows: few, for there are few columns.
const NARROW: u32 = 64;
/// Rows whose parameter gradients are summed in one go; the kernel's constant.
const CHUNK: usize = 64;

pub(super) fn layernorm(
    cuda: &Cuda,
    y: ViewMut,
    statistics: ViewMut,
    x: View,
    weight: View,
    bias: View,
    epsilon: f32,
) -> Result<()> {
    let arguments = [
        Arg::from(&y),
        Arg::from(&statistics),
        x.into(),
        weight.into(),
        bias.into(),
        Arg::U32(code(weight.dtype())),
        Arg::U32(code(bias.dtype())),
        count(x.rows()),
        count(x.cols()),
        Arg::F32(epsilon),
    ];
    let (entry, _) = entry(
        "layernorm",
        x.dtype(),
        x.cols(),
        &[y.address(), x.address(), weight.address(), bias.address()],
    );
    cuda.launch(&entry, Grid::of(x.rows(), THREADS).shared(SHARED), &arguments)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn layernorm_backward(
    cuda: &Cuda,
    dx: ViewMut,
    parameters: Option<(ViewMut, ViewMut)>,
    dy: View,
    x: View,
    weight: View,
    statistics: View,
    write: Write,
) -> Result<()> {
    let (rows, cols) = (x.rows(), x.cols());
    let arguments = [
        Arg::from(&dx),
        dy.into(),
        x.into(),
        weight.into(),
        statistics.into(),
        Arg::U32(code(weight.dtype())),
        count(rows),
        count(cols),
        add(write),
    ];
    if let Some((d_weight, d_bias)) = parameters {
        let chunks = rows.div_ceil(CHUNK);
        let partial = cuda.scratch(4 * chunks * 2 * cols)?;
        let (name, many) =
            entry("layernorm_parameters", x.dtype(), cols, &[dy.address(), x.address()]);
        let sums =
            [partial.arg(), dy.into(), x.into(), statistics.into(), count(rows), count(cols)];
        let blocks = |columns: usize| columns.div_ceil(NARROW as usize) as u32;
        let grid =
            Grid { blocks: [blocks(cols / many), chunks as u32, 1], threads: NARROW, shared: 0 };
        cuda.launch(&name, grid, &sums)?;
        let collected =
            [Arg::from(&d_weight), Arg::from(&d_bias), partial.arg(), count(chunks), count(cols)];
        cuda.launch("layernorm_collect", Grid::of(blocks(2 * cols) as usize, NARROW), &collected)?;
    }
    let (entry, _) = entry(
        "layernorm_backward",
        x.dtype(),
        cols,
        &[dx.address(), dy.address(), x.address(), weight.address()],
    );
    cuda.launch(&entry, Grid::of(rows, THREADS).shared(SHARED), &arguments)
}
