//! Layer normalisation and its backward.

use super::*;

/// A float a warp, for sums over a block.
const SHARED: usize = 32 * 4;
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
    let (entry, _) = entry("layernorm", x.dtype(), x.cols(), &[y.address(), x.address()]);
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
        let blocks = cols.div_ceil(THREADS as usize) as u32;
        let sums = [partial.arg(), dy.into(), x.into(), statistics.into(), count(rows), count(cols)];
        let grid = Grid { blocks: [blocks, chunks as u32, 1], threads: THREADS, shared: 0 };
        cuda.launch(&format!("layernorm_parameters_{}", suffix(x.dtype())), grid, &sums)?;
        let collected = [Arg::from(&d_weight), Arg::from(&d_bias), partial.arg(), count(chunks), count(cols)];
        cuda.launch("layernorm_collect", Grid::of(blocks as usize, THREADS), &collected)?;
    }
    let (entry, _) = entry("layernorm_backward", x.dtype(), cols, &[dx.address(), dy.address(), x.address()]);
    cuda.launch(&entry, Grid::of(rows, THREADS).shared(SHARED), &arguments)
}
