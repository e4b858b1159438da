//! Element by element: GELU, blending, dropout, casting.

use super::*;
use crate::base::{Philox, Stream};

/// Which curve is called GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// 0.5·x·(1 + tanh(√(2/π)·x·(1 + 0.044715·x²)))
    Tanh,
    /// 0.5·x·(1 + erf(x/√2))
    Erf,
}

/// Which elements dropout sets to zero: Philox of (seed, step, site) as key and (example, place in
/// it, column) as counter, so packing, accumulation and the order of a batch do not change it.
#[derive(Clone, Copy)]
pub struct Dropout<'a> {
    /// Probability of zero, 0 ≤ rate < 1; the rest is scaled by 1/(1 - rate).
    pub rate: f32,
    /// [`Dropout::key`] of seed, step and site.
    pub key: [u32; 2],
    /// `[R, 3]` u32: example (low word, high word) and place of each row.
    pub rows: View<'a>,
}

impl Dropout<'_> {
    /// The key of one site at one step: `site` numbers the places in the model where dropout acts.
    pub fn key(seed: u64, step: u64, site: u32) -> [u32; 2] {
        let stream = Stream::Dropout as u32;
        let words = Philox::block(
            [seed as u32, (seed >> 32) as u32],
            [step as u32, (step >> 32) as u32, site, stream],
        );
        [words[0], words[1]]
    }

    /// Elements whose word is below this are dropped.
    pub fn threshold(rate: f32) -> u32 {
        (f64::from(rate) * 4_294_967_296.0) as u32
    }
}

/// What a backend does element by element.
pub trait Activation {
    /// y = gelu(x).
    ///
    /// shapes: y and x alike, of one dtype.
    /// source: Hendrycks and Gimpel 2016, section 2.
    fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()>;

    /// dx = dy·gelu'(x) (set).
    ///
    /// shapes: dx, dy and x alike, of one dtype; dx is another view than dy and x.
    fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()>;

    /// y = alpha·x + beta·y; with beta zero, y may hold anything before.
    ///
    /// shapes: y and x alike, of one dtype.
    fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()>;

    /// y (set or add) = x·mask/(1 - rate). Its own backward.
    ///
    /// shapes: y and x `[R, h]` of one dtype, `dropout.rows` `[R, 3]` u32.
    /// source: Srivastava et al. 2014, scaled when learning instead of when answering.
    fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()>;

    /// y = x in y's float dtype, rounded to nearest even.
    ///
    /// shapes: y and x alike, each of a float dtype of its own.
    fn cast(&self, y: ViewMut, x: View) -> Result<()>;
}

impl Device {
    /// [`Activation::gelu`], checked.
    pub fn gelu(&self, y: ViewMut, x: View, form: Gelu) -> Result<()> {
        self.expect_like("gelu", "y", y.as_view(), x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.gelu(y, x, form),
        }
    }

    /// [`Activation::gelu_backward`], checked.
    pub fn gelu_backward(&self, dx: ViewMut, dy: View, x: View, form: Gelu) -> Result<()> {
        self.expect_like("gelu_backward", "dx", dx.as_view(), x)?;
        self.expect_like("gelu_backward", "dy", dy, x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.gelu_backward(dx, dy, x, form),
        }
    }

    /// [`Activation::blend`], checked.
    pub fn blend(&self, y: ViewMut, x: View, alpha: f32, beta: f32) -> Result<()> {
        self.expect_like("blend", "y", y.as_view(), x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.blend(y, x, alpha, beta),
        }
    }

    /// [`Activation::dropout`], checked. Refuses a rate outside 0 ≤ rate < 1.
    pub fn dropout(&self, y: ViewMut, x: View, dropout: Dropout, write: Write) -> Result<()> {
        self.expect_like("dropout", "y", y.as_view(), x)?;
        self.expect_dropout("dropout", Some(dropout), x.rows())?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.dropout(y, x, dropout, write),
        }
    }

    /// [`Activation::cast`], checked.
    pub fn cast(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect("cast", "x", x, x.rows(), x.cols(), Float)?;
        self.expect("cast", "y", y.as_view(), x.rows(), x.cols(), Float)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.cast(y, x),
        }
    }

    /// `dropout` has a name for each of `rows` rows, and a rate that leaves something.
    pub(super) fn expect_dropout(
        &self,
        op: &str,
        dropout: Option<Dropout>,
        rows: usize,
    ) -> Result<()> {
        let Some(dropout) = dropout else { return Ok(()) };
        ensure!(
            (0.0..1.0).contains(&dropout.rate),
            "{op}: rate: expected 0 to below 1, got {}",
            dropout.rate
        );
        self.expect(op, "dropout.rows", dropout.rows, rows, 3, U32)
    }
}
