use super::super::*;
use super::Threads;
use anyhow::Result;

pub(super) fn embed(_pool: &Threads, _y: ViewMut, _tables: &[(View, View)], _write: Write) -> Result<()> {
    todo!()
}

pub(super) fn embed_backward(_pool: &Threads, _d_table: ViewMut, _dy: View, _ids: View) -> Result<()> {
    todo!()
}
