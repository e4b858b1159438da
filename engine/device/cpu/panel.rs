//! Panels: pieces of a matrix as f32 in the order `gemm` reads fastest, and the scratch memory they
//! lie in.

use super::element::Floats;
use super::element::{widen, Element};
use std::ops::Range;

/// Memory that a thread keeps between calls, since fresh pages cost more than small products do; it
/// grows to what was asked for, and what it holds is never assumed.
#[derive(Default)]
pub(super) struct Scratch(Vec<Line>);

/// A cache line, so that panels begin at one and are aligned for any vector.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Scratch {
    /// `count` elements, contents unspecified.
    pub fn take(&mut self, count: usize) -> &mut [f32] {
        let lines = count.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, bytemuck::Zeroable::zeroed());
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..count]
    }
}

/// The distance between rows of `width` floats in scratch: whole cache lines, and not a multiple of
/// 256 bytes, so that the rows of a column do not share cache sets.
pub(super) fn pitch(width: usize) -> usize {
    let pitch = width.next_multiple_of(16);
    match pitch % 64 {
        0 => pitch + 16,
        _ => pitch,
    }
}

/// A matrix seen as depth × columns, whatever lies contiguous in memory.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub data: Floats<'a>,
    /// Distance between neighbours along the depth, and between columns; one of them is 1.
    pub depth_stride: usize,
    pub column_stride: usize,
}

/// Where one stretch of depth and columns is read from.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub start: *const f32,
    pub depth_stride: usize,
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Stored `[depth, columns]`.
    pub fn by_depth(data: Floats<'a>, columns: usize) -> Matrix<'a> {
        Matrix { data, depth_stride: columns, column_stride: 1 }
    }

    /// Stored `[columns, depth]`.
    pub fn by_column(data: Floats<'a>, depth: usize) -> Matrix<'a> {
        Matrix { data, depth_stride: 1, column_stride: depth }
    }

    /// The stretch in place, where it is f32.
    pub fn in_place(&self, depth: &Range<usize>, columns: &Range<usize>) -> Option<Panel> {
        let Floats::F32(data) = self.data else { return None };
        let offset = depth.start * self.depth_stride + columns.start * self.column_stride;
        let last = (depth.end - 1) * self.depth_stride + (columns.end - 1) * self.column_stride;
        assert!(last < data.len(), "depth {depth:?}, columns {columns:?} of {}", data.len());
        Some(Panel {
            start: data[offset..].as_ptr(),
            depth_stride: self.depth_stride,
            column_stride: self.column_stride,
        })
    }

    /// The stretch copied to `y` with columns contiguous, `pitch` apart along the depth.
    #[inline(always)]
    pub fn columns_contiguous(
        &self,
        depth: Range<usize>,
        columns: Range<usize>,
        y: &mut [f32],
        pitch: usize,
    ) {
        if self.column_stride == 1 {
            for (y, d) in y.chunks_mut(pitch).zip(depth) {
                self.data.read(d * self.depth_stride + columns.start, &mut y[..columns.len()]);
            }
            return;
        }
        let start = columns.start * self.column_stride + depth.start;
        match self.data {
            Floats::F32(x) => {
                transpose(y, pitch, &x[start..], self.column_stride, columns.len(), depth.len())
            }
            Floats::F16(x) => {
                transpose(y, pitch, &x[start..], self.column_stride, columns.len(), depth.len())
            }
            Floats::Bf16(x) => {
                transpose(y, pitch, &x[start..], self.column_stride, columns.len(), depth.len())
            }
        }
    }

    /// The stretch copied to `y` in its own order; returns how to read it.
    #[inline(always)]
    pub fn widened(&self, depth: &Range<usize>, columns: &Range<usize>, y: &mut [f32]) -> Panel {
        let (outer, inner, depth_is_outer) = match self.column_stride {
            1 => (depth, columns, true),
            _ => (columns, depth, false),
        };
        let stride = if depth_is_outer { self.depth_stride } else { self.column_stride };
        let pitch = pitch(inner.len());
        for (y, o) in y.chunks_mut(pitch).zip(outer.clone()) {
            self.data.read(o * stride + inner.start, &mut y[..inner.len()]);
        }
        let (depth_stride, column_stride) = if depth_is_outer { (pitch, 1) } else { (1, pitch) };
        Panel { start: y.as_ptr(), depth_stride, column_stride }
    }
}

/// y\[c\]\[r\] = x\[r\]\[c\] for `rows` rows of x and `cols` columns.
#[inline(always)]
fn transpose<T: Element>(
    y: &mut [f32],
    y_stride: usize,
    x: &[T],
    x_stride: usize,
    rows: usize,
    cols: usize,
) {
    assert!(rows <= y_stride && rows * cols > 0);
    assert!((cols - 1) * y_stride + rows <= y.len() && (rows - 1) * x_stride + cols <= x.len());
    let whole = (rows / 8 * 8, cols / 8 * 8);
    // Sixteen rows of x make whole cache lines of y.
    for r in (0..whole.0).step_by(16) {
        for c in (0..whole.1).step_by(8) {
            for r in (r..whole.0.min(r + 16)).step_by(8) {
                let mut block = [[0.0f32; 8]; 8];
                for (i, row) in block.iter_mut().enumerate() {
                    widen(row, &x[(r + i) * x_stride + c..][..8]);
                }
                #[allow(unused_unsafe)] // outside x86-64 it is a function like any other
                // SAFETY: the processor has what `transposed` asks for: see `vector`.
                let block = unsafe { transposed(block) };
                for (i, row) in block.iter().enumerate() {
                    y[(c + i) * y_stride + r..][..8].copy_from_slice(row);
                }
            }
        }
    }
    for r in 0..rows {
        let from = if r < whole.0 { whole.1 } else { 0 };
        for c in from..cols {
            y[c * y_stride + r] = x[r * x_stride + c].wide();
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx")]
fn transposed(block: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
    use std::arch::x86_64::*;
    // SAFETY: the arrays and eight vectors have the same size and any bits are floats.
    unsafe {
        let r: [__m256; 8] = std::mem::transmute(block);
        let pairs = |a, b| (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let ((a0, a1), (a2, a3)) = (pairs(r[0], r[1]), pairs(r[2], r[3]));
        let ((a4, a5), (a6, a7)) = (pairs(r[4], r[5]), pairs(r[6], r[7]));
        let fours = |a, b| (_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b));
        let ((b0, b1), (b2, b3)) = (fours(a0, a2), fours(a1, a3));
        let ((b4, b5), (b6, b7)) = (fours(a4, a6), fours(a5, a7));
        let low = |a, b| _mm256_permute2f128_ps::<0x20>(a, b);
        let high = |a, b| _mm256_permute2f128_ps::<0x31>(a, b);
        std::mem::transmute([
            low(b0, b4),
            low(b1, b5),
            low(b2, b6),
            low(b3, b7),
            high(b0, b4),
            high(b1, b5),
            high(b2, b6),
            high(b3, b7),
        ])
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(block: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
    std::array::from_fn(|i| std::array::from_fn(|j| block[j][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_the_transpose() {
        for (rows, cols) in [(1, 1), (8, 8), (16, 24), (7, 9), (33, 20), (40, 3)] {
            let x: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let pitch = pitch(rows);
            let mut y = vec![-1.0; pitch * cols];
            Matrix::by_column(Floats::F32(&x), cols).columns_contiguous(
                0..cols,
                0..rows,
                &mut y,
                pitch,
            );
            for r in 0..rows {
                for c in 0..cols {
                    assert_eq!(y[c * pitch + r], x[r * cols + c], "{rows}x{cols} at {r} {c}");
                }
            }
        }
    }
}
