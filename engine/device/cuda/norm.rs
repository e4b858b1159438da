//! Layer normalisation and its backward.

use super::*;
use crate::device::ops::Norm;

/// A float a warp, for sums over a block.
const SHARED: usize = 32 * 4;
/// Threads a block where a thread owns columns of all rows: few, for there are few columns.
const NARROW: u32 = 64;
/// Rows whose parameter gradients are summed in one go; the kernel's constant.
const CHUNK: usize = 64;

impl Norm for Cuda {
    fn layernorm(
        &self,
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
        self.launch(&entry, Grid::of(x.rows(), THREADS).shared(SHARED), &arguments)
    }

    fn layernorm_backward(
        &self,
        dx: ViewMut,
        parameters: Option<(ViewMut, ViewMut)>,
        dy: View,
        normed: Normed,
        write: Write,
    ) -> Result<()> {
        let Normed { x, weight, statistics } = normed;
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
            let partial = self.scratch(4 * chunks * 2 * cols)?;
            let (name, many) =
                entry("layernorm_parameters", x.dtype(), cols, &[dy.address(), x.address()]);
            let sums =
                [partial.arg(), dy.into(), x.into(), statistics.into(), count(rows), count(cols)];
            let blocks = |columns: usize| columns.div_ceil(NARROW as usize) as u32;
            let grid = Grid {
                blocks: [blocks(cols / many), chunks as u32, 1],
                threads: NARROW,
                shared: 0,
            };
            self.launch(&name, grid, &sums)?;
            let collected = [
                Arg::from(&d_weight),
                Arg::from(&d_bias),
                partial.arg(),
                count(chunks),
                count(cols),
            ];
            self.launch(
                "layernorm_collect",
                Grid::of(blocks(2 * cols) as usize, NARROW),
                &collected,
            )?;
        }
        let (entry, _) = entry(
            "layernorm_backward",
            x.dtype(),
            cols,
            &[dx.address(), dy.address(), x.address(), weight.address()],
        );
        self.launch(&entry, Grid::of(rows, THREADS).shared(SHARED), &arguments)
    }
}
