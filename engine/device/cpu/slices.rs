//! Views as slices, and the storage types behind a run-time dtype.

use super::super::{View, ViewMut};
use crate::base::Dtype;
use bytemuck::Pod;
use half::{bf16, f16};

/// A float storage type; arithmetic happens in f32.
pub trait Float: Pod + Send + Sync {
    const DTYPE: Dtype;
    fn get(self) -> f32;
    fn put(x: f32) -> Self;
}

impl Float for f32 {
    const DTYPE: Dtype = Dtype::F32;
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
    #[inline(always)]
    fn put(x: f32) -> f32 {
        x
    }
}

impl Float for f16 {
    const DTYPE: Dtype = Dtype::F16;
    #[inline(always)]
    fn get(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn put(x: f32) -> f16 {
        f16::from_f32(x)
    }
}

impl Float for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
    #[inline(always)]
    fn get(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn put(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
}

/// Runs `$body` with `$T` bound to the storage type of a float dtype.
macro_rules! with_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::base::Dtype::F32 => {
                type $T = f32;
                $body
            }
            $crate::base::Dtype::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::base::Dtype::Bf16 => {
                type $T = half::bf16;
                $body
            }
            $crate::base::Dtype::U32 => panic!("a float dtype was checked at the door"),
        }
    };
}
pub(super) use with_float;

/// The elements of a view.
pub fn slice<'a, T: Float>(x: View<'a>) -> &'a [T] {
    assert_eq!(x.dtype(), T::DTYPE, "the door checks dtypes");
    // SAFETY: a view covers initialised-or-plain memory of its tensor for the borrow 'a, of the dtype just checked, 64-byte
    // aligned or element-aligned inside a tensor; every bit pattern of T is a value.
    unsafe { std::slice::from_raw_parts(x.address() as *const T, x.shape().count()) }
}

/// The elements of a writable view.
pub fn slice_mut<'a, T: Float>(y: ViewMut<'a>) -> &'a mut [T] {
    assert_eq!(y.dtype(), T::DTYPE, "the door checks dtypes");
    // SAFETY: as in `slice`; a ViewMut borrows its range exclusively.
    unsafe { std::slice::from_raw_parts_mut(y.address() as *mut T, y.shape().count()) }
}

/// The elements of an index view.
pub fn ids<'a>(x: View<'a>) -> &'a [u32] {
    assert_eq!(x.dtype(), Dtype::U32, "the door checks dtypes");
    // SAFETY: as in `slice`.
    unsafe { std::slice::from_raw_parts(x.address() as *const u32, x.shape().count()) }
}

pub fn ids_mut<'a>(y: ViewMut<'a>) -> &'a mut [u32] {
    assert_eq!(y.dtype(), Dtype::U32, "the door checks dtypes");
    // SAFETY: as in `slice_mut`.
    unsafe { std::slice::from_raw_parts_mut(y.address() as *mut u32, y.shape().count()) }
}
