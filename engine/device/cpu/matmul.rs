//! The product, through the `gemm` crate block by block of rows, with the epilogue on a block while it is in the cache.
//!
//! `gemm` takes other code paths for few rows (one row; m·n small), which changes bits. Blocks are therefore padded with
//! zero rows until no such path is taken, and a row's bits do not depend on what stands beside it (tests/invariance.rs).

use super::super::{Epilogue, Form, Gelu, View, ViewMut, Write};
use super::activation::gelu_of;
use super::slices::{slice, slice_mut, with_float, Float};
use super::{widen, Threads};
use anyhow::Result;
use gemm::Parallelism;

/// Rows of y that one task computes: enough to pay for packing b, few enough that y's block stays in the second-level cache.
const BLOCK: usize = 192;
/// Columns of a narrow b that are widened at a time.
const PANEL: usize = 256;

/// A row-major or transposed f32 matrix for `gemm`: element (i, j) at `pointer + i·row + j·column`.
#[derive(Clone, Copy)]
struct Operand {
    pointer: *const f32,
    row: isize,
    column: isize,
}

// SAFETY: operands point into slices that outlive the parallel section and are only read.
unsafe impl Send for Operand {}
// SAFETY: as above.
unsafe impl Sync for Operand {}

impl Operand {
    fn from_row(&self, row: usize) -> Operand {
        Operand { pointer: self.pointer.wrapping_offset(row as isize * self.row), ..*self }
    }
}

/// y = y (where `accumulate`) + scale·a·b over `[m, n]`, k long; y row-major with rows `n` apart.
fn product(
    y: &mut [f32],
    m: usize,
    n: usize,
    k: usize,
    a: Operand,
    b: Operand,
    scale: f32,
    accumulate: bool,
    stride: usize,
) {
    assert!(m == 0 || y.len() >= (m - 1) * stride + n);
    // SAFETY: y holds m rows of n elements `stride` apart; a and b were built from slices of [m, k] and [k, n].
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.pointer,
            a.column,
            a.row,
            b.pointer,
            b.column,
            b.row,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Rows to which m is padded so that `gemm` treats every row alike.
fn padded(m: usize, n: usize) -> usize {
    let mut rows = m.next_multiple_of(8);
    while rows * n <= 256 {
        rows += 8;
    }
    rows
}

pub(super) fn matmul(
    threads: &Threads,
    y: ViewMut,
    a: View,
    b: View,
    form: Form,
    epilogue: Epilogue,
) -> Result<()> {
    if y.dtype() == crate::base::Dtype::F32
        && a.dtype() == crate::base::Dtype::F32
        && b.dtype() == crate::base::Dtype::F32
    {
        matmul_f32(threads, y, slice::<f32>(a), slice::<f32>(b), a.shape(), form, epilogue);
    } else {
        matmul_widened(threads, y, a, b, form, epilogue);
    }
    Ok(())
}

/// What the epilogue needs, as f32 slices.
struct Tail<'a> {
    scale: f32,
    bias: Option<Vec<f32>>,
    gelu: Option<Gelu>,
    low_rank: Option<(Vec<f32>, Vec<f32>, usize, f32)>,
    residual: Option<(View<'a>, f32)>,
    write: Write,
}

impl Tail<'_> {
    /// Whether the product may be added to y directly.
    fn accumulates(&self) -> bool {
        self.write == Write::Add && self.gelu.is_none() && self.residual.is_none()
    }

    /// y = residual + gelu(sum + bias) by `write`, over one row.
    #[inline(always)]
    fn row<T: Float>(&self, y: &mut [T], sum: &mut [f32], pre: Option<&mut [T]>, residual: Option<&[T]>) {
        if let Some(bias) = &self.bias {
            for (s, b) in sum.iter_mut().zip(bias) {
                *s += b;
            }
        }
        if let Some(pre) = pre {
            for (p, s) in pre.iter_mut().zip(sum.iter()) {
                *p = T::put(*s);
            }
        }
        match self.gelu {
            Some(Gelu::Tanh) => sum.iter_mut().for_each(|s| *s = gelu_of(*s, Gelu::Tanh)),
            Some(Gelu::Erf) => sum.iter_mut().for_each(|s| *s = gelu_of(*s, Gelu::Erf)),
            None => {}
        }
        if let (Some(residual), Some((_, factor))) = (residual, self.residual) {
            for (s, r) in sum.iter_mut().zip(residual) {
                *s = factor.mul_add(r.get(), *s);
            }
        }
        let add = self.write == Write::Add;
        for (y, s) in y.iter_mut().zip(sum.iter()) {
            *y = T::put(if add { y.get() + *s } else { *s });
        }
    }
}

fn to_f32(x: View) -> Vec<f32> {
    with_float!(x.dtype(), T => slice::<T>(x).iter().map(|v| v.get()).collect())
}

fn tail<'a>(epilogue: &Epilogue<'a>) -> Tail<'a> {
    Tail {
        scale: epilogue.scale,
        bias: epilogue.bias.map(to_f32),
        gelu: epilogue.gelu,
        low_rank: epilogue.low_rank.map(|l| (to_f32(l.z), to_f32(l.factor), l.z.cols(), l.scale)),
        residual: epilogue.residual,
        write: epilogue.write,
    }
}

/// Splits `[rows]` tasks over y and the pre-activation together.
type Task<'a, T> = (&'a mut [T], Option<&'a mut [T]>);

fn tasks<'a, T: Float>(y: &'a mut [T], pre: Option<&'a mut [T]>, n: usize, per: usize) -> Vec<Task<'a, T>> {
    let blocks = y.chunks_mut(per * n);
    match pre {
        None => blocks.map(|y| (y, None)).collect(),
        Some(pre) => blocks.zip(pre.chunks_mut(per * n)).map(|(y, p)| (y, Some(p))).collect(),
    }
}

fn matmul_f32(
    threads: &Threads,
    y: ViewMut,
    a: &[f32],
    b: &[f32],
    a_shape: crate::base::Shape,
    form: Form,
    epilogue: Epilogue,
) {
    let (m, n) = (y.rows(), y.cols());
    let k = if form == Form::Tn { a_shape.rows() } else { a_shape.cols() };
    let tail = tail(&epilogue);
    let residual = epilogue.residual.map(|(r, _)| slice::<f32>(r));
    let (a_row, a_column) = if form == Form::Tn { (1, m as isize) } else { (k as isize, 1) };
    let (b_row, b_column) = if form == Form::Nt { (1, k as isize) } else { (n as isize, 1) };
    let a_all = Operand { pointer: a.as_ptr(), row: a_row, column: a_column };
    let b_all = Operand { pointer: b.as_ptr(), row: b_row, column: b_column };
    // Every thread gets a share, in multiples of 8 rows.
    let per = BLOCK.min(m.div_ceil(threads.count()).next_multiple_of(8));
    let pre = epilogue.pre_activation.map(slice_mut::<f32>);
    let y = slice_mut::<f32>(y);
    let fused = tail.bias.is_some() || tail.gelu.is_some() || tail.residual.is_some() || pre.is_some();
    let mut list = tasks(y, pre, n, per);
    threads.blocks(&mut list, 1, 1, |i, task| {
        let (y, pre) = &mut task[0];
        let first = i * per;
        let rows = y.len() / n;
        let full = padded(rows, n);
        let a_block = a_all.from_row(first);
        let direct = rows == full && (!fused || tail.write == Write::Set);
        // Rows that would take another path in `gemm` are computed among zero rows, in scratch.
        let mut scratch = if direct { Vec::new() } else { vec![0f32; full * n] };
        let padded_a = (rows != full && form != Form::Tn).then(|| {
            let mut copy = vec![0f32; full * k];
            copy[..rows * k].copy_from_slice(&a[first * k..][..rows * k]);
            copy
        });
        let (a_block, count) = match &padded_a {
            Some(copy) => (Operand { pointer: copy.as_ptr(), row: k as isize, column: 1 }, full),
            None => (a_block, rows),
        };
        let sum: &mut [f32] = if direct { y } else { &mut scratch };
        let accumulate = direct && tail.accumulates();
        product(sum, count, n, k, a_block, b_all.from_row(0), tail.scale, accumulate, n);
        if let Some((z, factor, rank, scale)) = &tail.low_rank {
            low_rank(sum, &z[first * rank..][..rows * rank], factor, n, *rank, *scale, form);
        }
        if direct && !fused {
            return;
        }
        if direct {
            // `sum` is y itself: finish each row in place.
            for (r, y) in y.chunks_exact_mut(n).enumerate() {
                let residual = residual.map(|x| &x[(first + r) * n..][..n]);
                finish_in_place(&tail, y, pre.as_deref_mut().map(|p| &mut p[r * n..][..n]), residual);
            }
        } else {
            for (r, (y, sum)) in y.chunks_exact_mut(n).zip(scratch.chunks_exact_mut(n)).enumerate() {
                let residual = residual.map(|x| &x[(first + r) * n..][..n]);
                tail.row(y, sum, pre.as_deref_mut().map(|p| &mut p[r * n..][..n]), residual);
            }
        }
    });
}

/// The epilogue where the sum stands in y already (`Write::Set`).
fn finish_in_place(tail: &Tail, y: &mut [f32], pre: Option<&mut [f32]>, residual: Option<&[f32]>) {
    if let Some(bias) = &tail.bias {
        for (y, b) in y.iter_mut().zip(bias) {
            *y += b;
        }
    }
    if let Some(pre) = pre {
        pre.copy_from_slice(y);
    }
    match tail.gelu {
        Some(Gelu::Tanh) => y.iter_mut().for_each(|y| *y = gelu_of(*y, Gelu::Tanh)),
        Some(Gelu::Erf) => y.iter_mut().for_each(|y| *y = gelu_of(*y, Gelu::Erf)),
        None => {}
    }
    if let (Some(residual), Some((_, factor))) = (residual, tail.residual) {
        for (y, r) in y.iter_mut().zip(residual) {
            *y = factor.mul_add(*r, *y);
        }
    }
}

/// sum += scale·z·factorᵀ (Nt, factor [n, r]) or scale·z·factor (Nn, [r, n]), row by row in the order of the rank.
fn low_rank(sum: &mut [f32], z: &[f32], factor: &[f32], n: usize, rank: usize, scale: f32, form: Form) {
    let transposed: Vec<f32>;
    let by_rank = if form == Form::Nt {
        transposed = (0..rank * n).map(|i| factor[(i % n) * rank + i / n]).collect();
        &transposed
    } else {
        factor
    };
    for (sum, z) in sum.chunks_exact_mut(n).zip(z.chunks_exact(rank)) {
        let mut r = 0;
        while r + 4 <= rank {
            let w = [z[r] * scale, z[r + 1] * scale, z[r + 2] * scale, z[r + 3] * scale];
            let f: [&[f32]; 4] = std::array::from_fn(|i| &by_rank[(r + i) * n..][..n]);
            for j in 0..n {
                let mut s = sum[j];
                s = w[0].mul_add(f[0][j], s);
                s = w[1].mul_add(f[1][j], s);
                s = w[2].mul_add(f[2][j], s);
                sum[j] = w[3].mul_add(f[3][j], s);
            }
            r += 4;
        }
        for r in r..rank {
            let w = z[r] * scale;
            for (s, f) in sum.iter_mut().zip(&by_rank[r * n..][..n]) {
                *s = w.mul_add(*f, *s);
            }
        }
    }
}

/// Narrow storage: a block of a is widened whole, b panel by panel of n, so that no matrix exists in f32.
fn matmul_widened(threads: &Threads, y: ViewMut, a: View, b: View, form: Form, epilogue: Epilogue) {
    let (m, n) = (y.rows(), y.cols());
    let k = if form == Form::Tn { a.rows() } else { a.cols() };
    let tail = tail(&epilogue);
    let wide_a = to_f32(a);
    let mut sums = vec![0f32; padded(m, n.min(PANEL)).max(m) * n];
    let rows = sums.len() / n;
    let mut a_padded = wide_a;
    if form != Form::Tn {
        a_padded.resize(rows * k, 0.0);
    }
    let count = if form == Form::Tn { m } else { rows };
    let a_operand = match form {
        Form::Tn => Operand { pointer: a_padded.as_ptr(), row: 1, column: m as isize },
        _ => Operand { pointer: a_padded.as_ptr(), row: k as isize, column: 1 },
    };
    // Panels are independent columns of y: tasks write into disjoint panel buffers, which are then laid side by side.
    let panels = threads.map(n.div_ceil(PANEL), |panel| {
        let first = panel * PANEL;
        let width = PANEL.min(n - first);
        let mut wide = vec![0f32; k * width];
        with_float!(b.dtype(), T => {
            let b = slice::<T>(b);
            match form {
                Form::Nt => widen(&mut wide, &b[first * k..(first + width) * k]),
                _ => {
                    for (to, from) in wide.chunks_exact_mut(width).zip(b.chunks_exact(n)) {
                        widen(to, &from[first..first + width]);
                    }
                }
            }
        });
        let b_operand = match form {
            Form::Nt => Operand { pointer: wide.as_ptr(), row: 1, column: k as isize },
            _ => Operand { pointer: wide.as_ptr(), row: width as isize, column: 1 },
        };
        let mut out = vec![0f32; count.max(padded(count, width)) * width];
        let padded_rows = out.len() / width;
        if form == Form::Tn || padded_rows == count {
            product(&mut out, count, width, k, a_operand.from_row(0), b_operand, tail.scale, false, width);
        } else {
            let mut taller = vec![0f32; padded_rows * k];
            taller[..count * k].copy_from_slice(&a_padded[..count * k]);
            let operand = Operand { pointer: taller.as_ptr(), row: k as isize, column: 1 };
            product(&mut out, padded_rows, width, k, operand, b_operand, tail.scale, false, width);
        }
        (first, width, out)
    });
    for (first, width, out) in panels {
        for (sum, row) in sums.chunks_exact_mut(n).zip(out.chunks_exact(width)) {
            sum[first..first + width].copy_from_slice(row);
        }
    }
    if let Some((z, factor, rank, scale)) = &tail.low_rank {
        low_rank(&mut sums, z, factor, n, *rank, *scale, form);
    }
    with_float!(y.dtype(), T => {
        let residual = epilogue.residual.map(|(r, _)| slice::<T>(r));
        let mut pre = epilogue.pre_activation.map(slice_mut::<T>);
        for (r, (y, sum)) in slice_mut::<T>(y).chunks_exact_mut(n).zip(sums.chunks_exact_mut(n)).enumerate() {
            let residual = residual.map(|x| &x[r * n..][..n]);
            tail.row(y, sum, pre.as_deref_mut().map(|p| &mut p[r * n..][..n]), residual);
        }
    });
}
