//! The ops, a room a family: its trait (what a backend must do, documented there and nowhere else),
//! its nouns, and its door, the methods of [`Device`] that check every argument once for all
//! backends.
//!
//! Signatures are equal in the trait, in the door, in both backends and in the kernels: outputs
//! first, then inputs, then scalars; what always travels together is one struct. Parameter
//! gradients add; everything else says [`Write`] at the call. Accumulators, statistics and losses
//! are f32 whatever the storage; what is not called f32 or u32 has a float dtype.
//!
//! Every door refuses an argument of another shape, another dtype or another device than its
//! trait's `shapes` says, and does nothing where the output is empty.
//!
//! Batch invariance: a row's outputs have the same bits whatever rows stand beside it and however
//! many threads run.

mod activation;
mod attention;
mod embed;
mod loss;
mod matmul;
mod norm;
mod optim;
mod select;
mod sparse;

pub use activation::{Activation, Dropout, Gelu};
pub use attention::{
    Attend, AttendCache, Attention, CacheRows, Heads, Qkv, Rotary, Segments, Turn,
};
pub use embed::Embed;
pub use loss::{Aim, Loss};
pub use matmul::{Epilogue, Form, LowRank, LowRankBackward, LowRankFactors, Matmul};
pub use norm::{Norm, Normed};
pub use optim::{AdamW, AdamWFactors, Optim};
pub use select::Select;
pub use sparse::Sparse;

use super::{Device, View, ViewMut};
use crate::base::{Dtype, Shape};
use anyhow::{bail, ensure, Result};

/// What happens to what stood in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is overwritten, whatever it was.
    Set,
    /// The result is added to it.
    Add,
}

/// Which dtypes an argument may have.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Float,
    Exactly(Dtype),
}
pub(super) use Kind::{Exactly, Float};
const F32: Kind = Exactly(Dtype::F32);
const U32: Kind = Exactly(Dtype::U32);

impl Device {
    /// `x` lives on this device.
    pub(super) fn resident(&self, op: &str, name: &str, x: View) -> Result<()> {
        ensure!(
            x.device_id() == self.id(),
            "{op}: {name}: expected a tensor of {}, got one of another device",
            self.name()
        );
        Ok(())
    }

    /// `name` is `[rows, cols]` of `kind` on this device; a vector counts as one row.
    pub(super) fn expect(
        &self,
        op: &str,
        name: &str,
        x: View,
        rows: usize,
        cols: usize,
        kind: Kind,
    ) -> Result<()> {
        self.resident(op, name, x)?;
        let dtype = match kind {
            Float => x.dtype().is_float(),
            Exactly(dtype) => x.dtype() == dtype,
        };
        if dtype && (x.rows(), x.cols()) == (rows, cols) {
            return Ok(());
        }
        let kind = match kind {
            Float => "of floats".to_owned(),
            Exactly(dtype) => dtype.to_string(),
        };
        bail!(
            "{op}: {name}: expected {} {kind}, got {} {}",
            Shape::matrix(rows, cols),
            x.shape(),
            x.dtype()
        )
    }

    /// `name` holds `n` elements of `kind` on this device, in whatever shape.
    fn expect_count(&self, op: &str, name: &str, x: View, n: usize, kind: Kind) -> Result<()> {
        match x.shape().count() == n {
            true => self.expect(op, name, x, x.rows(), x.cols(), kind),
            false => self.expect(op, name, x, 1, n, kind),
        }
    }

    /// `first` says where the part of each of `rows` rows begins, and where the last one ends.
    fn expect_first(&self, op: &str, first: View, rows: usize) -> Result<()> {
        self.expect_count(op, "first", first, rows.saturating_add(1), U32)
    }

    /// `name` has the shape and float dtype of x.
    fn expect_like(&self, op: &str, name: &str, y: View, x: View) -> Result<()> {
        self.expect(op, "x", x, x.rows(), x.cols(), Float)?;
        self.expect(op, name, y, x.rows(), x.cols(), Exactly(x.dtype()))
    }
}
