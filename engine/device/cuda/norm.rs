use super::*;

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn layernorm(
    cuda: &Cuda,
    y: ViewMut,
    statistics: ViewMut,
    x: View,
    weight: View,
    bias: View,
    epsilon: f32,
) -> Result<()> {
    unimplemented!("layernorm")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn layernorm_backward(
    cuda: &Cuda,
    dx: ViewMut,
    parameters: Option<(ViewMut, ViewMut)>,
    dy: View,
    x: View,
    weight: View,
    statistics: View,
    write: Write,
) -> Result<()> {
    unimplemented!("layernorm_backward")
}
