//! Element by element: GELU, blending, dropout, casting.

use super::super::*;
use super::dropout::Row;
use super::element::{by_float, floats, floats_mut, words, Element};
use super::math::{self, by_gelu};
use super::Cpu;
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
                            let factors = row.factors(i * Row::WIDTH).0;
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
