//! Rows of tables: sums of up to three, and their gradients.

use super::super::*;
use super::element::{by_float, floats, floats_mut, words, Element};
use super::indices::below;
use super::threads::Scatter;
use super::{Cpu, Threads};
use crate::device::ops::Embed;
use anyhow::Result;

impl Embed for Cpu {
    fn embed(&self, mut y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
        let pool = &self.threads;
        for &(table, ids) in tables {
            below("embed", "ids", words(ids), table.rows(), "an id")?;
        }
        let mut write = write;
        for &(table, ids) in tables {
            add(pool, y.reborrow(), table, words(ids), write);
            write = Write::Add;
        }
        Ok(())
    }

    fn embed_backward(&self, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
        let pool = &self.threads;
        let ids = words(ids);
        below("embed_backward", "ids", ids, d_table.rows(), "an id")?;
        let cols = dy.cols();
        // Threads own columns, so each element's sum runs over the rows in ascending order whatever
        // their number.
        let width = cols.div_ceil(pool.count()).next_multiple_of(16);
        let d_table = Scatter::new(floats_mut::<f32>(d_table));
        by_float!(dy.dtype(), T => {
            let dy = floats::<T>(dy);
            pool.ranges(
                cols,
                width,
                #[inline(always)]
                |range| {
                    for (dy, &id) in dy.chunks_exact(cols).zip(ids) {
                        let start = id as usize * cols;
                        // SAFETY: the ranges of columns are disjoint, and one thread visits its
                        // rows one after another.
                        let sum = unsafe { d_table.range(start + range.start..start + range.end) };
                        for (sum, dy) in sum.iter_mut().zip(&dy[range.clone()]) {
                            *sum += dy.wide();
                        }
                    }
                },
            );
        });
        Ok(())
    }
}

/// y\[r\] = (or +=) table\[ids\[r\]\].
fn add(pool: &Threads, y: ViewMut, table: View, ids: &[u32], write: Write) {
    let cols = y.cols();
    by_float!(table.dtype(), S => {
        let table = floats::<S>(table);
        by_float!(y.dtype(), T => pool.rows_of(
            floats_mut::<T>(y),
            cols,
            #[inline(always)]
            |range, y| {
                for (y, &id) in y.chunks_exact_mut(cols).zip(&ids[range]) {
                    let x = &table[id as usize * cols..][..cols];
                    let row = y.iter_mut().zip(x);
                    match write {
                        Write::Set => row.for_each(|(y, x)| *y = T::narrow(x.wide())),
                        Write::Add => row.for_each(|(y, x)| *y = T::narrow(y.wide() + x.wide())),
                    }
                }
            },
        ));
    });
}
