//! Matrix products: the `gemm` crate on blocks of y, and what follows a product while its block is
//! in the cache.
//!
//! An element of y is one chain of fused multiply-adds over each stretch of at most [`DEPTH`]
//! columns of k, the stretches added in order. `gemm` keeps to that whatever the tile, as long as
//! it cuts k nowhere itself (hence `DEPTH`) and takes neither its matrix-vector nor its dot-product
//! path (hence two rows and two columns at least, and panels of b whose columns are contiguous). So
//! a row has the same bits beside any other rows, on any number of threads;
//! `tests/numbers/invariance.rs` holds that.

use super::super::*;
use super::element::{by_float, floats, floats_mut, widened, Element, Floats, FloatsMut};
use super::math;
use super::panel::{pitch, Matrix, Panel, Scratch};
use super::threads::Scatter;
use super::vector::vector;
use super::{Cpu, Threads};
use crate::device::ops::Matmul;
use anyhow::Result;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

/// Longest stretch of k in one call: `gemm` cuts none so short, on any machine.
const DEPTH: usize = 512;
/// Columns of y in one task.
const WIDTH: usize = 256;
/// Rows of y that are finished before the next ones begin.
const HEIGHT: usize = 512;
/// Depth of panels that are held at once.
const HELD: usize = 4 * DEPTH;
/// Multiplications that are worth waking a thread for.
const WORTH: usize = 1 << 19;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Matmul for Cpu {
    fn matmul(&self, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) -> Result<()> {
        let pool = &self.threads;
        let (m, n) = (y.rows(), y.cols());
        // `gemm` vectorises over the columns of y: where they are few and rows many, the transpose
        // is the faster product.
        if form == Form::Tn && n < 64 && m >= 2 * n {
            let mut turned = vec![0.0f32; n * m];
            let mut write = epilogue.write;
            let y = FloatsMut::new(y);
            let mut epilogue = Epilogue { write: Write::Set, ..epilogue };
            if let (FloatsMut::F32(y), Write::Add) = (&y, write) {
                // The stretches add to what stood there one after another, as in every other
                // product.
                // SAFETY: no thread has begun.
                let y = unsafe { y.range(0..m * n) };
                for (r, row) in y.chunks_exact(n).enumerate() {
                    turned[r..].iter_mut().step_by(m).zip(row).for_each(|(turned, y)| *turned = *y);
                }
                (write, epilogue.write) = (Write::Set, Write::Add);
            }
            let target = FloatsMut::F32(Scatter::new(&mut turned));
            Product::new(target, (n, m), b, a, form, epilogue).run(pool);
            pool.rows(
                m,
                n,
                #[inline(always)]
                |rows| {
                    let mut row = vec![0.0; n];
                    for r in rows {
                        row.iter_mut()
                            .zip(turned[r..].iter().step_by(m))
                            .for_each(|(y, x)| *y = *x);
                        // SAFETY: `rows` hands out each row once.
                        unsafe { y.write(r * n, &row, write) };
                    }
                },
            );
            return Ok(());
        }
        Product::new(FloatsMut::new(y), (m, n), a, b, form, epilogue).run(pool);
        Ok(())
    }

    fn sum_rows(&self, y: ViewMut, x: View) -> Result<()> {
        let pool = &self.threads;
        /// Rows summed in one go; fixed, so that the order of addition is.
        const CHUNK: usize = 256;
        let (rows, cols) = (x.rows(), x.cols());
        let mut partial = vec![0.0f32; rows.div_ceil(CHUNK) * cols];
        let sums = Scatter::new(&mut partial);
        by_float!(x.dtype(), T => {
            let x = floats::<T>(x);
            pool.ranges(
                rows,
                CHUNK,
                #[inline(always)]
                |range| {
                    let start = range.start / CHUNK * cols;
                    // SAFETY: `ranges` hands out each chunk once.
                    let sums = unsafe { sums.range(start..start + cols) };
                    for x in x[range.start * cols..range.end * cols].chunks_exact(cols) {
                        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.wide());
                    }
                },
            );
        });
        let y = floats_mut::<f32>(y);
        vector(
            #[inline(always)]
            || {
                for sums in partial.chunks_exact(cols) {
                    y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
                }
            },
        );
        Ok(())
    }
}

/// scale · a · b, one summand of y.
struct Term<'a> {
    /// Columns are rows of y.
    a: Matrix<'a>,
    b: Matrix<'a>,
    scale: f32,
}

/// Columns `depth` of the inner dimension of a term, small enough for one call of `gemm`.
struct Stretch {
    term: usize,
    depth: Range<usize>,
}

/// Everything that makes y, shared by the threads.
struct Product<'a> {
    m: usize,
    n: usize,
    y: FloatsMut<'a>,
    terms: Vec<Term<'a>>,
    stretches: Vec<Stretch>,
    bias: Option<Cow<'a, [f32]>>,
    gelu: Option<Gelu>,
    pre_activation: Option<FloatsMut<'a>>,
    gelu_of: Option<(Floats<'a>, Gelu)>,
    residual: Option<(Floats<'a>, f32)>,
    write: Write,
}

impl<'a> Product<'a> {
    fn new(
        y: FloatsMut<'a>,
        (m, n): (usize, usize),
        a: View<'a>,
        b: View<'a>,
        form: Form,
        epilogue: Epilogue<'a>,
    ) -> Self {
        let mut product = Product {
            m,
            n,
            y,
            terms: Vec::new(),
            stretches: Vec::new(),
            bias: epilogue.bias.map(widened),
            gelu: epilogue.gelu,
            pre_activation: epilogue.pre_activation.map(FloatsMut::new),
            gelu_of: epilogue.gelu_of.map(|(x, form)| (Floats::new(x), form)),
            residual: epilogue.residual.map(|(x, factor)| (Floats::new(x), factor)),
            write: epilogue.write,
        };
        product.add(a, b, form, epilogue.scale);
        if let Some(LowRank { z, factor, scale }) = epilogue.low_rank {
            product.add(z, factor, if form == Form::Nt { Form::Nt } else { Form::Nn }, scale);
        }
        product
    }

    fn add(&mut self, a: View<'a>, b: View<'a>, form: Form, scale: f32) {
        let (depth, a) = match form {
            Form::Tn => (a.rows(), Matrix::by_depth(Floats::new(a), a.cols())),
            _ => (a.cols(), Matrix::by_column(Floats::new(a), a.cols())),
        };
        let b = match form {
            Form::Nt => Matrix::by_column(Floats::new(b), b.cols()),
            _ => Matrix::by_depth(Floats::new(b), b.cols()),
        };
        let parts = depth.div_ceil(DEPTH);
        for i in 0..parts {
            let depth = depth * i / parts..depth * (i + 1) / parts;
            self.stretches.push(Stretch { term: self.terms.len(), depth });
        }
        self.terms.push(Term { a, b, scale });
    }

    /// Whether y is a sum of which the product is one summand.
    fn sums(&self) -> bool {
        self.gelu.is_none() && self.pre_activation.is_none() && self.gelu_of.is_none()
    }

    /// Whether `gemm` may write into y itself: f32, and nothing between the sum and y that is not a
    /// sum.
    fn direct(&self) -> Option<Scatter<'a, f32>> {
        let summed = self.write == Write::Set || self.sums();
        match self.y {
            FloatsMut::F32(y) if summed && self.m > 1 && self.n > 1 => Some(y),
            _ => None,
        }
    }

    /// y, where its old values are the first summand although `gemm` may not write into it: the sum
    /// has the same bits either way.
    fn begun(&self) -> Option<Scatter<'a, f32>> {
        match self.y {
            FloatsMut::F32(y)
                if self.sums() && self.write == Write::Add && self.direct().is_none() =>
            {
                Some(y)
            }
            _ => None,
        }
    }

    fn run(&self, pool: &Threads) {
        let (m, n) = (self.m, self.n);
        let tasks = match m * n * self.depth() / WORTH {
            0 | 1 => 1,
            worth => worth.min(4 * pool.count()),
        };
        // Columns first, since each task makes its own panels of b; rows where there are too few of
        // them.
        let mut wide = n.div_ceil(WIDTH);
        let mut high = tasks.div_ceil(wide).min(m.div_ceil(WIDTH));
        if self.direct().is_none() {
            high = high.max(m.div_ceil(HEIGHT));
        }
        if wide * high < tasks.min(pool.count()) {
            wide = pool.count().min(n.div_ceil(64));
        }
        pool.each(
            wide * high,
            #[inline(always)]
            |i| {
                let (row, column) = (i % high, i / high);
                let edge = |i: usize| if i == wide { n } else { n / 16 * i / wide * 16 };
                self.block(cut(0..m, row, high), edge(column)..edge(column + 1));
            },
        );
    }

    fn depth(&self) -> usize {
        self.stretches.iter().map(|s| s.depth.len()).sum()
    }

    /// Computes one block of y: for some stretches at a time all rows, some rows at a time.
    #[inline(always)]
    fn block(&self, rows: Range<usize>, columns: Range<usize>) {
        let (direct, begun) = (self.direct(), self.begun());
        let parts = rows.len().div_ceil(HEIGHT);
        let height = rows.len().div_ceil(parts).max(2);
        let pitch = pitch(columns.len());
        let held = HELD.min(self.depth());
        let a_size = DEPTH.min(self.depth());
        let sizes = [
            held * pitch,
            if direct.is_some() { 0 } else { height * pitch },
            (height * self::pitch(a_size)).max(a_size * self::pitch(height)),
            columns.len().next_multiple_of(16),
        ];
        let mut memory = SCRATCH.take();
        let scratch = memory.take(sizes.iter().sum());
        let (panels, scratch) = scratch.split_at_mut(sizes[0]);
        let (tile, scratch) = scratch.split_at_mut(sizes[1]);
        let (a, line) = scratch.split_at_mut(sizes[2]);
        let mut next = 0;
        loop {
            let (first, mut depth) = (next, 0);
            while next < self.stretches.len() && depth + self.stretches[next].depth.len() <= HELD {
                depth += self.stretches[next].depth.len();
                next += 1;
            }
            let held = self.panels(first..next, &columns, panels, pitch);
            for part in 0..parts {
                let rows = cut(rows.clone(), part, parts);
                let (start, stride) = match direct {
                    Some(y) => (y.pointer(rows.start * self.n + columns.start), self.n),
                    None => (tile.as_mut_ptr(), pitch),
                };
                if let (Some(y), 0) = (begun, first) {
                    for (r, row) in rows.clone().zip(tile.chunks_mut(pitch)) {
                        let start = r * self.n + columns.start;
                        // SAFETY: this task's columns of this row; nobody else touches them.
                        let y = unsafe { y.range(start..start + columns.len()) };
                        row[..columns.len()].copy_from_slice(y);
                    }
                }
                for (i, &panel) in (first..next).zip(&held) {
                    let read =
                        i > 0 || begun.is_some() || direct.is_some() && self.write == Write::Add;
                    let a = self.left(&self.stretches[i], &rows, a);
                    self.call(start, stride, (rows.len(), columns.len()), a, panel, i, read);
                }
                if next == self.stretches.len() {
                    self.finish(rows, &columns, direct, tile, pitch, &mut line[..columns.len()]);
                }
            }
            if next == self.stretches.len() {
                break;
            }
        }
        SCRATCH.set(memory);
    }

    /// The panels of b for some stretches: in place where their columns are contiguous f32, else
    /// copied.
    #[inline(always)]
    fn panels(
        &self,
        stretches: Range<usize>,
        columns: &Range<usize>,
        mut room: &mut [f32],
        pitch: usize,
    ) -> Vec<Panel> {
        let mut panels = Vec::with_capacity(stretches.len());
        for stretch in &self.stretches[stretches] {
            let b = &self.terms[stretch.term].b;
            if b.column_stride == 1 && columns.len() > 1 {
                if let Some(panel) = b.in_place(&stretch.depth, columns) {
                    panels.push(panel);
                    continue;
                }
            }
            let (y, rest) = room.split_at_mut(stretch.depth.len() * pitch);
            room = rest;
            b.columns_contiguous(stretch.depth.clone(), columns.clone(), y, pitch);
            panels.push(Panel { start: y.as_ptr(), depth_stride: pitch, column_stride: 1 });
        }
        panels
    }

    /// Rows of a: in place where they are f32 and more than one, else copied to where a second row
    /// can be read.
    #[inline(always)]
    fn left(&self, stretch: &Stretch, rows: &Range<usize>, room: &mut [f32]) -> Panel {
        let a = &self.terms[stretch.term].a;
        let in_place = if rows.len() > 1 { a.in_place(&stretch.depth, rows) } else { None };
        in_place.unwrap_or_else(|| a.widened(&stretch.depth, rows, room))
    }

    // Called once a tile, with what its caller holds in registers: a struct would only be filled
    // and taken apart again.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    fn call(
        &self,
        y: *mut f32,
        y_stride: usize,
        (m, n): (usize, usize),
        a: Panel,
        b: Panel,
        i: usize,
        read: bool,
    ) {
        let Stretch { term, depth } = &self.stretches[i];
        // A single row or column is computed beside one of leftover numbers, which nobody reads:
        // see the head of the file. SAFETY: y, a and b hold at least two rows and columns at these
        // strides: in place they were checked against their slices (and have two, else they would
        // not be in place), in scratch they have a pitch of 16 or more and room for two. No other
        // thread writes these rows and columns of y: tasks are disjoint.
        unsafe {
            gemm::gemm(
                m.max(2),
                n.max(2),
                depth.len(),
                y,
                1,
                y_stride as isize,
                read,
                a.start,
                a.depth_stride as isize,
                a.column_stride as isize,
                b.start,
                b.column_stride as isize,
                b.depth_stride as isize,
                1.0,
                self.terms[*term].scale,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    /// What comes after the sum, for rows that are complete.
    #[inline(always)]
    fn finish(
        &self,
        rows: Range<usize>,
        columns: &Range<usize>,
        direct: Option<Scatter<f32>>,
        tile: &mut [f32],
        pitch: usize,
        line: &mut [f32],
    ) {
        let nothing = self.stretches.is_empty();
        let epilogue = self.bias.is_some()
            || self.gelu.is_some()
            || self.pre_activation.is_some()
            || self.gelu_of.is_some()
            || self.residual.is_some();
        if direct.is_some() && !epilogue && !nothing {
            return;
        }
        for (i, r) in rows.enumerate() {
            let start = r * self.n + columns.start;
            let sum = match &direct {
                // SAFETY: this task's columns of this row; nobody else touches them.
                Some(y) => unsafe { y.range(start..start + columns.len()) },
                None => &mut tile[i * pitch..][..columns.len()],
            };
            if nothing && self.begun().is_none() && (direct.is_none() || self.write == Write::Set) {
                sum.fill(0.0);
            }
            if let Some(bias) = &self.bias {
                sum.iter_mut().zip(&bias[columns.clone()]).for_each(|(y, x)| *y += x);
            }
            if let Some(pre_activation) = &self.pre_activation {
                // SAFETY: as above.
                unsafe { pre_activation.write(start, sum, Write::Set) };
            }
            if let Some(form) = self.gelu {
                // Of the sum as y's dtype holds it: then it can be computed again from what was
                // kept.
                self.y.round(sum);
                math::gelu_in_place(sum, form);
            }
            if let Some((argument, form)) = self.gelu_of {
                argument.read(start, line);
                math::times_gelu_slope(sum, line, form);
            }
            if let Some((residual, factor)) = self.residual {
                residual.read(start, line);
                sum.iter_mut().zip(&*line).for_each(|(y, x)| *y = factor.mul_add(*x, *y));
            }
            if direct.is_none() {
                let write = if self.begun().is_some() { Write::Set } else { self.write };
                // SAFETY: as above.
                unsafe { self.y.write(start, sum, write) };
            }
        }
    }
}

/// Part `i` of `parts` nearly equal ones.
fn cut(range: Range<usize>, i: usize, parts: usize) -> Range<usize> {
    let n = range.len();
    range.start + n * i / parts..range.start + n * (i + 1) / parts
}
