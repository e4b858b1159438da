//! Rotary positions, attention over segments, attention over a cache.
//!
//! Every product here is [`tile::product`] on one head: the left side row by row, the right side in
//! panels that [`tile`] lays out. A row's sums run over its keys in ascending order from the first,
//! whichever rows are computed beside it, so its bits depend on its own sequence (or its own prompt
//! and path) alone.

mod backward;
mod cache;
mod prefill;
mod rotate;
mod tile;

use super::super::*;
use super::dropout::Row;
use super::element::{by_float, floats, floats_mut, words};
use super::threads::Scatter;
use super::Cpu;
use crate::device::ops::Attention;
use anyhow::Result;
use backward::Backward;
use cache::Cached;
use prefill::Forward;
use std::cmp::Reverse;
use tile::{TALL, WIDE};

/// Where the parts of a head stand in a row of qkv.
#[derive(Clone, Copy)]
struct HeadColumns {
    count: usize,
    /// Columns of one head.
    size: usize,
    layout: Qkv,
}

#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

impl HeadColumns {
    /// `columns` are those of qkv.
    fn new(columns: usize, heads: Heads) -> HeadColumns {
        let Heads { count, layout } = heads;
        assert!(
            count > 0 && columns.is_multiple_of(3 * count),
            "attention: {columns} columns for {count} heads"
        );
        HeadColumns { count, size: columns / (3 * count), layout }
    }

    /// Columns of all heads.
    fn width(self) -> usize {
        self.count * self.size
    }

    /// First column of a part.
    fn column(self, part: Part, head: usize) -> usize {
        match self.layout {
            Qkv::Thirds => part as usize * self.width() + head * self.size,
            Qkv::PerHead => (3 * head + part as usize) * self.size,
        }
    }
}

impl Attention for Cpu {
    fn rotate(&self, x: ViewMut, rotary: Rotary, heads: Heads, turn: Turn) -> Result<()> {
        let columns = x.cols();
        let heads = HeadColumns::new(columns, heads);
        let pairs = heads.size / 4;
        let (cos, sin) = (floats::<f32>(rotary.cos), floats::<f32>(rotary.sin));
        let positions = rotary.positions.map(words);
        let sign = match turn {
            Turn::Forward => 1.0,
            Turn::Backward => -1.0,
        };
        by_float!(x.dtype(), T => self.threads.rows_of(
            floats_mut::<T>(x),
            columns,
            #[inline(always)]
            |range, x| {
                for (row, x) in range.zip(x.chunks_exact_mut(columns)) {
                    for (half, positions) in positions.iter().enumerate() {
                        let first = positions[row] as usize * pairs;
                        let (cos, sin) = (&cos[first..first + pairs], &sin[first..first + pairs]);
                        for part in [Part::Query, Part::Key] {
                            for head in 0..heads.count {
                                let first = heads.column(part, head) + half * 2 * pairs;
                                rotate::turn_half(&mut x[first..first + 2 * pairs], cos, sin, sign);
                            }
                        }
                    }
                }
            },
        ));
        Ok(())
    }

    fn attention(&self, y: ViewMut, log_sum_exp: ViewMut, attend: Attend) -> Result<()> {
        let Attend { qkv, segments, heads, scale, dropout } = attend;
        let heads = HeadColumns::new(qkv.cols(), heads);
        let units = units(segments, heads.count, prefill::BLOCK);
        let products = 2 * heads.size * segments.rows().pow(2) / segments.sequences().pow(2).max(1);
        let log_sum_exp = Scatter::new(floats_mut::<f32>(log_sum_exp));
        by_float!(qkv.dtype(), T => {
            let y = Scatter::new(floats_mut::<T>(y));
            let qkv = floats::<T>(qkv);
            let forward = Forward { y, log_sum_exp, qkv, heads, scale, dropout };
            self.threads.ranges(
                units.len(),
                together(products),
                #[inline(always)]
                |range| {
                    forward.run(&units[range]);
                },
            );
        });
        Ok(())
    }

    fn attention_backward(
        &self,
        d_qkv: ViewMut,
        dy: View,
        y: View,
        log_sum_exp: View,
        attend: Attend,
    ) -> Result<()> {
        let Attend { qkv, segments, heads, scale, dropout } = attend;
        let heads = HeadColumns::new(qkv.cols(), heads);
        // Gradients of keys and values sum over all rows of their sequence, so a sequence stays
        // whole.
        let units = units(segments, heads.count, usize::MAX);
        let products = 5 * heads.size * segments.rows().pow(2) / segments.sequences().pow(2).max(1);
        let log_sum_exp = floats::<f32>(log_sum_exp);
        by_float!(qkv.dtype(), T => {
            let d_qkv = Scatter::new(floats_mut::<T>(d_qkv));
            let (dy, y, qkv) = (floats::<T>(dy), floats::<T>(y), floats::<T>(qkv));
            let backward =
                Backward { d_qkv, dy, y, log_sum_exp, qkv, heads, scale, dropout };
            self.threads.ranges(
                units.len(),
                together(products),
                #[inline(always)]
                |range| {
                    backward.run(&units[range]);
                },
            );
        });
        Ok(())
    }

    fn cache_store(&self, cache: ViewMut, qkv: View, slots: View, heads: Heads) -> Result<()> {
        let (rows, columns) = (qkv.rows(), qkv.cols());
        let heads = HeadColumns::new(columns, heads);
        let (size, width, slots) = (heads.size, heads.width(), words(slots));
        by_float!(qkv.dtype(), T => {
            let qkv = floats::<T>(qkv);
            let cache = Scatter::new(floats_mut::<T>(cache));
            // Cut by columns and not by rows: should a slot be named twice, its later row stays, on
            // every thread count.
            self.threads.ranges(
                2 * heads.count,
                together(rows * size),
                #[inline(always)]
                |range| {
                    for (row, &slot) in qkv.chunks_exact(columns).zip(slots) {
                        for i in range.clone() {
                            let part = if i < heads.count { Part::Key } else { Part::Value };
                            let column = heads.column(part, i % heads.count);
                            let first = slot as usize * 2 * width + i * size;
                            // SAFETY: columns i·size.. of all slots are written for this i alone.
                            let slot = unsafe { cache.range(first..first + size) };
                            slot.copy_from_slice(&row[column..][..size]);
                        }
                    }
                },
            );
        });
        Ok(())
    }

    fn cache_attention(&self, y: ViewMut, attend: AttendCache) -> Result<()> {
        by_float!(attend.qkv.dtype(), T => {
            let cached = Cached::<T>::new(y, attend);
            self.threads.ranges(
                cached.units(),
                together(cached.products()),
                #[inline(always)]
                |range| {
                    cached.run(range);
                },
            );
        });
        Ok(())
    }
}

/// Rows of one sequence for one head: what a thread does at a time.
struct Unit {
    /// First row of the sequence.
    start: usize,
    rows: usize,
    /// Rows that all rows see.
    context: usize,
    /// The block of rows to compute, counted within the sequence.
    block: std::ops::Range<usize>,
    head: usize,
}

/// All of the work in blocks of at most `block` rows, the costly units first so that no thread ends
/// long after the others.
fn units(segments: &Segments, heads: usize, block: usize) -> Vec<Unit> {
    let mut units = Vec::new();
    for (ends, &context) in segments.start.windows(2).zip(&segments.context) {
        let (start, rows, context) =
            (ends[0] as usize, (ends[1] - ends[0]) as usize, context as usize);
        for first in (0..rows).step_by(block) {
            let block = first..rows.min(first + block);
            units.extend((0..heads).map(|head| Unit {
                start,
                rows,
                context,
                block: block.clone(),
                head,
            }));
        }
    }
    units.sort_by_key(|unit| Reverse(unit.block.len() * unit.block.end.max(unit.context)));
    units
}

/// Keys that row `i` of a sequence sees: those below the result.
fn visible(i: usize, context: usize) -> usize {
    context.max(i + 1)
}

/// Units handed out together, so that what a thread fetches is worth waking it for; `products` are
/// those of one unit.
fn together(products: usize) -> usize {
    const WORTH: usize = 1 << 17;
    (WORTH / products.max(1)).clamp(1, 64)
}

/// Elements between the rows of a strip of `columns`: whole panels, an odd number of them, so that
/// a column's elements do not all fall into the same few sets of the cache.
fn strip(columns: usize) -> usize {
    (columns.div_ceil(WIDE) | 1) * WIDE
}

/// Multiplies the probabilities of one query row with dropout's factors; key j is column j of the
/// head's counters.
#[inline(always)]
fn drop_out(probabilities: &mut [f32], row: &Row, head: usize) {
    // Counter word 0 is (head << 16) | key / 4, and a counter serves four columns.
    let first = head << 18;
    debug_assert!(
        probabilities.len() <= 1 << 18,
        "attention: {} keys with dropout",
        probabilities.len()
    );
    for (i, p) in probabilities.chunks_mut(Row::WIDTH).enumerate() {
        for (p, factor) in p.iter_mut().zip(row.factors(first + i * Row::WIDTH).0) {
            *p *= factor;
        }
    }
}

/// The factors' source of row `row`.
fn row_of(dropout: &Dropout, rows: &[u32], row: usize) -> Row {
    Row::new(dropout, [rows[3 * row], rows[3 * row + 1], rows[3 * row + 2]])
}

/// The groups of at most [`TALL`] rows that `range` falls into.
fn groups(range: std::ops::Range<usize>) -> impl Iterator<Item = std::ops::Range<usize>> {
    let end = range.end;
    range.step_by(TALL).map(move |first| first..end.min(first + TALL))
}
