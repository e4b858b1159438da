//! Elements of host memory: views as slices, storage dtypes as f32.

use super::super::{View, ViewMut, Write};
use super::threads::Scatter;
use super::vector::vector;
use crate::base::Dtype;
use half::{bf16, f16};
use std::borrow::Cow;

/// A float as it is stored. Arithmetic is always f32: [`Element::wide`] in, [`Element::narrow`]
/// out. Both are free of branches, so loops over them become vector code.
pub(super) trait Element: bytemuck::Pod + Send + Sync {
    const DTYPE: Dtype;
    fn wide(self) -> f32;
    /// Rounds to nearest even.
    fn narrow(x: f32) -> Self;
    /// Runs `work` on the elements as f32: in place where they are, else in `scratch`, rounded back
    /// afterwards.
    #[inline(always)]
    fn as_f32<R>(
        x: &mut [Self],
        scratch: &mut Vec<f32>,
        mut work: impl FnMut(&mut [f32]) -> R,
    ) -> R {
        scratch.resize(x.len(), 0.0);
        widen(scratch, x);
        let result = work(scratch);
        narrow(x, scratch);
        result
    }
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;

    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn as_f32<R>(x: &mut [f32], _: &mut Vec<f32>, mut work: impl FnMut(&mut [f32]) -> R) -> R {
        work(x)
    }
}

impl Element for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;

    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(x: f32) -> bf16 {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // A NaN must not round up to infinity: it keeps its high half and becomes quiet.
        let quiet = bits >> 16 | 0x40;
        bf16::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded } as u16)
    }
}

impl Element for f16 {
    const DTYPE: Dtype = Dtype::F16;

    #[inline(always)]
    fn wide(self) -> f32 {
        let bits = u32::from(self.to_bits());
        // Exponent and mantissa in f32's places; the product re-biases the exponent and is exact
        // for subnormals too.
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow(x: f32) -> f16 {
        let bits = x.to_bits();
        let sign = bits >> 16 & 0x8000;
        let magnitude = bits & 0x7fff_ffff;
        // Normal: re-bias, round to nearest even on the 13 bits that go; a carry into the exponent
        // is right, to infinity too.
        let normal =
            magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + (magnitude >> 13 & 1)) >> 13;
        // Below 2^-14 the addition of 0.5 puts the last f16 bit into f32's last place, and rounds.
        let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
        let nan = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        let finite = if magnitude < 113 << 23 { small } else { normal };
        f16::from_bits((if magnitude >= 0x4780_0000 { nan } else { finite } | sign) as u16)
    }
}

/// The elements of a view. Panics where the dtype is another: the door has checked it.
pub(super) fn floats<'a, T: Element>(x: View<'a>) -> &'a [T] {
    assert_eq!(x.dtype(), T::DTYPE, "elements of {}", x.shape());
    // SAFETY: see `slice`.
    unsafe { slice(x) }
}

/// The elements of a mutable view. Panics where the dtype is another: the door has checked it.
pub(super) fn floats_mut<'a, T: Element>(y: ViewMut<'a>) -> &'a mut [T] {
    assert_eq!(y.dtype(), T::DTYPE, "elements of {}", y.shape());
    // SAFETY: see `slice_mut`.
    unsafe { slice_mut(y) }
}

/// The elements of a u32 view.
pub(super) fn words<'a>(x: View<'a>) -> &'a [u32] {
    assert_eq!(x.dtype(), Dtype::U32, "words of {}", x.shape());
    // SAFETY: see `slice`.
    unsafe { slice(x) }
}

/// The elements of a mutable u32 view.
pub(super) fn words_mut<'a>(y: ViewMut<'a>) -> &'a mut [u32] {
    assert_eq!(y.dtype(), Dtype::U32, "words of {}", y.shape());
    // SAFETY: see `slice_mut`.
    unsafe { slice_mut(y) }
}

/// The bytes of a view of any dtype.
pub(super) fn bytes<'a>(x: View<'a>) -> &'a [u8] {
    // SAFETY: see `slice`; every initialised element is valid bytes.
    unsafe { std::slice::from_raw_parts(x.address() as *const u8, x.bytes()) }
}

/// The bytes of a mutable view of any dtype.
pub(super) fn bytes_mut<'a>(y: ViewMut<'a>) -> &'a mut [u8] {
    // SAFETY: see `slice_mut`; any bytes are valid elements.
    unsafe { std::slice::from_raw_parts_mut(y.address() as *mut u8, y.as_view().bytes()) }
}

/// # Safety
/// `T` is what the view's dtype says. A view comes from a live tensor (its lifetime borrows it),
/// the door has checked that the tensor lives on this device, and its address is aligned:
/// allocations are, shared memory is checked.
unsafe fn slice<'a, T: bytemuck::Pod>(x: View<'a>) -> &'a [T] {
    // SAFETY: the caller's duty, above.
    unsafe { std::slice::from_raw_parts(x.address() as *const T, x.shape().count()) }
}

/// # Safety
/// As `slice`; a ViewMut borrows its tensor mutably and parts of it are disjoint, so nobody else
/// holds these elements.
unsafe fn slice_mut<'a, T: bytemuck::Pod>(y: ViewMut<'a>) -> &'a mut [T] {
    // SAFETY: the caller's duty, above.
    unsafe { std::slice::from_raw_parts_mut(y.address() as *mut T, y.shape().count()) }
}

/// Runs `$body` with the type alias `$T` standing for the element type of a float dtype.
macro_rules! by_float {
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
            $crate::base::Dtype::U32 => unreachable!("the door lets floats through only"),
        }
    };
}
pub(super) use by_float;

/// A float view of whatever dtype, read a stretch at a time: for operands whose dtypes do not
/// depend on each other.
#[derive(Clone, Copy)]
pub(super) enum Floats<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Floats<'a> {
    pub fn new(x: View<'a>) -> Floats<'a> {
        match x.dtype() {
            Dtype::F32 => Floats::F32(floats(x)),
            Dtype::F16 => Floats::F16(floats(x)),
            Dtype::Bf16 => Floats::Bf16(floats(x)),
            Dtype::U32 => unreachable!("the door lets floats through only"),
        }
    }

    /// y = x\[start..start + y.len()\].
    #[inline(always)]
    pub fn read(self, start: usize, y: &mut [f32]) {
        let range = start..start + y.len();
        match self {
            Floats::F32(x) => y.copy_from_slice(&x[range]),
            Floats::F16(x) => widen(y, &x[range]),
            Floats::Bf16(x) => widen(y, &x[range]),
        }
    }
}

/// As [`Floats`], written by several threads in disjoint ranges.
#[derive(Clone, Copy)]
pub(super) enum FloatsMut<'a> {
    F32(Scatter<'a, f32>),
    F16(Scatter<'a, f16>),
    Bf16(Scatter<'a, bf16>),
}

impl<'a> FloatsMut<'a> {
    pub fn new(y: ViewMut<'a>) -> FloatsMut<'a> {
        match y.dtype() {
            Dtype::F32 => FloatsMut::F32(Scatter::new(floats_mut(y))),
            Dtype::F16 => FloatsMut::F16(Scatter::new(floats_mut(y))),
            Dtype::Bf16 => FloatsMut::Bf16(Scatter::new(floats_mut(y))),
            Dtype::U32 => unreachable!("the door lets floats through only"),
        }
    }

    /// x as y's dtype holds it.
    #[inline(always)]
    pub fn round(&self, x: &mut [f32]) {
        #[inline(always)]
        fn through<T: Element>(x: &mut [f32]) {
            x.iter_mut().for_each(|x| *x = T::narrow(*x).wide());
        }
        match self {
            FloatsMut::F32(_) => {}
            FloatsMut::F16(_) => through::<f16>(x),
            FloatsMut::Bf16(_) => through::<bf16>(x),
        }
    }

    /// y\[start..start + x.len()\] = x, or += x.
    ///
    /// # Safety
    /// No other thread reads or writes that range meanwhile.
    #[inline(always)]
    pub unsafe fn write(&self, start: usize, x: &[f32], write: Write) {
        #[inline(always)]
        fn put<T: Element>(y: &mut [T], x: &[f32], write: Write) {
            match write {
                Write::Set => narrow(y, x),
                Write::Add => y.iter_mut().zip(x).for_each(|(y, x)| *y = T::narrow(y.wide() + x)),
            }
        }
        let range = start..start + x.len();
        // SAFETY: the caller's duty.
        unsafe {
            match self {
                FloatsMut::F32(y) => put(y.range(range), x, write),
                FloatsMut::F16(y) => put(y.range(range), x, write),
                FloatsMut::Bf16(y) => put(y.range(range), x, write),
            }
        }
    }
}

/// A float view of any dtype as f32: borrowed where it is, widened where not. For small things such
/// as a bias.
pub(super) fn widened<'a>(x: View<'a>) -> Cow<'a, [f32]> {
    match x.dtype() {
        Dtype::F32 => Cow::Borrowed(floats::<f32>(x)),
        dtype => by_float!(dtype, T => {
            let x = floats::<T>(x);
            let mut wide = vec![0.0; x.len()];
            vector(
                #[inline(always)]
                || widen(&mut wide, x),
            );
            Cow::Owned(wide)
        }),
    }
}

/// y = x.
#[inline(always)]
pub(super) fn widen<T: Element>(y: &mut [f32], x: &[T]) {
    assert_eq!(y.len(), x.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x.wide();
    }
}

/// y = x, rounded.
#[inline(always)]
pub(super) fn narrow<T: Element>(y: &mut [T], x: &[f32]) {
    assert_eq!(y.len(), x.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = T::narrow(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_convert_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            if !a.is_nan() {
                assert_eq!(a.wide().to_bits(), a.to_f32().to_bits(), "f16 {bits:#x}");
                assert_eq!(<f16 as Element>::narrow(a.wide()).to_bits(), bits);
            }
            if !b.is_nan() {
                assert_eq!(b.wide().to_bits(), b.to_f32().to_bits(), "bf16 {bits:#x}");
                assert_eq!(<bf16 as Element>::narrow(b.wide()).to_bits(), bits);
            }
        }
        assert!(
            <f16 as Element>::narrow(f32::NAN).is_nan()
                && <bf16 as Element>::narrow(f32::NAN).is_nan()
        );
        assert!(f16::NAN.wide().is_nan() && bf16::NAN.wide().is_nan());
    }

    #[test]
    fn f32_rounds_to_nearest_even() {
        for i in 0..4_000_000u32 {
            let x = f32::from_bits(i.wrapping_mul(1_073));
            if x.is_nan() {
                continue;
            }
            for x in [x, -x] {
                let (a, b) = (<f16 as Element>::narrow(x), <bf16 as Element>::narrow(x));
                assert_eq!(a.to_bits(), f16::from_f32(x).to_bits(), "f16 of {x:e}");
                assert_eq!(b.to_bits(), bf16::from_f32(x).to_bits(), "bf16 of {x:e}");
            }
        }
    }
}
