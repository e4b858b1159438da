//! Element by element: GELU, blending, dropout, casting.

use super::*;
use crate::device::ops::Activation;

/// Launches over n elements.
fn each(
    cuda: &Cuda,
    name: &str,
    dtype: Dtype,
    n: usize,
    addresses: &[u64],
    arguments: &[Arg],
) -> Result<()> {
    let (entry, many) = entry(name, dtype, n, addresses);
    cuda.launch(&entry, grid(cuda, n / many), arguments)
}

fn gelu_name(form: Gelu) -> &'static str {
    match form {
        Gelu::Tanh => "tanh",
        Gelu::Erf => "erf",
    }
}

impl Activation for Cuda {
    fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        let n = x.shape().count();
        let arguments = [Arg::from(&y), x.into(), Arg::U64(n as u64)];
        each(
            self,
            &format!("gelu_{}", gelu_name(form)),
            x.dtype(),
            n,
            &[y.address(), x.address()],
            &arguments,
        )
    }

    fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        let n = x.shape().count();
        let arguments = [Arg::from(&dx), dy.into(), x.into(), Arg::U64(n as u64)];
        let addresses = [dx.address(), dy.address(), x.address()];
        each(
            self,
            &format!("gelu_backward_{}", gelu_name(form)),
            x.dtype(),
            n,
            &addresses,
            &arguments,
        )
    }

    fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        let n = x.shape().count();
        let arguments =
            [Arg::from(&y), x.into(), Arg::U64(n as u64), Arg::F32(alpha), Arg::F32(beta)];
        each(self, "blend", x.dtype(), n, &[y.address(), x.address()], &arguments)
    }

    fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        let (rows, cols) = (x.rows(), x.cols());
        let arguments = [
            Arg::from(&y),
            x.into(),
            dropout.rows.into(),
            count(rows),
            count(cols),
            Arg::U32(dropout.key[0]),
            Arg::U32(dropout.key[1]),
            Arg::U32(Dropout::threshold(dropout.rate)),
            Arg::F32(1.0 / (1.0 - dropout.rate)),
            add(write),
        ];
        let (entry, many) = entry("dropout", x.dtype(), cols, &[y.address(), x.address()]);
        // A Philox block makes four columns: no thread takes fewer.
        self.launch(&entry, grid(self, rows * cols.div_ceil(many.max(4))), &arguments)
    }

    fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        let n = x.shape().count();
        let arguments = [Arg::from(&y), x.into(), Arg::U64(n as u64)];
        let name = format!("cast_{}", suffix(x.dtype()));
        each(self, &name, y.dtype(), n, &[y.address(), x.address()], &arguments)
    }
}
