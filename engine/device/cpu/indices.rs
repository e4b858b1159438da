//! What the whole numbers of a caller keep to, before anything is read or written by them.

use crate::base::Fault;
use anyhow::{ensure, Result};

/// Refuses bounds that do not ascend from 0 to `count`: parts would overlap, or reach beyond.
pub(super) fn ascending(op: &str, first: &[u32], count: usize) -> Result<()> {
    let (begin, end) = (first[0], first[first.len() - 1]);
    let ascending = first.windows(2).all(|ends| ends[0] <= ends[1]);
    ensure!(
        ascending && begin == 0 && end as usize == count,
        "{op}: first: expected 0 to {count} ascending, got {begin} to {end}"
    );
    Ok(())
}

/// Refuses indices from `limit` on; `one` is what each of them names.
pub(super) fn below(op: &str, name: &str, indices: &[u32], limit: usize, one: &str) -> Result<()> {
    match indices.iter().position(|&index| index as usize >= limit) {
        None => Ok(()),
        Some(i) => Err(beyond(op, name, i, indices[i], limit, one)),
    }
}

/// Number `i` of `name`, which is not below `limit`.
pub(super) fn beyond(
    op: &str,
    name: &str,
    i: usize,
    index: u32,
    limit: usize,
    one: &str,
) -> anyhow::Error {
    Fault::Data
        .error(format!("{op}: {name}: number {i}: expected {one} below {limit}, got {index}"))
}
