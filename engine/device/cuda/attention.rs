use super::*;

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn rotate(
    cuda: &Cuda,
    x: ViewMut,
    rotary: Rotary,
    heads: usize,
    layout: Qkv,
    turn: Turn,
) -> Result<()> {
    unimplemented!("rotate")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn attention(
    cuda: &Cuda,
    y: ViewMut,
    log_sum_exp: ViewMut,
    qkv: View,
    segments: &Segments,
    heads: usize,
    layout: Qkv,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<()> {
    unimplemented!("attention")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn cache_store(
    cuda: &Cuda,
    cache: ViewMut,
    qkv: View,
    slots: View,
    heads: usize,
    layout: Qkv,
) -> Result<()> {
    unimplemented!("cache_store")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn cache_attention(
    cuda: &Cuda,
    y: ViewMut,
    qkv: View,
    prompt: View,
    tail: View,
    rows: CacheRows,
    heads: usize,
    layout: Qkv,
    scale: f32,
) -> Result<()> {
    unimplemented!("cache_attention")
}

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn attention_backward(
    cuda: &Cuda,
    d_qkv: ViewMut,
    dy: View,
    y: View,
    log_sum_exp: View,
    qkv: View,
    segments: &Segments,
    heads: usize,
    layout: Qkv,
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<()> {
    unimplemented!("attention_backward")
}
