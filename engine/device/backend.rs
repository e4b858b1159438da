//! What stands behind the door: memory, and the ops of every family (`ops/`).

use super::ops::{Activation, Attention, Embed, Loss, Matmul, Norm, Optim, Select, Sparse};
use super::place::Place;
use super::tensor::{View, ViewMut};
use anyhow::Result;
use std::collections::BTreeMap;

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

/// What has been asked of a device since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Launches of each kernel that was launched, by its name.
    pub launches: BTreeMap<&'static str, u64>,
    /// Copies from the host.
    pub uploads: u64,
    /// Copies to the host, for each of which it waits.
    pub downloads: u64,
    /// Bytes of these.
    pub downloaded: u64,
    /// Multiplications of products, epilogues not counted.
    pub products: u64,
}

impl Work {
    /// Launches of all kernels.
    pub fn launched(&self) -> u64 {
        self.launches.values().sum()
    }

    /// What was asked since `before`.
    pub fn since(&self, before: &Work) -> Work {
        let earlier = |name| before.launches.get(name).copied().unwrap_or(0);
        let launches = self.launches.iter().map(|(&name, &count)| (name, count - earlier(name)));
        Work {
            launches: launches.filter(|&(_, count)| count > 0).collect(),
            uploads: self.uploads - before.uploads,
            downloads: self.downloads - before.downloads,
            downloaded: self.downloaded - before.downloaded,
            products: self.products - before.products,
        }
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
    /// Bytes of memory of its own; 0 where it lives in a host's.
    fn capacity(&self) -> u64 {
        0
    }
    /// What has been asked of it; `None` on a device that nothing has to be copied to.
    fn work(&self) -> Option<Work> {
        None
    }
    /// Returns when everything asked for is done.
    fn synchronize(&self) -> Result<()>;
    /// Measures what the device can do at most; `None` on a device that has no such yardstick.
    fn ceilings(&self) -> Result<Option<Ceilings>> {
        Ok(None)
    }
}
