//! The largest elements of rows.

use super::super::*;
use super::element::{by_float, floats, floats_mut, words, words_mut, Element};
use super::indices::ascending;
use super::reduce;
use super::threads::Scatter;
use super::Cpu;
use crate::device::ops::Select;
use anyhow::Result;

impl Select for Cpu {
    fn top_k(&self, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
        let pool = &self.threads;
        let (rows, cols, k) = (x.rows(), x.cols(), values.cols());
        let values = Scatter::new(floats_mut::<f32>(values));
        let columns = Scatter::new(words_mut(columns));
        by_float!(x.dtype(), T => {
            let x = floats::<T>(x);
            pool.each(
                rows,
                #[inline(always)]
                |r| {
                    // SAFETY: `each` hands out each row once.
                    let values = unsafe { values.range(r * k..(r + 1) * k) };
                    // SAFETY: as above.
                    let columns = unsafe { columns.range(r * k..(r + 1) * k) };
                    largest(values, columns, &x[r * cols..(r + 1) * cols]);
                },
            );
        });
        Ok(())
    }

    fn choice_top_k(&self, values: ViewMut, places: ViewMut, x: View, first: View) -> Result<()> {
        let (rows, k) = (values.rows(), values.cols());
        let (x, first) = (floats::<f32>(x), words(first));
        ascending("choice_top_k", first, x.len())?;
        let values = Scatter::new(floats_mut::<f32>(values));
        let places = Scatter::new(words_mut(places));
        self.threads.rows(
            rows,
            x.len() / rows,
            #[inline(always)]
            |range| {
                for r in range {
                    let own = &x[first[r] as usize..first[r + 1] as usize];
                    // SAFETY: `rows` hands out each row once.
                    let values = unsafe { values.range(r * k..(r + 1) * k) };
                    // SAFETY: as above.
                    let places = unsafe { places.range(r * k..(r + 1) * k) };
                    let some = own.len().min(k);
                    largest(&mut values[..some], &mut places[..some], own);
                    values[some..].fill(f32::NEG_INFINITY);
                    places[some..].fill(u32::MAX);
                }
            },
        );
        Ok(())
    }
}

/// The `values.len()` largest of x, descending, ties by smaller column; not a number counts as -∞.
#[inline(always)]
fn largest<T: Element>(values: &mut [f32], columns: &mut [u32], x: &[T]) {
    const BLOCK: usize = 64;
    let k = values.len();
    let mut found = 0;
    for (block, x) in x.chunks(BLOCK).enumerate() {
        // Most blocks hold nothing better than what was found. Equal is not better: its column is
        // larger.
        if found == k && reduce::max(x) <= values[k - 1] {
            continue;
        }
        for (i, x) in x.iter().enumerate() {
            let x = x.wide();
            let x = if x.is_nan() { f32::NEG_INFINITY } else { x };
            if found == k && x <= values[k - 1] {
                continue;
            }
            let place = values[..found].partition_point(|&value| value >= x);
            let end = (found + 1).min(k);
            values.copy_within(place..end - 1, place + 1);
            columns.copy_within(place..end - 1, place + 1);
            values[place] = x;
            columns[place] = (block * BLOCK + i) as u32;
            found = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_what_is_not_a_number() {
        let (mut values, mut columns) = ([0.0; 4], [0; 4]);
        largest(&mut values, &mut columns, &[f32::NAN, 1.0, 2.0, 1.0, f32::NEG_INFINITY, 2.0]);
        assert_eq!((values, columns), ([2.0, 2.0, 1.0, 1.0], [2, 5, 1, 3]));
        let (mut values, mut columns) = ([0.0; 3], [0; 3]);
        largest(&mut values, &mut columns, &[f32::NAN, f32::NEG_INFINITY, 0.0]);
        assert_eq!((values, columns), ([0.0, f32::NEG_INFINITY, f32::NEG_INFINITY], [2, 0, 1]));
    }
}
