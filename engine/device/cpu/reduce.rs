//! Sums and maxima over a slice in one fixed order: LANES running values, then a tree. The order
//! depends on the length alone, so equal rows give equal bits wherever they stand.

use super::element::Element;

const LANES: usize = 32;

/// Σ f(x).
#[inline(always)]
pub(super) fn sum<T: Element>(x: &[T], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x.wide());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f(x.wide());
    }
    tree(&mut lanes, |a, b| a + b)
}

/// The sum over pairs, each added to a running value by `add(value, x, y)`.
#[inline(always)]
pub(super) fn fold<T: Element>(x: &[f32], y: &[T], add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    assert_eq!(x.len(), y.len());
    let mut lanes = [0.0f32; LANES];
    let (mut x, mut y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (x, y) in (&mut x).zip(&mut y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = add(*lane, *x, y.wide());
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(x.remainder()).zip(y.remainder()) {
        *lane = add(*lane, *x, y.wide());
    }
    tree(&mut lanes, |a, b| a + b)
}

/// The largest element; not a number is passed over, and nothing at all gives -∞.
#[inline(always)]
pub(super) fn max<T: Element>(x: &[T]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x.wide());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = larger(*lane, x.wide());
    }
    tree(&mut lanes, larger)
}

/// Folds the lanes in halves.
#[inline(always)]
pub(super) fn tree(lanes: &mut [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}
