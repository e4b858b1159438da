//! Floor 1, the chips' side: numbers in memory and the ops on them. Never meets `data`.

mod backend;
mod cpu;
mod cuda;
pub mod ops;
mod place;
mod tensor;

pub use backend::{Ceilings, MemoryUse, Work};
pub use cpu::MOST_THREADS;
pub use cuda::{at_first, gpus, Found};
pub use ops::{
    AdamW, Aim, Attend, AttendCache, CacheRows, Dropout, Epilogue, Form, Gelu, Heads, LowRank,
    LowRankFactors, Normed, Qkv, Rotary, Segments, Turn, Write,
};
pub use place::Place;
pub use tensor::{Tensor, View, ViewMut};

use crate::base::{Dtype, Fault, Map, Shape};
use anyhow::{ensure, Result};
use backend::Backend;
use ops::Exactly;
use std::sync::Arc;

/// The one door to a chip: opens it, owns its memory, checks every op's arguments once.
///
/// ```
/// use engine::base::{Dtype, Shape};
/// use engine::device::{Device, Epilogue, Form};
/// let device = Device::open("cpu", 1)?;
/// let a = device.upload_f32(&[1.0, 2.0], Shape::matrix(1, 2), Dtype::F32)?;
/// let b = device.upload_f32(&[3.0, 4.0, 5.0, 6.0], Shape::matrix(2, 2), Dtype::F32)?;
/// let mut y = device.alloc(Shape::matrix(1, 2), Dtype::F32)?;
/// device.matmul(y.view_mut(), a.view(), b.view(), Form::Nt, Epilogue::default())?;
/// assert_eq!(device.download_f32(y.view())?, [11.0, 17.0]);
/// # anyhow::Ok(())
/// ```
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl Device {
    /// Opens the [`Place`] of that name, on the CPU with `threads` threads, 0 for one per core.
    /// Refuses other words, and a device that this binary has no kernels for.
    pub fn open(name: &str, threads: usize) -> Result<Device> {
        Device::at(name.parse()?, threads)
    }

    /// Opens a device, as [`Device::open`] does.
    pub fn at(place: Place, threads: usize) -> Result<Device> {
        Ok(Device(match place {
            Place::Cpu => Arc::new(cpu::Cpu::open(threads)?),
            Place::Cuda(ordinal) => Arc::new(cuda::Cuda::open(ordinal)?),
            Place::Emu(seed) => Arc::new(cuda::Cuda::emulated(seed)?),
        }))
    }

    /// An emulated device with the size of a GPU: so many processors, so many bytes of shared
    /// memory for a block. Its memory has no end, holds zeros and takes no room before a kernel
    /// writes there; uploads of a mebibyte and more are left out, and so are all launches but those
    /// that `kernels::profiled::record` counts by a sample of their blocks. Refuses a binary
    /// without the emulator.
    pub fn hollow(processors: u32, shared: usize) -> Result<Device> {
        Ok(Device(Arc::new(cuda::Cuda::hollow(processors, shared)?)))
    }

    /// What kind of device this is.
    pub fn place(&self) -> Place {
        self.0.place()
    }

    /// "cpu", "cuda:0", "emu".
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Identity, to tell devices apart.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<u8>() as usize
    }

    /// A new tensor to be written: it shows nothing that another one held. Refuses a shape that
    /// no memory holds.
    pub fn alloc(&self, shape: Shape, dtype: Dtype) -> Result<Tensor> {
        self.zeros(shape, dtype)
    }

    /// A new tensor of zeros. Refuses a shape that no memory holds.
    pub fn zeros(&self, shape: Shape, dtype: Dtype) -> Result<Tensor> {
        let mut y = self.unwritten(shape, dtype)?;
        self.zero(y.view_mut())?;
        Ok(y)
    }

    /// A new tensor with what its memory held before: for those who write all of it before they
    /// read any, which is each pass over a model. Nobody outside gets one.
    pub(crate) fn unwritten(&self, shape: Shape, dtype: Dtype) -> Result<Tensor> {
        let bytes = shape.bytes(dtype);
        if bytes > isize::MAX as usize {
            return Err(Fault::Device.error(format!(
                "{}: memory: {shape} {dtype}: expected a tensor that can be had, got one of more \
                bytes than can be counted; use fewer rows or a smaller model",
                self.name()
            )));
        }
        let address = self.0.alloc(bytes)?;
        Ok(Tensor::own(self.clone(), address, bytes, shape, dtype))
    }

    /// A new tensor of these values, rounded to `dtype`.
    pub fn upload_f32(&self, values: &[f32], shape: Shape, dtype: Dtype) -> Result<Tensor> {
        ensure!(
            values.len() == shape.count(),
            "upload: expected {} values for {shape}, got {}",
            shape.count(),
            values.len()
        );
        match dtype {
            Dtype::F32 => self.upload_bytes(bytemuck::cast_slice(values), shape, dtype),
            Dtype::F16 => {
                let narrow: Vec<half::f16> =
                    values.iter().map(|&x| half::f16::from_f32(x)).collect();
                self.upload_bytes(bytemuck::cast_slice(&narrow), shape, dtype)
            }
            Dtype::Bf16 => {
                let narrow: Vec<half::bf16> =
                    values.iter().map(|&x| half::bf16::from_f32(x)).collect();
                self.upload_bytes(bytemuck::cast_slice(&narrow), shape, dtype)
            }
            Dtype::U32 => anyhow::bail!("upload: expected a float dtype for {shape}, got u32"),
        }
    }

    /// A new vector of these indices.
    pub fn upload_u32(&self, values: &[u32]) -> Result<Tensor> {
        self.upload_bytes(bytemuck::cast_slice(values), Shape::vector(values.len()), Dtype::U32)
    }

    /// A new tensor of these bytes, row-major, little-endian.
    pub fn upload_bytes(&self, bytes: &[u8], shape: Shape, dtype: Dtype) -> Result<Tensor> {
        let expected = shape.bytes(dtype);
        ensure!(
            bytes.len() == expected,
            "upload: expected {expected} bytes for {shape} {dtype}, got {}",
            bytes.len()
        );
        let mut y = self.unwritten(shape, dtype)?;
        self.write_bytes(y.view_mut(), bytes)?;
        Ok(y)
    }

    /// Overwrites a view with f32 values. shapes: y of any shape with as many elements, f32.
    pub fn write_f32(&self, y: ViewMut, values: &[f32]) -> Result<()> {
        ensure!(y.dtype() == Dtype::F32, "write: y: expected f32, got {}", y.dtype());
        self.write_bytes(y, bytemuck::cast_slice(values))
    }

    /// Overwrites a view with indices. shapes: y of any shape with as many elements, u32.
    pub fn write_u32(&self, y: ViewMut, values: &[u32]) -> Result<()> {
        ensure!(y.dtype() == Dtype::U32, "write: y: expected u32, got {}", y.dtype());
        self.write_bytes(y, bytemuck::cast_slice(values))
    }

    fn write_bytes(&self, y: ViewMut, bytes: &[u8]) -> Result<()> {
        self.resident("upload", "y", y.as_view())?;
        let expected = y.as_view().bytes();
        ensure!(
            bytes.len() == expected,
            "upload: expected {expected} bytes for {}, got {}",
            y.shape(),
            bytes.len()
        );
        match bytes.is_empty() {
            true => Ok(()),
            false => self.0.upload(y, bytes),
        }
    }

    /// y = x. shapes: y and x alike, of one dtype.
    pub fn copy(&self, y: ViewMut, x: View) -> Result<()> {
        self.expect("copy", "y", y.as_view(), x.rows(), x.cols(), Exactly(x.dtype()))?;
        self.resident("copy", "x", x)?;
        match x.shape().count() {
            0 => Ok(()),
            _ => self.0.copy(y, x),
        }
    }

    /// All bytes of y become zero.
    pub fn zero(&self, y: ViewMut) -> Result<()> {
        self.resident("zero", "y", y.as_view())?;
        match y.shape().count() {
            0 => Ok(()),
            _ => self.0.zero(y),
        }
    }

    /// The values of a float view, widened to f32.
    pub fn download_f32(&self, x: View) -> Result<Vec<f32>> {
        Ok(match x.dtype() {
            Dtype::F32 => {
                let mut values = vec![0.0f32; x.shape().count()];
                self.read_bytes(bytemuck::cast_slice_mut(&mut values), x)?;
                values
            }
            Dtype::F16 => {
                let mut values = vec![half::f16::ZERO; x.shape().count()];
                self.read_bytes(bytemuck::cast_slice_mut(&mut values), x)?;
                values.into_iter().map(half::f16::to_f32).collect()
            }
            Dtype::Bf16 => {
                let mut values = vec![half::bf16::ZERO; x.shape().count()];
                self.read_bytes(bytemuck::cast_slice_mut(&mut values), x)?;
                values.into_iter().map(half::bf16::to_f32).collect()
            }
            Dtype::U32 => anyhow::bail!("download: expected floats, got {} u32", x.shape()),
        })
    }

    /// The values of a u32 view.
    pub fn download_u32(&self, x: View) -> Result<Vec<u32>> {
        ensure!(x.dtype() == Dtype::U32, "download: expected u32, got {} {}", x.shape(), x.dtype());
        let mut values = vec![0u32; x.shape().count()];
        self.read_bytes(bytemuck::cast_slice_mut(&mut values), x)?;
        Ok(values)
    }

    fn read_bytes(&self, bytes: &mut [u8], x: View) -> Result<()> {
        self.resident("download", "x", x)?;
        match bytes.is_empty() {
            true => Ok(()),
            false => self.0.download(bytes, x),
        }
    }

    /// A read-only tensor over `bytes`, which lie inside the map `keep`: without a copy where the
    /// device reads host memory and the elements are aligned, else copied.
    pub fn share(
        &self,
        bytes: &[u8],
        shape: Shape,
        dtype: Dtype,
        keep: Arc<Map>,
    ) -> Result<Tensor> {
        let expected = shape.bytes(dtype);
        ensure!(
            bytes.len() == expected,
            "share: expected {expected} bytes for {shape} {dtype}, got {}",
            bytes.len()
        );
        let (inside, address) = (keep.as_ptr_range(), bytes.as_ptr());
        let mapped = inside.start <= address && bytes.as_ptr_range().end <= inside.end;
        if mapped && self.place().reads_maps() && (address as usize).is_multiple_of(dtype.size()) {
            return Ok(Tensor::share(self.clone(), address as u64, shape, dtype, keep));
        }
        self.upload_bytes(bytes, shape, dtype)
    }

    /// Bytes held by its tensors, and the most of them at once.
    pub fn memory(&self) -> MemoryUse {
        self.0.memory()
    }

    /// Starts the peak of [`Device::memory`] anew from what is held now.
    pub fn reset_peak(&self) {
        self.0.reset_peak();
    }

    /// Bytes that this device can still give, as far as is known. Refuses where the system does not
    /// say.
    pub fn available(&self) -> Result<u64> {
        self.0.available()
    }

    /// Bytes of memory of its own; 0 where it lives in a host's. The same whatever is in use.
    pub fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    /// What has been asked of it since it was opened: kernels, copies, products; `None` on a device
    /// that nothing has to be copied to.
    pub fn work(&self) -> Option<Work> {
        self.0.work()
    }

    /// Waits until everything asked for has been done.
    pub fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }

    /// Measures what the device can do at most; `None` on a device that has no such yardstick.
    pub fn ceilings(&self) -> Result<Option<Ceilings>> {
        self.0.ceilings()
    }

    pub(self) fn free(&self, address: u64, bytes: usize) {
        self.0.free(address, bytes);
    }
}
