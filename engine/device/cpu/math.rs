//! exp, the logistic function and erf as straight-line f32 code: loops over them become vector
//! code. Within 2 ulp of f32 at the scale of the result (exp) or of one (the bounded ones). Not a
//! number stays not a number.

use super::super::Gelu;

/// 2/√π
const TWO_OVER_SQRT_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI;

/// e^x; 0 below -104, infinity above 88.8.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 1.5·2^23: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few bits, so that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    // Minimax on |r| ≤ ln(2)/2 of (e^r - 1 - r)/r², 3e-9 of e^r.
    let p = r.mul_add(1.395_17e-3, 8.369_6e-3);
    let p = r.mul_add(p, 4.166_619e-2);
    let p = r.mul_add(p, 1.666_651_3e-1);
    let p = r.mul_add(p, 0.5);
    let p = (r * r).mul_add(p, r) + 1.0;
    // 2^n in two factors, so that results below 2^-126 are rounded once and n = 128 exists.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// 1/(1 + e^-x), which is 0.5·(1 + tanh(x/2)) without its cancellation.
#[inline(always)]
pub(super) fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// erf(x) = 2/√π·∫₀ˣ e^(-t²) dt.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let z = x.abs();
    // |x| ≤ 1: odd polynomial, minimax of erf(x)/x in x².
    let s = z * z;
    let p = s.mul_add(7.889_123e-5, -8.020_842e-4);
    let p = s.mul_add(p, 5.189_535_7e-3);
    let p = s.mul_add(p, -2.685_444_4e-2);
    let p = s.mul_add(p, 1.128_36e-1);
    let p = s.mul_add(p, -3.761_262_6e-1);
    let small = z * s.mul_add(p, std::f32::consts::FRAC_2_SQRT_PI);
    // 1 < |x| ≤ 4: 1 - exp(polynomial), minimax of ln(1 - erf(x)); from 4 on the result rounds to
    // one.
    let t = if z > 4.0 { 4.0 } else { z };
    let q = t.mul_add(1.855_740_7e-4, -2.939_608e-3);
    let q = t.mul_add(q, 2.180_532e-2);
    let q = t.mul_add(q, -1.030_373_7e-1);
    let q = t.mul_add(q, -6.382_257e-1);
    let q = t.mul_add(q, -1.127_04);
    let q = t.mul_add(q, -3.537_188e-4);
    let large = 1.0 - exp(q);
    (if z <= 1.0 { small } else { large }).copysign(x)
}

/// GELU of the form, its value.
#[inline(always)]
pub(super) fn gelu<const ERF: bool>(x: f32) -> f32 {
    if ERF {
        let half = 0.5 * x;
        half.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), half)
    } else {
        x * logistic(twice_argument(x))
    }
}

/// GELU's derivative: Φ(x) + x·φ(x) with erf; with tanh s + x·s·(1 - s)·u', where s = logistic(u).
#[inline(always)]
pub(super) fn gelu_slope<const ERF: bool>(x: f32) -> f32 {
    if ERF {
        let cumulative = 0.5f32.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), 0.5);
        let density = 0.5 * std::f32::consts::FRAC_1_SQRT_2 * TWO_OVER_SQRT_PI * exp(-0.5 * x * x);
        x.mul_add(density, cumulative)
    } else {
        let u = twice_argument(x);
        // 1 - s as e·s keeps its digits where s is close to one; e must stay finite.
        let e = exp(if u < -80.0 { 80.0 } else { -u });
        let s = 1.0 / (1.0 + e);
        let slope = (x * x).mul_add(3.0 * CUBIC, LINEAR);
        (x * s * (e * s)).mul_add(slope, s)
    }
}

/// 2·√(2/π) and that times 0.044715: logistic(2u) = 0.5·(1 + tanh u).
const LINEAR: f32 = 1.595_769;
const CUBIC: f32 = 0.071_354_82;

#[inline(always)]
fn twice_argument(x: f32) -> f32 {
    x * (x * x).mul_add(CUBIC, LINEAR)
}

/// Runs `$body` with the constant `$ERF` that [`gelu`] and [`gelu_slope`] take, so that loops hold
/// one curve only.
macro_rules! by_gelu {
    ($form:expr, $ERF:ident => $body:expr) => {
        match $form {
            $crate::device::Gelu::Erf => {
                const $ERF: bool = true;
                $body
            }
            $crate::device::Gelu::Tanh => {
                const $ERF: bool = false;
                $body
            }
        }
    };
}
pub(super) use by_gelu;

/// y = y·gelu'(x).
#[inline(always)]
pub(super) fn times_gelu_slope(y: &mut [f32], x: &[f32], form: Gelu) {
    by_gelu!(form, ERF => for (y, x) in y.iter_mut().zip(x) {
        *y *= gelu_slope::<ERF>(*x);
    });
}

/// y = gelu(y).
#[inline(always)]
pub(super) fn gelu_in_place(y: &mut [f32], form: Gelu) {
    by_gelu!(form, ERF => for y in y {
        *y = gelu::<ERF>(*y);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ULP: f64 = f32::EPSILON as f64;

    fn erf64(x: f64) -> f64 {
        // The Maclaurin series in f64: terms stay below 1e5 for |x| ≤ 4.3, which leaves ten digits.
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    /// Largest error of f over a grid, in ulp of `scale(value)`.
    fn worst(
        low: f32,
        high: f32,
        f: impl Fn(f32) -> f32,
        law: impl Fn(f64) -> f64,
        scale: impl Fn(f64) -> f64,
    ) -> f64 {
        const STEPS: u32 = 300_000;
        (0..=STEPS)
            .map(|i| {
                let x = low + (high - low) * (i as f32 / STEPS as f32);
                let expected = law(f64::from(x));
                (f64::from(f(x)) - expected).abs() / (scale(expected) * ULP)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn within_two_ulp() {
        let exp_error = worst(-87.0, 88.7, exp, f64::exp, |y| y);
        assert!(exp_error <= 2.0, "exp {exp_error}");
        let logistic_error =
            worst(-40.0, 40.0, logistic, |x| 1.0 / (1.0 + (-x).exp()), |y| y.max(0.5));
        assert!(logistic_error <= 2.0, "logistic {logistic_error}");
        let erf_error = worst(-4.2, 4.2, erf, erf64, |y| y.abs().max(0.125));
        assert!(erf_error <= 2.0, "erf {erf_error}");
        println!("exp {exp_error:.2} logistic {logistic_error:.2} erf {erf_error:.2} ulp");
    }

    #[test]
    fn gelu_and_its_slope() {
        let phi = |x: f64| 0.5 * (1.0 + erf64(x / 2f64.sqrt()));
        let u = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * x * (1.0 + 0.044715 * x * x);
        let du = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
        let errors = [
            worst(-5.5, 5.5, gelu::<true>, |x| x * phi(x), |y| y.abs().max(1.0)),
            worst(
                -5.5,
                5.5,
                gelu::<false>,
                |x| 0.5 * x * (1.0 + u(x).tanh()),
                |y| y.abs().max(1.0),
            ),
            worst(
                -5.5,
                5.5,
                gelu_slope::<true>,
                |x| phi(x) + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt(),
                |y| y.abs().max(1.0),
            ),
            worst(
                -5.5,
                5.5,
                gelu_slope::<false>,
                |x| 0.5 * (1.0 + u(x).tanh()) + 0.5 * x * (1.0 - u(x).tanh().powi(2)) * du(x),
                |y| y.abs().max(1.0),
            ),
        ];
        assert!(errors.iter().all(|&e| e <= 2.0), "{errors:?}");
    }

    #[test]
    fn the_ends() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-104.5), 0.0);
        assert!(exp(-100.0) > 0.0);
        assert!(exp(f32::NAN).is_nan() && erf(f32::NAN).is_nan() && logistic(f32::NAN).is_nan());
        assert_eq!((logistic(-200.0), logistic(200.0)), (0.0, 1.0));
        assert_eq!((erf(-9.0), erf(f32::INFINITY), erf(0.0)), (-1.0, 1.0, 0.0));
        for form in [gelu::<true>, gelu::<false>] {
            assert_eq!((form(-200.0), form(200.0)), (0.0, 200.0));
        }
    }
}
