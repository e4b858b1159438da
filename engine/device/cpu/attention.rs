//! Rotary positions, attention over segments, attention over a cache.

use super::super::*;
use super::Threads;
use anyhow::Result;

pub(super) fn rotate(
    _pool: &Threads,
    _x: ViewMut,
    _rotary: Rotary,
    _heads: usize,
    _layout: Qkv,
    _turn: Turn,
) -> Result<()> {
    todo!()
}

#[allow(clippy::too_many_arguments)]
pub(super) fn attention(
    _pool: &Threads,
    _y: ViewMut,
    _log_sum_exp: ViewMut,
    _qkv: View,
    _segments: &Segments,
    _heads: usize,
    _layout: Qkv,
    _scale: f32,
    _dropout: Option<Dropout>,
) -> Result<()> {
    todo!()
}

#[allow(clippy::too_many_arguments)]
pub(super) fn attention_backward(
    _pool: &Threads,
    _d_qkv: ViewMut,
    _dy: View,
    _y: View,
    _log_sum_exp: View,
    _qkv: View,
    _segments: &Segments,
    _heads: usize,
    _layout: Qkv,
    _scale: f32,
    _dropout: Option<Dropout>,
) -> Result<()> {
    todo!()
}

pub(super) fn cache_store(
    _pool: &Threads,
    _cache: ViewMut,
    _qkv: View,
    _slots: View,
    _heads: usize,
    _layout: Qkv,
) -> Result<()> {
    todo!()
}

#[allow(clippy::too_many_arguments)]
pub(super) fn cache_attention(
    _pool: &Threads,
    _y: ViewMut,
    _qkv: View,
    _prompt: View,
    _tail: View,
    _rows: CacheRows,
    _heads: usize,
    _layout: Qkv,
    _scale: f32,
) -> Result<()> {
    todo!()
}
