//! Layer normalisation and its backward.

use super::super::*;
use super::element::{by_float, floats, floats_mut, widened, Element};
use super::reduce;
use super::threads::Scatter;
use super::vector::vector;
use super::Cpu;
use crate::device::ops::Norm;
use anyhow::Result;

/// Rows whose parameter gradients are summed in one go; fixed, so that the order of addition is.
const CHUNK: usize = 64;

impl Norm for Cpu {
    fn layernorm(
        &self,
        y: ViewMut,
        statistics: ViewMut,
        x: View,
        weight: View,
        bias: View,
        epsilon: f32,
    ) -> Result<()> {
        let pool = &self.threads;
        let cols = x.cols();
        let (weight, bias) = (widened(weight), widened(bias));
        let statistics = Scatter::new(floats_mut::<f32>(statistics));
        by_float!(x.dtype(), T => {
            let x = floats::<T>(x);
            pool.rows_of(
                floats_mut::<T>(y),
                cols,
                #[inline(always)]
                |range, y| {
                    // SAFETY: `rows_of` hands out each row once.
                    let statistics = unsafe { statistics.range(2 * range.start..2 * range.end) };
                    let x = x[range.start * cols..range.end * cols].chunks_exact(cols);
                    let rows = y.chunks_exact_mut(cols).zip(x).zip(statistics.chunks_exact_mut(2));
                    for ((y, x), statistics) in rows {
                        let mean = reduce::sum(x, |x| x) / cols as f32;
                        let variance = reduce::sum(x, |x| (x - mean) * (x - mean)) / cols as f32;
                        let inverse = 1.0 / (variance + epsilon).sqrt();
                        statistics.copy_from_slice(&[mean, inverse]);
                        let row = y.iter_mut().zip(x).zip(&*weight).zip(&*bias);
                        for (((y, x), weight), bias) in row {
                            *y = T::narrow(((x.wide() - mean) * inverse).mul_add(*weight, *bias));
                        }
                    }
                },
            );
        });
        Ok(())
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
        let pool = &self.threads;
        let (rows, cols) = (x.rows(), x.cols());
        let weight = widened(weight);
        let statistics = floats::<f32>(statistics);
        // Per chunk: d_weight, then d_bias.
        let mut partial = match parameters {
            Some(_) => vec![0.0f32; rows.div_ceil(CHUNK) * 2 * cols],
            None => Vec::new(),
        };
        let sums = parameters.is_some().then(|| Scatter::new(&mut partial));
        by_float!(x.dtype(), T => {
            let (x, dy) = (floats::<T>(x), floats::<T>(dy));
            let dx = Scatter::new(floats_mut::<T>(dx));
            pool.ranges(
                rows,
                CHUNK,
                #[inline(always)]
                |range| {
                    let elements = range.start * cols..range.end * cols;
                    // SAFETY: `ranges` hands out each row, and so each chunk, once.
                    let dx = unsafe { dx.range(elements.clone()) };
                    let mut sums = sums.as_ref().map(|sums| {
                        let start = range.start / CHUNK * 2 * cols;
                        // SAFETY: as above.
                        unsafe { sums.range(start..start + 2 * cols) }.split_at_mut(cols)
                    });
                    let dy = dy[elements.clone()].chunks_exact(cols);
                    let x = x[elements].chunks_exact(cols);
                    let rows = dx.chunks_exact_mut(cols).zip(dy).zip(x);
                    for (((dx, dy), x), r) in rows.zip(range) {
                        let (mean, inverse) = (statistics[2 * r], statistics[2 * r + 1]);
                        if let Some((d_weight, d_bias)) = &mut sums {
                            let sums = d_weight.iter_mut().zip(d_bias.iter_mut());
                            for (((d_weight, d_bias), dy), x) in sums.zip(dy).zip(x) {
                                let normed = (x.wide() - mean) * inverse;
                                *d_weight = normed.mul_add(dy.wide(), *d_weight);
                                *d_bias += dy.wide();
                            }
                        }
                        let row = Row { mean, inverse, weight: &weight };
                        row.backward(dx, dy, x, write);
                    }
                },
            );
        });
        if let Some((d_weight, d_bias)) = parameters {
            let (d_weight, d_bias) = (floats_mut::<f32>(d_weight), floats_mut::<f32>(d_bias));
            vector(
                #[inline(always)]
                || {
                    for sums in partial.chunks_exact(2 * cols) {
                        let (weights, biases) = sums.split_at(cols);
                        d_weight.iter_mut().zip(weights).for_each(|(d, s)| *d += s);
                        d_bias.iter_mut().zip(biases).for_each(|(d, s)| *d += s);
                    }
                },
            );
        }
        Ok(())
    }
}

struct Row<'a> {
    mean: f32,
    inverse: f32,
    weight: &'a [f32],
}

impl Row<'_> {
    /// dx = inverse·(g - mean(g) - x̂·mean(g·x̂)) with g = dy·weight and x̂ = (x - mean)·inverse.
    #[inline(always)]
    fn backward<T: Element>(&self, dx: &mut [T], dy: &[T], x: &[T], write: Write) {
        let Row { mean, inverse, weight } = *self;
        let (mean_g, mean_gx) = self.means(dy, x);
        let rows = dx.iter_mut().zip(dy).zip(x).zip(weight);
        let value = |dy: &T, x: &T, weight: &f32| {
            let normed = (x.wide() - mean) * inverse;
            inverse * (-normed).mul_add(mean_gx, dy.wide().mul_add(*weight, -mean_g))
        };
        match write {
            Write::Set => {
                rows.for_each(|(((dx, dy), x), weight)| *dx = T::narrow(value(dy, x, weight)))
            }
            Write::Add => rows.for_each(|(((dx, dy), x), weight)| {
                *dx = T::narrow(dx.wide() + value(dy, x, weight))
            }),
        }
    }

    /// mean(g) and mean(g·x̂), in the fixed order of [`reduce`].
    #[inline(always)]
    fn means<T: Element>(&self, dy: &[T], x: &[T]) -> (f32, f32) {
        let Row { mean, inverse, weight } = *self;
        let (mut g, mut gx) = ([0.0f32; 32], [0.0f32; 32]);
        let add = |g: &mut [f32; 32], gx: &mut [f32; 32], dy: &[T], x: &[T], weight: &[f32]| {
            for ((((g, gx), dy), x), weight) in g.iter_mut().zip(gx).zip(dy).zip(x).zip(weight) {
                let product = dy.wide() * weight;
                *g += product;
                *gx = ((x.wide() - mean) * inverse).mul_add(product, *gx);
            }
        };
        let (mut dy, mut x, mut w) =
            (dy.chunks_exact(32), x.chunks_exact(32), weight.chunks_exact(32));
        for ((dy, x), w) in (&mut dy).zip(&mut x).zip(&mut w) {
            add(&mut g, &mut gx, dy, x, w);
        }
        add(&mut g, &mut gx, dy.remainder(), x.remainder(), w.remainder());
        let n = weight.len() as f32;
        (reduce::tree(&mut g, |a, b| a + b) / n, reduce::tree(&mut gx, |a, b| a + b) / n)
    }
}
