//! Attention of sequences over themselves.

use super::super::super::*;
use super::super::element::{words, Element};
use super::super::panel::Scratch;
use super::super::threads::Scatter;
use super::tile::{across, across_len, along, along_len, product, softmax, HeadRows, Left, WIDE};
use super::{drop_out, groups, row_of, strip, visible, HeadColumns, Part, Unit, TALL};
use std::cell::RefCell;

/// Rows whose keys and values are laid out together.
pub(super) const BLOCK: usize = 42 * TALL;

#[derive(Default)]
struct Memory {
    plain: Scratch,
    query: Scratch,
    key: Scratch,
    value: Scratch,
    strip: Scratch,
    sum: Scratch,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What all units of a forward share.
pub(super) struct Forward<'a, T> {
    pub y: Scatter<'a, T>,
    pub log_sum_exp: Scatter<'a, f32>,
    pub qkv: &'a [T],
    pub heads: HeadColumns,
    pub scale: f32,
    pub dropout: Option<Dropout<'a>>,
}

impl<T: Element> Forward<'_, T> {
    /// The rows of some units.
    #[inline(always)]
    pub fn run(&self, units: &[Unit]) {
        let mut memory = MEMORY.take();
        for unit in units {
            head(&mut memory, self, unit);
        }
        MEMORY.set(memory);
    }
}

#[inline(always)]
fn head<T: Element>(memory: &mut Memory, forward: &Forward<T>, unit: &Unit) {
    let Forward { y, log_sum_exp, qkv, heads, scale, dropout } = *forward;
    let (size, width) = (heads.size, heads.width());
    let keys = visible(unit.block.end - 1, unit.context);
    let part = |part| HeadRows {
        elements: qkv,
        first: unit.start * 3 * width + heads.column(part, unit.head),
        stride: 3 * width,
        size,
    };
    let plain = memory.plain.take(keys * size);
    let key = memory.key.take(across_len(keys, size));
    part(Part::Key).plain(plain);
    across(key, plain, size);
    let value = memory.value.take(along_len(keys, size));
    part(Part::Value).plain(plain);
    along(value, plain, size);
    let (query, first) = (part(Part::Query), unit.block.start);
    let query = HeadRows { first: query.first + first * query.stride, ..query };
    let rows = memory.query.take(unit.block.len() * size);
    query.plain(rows);

    let stride = strip(keys);
    let scores = memory.strip.take(TALL * stride);
    let columns = size.next_multiple_of(WIDE);
    let sums = memory.sum.take(TALL * columns);
    for group in groups(unit.block.clone()) {
        let seen = visible(group.end - 1, unit.context);
        let query = Left { elements: &rows[(group.start - first) * size..], row: size, step: 1 };
        let panels = seen.div_ceil(WIDE);
        for (p, key) in key.chunks_exact(WIDE * size).take(panels).enumerate() {
            product::<false>(&mut scores[p * WIDE..], stride, query, key, group.len());
        }
        let mut inverse = [0.0; TALL];
        for ((i, scores), inverse) in
            group.clone().zip(scores.chunks_exact_mut(stride)).zip(&mut inverse)
        {
            let seen = visible(i, unit.context);
            let (maximum, sum) = softmax(&mut scores[..panels * WIDE], seen, scale);
            let row = unit.start + i;
            let at = row * heads.count + unit.head;
            // SAFETY: one element of one row and head, which is in this unit alone.
            let log_sum_exp = unsafe { log_sum_exp.range(at..at + 1) };
            log_sum_exp[0] = maximum + sum.ln();
            *inverse = 1.0 / sum;
            if let Some(dropout) = &dropout {
                drop_out(
                    &mut scores[..seen],
                    &row_of(dropout, words(dropout.rows), row),
                    unit.head,
                );
            }
        }
        let scores = Left { elements: scores, row: stride, step: 1 };
        for (p, value) in value.chunks_exact(WIDE * keys).enumerate() {
            product::<false>(
                &mut sums[p * WIDE..],
                columns,
                scores,
                &value[..WIDE * seen],
                group.len(),
            );
        }
        for ((i, sums), inverse) in group.zip(sums.chunks_exact(columns)).zip(inverse) {
            let first = (unit.start + i) * width + unit.head * size;
            // SAFETY: the columns of one row and head, which are in this unit alone.
            for (y, sum) in unsafe { y.range(first..first + size) }.iter_mut().zip(sums) {
                *y = T::narrow(sum * inverse);
            }
        }
    }
}
