//! What stands behind the door: memory, and the ops of every family (`ops/`).

use super::ops::{Activation, Attention, Embed, Loss, Matmul, Norm, Optim, Select, Sparse};
use super::place::Place;
use super::tensor::{View, ViewMut};
use anyhow::Result;

/// Bytes held by tensors of a device, now and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Held now.
    pub now: usize,
    /// Held at once at most, since the device was opened or [`super::Device::reset_peak`].
    pub peak: usize,
}

impl MemoryUse {
    pub(super) fn take(&mut self, bytes: usize) {
        self.now += bytes;
        self.peak = self.peak.max(self.now);
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.now -= bytes;
    }

    pub(super) fn reset_peak(&mut self) {
        self.peak = self.now;
    }
}

/// What a device can do at most, measured on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Operations a second of tensor-core products of registers alone, in bf16.
    pub bf16: f64,
    /// The same in f16.
    pub f16: f64,
    /// Bytes a second that a copy reads and writes.
    pub memory: f64,
}

/// A device from within. Arguments arrive checked: shapes, dtypes and residence agree.
pub(super) trait Backend:
    Embed + Norm + Matmul + Attention + Activation + Loss + Select + Sparse + Optim + Send + Sync
{
    /// "cpu", "cuda:0", "emu".
    fn name(&self) -> &str;

    /// What kind of device this is.
    fn place(&self) -> Place;

    /// Address of `bytes` bytes, 64-byte aligned, contents unspecified.
    fn alloc(&self, bytes: usize) -> Result<u64>;
    /// Gives back what `alloc` gave for as many bytes.
    fn free(&self, address: u64, bytes: usize);
    /// y = bytes, row-major, little-endian.
    fn upload(&self, y: ViewMut, bytes: &[u8]) -> Result<()>;
    /// bytes = x, when everything asked for before is done.
    fn download(&self, bytes: &mut [u8], x: View) -> Result<()>;
    /// y = x, same dtype and shape.
    fn copy(&self, y: ViewMut, x: View) -> Result<()>;
    /// All bytes zero.
    fn zero(&self, y: ViewMut) -> Result<()>;
    /// Bytes held by tensors.
    fn memory(&self) -> MemoryUse;
    /// Starts `peak` anew from `now`.
    fn reset_peak(&self);
    /// Bytes that `alloc` can still give, as far as is known.
    fn available(&self) -> Result<u64>;
    /// Returns when everything asked for is done.
    fn synchronize(&self) -> Result<()>;
    /// Measures what the device can do at most; `None` on a device that has no such yardstick.
    fn ceilings(&self) -> Result<Option<Ceilings>> {
        Ok(None)
    }
}
