//! Memory with a shape. Contiguous and row-major, always: what others do with strided views our ops
//! take as arguments.

use super::Device;
use crate::base::{Dtype, Shape};
use std::any::Any;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// One buffer on one device, one shape. Freed when dropped.
pub struct Tensor {
    device: Device,
    address: u64,
    shape: Shape,
    dtype: Dtype,
    owner: Owner,
}

/// Who gives the memory back.
enum Owner {
    /// Allocated by the device, `bytes` long.
    Device { bytes: usize },
    /// Lives inside something shared, such as a memory-mapped checkpoint; read-only.
    Shared { _keep: Arc<dyn Any + Send + Sync> },
}

impl Tensor {
    /// A tensor over memory that the device just allocated; used by `Device::alloc` alone.
    pub(super) fn own(
        device: Device,
        address: u64,
        bytes: usize,
        shape: Shape,
        dtype: Dtype,
    ) -> Tensor {
        debug_assert!(bytes >= shape.bytes(dtype));
        Tensor { device, address, shape, dtype, owner: Owner::Device { bytes } }
    }

    /// A read-only tensor over host memory kept alive by `keep`; the device checks residence before
    /// it calls this.
    pub(super) fn share(
        device: Device,
        address: u64,
        shape: Shape,
        dtype: Dtype,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Tensor {
        Tensor { device, address, shape, dtype, owner: Owner::Shared { _keep: keep } }
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its rows and columns.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How its elements are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// All of it, to read.
    pub fn view(&self) -> View<'_> {
        View {
            address: self.address,
            shape: self.shape,
            dtype: self.dtype,
            device_id: self.device.id(),
            life: PhantomData,
        }
    }

    /// Panics on a shared (read-only) tensor: writing to a mapped checkpoint is our bug, never a
    /// user's.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        assert!(
            matches!(self.owner, Owner::Device { .. }),
            "view_mut of a read-only tensor {}",
            self.shape
        );
        ViewMut(View {
            address: self.address,
            shape: self.shape,
            dtype: self.dtype,
            device_id: self.device.id(),
            life: PhantomData,
        })
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Owner::Device { bytes } = self.owner {
            self.device.free(self.address, bytes);
        }
    }
}

/// A borrowed tensor or a range of its rows.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    address: u64,
    shape: Shape,
    dtype: Dtype,
    device_id: usize,
    life: PhantomData<&'a [u8]>,
}

/// A mutably borrowed tensor or a range of its rows.
#[derive(Debug)]
pub struct ViewMut<'a>(View<'a>);

impl<'a> View<'a> {
    /// Its rows and columns.
    pub fn shape(self) -> Shape {
        self.shape
    }

    /// Rows; a vector is one row.
    pub fn rows(self) -> usize {
        self.shape.rows()
    }

    /// Elements of a row.
    pub fn cols(self) -> usize {
        self.shape.cols()
    }

    /// How its elements are stored.
    pub fn dtype(self) -> Dtype {
        self.dtype
    }

    /// Where the first element is: a host address on the CPU, a device pointer on CUDA.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Bytes of its elements.
    pub fn bytes(self) -> usize {
        self.shape.bytes(self.dtype)
    }

    /// Identity of the device the memory belongs to.
    pub fn device_id(self) -> usize {
        self.device_id
    }

    /// The rows `range` as a view of their own.
    pub fn row_range(self, range: Range<usize>) -> View<'a> {
        assert!(
            range.start <= range.end && range.end <= self.rows(),
            "rows {range:?} of {}",
            self.shape
        );
        let address = self.address + (range.start * self.cols() * self.dtype.size()) as u64;
        View { address, shape: Shape::matrix(range.len(), self.cols()), ..self }
    }

    /// `shape.count()` elements from element `offset` on, seen as `shape`: parameters inside one
    /// flat range.
    pub fn part(self, offset: usize, shape: Shape) -> View<'a> {
        let end = offset.checked_add(shape.count());
        assert!(
            end.is_some_and(|end| end <= self.shape.count()),
            "{shape} at {offset} of {}",
            self.shape
        );
        View { address: self.address + (offset * self.dtype.size()) as u64, shape, ..self }
    }
}

impl<'a> ViewMut<'a> {
    /// The same to read.
    pub fn as_view(&self) -> View<'_> {
        self.0
    }

    /// Its rows and columns.
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// Rows; a vector is one row.
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.0.cols()
    }

    /// How its elements are stored.
    pub fn dtype(&self) -> Dtype {
        self.0.dtype
    }

    /// As [`View::address`].
    pub fn address(&self) -> u64 {
        self.0.address
    }

    /// The same for a shorter while.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut(self.0)
    }

    /// As [`View::row_range`].
    pub fn row_range(self, range: Range<usize>) -> ViewMut<'a> {
        ViewMut(self.0.row_range(range))
    }

    /// As [`View::part`].
    pub fn part(self, offset: usize, shape: Shape) -> ViewMut<'a> {
        ViewMut(self.0.part(offset, shape))
    }

    /// Two parts that do not overlap, both writable. Panics where they do.
    pub fn parts(self, a: (usize, Shape), b: (usize, Shape)) -> (ViewMut<'a>, ViewMut<'a>) {
        let (first, second) = (self.0.part(a.0, a.1), self.0.part(b.0, b.1));
        // Both ends are inside, so neither sum is beyond what can be counted.
        assert!(
            a.0 + a.1.count() <= b.0 || b.0 + b.1.count() <= a.0,
            "parts {a:?} and {b:?} overlap"
        );
        (ViewMut(first), ViewMut(second))
    }
}
