//! One head's products: panels of the right side, and the tile of the result that stays in
//! registers.

use super::super::element::{widen, Element};
use super::super::math::exp;

/// Columns of a panel and of a tile: two AVX2 registers.
pub(super) const WIDE: usize = 16;
/// Rows of a tile: 6·2 accumulators, two registers of the panel and one broadcast fill the sixteen
/// there are.
pub(super) const TALL: usize = 6;

/// Rows of one head inside a matrix that holds all heads.
#[derive(Clone, Copy)]
pub(super) struct HeadRows<'a, T> {
    pub elements: &'a [T],
    /// Index of the first row's first element.
    pub first: usize,
    /// Elements from a row to the next.
    pub stride: usize,
    /// Columns of the head.
    pub size: usize,
}

impl<'a, T: Element> HeadRows<'a, T> {
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.elements[self.first + i * self.stride..][..self.size]
    }

    /// y `[rows, size]` = the first rows as f32.
    #[inline(always)]
    pub fn plain(&self, y: &mut [f32]) {
        for (i, y) in y.chunks_exact_mut(self.size).enumerate() {
            widen(y, self.row(i));
        }
    }
}

/// Elements of the panels of a matrix whose rows become columns of the right side.
pub(super) fn across_len(rows: usize, cols: usize) -> usize {
    rows.next_multiple_of(WIDE) * cols
}

/// x `[rows, cols]` transposed, in panels: panel p holds rows 16p.. as `[cols, 16]`, zeros where
/// rows end.
#[inline(always)]
pub(super) fn across(y: &mut [f32], x: &[f32], cols: usize) {
    for (y, x) in y.chunks_exact_mut(WIDE * cols).zip(x.chunks(WIDE * cols)) {
        if x.len() < WIDE * cols {
            y.fill(0.0);
            for (j, x) in x.chunks_exact(cols).enumerate() {
                for (y, &x) in y[j..].iter_mut().step_by(WIDE).zip(x) {
                    *y = x;
                }
            }
        } else {
            for (t, y) in y.chunks_exact_mut(WIDE).enumerate() {
                for (j, y) in y.iter_mut().enumerate() {
                    *y = x[j * cols + t];
                }
            }
        }
    }
}

/// Elements of the panels of a matrix whose columns are those of the right side.
pub(super) fn along_len(rows: usize, cols: usize) -> usize {
    rows * cols.next_multiple_of(WIDE)
}

/// x `[rows, cols]` in panels: panel p holds columns 16p.. as `[rows, 16]`, zeros where columns
/// end.
#[inline(always)]
pub(super) fn along(y: &mut [f32], x: &[f32], cols: usize) {
    let rows = x.len() / cols;
    if rows == 0 {
        return;
    }
    for (p, y) in y.chunks_exact_mut(WIDE * rows).enumerate() {
        let part = p * WIDE..cols.min((p + 1) * WIDE);
        if part.len() == WIDE {
            for (y, x) in y.chunks_exact_mut(WIDE).zip(x.chunks_exact(cols)) {
                y.copy_from_slice(&x[part.clone()]);
            }
        } else {
            for (y, x) in y.chunks_exact_mut(WIDE).zip(x.chunks_exact(cols)) {
                let (y, zeros) = y.split_at_mut(part.len());
                y.copy_from_slice(&x[part.clone()]);
                zeros.fill(0.0);
            }
        }
    }
}

/// The left side of a product: element (i, t) is `elements[i * row + t * step]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub elements: &'a [f32],
    pub row: usize,
    pub step: usize,
}

/// c\[i, j\] = Σₜ a\[i, t\]·b\[t, j\] for `rows` ≤ 6 rows and 16 columns, t ascending in one sum;
/// with `ADD` that sum begins with c. shapes: c rows `stride` apart, b `[steps, 16]`.
#[inline(always)]
pub(super) fn product<const ADD: bool>(
    c: &mut [f32],
    stride: usize,
    a: Left,
    b: &[f32],
    rows: usize,
) {
    #[allow(unused_unsafe)] // outside x86-64 `tile` is a function like any other
    // SAFETY: the processor has what `tile` asks for: see `vector`.
    unsafe {
        match rows {
            1 => tile::<1, ADD>(c, stride, a, b),
            2 => tile::<2, ADD>(c, stride, a, b),
            3 => tile::<3, ADD>(c, stride, a, b),
            4 => tile::<4, ADD>(c, stride, a, b),
            5 => tile::<5, ADD>(c, stride, a, b),
            6 => tile::<6, ADD>(c, stride, a, b),
            _ => unreachable!("a tile of {rows} rows"),
        }
    }
}

/// A function of its own, so that its sums have the registers to themselves.
#[inline(never)]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,movbe"))]
fn tile<const M: usize, const ADD: bool>(c: &mut [f32], stride: usize, a: Left, b: &[f32]) {
    let (b, _) = b.as_chunks::<WIDE>();
    let last = (M - 1) * a.row + b.len().saturating_sub(1) * a.step;
    assert!(
        b.is_empty() || last < a.elements.len(),
        "attention: left side of {}",
        a.elements.len()
    );
    let mut sums = [[0.0f32; WIDE]; M];
    if ADD {
        for (i, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&c[i * stride..][..WIDE]);
        }
    }
    for (t, b) in b.iter().enumerate() {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: i ≤ M - 1 and t ≤ steps - 1, and the element of the last of both was found
            // inside above.
            let x = unsafe { *a.elements.get_unchecked(i * a.row + t * a.step) };
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = x.mul_add(b, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        c[i * stride..][..WIDE].copy_from_slice(sums);
    }
}

/// Scores of one row become e^(scale·score - maximum) up to `visible` and zero from there on;
/// returns maximum and sum. The sum runs in sixteen lanes by column. `scores` are whole panels.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32], visible: usize, scale: f32) -> (f32, f32) {
    debug_assert!(visible <= scores.len() && scores.len().is_multiple_of(WIDE));
    scores[visible..].fill(f32::NEG_INFINITY);
    let (panels, _) = scores.as_chunks_mut::<WIDE>();
    let mut lanes = [f32::NEG_INFINITY; WIDE];
    for (p, panel) in panels.iter_mut().enumerate() {
        // Minus infinity times a scale of zero would be no number.
        let inside = visible.saturating_sub(p * WIDE).min(WIDE);
        match inside {
            WIDE => panel.iter_mut().for_each(|s| *s *= scale),
            _ => panel[..inside].iter_mut().for_each(|s| *s *= scale),
        }
        for (lane, &s) in lanes.iter_mut().zip(&*panel) {
            *lane = if s > *lane { s } else { *lane };
        }
    }
    let maximum = lanes.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let mut lanes = [0.0; WIDE];
    for panel in panels {
        for (lane, s) in lanes.iter_mut().zip(panel) {
            *s = exp(*s - maximum);
            *lane += *s;
        }
    }
    (maximum, total(lanes))
}

/// Sum of the lanes, halves added to halves.
#[inline(always)]
fn total(mut lanes: [f32; WIDE]) -> f32 {
    let mut half = WIDE / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ x·y in sixteen lanes by column.
#[inline(always)]
pub(super) fn dot<S: Element, T: Element>(x: &[S], y: &[T]) -> f32 {
    assert_eq!(x.len(), y.len());
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<WIDE>(), y.as_chunks::<WIDE>());
    let mut lanes = [0.0; WIDE];
    for (x, y) in x.iter().zip(y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = x.wide().mul_add(y.wide(), *lane);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane = x.wide().mul_add(y.wide(), *lane);
    }
    total(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_products_whatever_stands_beside_a_row() {
        for (rows, steps, cols) in [(1, 1, 1), (6, 5, 16), (4, 33, 17), (3, 64, 40)] {
            let a: Vec<f32> = (0..rows * steps).map(|i| (i % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..steps * cols).map(|i| (i % 7) as f32 - 3.0).collect();
            let transposed: Vec<f32> =
                (0..cols * steps).map(|i| b[i % steps * cols + i / steps]).collect();
            let expected = |i: usize, j: usize| -> f32 {
                (0..steps).map(|t| a[i * steps + t] * b[t * cols + j]).sum()
            };
            let mut along_panels = vec![f32::NAN; along_len(steps, cols)];
            along(&mut along_panels, &b, cols);
            let mut across_panels = vec![f32::NAN; across_len(cols, steps)];
            across(&mut across_panels, &transposed, steps);
            assert_eq!(along_panels, across_panels);
            for (p, panel) in along_panels.chunks_exact(WIDE * steps).enumerate() {
                let mut c = [1.0f32; TALL * WIDE];
                product::<false>(
                    &mut c,
                    WIDE,
                    Left { elements: &a, row: steps, step: 1 },
                    panel,
                    rows,
                );
                let mut twice = c;
                product::<true>(
                    &mut twice,
                    WIDE,
                    Left { elements: &a, row: steps, step: 1 },
                    panel,
                    rows,
                );
                for i in 0..rows {
                    for j in 0..WIDE {
                        let expected =
                            if p * WIDE + j < cols { expected(i, p * WIDE + j) } else { 0.0 };
                        assert_eq!(
                            (c[i * WIDE + j], twice[i * WIDE + j]),
                            (expected, 2.0 * expected)
                        );
                    }
                    let mut alone = [0.0; WIDE];
                    product::<false>(
                        &mut alone,
                        WIDE,
                        Left { elements: &a[i * steps..], row: steps, step: 1 },
                        panel,
                        1,
                    );
                    assert_eq!(alone, c[i * WIDE..][..WIDE]);
                }
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_and_hides_what_is_not_visible() {
        for visible in [1, 15, 16, 17, 40] {
            let mut scores = vec![f32::NAN; 48];
            (0..visible).for_each(|j| scores[j] = (j % 5) as f32 * 100.0);
            let (maximum, sum) = softmax(&mut scores, visible, 0.5);
            assert_eq!(maximum, 50.0 * (visible.min(5) - 1) as f32);
            assert!((scores.iter().sum::<f32>() - sum).abs() < 1e-5);
            assert!(scores[visible..].iter().all(|&p| p == 0.0));
        }
    }
}
