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

pub(super) use backward::attention_backward;
pub(super) use cache::{cache_attention, cache_store};
pub(super) use prefill::attention;
pub(super) use rotate::rotate;

use super::super::{Dropout, Qkv, Segments};
use super::activation::Row;
use std::cmp::Reverse;
use tile::{TALL, WIDE};

/// Where the parts of a head stand in a row of qkv.
#[derive(Clone, Copy)]
struct Heads {
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

impl Heads {
    /// `columns` are those of qkv.
    fn new(columns: usize, count: usize, layout: Qkv) -> Heads {
        assert!(
            count > 0 && columns.is_multiple_of(3 * count),
            "attention: {columns} columns for {count} heads"
        );
        Heads { count, size: columns / (3 * count), layout }
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
fn drop_out(probabilities: &mut [f32], row: &Row, head: usize) {
    // Counter word 0 is (head << 16) | key / 4, and a counter serves four columns.
    let first = head << 18;
    debug_assert!(
        probabilities.len() <= 1 << 18,
        "attention: {} keys with dropout",
        probabilities.len()
    );
    for (i, p) in probabilities.chunks_mut(Row::WIDTH).enumerate() {
        for (p, factor) in p.iter_mut().zip(row.factors(first + i * Row::WIDTH)) {
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
