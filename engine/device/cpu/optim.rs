use super::super::*;
use super::Threads;
use anyhow::Result;

pub(super) fn adamw(
    _pool: &Threads,
    _parameter: ViewMut,
    _moment1: ViewMut,
    _moment2: ViewMut,
    _gradient: View,
    _numbers: AdamW,
) -> Result<()> {
    todo!()
}

pub(super) fn sum_squares(_pool: &Threads, _y: ViewMut, _x: View) -> Result<()> {
    todo!()
}
