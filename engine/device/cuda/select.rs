use super::*;

#[allow(clippy::too_many_arguments, unused_variables)]
pub(super) fn top_k(cuda: &Cuda, values: ViewMut, columns: ViewMut, x: View) -> Result<()> {
    unimplemented!("top_k")
}
