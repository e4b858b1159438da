//! Floor 1, the chips' side: numbers in memory and the ops on them. Never meets `data`.

mod backend;
mod cpu;
mod door;
mod tensor;

pub use backend::*;
pub use tensor::{Tensor, View, ViewMut};

use crate::base::{Dtype, Fault, Shape};
use anyhow::Result;
use std::any::Any;
use std::sync::Arc;

/// The one door to a chip: opens it, owns its memory, checks every op's arguments once (see `door.rs`).
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl Device {
    /// Opens "cpu" with `threads` worker threads (0 = one a core). Refuses what this binary does not hold.
    pub fn open(name: &str, threads: usize) -> Result<Device> {
        match name {
            "cpu" => Ok(Device(Arc::new(cpu::Cpu::open(threads)?))),
            "emu" => Err(Fault::Device.error(
                "device: emu: expected a binary with the emulator, got one without; use --device cpu",
            )),
            cuda if cuda.starts_with("cuda") => Err(Fault::Device.error(format!(
                "device: {cuda}: expected CUDA kernels in this binary, got none; use --device cpu (`engine doctor` says what is there)"
            ))),
            other => {
                Err(Fault::Usage.error(format!("device: expected cpu, cuda:N or emu, got {other:?}; use --device cpu")))
            }
        }
    }

    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Identity, to tell devices apart.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<u8>() as usize
    }

    pub fn memory(&self) -> MemoryUse {
        self.0.memory()
    }

    pub fn reset_peak(&self) {
        self.0.reset_peak();
    }

    pub fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }

    // --- memory -------------------------------------------------------------------------------------------------

    /// A tensor with unspecified contents.
    pub fn alloc(&self, shape: Shape, dtype: Dtype) -> Result<Tensor> {
        let bytes = shape.count() * dtype.size();
        let address = self.0.alloc(bytes)?;
        Ok(Tensor::own(self.clone(), address, bytes, shape, dtype))
    }

    pub fn zeros(&self, shape: Shape, dtype: Dtype) -> Result<Tensor> {
        let mut tensor = self.alloc(shape, dtype)?;
        self.zero(tensor.view_mut())?;
        Ok(tensor)
    }

    fn free(&self, address: u64, bytes: usize) {
        self.0.free(address, bytes);
    }

    /// A tensor of `dtype` with `values`, rounded to nearest even.
    pub fn upload_f32(&self, values: &[f32], shape: Shape, dtype: Dtype) -> Result<Tensor> {
        let mut tensor = self.alloc(shape, dtype)?;
        self.write_f32(tensor.view_mut(), values)?;
        Ok(tensor)
    }

    pub fn upload_u32(&self, values: &[u32]) -> Result<Tensor> {
        let mut tensor = self.alloc(Shape::vector(values.len()), Dtype::U32)?;
        self.write_u32(tensor.view_mut(), values)?;
        Ok(tensor)
    }

    /// Overwrites `y` with `values`. Panics where the counts differ: our fault.
    pub fn write_f32(&self, y: ViewMut, values: &[f32]) -> Result<()> {
        assert_eq!(
            y.shape().count(),
            values.len(),
            "write_f32 of {} values into {}",
            values.len(),
            y.shape()
        );
        match y.dtype() {
            Dtype::F32 => self.0.upload(y, bytemuck::cast_slice(values)),
            Dtype::F16 => {
                let half: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
                self.0.upload(y, bytemuck::cast_slice(&half))
            }
            Dtype::Bf16 => {
                let half: Vec<half::bf16> = values.iter().map(|&v| half::bf16::from_f32(v)).collect();
                self.0.upload(y, bytemuck::cast_slice(&half))
            }
            Dtype::U32 => panic!("write_f32 into u32"),
        }
    }

    pub fn write_u32(&self, y: ViewMut, values: &[u32]) -> Result<()> {
        assert_eq!(
            (y.shape().count(), y.dtype()),
            (values.len(), Dtype::U32),
            "write_u32 into {}",
            y.shape()
        );
        self.0.upload(y, bytemuck::cast_slice(values))
    }

    /// The values of a float view, widened.
    pub fn download_f32(&self, x: View) -> Result<Vec<f32>> {
        let count = x.shape().count();
        match x.dtype() {
            Dtype::F32 => {
                let mut values = vec![0f32; count];
                self.0.download(bytemuck::cast_slice_mut(&mut values), x)?;
                Ok(values)
            }
            Dtype::F16 => {
                let mut values = vec![half::f16::ZERO; count];
                self.0.download(bytemuck::cast_slice_mut(&mut values), x)?;
                Ok(values.into_iter().map(half::f16::to_f32).collect())
            }
            Dtype::Bf16 => {
                let mut values = vec![half::bf16::ZERO; count];
                self.0.download(bytemuck::cast_slice_mut(&mut values), x)?;
                Ok(values.into_iter().map(half::bf16::to_f32).collect())
            }
            Dtype::U32 => panic!("download_f32 of u32"),
        }
    }

    pub fn download_u32(&self, x: View) -> Result<Vec<u32>> {
        assert_eq!(x.dtype(), Dtype::U32, "download_u32 of {}", x.dtype());
        let mut values = vec![0u32; x.shape().count()];
        self.0.download(bytemuck::cast_slice_mut(&mut values), x)?;
        Ok(values)
    }

    /// A read-only tensor over `bytes`, which `keep` keeps alive; a copy where the device cannot read them in place.
    pub fn share(
        &self,
        bytes: &[u8],
        shape: Shape,
        dtype: Dtype,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Result<Tensor> {
        assert_eq!(bytes.len(), shape.count() * dtype.size(), "share of {shape} {dtype}");
        if self.0.reads_host_memory() && (bytes.as_ptr() as usize).is_multiple_of(dtype.size()) {
            return Ok(Tensor::share(self.clone(), bytes.as_ptr() as u64, shape, dtype, keep));
        }
        let mut tensor = self.alloc(shape, dtype)?;
        self.0.upload(tensor.view_mut(), bytes)?;
        Ok(tensor)
    }

    /// The mask of a batch on host and device. Refuses starts that do not ascend and contexts longer than their sequence.
    pub fn segments(&self, start: &[u32], context: &[u32]) -> Result<Segments> {
        let lengths_fit = start.len() == context.len() + 1
            && start.first() == Some(&0)
            && start.windows(2).zip(context).all(|(w, &c)| w[0] <= w[1] && c <= w[1] - w[0]);
        if !lengths_fit {
            return Err(Fault::Data.error(format!(
                "segments: expected ascending starts from 0 and contexts within their sequences, got starts {start:?} and contexts {context:?}"
            )));
        }
        Ok(Segments {
            start: start.to_vec(),
            context: context.to_vec(),
            start_on_device: self.upload_u32(start)?,
            context_on_device: self.upload_u32(context)?,
        })
    }
}
