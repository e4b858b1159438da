//! Keys and values that are kept, and attention over them.

use super::super::super::{AttendCache, ViewMut};
use super::super::element::{floats, floats_mut, words, Element};
use super::super::panel::Scratch;
use super::super::threads::Scatter;
use super::tile::{
    across, across_len, along, along_len, dot, product, softmax, HeadRows, Left, WIDE,
};
use super::{groups, strip, HeadColumns, Part, TALL};
use std::cell::RefCell;
use std::ops::Range;

/// Rows that share one layout of their prompt's keys and values.
const BLOCK: usize = 16 * TALL;

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

/// `CacheRows` on the host.
#[derive(Clone, Copy)]
struct Paths<'a> {
    prompt: &'a [u32],
    start: &'a [u32],
    slots: &'a [u32],
}

impl Paths<'_> {
    fn prompt(&self, row: usize) -> Range<usize> {
        self.prompt[2 * row] as usize..self.prompt[2 * row + 1] as usize
    }

    fn path(&self, row: usize) -> &[u32] {
        &self.slots[self.start[row] as usize..self.start[row + 1] as usize]
    }

    /// Neighbouring rows that see the same prompt, at most [`BLOCK`] together.
    fn blocks(&self) -> Vec<Range<usize>> {
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for row in 0..self.prompt.len() / 2 {
            match blocks.last_mut() {
                Some(last) if last.len() < BLOCK && self.prompt(last.start) == self.prompt(row) => {
                    last.end += 1
                }
                _ => blocks.push(row..row + 1),
            }
        }
        blocks
    }
}

/// What all blocks and heads of rows over a cache share.
pub(super) struct Cached<'a, T> {
    y: Scatter<'a, T>,
    qkv: &'a [T],
    prompt: &'a [T],
    tail: &'a [T],
    paths: Paths<'a>,
    blocks: Vec<Range<usize>>,
    heads: HeadColumns,
    scale: f32,
}

impl<'a, T: Element> Cached<'a, T> {
    pub fn new(y: ViewMut<'a>, attend: AttendCache<'a>) -> Cached<'a, T> {
        let AttendCache { qkv, prompt, tail, rows, heads, scale } = attend;
        let paths = Paths {
            prompt: words(rows.prompt()),
            start: words(rows.path_start()),
            slots: words(rows.path()),
        };
        Cached {
            y: Scatter::new(floats_mut(y)),
            qkv: floats(qkv),
            prompt: floats(prompt),
            tail: floats(tail),
            blocks: paths.blocks(),
            paths,
            heads: HeadColumns::new(qkv.cols(), heads),
            scale,
        }
    }

    /// Heads of blocks.
    pub fn units(&self) -> usize {
        self.blocks.len() * self.heads.count
    }

    /// Multiplications of a unit, on average.
    pub fn products(&self) -> usize {
        let paths = &self.paths;
        let rows = 0..paths.prompt.len() / 2;
        let seen: usize = rows.map(|row| paths.prompt(row).len() + paths.path(row).len()).sum();
        2 * self.heads.size * (seen / self.blocks.len().max(1))
    }

    /// Some heads of some blocks, counted block by block.
    #[inline(always)]
    pub fn run(&self, units: Range<usize>) {
        let heads = self.heads.count;
        let mut memory = MEMORY.take();
        for unit in units {
            attend(&mut memory, self, &self.blocks[unit / heads], unit % heads);
        }
        MEMORY.set(memory);
    }
}

/// One head of the rows of a block: keys of the prompt once for all of them, then each row's own
/// path.
#[inline(always)]
fn attend<T: Element>(memory: &mut Memory, inputs: &Cached<T>, block: &Range<usize>, head: usize) {
    let Cached { y, paths, heads, scale, .. } = *inputs;
    let (size, width) = (heads.size, heads.width());
    let columns = size.next_multiple_of(WIDE);
    let shared = paths.prompt(block.start);
    let keys = shared.len();
    let cached = |elements, row: usize, column| HeadRows {
        elements,
        first: row * 2 * width + column,
        stride: 2 * width,
        size,
    };
    let (key_column, value_column) = (head * size, width + head * size);

    let plain = memory.plain.take(keys * size);
    cached(inputs.prompt, shared.start, key_column).plain(plain);
    let key = memory.key.take(across_len(keys, size));
    across(key, plain, size);
    cached(inputs.prompt, shared.start, value_column).plain(plain);
    let value = memory.value.take(along_len(keys, size));
    along(value, plain, size);
    let (key_tail, value_tail) =
        (cached(inputs.tail, 0, key_column), cached(inputs.tail, 0, value_column));
    let query = memory.query.take(block.len() * size);
    HeadRows {
        elements: inputs.qkv,
        first: block.start * 3 * width + heads.column(Part::Query, head),
        stride: 3 * width,
        size,
    }
    .plain(query);

    let longest = block.clone().map(|row| paths.path(row).len()).max().unwrap_or(0);
    let stride = strip(keys + longest);
    let scores = memory.strip.take(TALL * stride);
    let sums = memory.sum.take(TALL * columns);
    for group in groups(block.clone()) {
        let query = &query[(group.start - block.start) * size..];
        let left = Left { elements: query, row: size, step: 1 };
        for (p, key) in key.chunks_exact(WIDE * size).enumerate() {
            product::<false>(&mut scores[p * WIDE..], stride, left, key, group.len());
        }
        let mut inverse = [0.0; TALL];
        for (i, row) in group.clone().enumerate() {
            let (scores, path) = (&mut scores[i * stride..][..stride], paths.path(row));
            let seen = keys + path.len();
            assert!(seen > 0, "cache_attention: row {row} sees nothing");
            for (score, &slot) in scores[keys..].iter_mut().zip(path) {
                *score = dot(&query[i * size..][..size], key_tail.row(slot as usize));
            }
            let (_, sum) = softmax(&mut scores[..seen.next_multiple_of(WIDE)], seen, scale);
            inverse[i] = 1.0 / sum;
        }
        let left = Left { elements: scores, row: stride, step: 1 };
        match keys {
            0 => sums.fill(0.0),
            _ => {
                for (p, value) in value.chunks_exact(WIDE * keys).enumerate() {
                    product::<false>(&mut sums[p * WIDE..], columns, left, value, group.len());
                }
            }
        }
        for (i, row) in group.enumerate() {
            let sums = &mut sums[i * columns..][..size];
            for (p, &slot) in scores[i * stride + keys..].iter().zip(paths.path(row)) {
                for (sum, value) in sums.iter_mut().zip(value_tail.row(slot as usize)) {
                    *sum = p.mul_add(value.wide(), *sum);
                }
            }
            let first = row * width + head * size;
            // SAFETY: the columns of one row and head, which are in this unit alone.
            for (y, sum) in unsafe { y.range(first..first + size) }.iter_mut().zip(sums) {
                *y = T::narrow(*sum * inverse[i]);
            }
        }
    }
}
