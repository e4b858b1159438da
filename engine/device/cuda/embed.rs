use super::*;

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn embed(cuda: &Cuda, y: ViewMut, tables: &[(View, View)], write: Write) -> Result<()> {
    unimplemented!("embed")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn embed_backward(cuda: &Cuda, d_table: ViewMut, dy: View, ids: View) -> Result<()> {
    unimplemented!("embed_backward")
}
