//! Rotary positions of two kinds.

use super::super::element::Element;

/// One half of a head's columns: x\[j\] and x\[j + D/2\] turn together.
#[inline(always)]
pub(super) fn turn_half<T: Element>(x: &mut [T], cos: &[f32], sin: &[f32], sign: f32) {
    let (low, high) = x.split_at_mut(cos.len());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (a, b, sin) = (low.wide(), high.wide(), sign * sin);
        *low = T::narrow(a.mul_add(*cos, -(b * sin)));
        *high = T::narrow(b.mul_add(*cos, a * sin));
    }
}
