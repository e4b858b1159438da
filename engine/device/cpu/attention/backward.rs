//! The gradient of attention of sequences over themselves; probabilities are made again from the
//! kept log-sum-exp.

use super::super::super::*;
use super::super::element::{narrow, words, Element};
use super::super::math::exp;
use super::super::panel::Scratch;
use super::super::threads::Scatter;
use super::tile::{across, across_len, along, along_len, dot, product, HeadRows, Left, WIDE};
use super::{drop_out, groups, row_of, strip, visible, HeadColumns, Part, Unit, TALL};
use std::cell::RefCell;

/// Query rows whose probabilities are kept at a time.
const BLOCK: usize = 16 * TALL;

#[derive(Default)]
struct Memory {
    plain: Scratch,
    query: Scratch,
    query_along: Scratch,
    dy: Scratch,
    dy_along: Scratch,
    key_across: Scratch,
    key_along: Scratch,
    value_across: Scratch,
    probability: Scratch,
    d_score: Scratch,
    factor: Scratch,
    d_query: Scratch,
    d_key: Scratch,
    d_value: Scratch,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What all units of a backward share.
pub(super) struct Backward<'a, T> {
    pub d_qkv: Scatter<'a, T>,
    pub dy: &'a [T],
    pub y: &'a [T],
    pub log_sum_exp: &'a [f32],
    pub qkv: &'a [T],
    pub heads: HeadColumns,
    pub scale: f32,
    pub dropout: Option<Dropout<'a>>,
}

impl<T: Element> Backward<'_, T> {
    /// The gradients of some whole sequences and heads.
    #[inline(always)]
    pub fn run(&self, units: &[Unit]) {
        let mut memory = MEMORY.take();
        for unit in units {
            head(&mut memory, self, unit);
        }
        MEMORY.set(memory);
    }
}

/// With p the probabilities, m dropout's factors and D = Σ dy·y of a row:
/// dv = (p∘m)ᵀ·dy, ds = scale·p∘(m∘(dy·vᵀ) - D), dq = ds·k, dk = dsᵀ·q.
#[inline(always)]
fn head<T: Element>(memory: &mut Memory, inputs: &Backward<T>, unit: &Unit) {
    let Backward { d_qkv, heads, scale, dropout, .. } = *inputs;
    let (size, width, rows, context) = (heads.size, heads.width(), unit.rows, unit.context);
    let columns = size.next_multiple_of(WIDE);
    let part = |part| HeadRows {
        elements: inputs.qkv,
        first: unit.start * 3 * width + heads.column(part, unit.head),
        stride: 3 * width,
        size,
    };
    let of_y = |elements| HeadRows {
        elements,
        first: unit.start * width + unit.head * size,
        stride: width,
        size,
    };

    let plain = memory.plain.take(rows * size);
    part(Part::Value).plain(plain);
    let value_across = memory.value_across.take(across_len(rows, size));
    across(value_across, plain, size);
    part(Part::Key).plain(plain);
    let key_across = memory.key_across.take(across_len(rows, size));
    across(key_across, plain, size);
    let key_along = memory.key_along.take(along_len(rows, size));
    along(key_along, plain, size);
    let query = memory.query.take(rows * size);
    part(Part::Query).plain(query);
    let query_along = memory.query_along.take(along_len(rows, size));
    along(query_along, query, size);
    let dy = memory.dy.take(rows * size);
    of_y(inputs.dy).plain(dy);
    let dy_along = memory.dy_along.take(along_len(rows, size));
    along(dy_along, dy, size);

    let d_key = memory.d_key.take(rows * columns);
    d_key.fill(0.0);
    let d_value = memory.d_value.take(rows * columns);
    d_value.fill(0.0);
    let d_query = memory.d_query.take(TALL * columns);
    let stride = strip(rows);
    let probability = memory.probability.take(rows.min(BLOCK) * stride);
    let d_score = memory.d_score.take(rows.min(BLOCK) * stride);
    let factor = memory.factor.take(stride);
    factor.fill(1.0);
    // Groups of keys that hold some of the context are seen by every row.
    let context_groups = rows.min(context.next_multiple_of(TALL));

    for first in (0..rows).step_by(BLOCK) {
        let block = first..rows.min(first + BLOCK);
        for group in groups(block.clone()) {
            // Up to here the strips are written; the same for all rows of the group.
            let seen = group.end.max(context_groups);
            let panels = seen.div_ceil(WIDE);
            let at = (group.start - first) * stride;
            let query = Left { elements: &query[group.start * size..], row: size, step: 1 };
            for (p, key) in key_across.chunks_exact(WIDE * size).take(panels).enumerate() {
                product::<false>(
                    &mut probability[at + p * WIDE..],
                    stride,
                    query,
                    key,
                    group.len(),
                );
            }
            let left = Left { elements: &dy[group.start * size..], row: size, step: 1 };
            for (p, value) in value_across.chunks_exact(WIDE * size).take(panels).enumerate() {
                product::<false>(&mut d_score[at + p * WIDE..], stride, left, value, group.len());
            }
            let strips = probability[at..].chunks_mut(stride).zip(d_score[at..].chunks_mut(stride));
            for (i, (probability, d_score)) in group.clone().zip(strips) {
                let row = unit.start + i;
                let seen = visible(i, context);
                if let Some(dropout) = &dropout {
                    factor[..seen].fill(1.0);
                    let row = row_of(dropout, words(dropout.rows), row);
                    drop_out(&mut factor[..seen], &row, unit.head);
                }
                let log_sum_exp = inputs.log_sum_exp[row * heads.count + unit.head];
                let weighted = dot(&dy[i * size..][..size], of_y(inputs.y).row(i));
                let (probability, d_score) =
                    (&mut probability[..panels * WIDE], &mut d_score[..panels * WIDE]);
                for ((s, d), factor) in probability.iter_mut().zip(&mut *d_score).zip(&*factor) {
                    let p = exp(s.mul_add(scale, -log_sum_exp));
                    *d = scale * p * d.mul_add(*factor, -weighted);
                    *s = p * factor;
                }
                probability[seen..].fill(0.0);
                d_score[seen..].fill(0.0);
            }
            let left = Left { elements: &d_score[at..], row: stride, step: 1 };
            for (p, key) in key_along.chunks_exact(WIDE * rows).enumerate() {
                product::<false>(
                    &mut d_query[p * WIDE..],
                    columns,
                    left,
                    &key[..WIDE * seen],
                    group.len(),
                );
            }
            write(d_qkv, part(Part::Query), d_query, group, columns);
        }
        for group in groups(0..block.end.max(context_groups)) {
            // The first row of the block that sees a key of the group: groups of rows and of keys
            // are cut at the same places.
            let top = if group.start < context_groups { first } else { first.max(group.start) };
            let at = (top - first) * stride + group.start;
            for (sums, strip, right) in [
                (&mut *d_value, &*probability, &*dy_along),
                (&mut *d_key, &*d_score, &*query_along),
            ] {
                let left = Left { elements: &strip[at..], row: 1, step: stride };
                for (p, right) in right.chunks_exact(WIDE * rows).enumerate() {
                    let sums = &mut sums[group.start * columns + p * WIDE..];
                    product::<true>(
                        sums,
                        columns,
                        left,
                        &right[WIDE * top..WIDE * block.end],
                        group.len(),
                    );
                }
            }
        }
    }
    write(d_qkv, part(Part::Key), d_key, 0..rows, columns);
    write(d_qkv, part(Part::Value), d_value, 0..rows, columns);
}

/// The gradient of the rows `range` of one part. shapes: sums `[range, stride]`.
#[inline(always)]
fn write<T: Element>(
    d_qkv: Scatter<T>,
    part: HeadRows<T>,
    sums: &[f32],
    range: std::ops::Range<usize>,
    stride: usize,
) {
    for (i, sums) in range.zip(sums.chunks_exact(stride)) {
        let first = part.first + i * part.stride;
        // SAFETY: one part of one row and head, which is written in this unit alone, once.
        narrow(unsafe { d_qkv.range(first..first + part.size) }, &sums[..part.size]);
    }
}
