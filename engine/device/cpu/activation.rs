//! Element by element: GELU, blending, dropout, casting.

use super::super::*;
use super::element::{by_float, floats, floats_mut, words, Element};
use super::math::{self, by_gelu};
use super::Cpu;
use crate::base::Philox;
use crate::device::ops::Activation;
use anyhow::Result;

impl Activation for Cpu {
    fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        let pool = &self.threads;
        by_float!(x.dtype(), T => by_gelu!(form, ERF => {
            let x = floats::<T>(x);
            pool.rows_of(
                floats_mut::<T>(y),
                1,
                #[inline(always)]
                |range, y| {
                    for (y, x) in y.iter_mut().zip(&x[range]) {
                        *y = T::narrow(math::gelu::<ERF>(x.wide()));
                    }
                },
            );
        }));
        Ok(())
    }

    fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        let pool = &self.threads;
        by_float!(x.dtype(), T => by_gelu!(form, ERF => {
            let (dy, x) = (floats::<T>(dy), floats::<T>(x));
            pool.rows_of(
                floats_mut::<T>(dx),
                1,
                #[inline(always)]
                |range, dx| {
                    for ((dx, dy), x) in dx.iter_mut().zip(&dy[range.clone()]).zip(&x[range]) {
                        *dx = T::narrow(dy.wide() * math::gelu_slope::<ERF>(x.wide()));
                    }
                },
            );
        }));
        Ok(())
    }

    fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        let pool = &self.threads;
        by_float!(x.dtype(), T => {
            let x = floats::<T>(x);
            pool.rows_of(
                floats_mut::<T>(y),
                1,
                #[inline(always)]
                |range, y| {
                    // With beta zero y may hold anything, not a number included.
                    if beta == 0.0 {
                        for (y, x) in y.iter_mut().zip(&x[range]) {
                            *y = T::narrow(alpha * x.wide());
                        }
                    } else {
                        for (y, x) in y.iter_mut().zip(&x[range]) {
                            *y = T::narrow(alpha.mul_add(x.wide(), beta * y.wide()));
                        }
                    }
                },
            );
        });
        Ok(())
    }

    fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        let pool = &self.threads;
        let cols = x.cols();
        let rows = words(dropout.rows);
        by_float!(x.dtype(), T => {
            let x = floats::<T>(x);
            pool.rows_of(
                floats_mut::<T>(y),
                cols,
                #[inline(always)]
                |range, y| {
                    let rows = rows[3 * range.start..3 * range.end].chunks_exact(3);
                    let x = x[range.start * cols..range.end * cols].chunks_exact(cols);
                    for ((y, x), row) in y.chunks_exact_mut(cols).zip(x).zip(rows) {
                        let row = Row::new(&dropout, [row[0], row[1], row[2]]);
                        let parts = y.chunks_mut(Row::WIDTH).zip(x.chunks(Row::WIDTH));
                        for (i, (y, x)) in parts.enumerate() {
                            let factors = row.factors(i * Row::WIDTH);
                            match write {
                                Write::Set => {
                                    for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
                                        *y = T::narrow(x.wide() * factor);
                                    }
                                }
                                Write::Add => {
                                    for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
                                        *y = T::narrow(x.wide().mul_add(factor, y.wide()));
                                    }
                                }
                            }
                        }
                    }
                },
            );
        });
        Ok(())
    }

    fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        let pool = &self.threads;
        by_float!(x.dtype(), S => {
            let x = floats::<S>(x);
            by_float!(y.dtype(), T => pool.rows_of(
                floats_mut::<T>(y),
                1,
                #[inline(always)]
                |range, y| {
                    for (y, x) in y.iter_mut().zip(&x[range]) {
                        *y = T::narrow(x.wide());
                    }
                },
            ));
        });
        Ok(())
    }
}

/// What dropout multiplies the elements of one row with: zero, or 1/(1 - rate).
pub(super) struct Row {
    key: [u32; 2],
    /// Example (low word, high word) and place in it.
    row: [u32; 3],
    threshold: u32,
    kept: f32,
}

/// Counters computed side by side.
const LANES: usize = 8;

impl Row {
    /// Columns whose factors are made at once.
    pub const WIDTH: usize = 4 * LANES;

    /// `row` as it stands in `dropout.rows`.
    pub fn new(dropout: &Dropout, row: [u32; 3]) -> Row {
        Row {
            key: dropout.key,
            row,
            threshold: Dropout::threshold(dropout.rate),
            kept: 1.0 / (1.0 - dropout.rate),
        }
    }

    /// The factors of columns `first..first + WIDTH`; `first` is a multiple of 4. Column c takes
    /// word c mod 4 of the counter (c / 4, place, example low, example high).
    #[inline(always)]
    pub fn factors(&self, first: usize) -> [f32; Self::WIDTH] {
        #[allow(unused_unsafe)] // outside x86-64 it is a function like any other
        // SAFETY: the processor has what `draw` asks for: see `vector`.
        unsafe {
            self.draw(first)
        }
    }

    /// A function of its own: inlined, what multiplies with the factors becomes branches.
    #[inline(never)]
    #[cfg_attr(
        target_arch = "x86_64",
        target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,movbe")
    )]
    fn draw(&self, first: usize) -> [f32; Self::WIDTH] {
        debug_assert!(first.is_multiple_of(4));
        let first = (first / 4) as u32;
        let [low, high, place] = self.row;
        // Four arrays of one word each instead of an array of counters: the rounds below become
        // vector code.
        let mut c = [[0; LANES], [place; LANES], [low; LANES], [high; LANES]];
        for (i, word) in c[0].iter_mut().enumerate() {
            *word = first.wrapping_add(i as u32);
        }
        philox(self.key, &mut c);
        let mut factors = [0.0; Self::WIDTH];
        for (i, four) in factors.chunks_exact_mut(4).enumerate() {
            for (factor, words) in four.iter_mut().zip(&c) {
                *factor = if words[i] < self.threshold { 0.0 } else { self.kept };
            }
        }
        factors
    }
}

/// [`Philox::block`] of LANES counters, word by word.
#[inline(always)]
fn philox(key: [u32; 2], c: &mut [[u32; LANES]; 4]) {
    for i in 0..LANES {
        let block = Philox::block(key, [c[0][i], c[1][i], c[2][i], c[3][i]]);
        for (words, word) in c.iter_mut().zip(block) {
            words[i] = word;
        }
    }
}
