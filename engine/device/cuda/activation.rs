//! Element by element: GELU, blending, dropout, casting.

use super::*;
use crate::device::ops::Activation;

impl Activation for Cuda {
    fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        let n = x.shape().count();
        let (entry, many) = self.entries.gelu(form).of(x.dtype(), n, &[y.address(), x.address()]);
        let parameters = interface::Gelu { y: (&y).into(), x: x.into(), n: n as u64 };
        self.launch(entry, grid(self, entry, n / many), parameters)
    }

    fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        let n = x.shape().count();
        let addresses = [dx.address(), dy.address(), x.address()];
        let (entry, many) = self.entries.gelu_backward(form).of(x.dtype(), n, &addresses);
        let parameters =
            interface::GeluBackward { dx: (&dx).into(), dy: dy.into(), x: x.into(), n: n as u64 };
        self.launch(entry, grid(self, entry, n / many), parameters)
    }

    fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        let n = x.shape().count();
        let (entry, many) = self.entries.blend.of(x.dtype(), n, &[y.address(), x.address()]);
        let parameters = interface::Blend { y: (&y).into(), x: x.into(), n: n as u64, alpha, beta };
        self.launch(entry, grid(self, entry, n / many), parameters)
    }

    fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        let (rows, cols) = (x.rows(), x.cols());
        let parameters = interface::DropoutRows {
            y: (&y).into(),
            x: x.into(),
            places: dropout.rows.into(),
            rows: count(rows),
            cols: count(cols),
            key0: dropout.key[0],
            key1: dropout.key[1],
            threshold: Dropout::threshold(dropout.rate),
            kept: 1.0 / (1.0 - dropout.rate),
            add: add(write),
            unused: 0,
        };
        let (entry, many) = self.entries.dropout.of(x.dtype(), cols, &[y.address(), x.address()]);
        // A Philox block makes four columns: no thread takes fewer.
        let steps = rows * cols.div_ceil(many.max(4));
        self.launch(entry, grid(self, entry, steps), parameters)
    }

    fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        let n = x.shape().count();
        let (entry, many) =
            self.entries.cast(x.dtype()).of(y.dtype(), n, &[y.address(), x.address()]);
        let parameters = interface::Cast { y: (&y).into(), x: x.into(), n: n as u64 };
        self.launch(entry, grid(self, entry, n / many), parameters)
    }
}
