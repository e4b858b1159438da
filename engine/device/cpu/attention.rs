//! Attention over segments, forwards and backwards, and over a cache.
//!
//! A task is one head of one sequence, so nothing outside the sequence can change its bits. Scores exist for a block of
//! query rows at a time, and only against the keys that some row of the block sees.

use super::super::{CacheRows, Dropout, Qkv, Rotary, Segments, Turn, View, ViewMut};
use super::activation::row_words;
use super::math::exp;
use super::norm::dot;
use super::slices::{ids, slice, slice_mut, with_float, Float};
use super::{check_ids, rows_per_task, Threads};
use anyhow::Result;
use gemm::Parallelism;

/// Query rows whose scores exist at once.
const BLOCK: usize = 64;

/// Column where query (0), key (1) or value (2) of a head begins in a row of 3h.
fn column(part: usize, head: usize, heads: usize, dim: usize, layout: Qkv) -> usize {
    match layout {
        Qkv::Thirds => part * heads * dim + head * dim,
        Qkv::PerHead => head * 3 * dim + part * dim,
    }
}

/// y[m, n] = scale·a[m, k]·b (+ y): row strides and (row, column) steps of b are explicit.
#[allow(clippy::too_many_arguments)]
fn small_product(
    y: &mut [f32],
    (m, n, k): (usize, usize, usize),
    a: &[f32],
    (a_row, a_column): (usize, usize),
    b: &[f32],
    (b_row, b_column): (usize, usize),
    scale: f32,
    add: bool,
) {
    assert!(
        m == 0 || n == 0 || k == 0 || {
            y.len() >= m * n
                && a.len() > (m - 1) * a_row + (k - 1) * a_column
                && b.len() > (k - 1) * b_row + (n - 1) * b_column
        }
    );
    // SAFETY: the assertion above bounds every element that the strides reach.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            b_column as isize,
            b_row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Rows `start..end` of one head's part of a `[R, width]` matrix, contiguous and widened.
fn gather<T: Float>(
    x: &[T],
    width: usize,
    rows: std::ops::Range<usize>,
    column: usize,
    dim: usize,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len() * dim);
    for r in rows {
        out.extend(x[r * width + column..][..dim].iter().map(|v| v.get()));
    }
    out
}

/// Keys that query row `q` (within its sequence) sees: `0..visible`.
fn visible(q: usize, context: usize) -> usize {
    context.max(q + 1)
}

/// (sequence, head) tasks.
fn pairs(segments: &Segments, heads: usize) -> Vec<(usize, usize, usize, usize)> {
    let mut list = Vec::with_capacity(segments.sequences() * heads);
    for (bounds, &context) in segments.start.windows(2).zip(&segments.context) {
        if bounds[1] > bounds[0] {
            list.extend((0..heads).map(|h| (bounds[0] as usize, bounds[1] as usize, context as usize, h)));
        }
    }
    list
}

/// Dropout of probabilities: scales or clears the first `keys` of a row of head `head`.
fn drop_probabilities(p: &mut [f32], dropout: &Dropout, row: usize, head: usize, words: &mut Vec<u32>) {
    let names = ids(dropout.rows);
    words.resize(p.len(), 0);
    row_words(dropout.key, &names[3 * row..][..3], (head as u32) << 16, words);
    let threshold = Dropout::threshold(dropout.rate);
    let kept = 1.0 / (1.0 - dropout.rate);
    for (p, &word) in p.iter_mut().zip(words.iter()) {
        *p = if word < threshold { 0.0 } else { *p * kept };
    }
}

/// A raw output that tasks fill at disjoint rows and columns.
struct Target<T>(*mut T);
// SAFETY: every task writes columns of its own head in rows of its own sequence, which no other task touches.
unsafe impl<T> Send for Target<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Target<T> {}

impl<T: Float> Target<T> {
    /// SAFETY: the caller owns elements `at..at + values.len()` of the output.
    unsafe fn write(&self, at: usize, values: &[f32]) {
        for (i, &v) in values.iter().enumerate() {
            // SAFETY: the caller's duty.
            unsafe { self.0.add(at + i).write(T::put(v)) };
        }
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn attention(
    threads: &Threads,
    y: ViewMut,
    log_sum_exp: ViewMut,
    qkv: View,
    segments: &Segments,
    heads: usize,
    layout: Qkv,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<()> {
    let hidden = y.cols();
    let dim = hidden / heads;
    with_float!(qkv.dtype(), T => {
        let qkv = slice::<T>(qkv);
        let y = Target(slice_mut::<T>(y).as_mut_ptr());
        let lse = Target(slice_mut::<f32>(log_sum_exp).as_mut_ptr());
        let tasks = pairs(segments, heads);
        threads.map(tasks.len(), |i| {
            let (start, end, context, head) = tasks[i];
            let part = |p| gather(qkv, 3 * hidden, start..end, column(p, head, heads, dim, layout), dim);
            let (q, k, v) = (part(0), part(1), part(2));
            let n = end - start;
            let mut scores = vec![0f32; BLOCK.min(n) * n];
            let mut out = vec![0f32; BLOCK.min(n) * dim];
            let mut words = Vec::new();
            for first in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - first);
                let keys = visible(first + rows - 1, context);
                let scores = &mut scores[..rows * keys];
                small_product(scores, (rows, keys, dim), &q[first * dim..], (dim, 1), &k, (1, dim), scale, false);
                for (r, p) in scores.chunks_exact_mut(keys).enumerate() {
                    let seen = visible(first + r, context);
                    let max = p[..seen].iter().fold(f32::NEG_INFINITY, |m, &s| if s > m { s } else { m });
                    p[..seen].iter_mut().for_each(|s| *s = exp(*s - max));
                    let total = super::norm::sum(&p[..seen], |x| x);
                    p[..seen].iter_mut().for_each(|s| *s /= total);
                    p[seen..].fill(0.0);
                    // SAFETY: row and head belong to this task alone.
                    unsafe { lse.write((start + first + r) * heads + head, &[max + total.ln()]) };
                    if let Some(dropout) = &dropout {
                        drop_probabilities(&mut p[..seen], dropout, start + first + r, head, &mut words);
                    }
                }
                let out = &mut out[..rows * dim];
                small_product(out, (rows, dim, keys), scores, (keys, 1), &v, (dim, 1), 1.0, false);
                for (r, row) in out.chunks_exact(dim).enumerate() {
                    // SAFETY: row and head belong to this task alone.
                    unsafe { y.write((start + first + r) * hidden + head * dim, row) };
                }
            }
        });
    });
    Ok(())
}

#[allow(clippy::too_many_arguments)]
pub(super) fn attention_backward(
    threads: &Threads,
    d_qkv: ViewMut,
    dy: View,
    y: View,
    log_sum_exp: View,
    qkv: View,
    segments: &Segments,
    heads: usize,
    layout: Qkv,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<()> {
    let hidden = y.cols();
    let dim = hidden / heads;
    let lse = slice::<f32>(log_sum_exp);
    with_float!(qkv.dtype(), T => {
        let (qkv, dy, y) = (slice::<T>(qkv), slice::<T>(dy), slice::<T>(y));
        let d_qkv = Target(slice_mut::<T>(d_qkv).as_mut_ptr());
        let tasks = pairs(segments, heads);
        threads.map(tasks.len(), |i| {
            let (start, end, context, head) = tasks[i];
            let part = |p| gather(qkv, 3 * hidden, start..end, column(p, head, heads, dim, layout), dim);
            let (q, k, v) = (part(0), part(1), part(2));
            let out = gather(y, hidden, start..end, head * dim, dim);
            let d_out = gather(dy, hidden, start..end, head * dim, dim);
            let n = end - start;
            let (mut dq, mut dk, mut dv) = (vec![0f32; n * dim], vec![0f32; n * dim], vec![0f32; n * dim]);
            let (mut p, mut dp) = (vec![0f32; BLOCK.min(n) * n], vec![0f32; BLOCK.min(n) * n]);
            let (mut words, mut ones) = (Vec::new(), Vec::new());
            for first in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - first);
                let keys = visible(first + rows - 1, context);
                let (p, dp) = (&mut p[..rows * keys], &mut dp[..rows * keys]);
                let (q, d_out) = (&q[first * dim..], &d_out[first * dim..]);
                small_product(p, (rows, keys, dim), q, (dim, 1), &k, (1, dim), scale, false);
                small_product(dp, (rows, keys, dim), d_out, (dim, 1), &v, (1, dim), 1.0, false);
                for (r, (p, dp)) in p.chunks_exact_mut(keys).zip(dp.chunks_exact_mut(keys)).enumerate() {
                    let row = start + first + r;
                    let seen = visible(first + r, context);
                    let log_sum = lse[row * heads + head];
                    p[..seen].iter_mut().for_each(|s| *s = exp(*s - log_sum));
                    p[seen..].fill(0.0);
                    dp[seen..].fill(0.0);
                    let delta = dot(&out[(first + r) * dim..][..dim], &d_out[r * dim..][..dim]);
                    // ds = p·(mask·dp - delta); the dropped probabilities go to dv.
                    match &dropout {
                        None => {
                            for (dp, &p) in dp[..seen].iter_mut().zip(p[..seen].iter()) {
                                *dp = p * (*dp - delta);
                            }
                        }
                        Some(dropout) => {
                            ones.clear();
                            ones.resize(seen, 1.0);
                            drop_probabilities(&mut ones, dropout, row, head, &mut words);
                            for ((dp, p), &mask) in dp[..seen].iter_mut().zip(p[..seen].iter_mut()).zip(&ones) {
                                *dp = *p * (*dp * mask - delta);
                                *p *= mask;
                            }
                        }
                    }
                }
                // dv += pᵀ·dy, dq = scale·ds·k, dk += scale·dsᵀ·q
                small_product(&mut dv[..keys * dim], (keys, dim, rows), p, (1, keys), d_out, (dim, 1), 1.0, true);
                let dq = &mut dq[first * dim..][..rows * dim];
                small_product(dq, (rows, dim, keys), dp, (keys, 1), &k, (dim, 1), scale, false);
                small_product(&mut dk[..keys * dim], (keys, dim, rows), dp, (1, keys), q, (dim, 1), scale, true);
            }
            for (p, gradient) in [(0, &dq), (1, &dk), (2, &dv)] {
                let at = column(p, head, heads, dim, layout);
                for (r, row) in gradient.chunks_exact(dim).enumerate() {
                    // SAFETY: row and head belong to this task alone.
                    unsafe { d_qkv.write((start + r) * 3 * hidden + at, row) };
                }
            }
        });
    });
    Ok(())
}

pub(super) fn rotate(
    threads: &Threads,
    x: ViewMut,
    rotary: Rotary,
    heads: usize,
    layout: Qkv,
    turn: Turn,
) -> Result<()> {
    let width = x.cols();
    let dim = width / (3 * heads);
    let quarter = dim / 4;
    let (cos, sin) = (slice::<f32>(rotary.cos), slice::<f32>(rotary.sin));
    let positions = rotary.positions.map(ids);
    for positions in positions {
        check_ids("rotate", positions, rotary.cos.rows())?;
    }
    let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
    with_float!(x.dtype(), T => {
        threads.blocks(slice_mut::<T>(x), width, rows_per_task(width), |first, block| {
            for (r, row) in block.chunks_exact_mut(width).enumerate() {
                for (half, positions) in positions.iter().enumerate() {
                    let at = positions[first + r] as usize * quarter;
                    let (cos, sin) = (&cos[at..][..quarter], &sin[at..][..quarter]);
                    for part in 0..2 {
                        for head in 0..heads {
                            let begin = column(part, head, heads, dim, layout) + half * dim / 2;
                            let (low, high) = row[begin..][..2 * quarter].split_at_mut(quarter);
                            for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                                let (x, y, s) = (a.get(), b.get(), s * sign);
                                *a = T::put(x * c - y * s);
                                *b = T::put(y * c + x * s);
                            }
                        }
                    }
                }
            }
        });
    });
    Ok(())
}

pub(super) fn cache_store(cache: ViewMut, qkv: View, slots: View, heads: usize, layout: Qkv) -> Result<()> {
    let slots = ids(slots);
    check_ids("cache_store", slots, cache.rows())?;
    let hidden = qkv.cols() / 3;
    let dim = hidden / heads;
    with_float!(qkv.dtype(), T => {
        let qkv = slice::<T>(qkv);
        let cache = slice_mut::<T>(cache);
        for (row, &slot) in qkv.chunks_exact(3 * hidden).zip(slots) {
            let (keys, values) = cache[slot as usize * 2 * hidden..][..2 * hidden].split_at_mut(hidden);
            for head in 0..heads {
                let k = column(1, head, heads, dim, layout);
                let v = column(2, head, heads, dim, layout);
                keys[head * dim..][..dim].copy_from_slice(&row[k..][..dim]);
                values[head * dim..][..dim].copy_from_slice(&row[v..][..dim]);
            }
        }
    });
    Ok(())
}

#[allow(clippy::too_many_arguments)]
pub(super) fn cache_attention(
    threads: &Threads,
    y: ViewMut,
    qkv: View,
    prompt: View,
    tail: View,
    rows: CacheRows,
    heads: usize,
    layout: Qkv,
    scale: f32,
) -> Result<()> {
    let hidden = y.cols();
    let dim = hidden / heads;
    let (spans, path_start, path) = (ids(rows.prompt), ids(rows.path_start), ids(rows.path));
    check_ids("cache_attention: path", path, tail.rows())?;
    check_ids("cache_attention: prompt", spans, prompt.rows() + 1)?;
    with_float!(qkv.dtype(), T => {
        let (qkv, prompt, tail) = (slice::<T>(qkv), slice::<T>(prompt), slice::<T>(tail));
        threads.blocks(slice_mut::<T>(y), hidden, 4, |first, block| {
            let mut scores: Vec<f32> = Vec::new();
            let (mut q, mut key, mut out) = (vec![0f32; dim], vec![0f32; dim], vec![0f32; dim]);
            for (r, y) in block.chunks_exact_mut(hidden).enumerate() {
                let r = first + r;
                let prompt = &prompt[spans[2 * r] as usize * 2 * hidden..spans[2 * r + 1] as usize * 2 * hidden];
                let path = &path[path_start[r] as usize..path_start[r + 1] as usize];
                let seen = || {
                    let tail = path.iter().map(|&slot| &tail[slot as usize * 2 * hidden..][..2 * hidden]);
                    prompt.chunks_exact(2 * hidden).chain(tail)
                };
                for head in 0..heads {
                    let at = head * dim;
                    super::widen(&mut q, &qkv[r * 3 * hidden + column(0, head, heads, dim, layout)..][..dim]);
                    scores.clear();
                    for row in seen() {
                        super::widen(&mut key, &row[at..][..dim]);
                        scores.push(scale * dot(&q, &key));
                    }
                    let max = scores.iter().fold(f32::NEG_INFINITY, |m, &s| if s > m { s } else { m });
                    scores.iter_mut().for_each(|s| *s = exp(*s - max));
                    let inverse = 1.0 / super::norm::sum(&scores, |x| x);
                    out.fill(0.0);
                    for (row, &p) in seen().zip(&scores) {
                        for (o, v) in out.iter_mut().zip(&row[hidden + at..][..dim]) {
                            *o = p.mul_add(v.get(), *o);
                        }
                    }
                    for (y, o) in y[at..][..dim].iter_mut().zip(&out) {
                        *y = T::put(o * inverse);
                    }
                }
            }
        });
    });
    Ok(())
}
