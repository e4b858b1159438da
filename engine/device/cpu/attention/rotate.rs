//! Rotary positions of two kinds.

use super::super::super::*;
use super::super::element::{by_float, floats, floats_mut, words, Element};
use super::super::Threads;
use super::{Heads, Part};
use anyhow::Result;

/// Each half of a head's columns is a rotate-half rotary of its own (docs/models.md): with D
/// = d/2 columns and angles of D/2 pairs, out\[j\] = x\[j\]·cos - x\[j + D/2\]·sin, out\[j + D/2\]
/// = x\[j + D/2\]·cos + x\[j\]·sin.
pub(in super::super) fn rotate(
    pool: &Threads,
    x: ViewMut,
    rotary: Rotary,
    heads: usize,
    layout: Qkv,
    turn: Turn,
) -> Result<()> {
    let columns = x.cols();
    let heads = Heads::new(columns, heads, layout);
    let pairs = heads.size / 4;
    let (cos, sin) = (floats::<f32>(rotary.cos), floats::<f32>(rotary.sin));
    let positions = rotary.positions.map(words);
    let sign = match turn {
        Turn::Forward => 1.0,
        Turn::Backward => -1.0,
    };
    by_float!(x.dtype(), T => pool.rows_of(floats_mut::<T>(x), columns, |range, x| {
        for (row, x) in range.zip(x.chunks_exact_mut(columns)) {
            for (half, positions) in positions.iter().enumerate() {
                let angles = positions[row] as usize * pairs..(positions[row] as usize + 1) * pairs;
                let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
                for part in [Part::Query, Part::Key] {
                    for head in 0..heads.count {
                        let first = heads.column(part, head) + half * 2 * pairs;
                        turn_half(&mut x[first..first + 2 * pairs], cos, sin, sign);
                    }
                }
            }
        }
    }));
    Ok(())
}

#[inline]
fn turn_half<T: Element>(x: &mut [T], cos: &[f32], sin: &[f32], sign: f32) {
    let (low, high) = x.split_at_mut(cos.len());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (a, b, sin) = (low.wide(), high.wide(), sign * sin);
        *low = T::narrow(a.mul_add(*cos, -(b * sin)));
        *high = T::narrow(b.mul_add(*cos, a * sin));
    }
}
