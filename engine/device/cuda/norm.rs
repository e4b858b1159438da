//! Layer normalisation and its backward.

use super::*;
use crate::device::ops::Norm;

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
        let parameters = interface::Layernorm {
            y: (&y).into(),
            statistics: (&statistics).into(),
            x: x.into(),
            weight: weight.into(),
            bias: bias.into(),
            weight_dtype: code(weight.dtype()),
            bias_dtype: code(bias.dtype()),
            rows: count(x.rows()),
            cols: count(x.cols()),
            epsilon,
            unused: 0,
        };
        let addresses = [y.address(), x.address(), weight.address(), bias.address()];
        let (entry, _) = self.entries.layernorm.of(x.dtype(), x.cols(), &addresses);
        self.launch(entry, Grid::of(x.rows()).shared(interface::REDUCE_SHARED), parameters)
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
        if let Some((d_weight, d_bias)) = parameters {
            let chunks = rows.div_ceil(interface::NORM_CHUNK);
            let partial = self.scratch(4 * chunks * 2 * cols)?;
            let (entry, many) =
                self.entries.layernorm_parameters.of(x.dtype(), cols, &[dy.address(), x.address()]);
            let sums = interface::LayernormParameters {
                partial: partial.at(),
                dy: dy.into(),
                x: x.into(),
                statistics: statistics.into(),
                rows: count(rows),
                cols: count(cols),
            };
            let across = (cols / many).div_ceil(entry.threads());
            let grid = Grid { blocks: [across as u32, chunks as u32, 1], shared: 0 };
            self.launch(entry, grid, sums)?;
            let entry = self.entries.layernorm_collect;
            let collected = interface::LayernormCollect {
                d_weight: (&d_weight).into(),
                d_bias: (&d_bias).into(),
                partial: partial.at(),
                chunks: count(chunks),
                cols: count(cols),
            };
            self.launch(entry, Grid::of((2 * cols).div_ceil(entry.threads())), collected)?;
        }
        let parameters = interface::LayernormBackward {
            dx: (&dx).into(),
            dy: dy.into(),
            x: x.into(),
            weight: weight.into(),
            statistics: statistics.into(),
            weight_dtype: code(weight.dtype()),
            rows: count(rows),
            cols: count(cols),
            add: add(write),
        };
        let addresses = [dx.address(), dy.address(), x.address(), weight.address()];
        let (entry, _) = self.entries.layernorm_backward.of(x.dtype(), cols, &addresses);
        self.launch(entry, Grid::of(rows).shared(interface::REDUCE_SHARED), parameters)
    }
}
