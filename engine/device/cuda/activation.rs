use super::*;

/// Threads a block.
const THREADS: u32 = 256;

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn gelu(cuda: &Cuda, y: ViewMut, x: View, form: Gelu) -> Result<()> {
    unimplemented!("gelu")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn gelu_backward(cuda: &Cuda, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
    unimplemented!("gelu_backward")
}

pub(super) fn blend(cuda: &Cuda, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
    let n = x.shape().count();
    let arguments = [Arg::from(&y), x.into(), Arg::U64(n as u64), Arg::F32(alpha), Arg::F32(beta)];
    cuda.launch(
        &format!("blend_{}", suffix(x.dtype())),
        Grid::of(n.div_ceil(THREADS as usize), THREADS),
        &arguments,
    )
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn dropout(cuda: &Cuda, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
    unimplemented!("dropout")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn cast(cuda: &Cuda, y: ViewMut, x: View) -> Result<()> {
    unimplemented!("cast")
}
