//! Products of which only few elements count: those of a dense product that are asked for, and sums
//! of few rows.

use super::super::*;
use super::element::{by_float, floats, floats_mut, narrow, widen, words, Element};
use super::indices::{ascending, below};
use super::reduce;
use super::threads::Scatter;
use super::Cpu;
use crate::device::ops::Sparse;
use anyhow::Result;

/// Columns whose sums a task holds: they stay in the nearest cache.
const WIDTH: usize = 256;

impl Sparse for Cpu {
    fn sampled_product(
        &self,
        y: ViewMut,
        x: View,
        table: View,
        first: View,
        ids: View,
    ) -> Result<()> {
        let (op, pool, cols) = ("sampled_product", &self.threads, x.cols());
        let (first, ids) = (words(first), words(ids));
        ascending(op, first, ids.len())?;
        below(op, "ids", ids, table.rows(), "an id")?;
        let y = Scatter::new(floats_mut::<f32>(y));
        by_float!(x.dtype(), T => {
            let (x, table) = (floats::<T>(x), floats::<T>(table));
            // Cut by what is asked for: one row may ask for most of it.
            pool.rows(
                ids.len(),
                cols,
                #[inline(always)]
                |range| {
                    // SAFETY: `rows` hands out each place once.
                    let y = unsafe { y.range(range.clone()) };
                    let mut row = vec![0.0f32; cols];
                    let mut next = first.partition_point(|&f| f as usize <= range.start);
                    widen(&mut row, &x[(next - 1) * cols..next * cols]);
                    for ((y, &id), j) in y.iter_mut().zip(&ids[range.clone()]).zip(range) {
                        if first[next] as usize <= j {
                            while first[next] as usize <= j {
                                next += 1;
                            }
                            widen(&mut row, &x[(next - 1) * cols..next * cols]);
                        }
                        let column = &table[id as usize * cols..][..cols];
                        *y = reduce::fold(&row, column, |sum, x, y| x.mul_add(y, sum));
                    }
                },
            );
        });
        Ok(())
    }

    fn sparse_product(
        &self,
        y: ViewMut,
        table: View,
        first: View,
        ids: View,
        places: View,
        weights: View,
    ) -> Result<()> {
        let (op, pool) = ("sparse_product", &self.threads);
        let (rows, cols) = (y.rows(), y.cols());
        let (first, ids, places) = (words(first), words(ids), words(places));
        let weights = floats::<f32>(weights);
        ascending(op, first, ids.len())?;
        below(op, "ids", ids, table.rows(), "an id")?;
        below(op, "places", places, weights.len(), "a place")?;
        // Tasks own columns of a row, so each element is one sum in the order of j.
        let parts = cols.div_ceil(WIDTH);
        let work = WIDTH * (ids.len() / rows).max(1);
        by_float!(table.dtype(), S => {
            let table = floats::<S>(table);
            by_float!(y.dtype(), T => {
                let y = Scatter::new(floats_mut::<T>(y));
                pool.rows(
                    rows * parts,
                    work,
                    #[inline(always)]
                    |range| {
                        for (r, part) in range.map(|i| (i / parts, i % parts)) {
                            let (from, to) = (part * WIDTH, cols.min((part + 1) * WIDTH));
                            let mut sums = [0.0f32; WIDTH];
                            let sums = &mut sums[..to - from];
                            for j in first[r] as usize..first[r + 1] as usize {
                                let weight = weights[places[j] as usize];
                                let x = &table[ids[j] as usize * cols..][from..to];
                                for (sum, x) in sums.iter_mut().zip(x) {
                                    *sum = weight.mul_add(x.wide(), *sum);
                                }
                            }
                            // SAFETY: `rows` hands out each part of each row once.
                            narrow(unsafe { y.range(r * cols + from..r * cols + to) }, sums);
                        }
                    },
                );
            });
        });
        Ok(())
    }
}
