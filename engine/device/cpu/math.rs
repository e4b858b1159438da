//! exp, tanh and erf without branches, so that loops over them are vectorised. Errors are tested against f64.

/// eˣ: x = n·ln 2 + r, a polynomial in r, the exponent put in by its bits. Below -87.3 it is 0 within f32.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.336_54, 88.722_83);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.0 / 5040.0;
    p = r.mul_add(p, 1.0 / 720.0);
    p = r.mul_add(p, 1.0 / 120.0);
    p = r.mul_add(p, 1.0 / 24.0);
    p = r.mul_add(p, 1.0 / 6.0);
    p = r.mul_add(p, 0.5);
    p = r.mul_add(p, 1.0);
    p = r.mul_add(p, 1.0);
    // n is a whole number in -126..=128; two factors keep the exponent in range.
    let half = (shifted.to_bits() as i32).wrapping_sub(0x4B40_0000) >> 1;
    let rest = (shifted.to_bits() as i32).wrapping_sub(0x4B40_0000) - half;
    let value = p * f32::from_bits(((half + 127) as u32) << 23) * f32::from_bits(((rest + 127) as u32) << 23);
    if x < -87.336_54 {
        0.0
    } else {
        value
    }
}

/// tanh x = (1 - e^(-2|x|)) / (1 + e^(-2|x|)) with x's sign.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let t = exp(-2.0 * x.abs());
    ((1.0 - t) / (1.0 + t)).copysign(x)
}

/// erf x: an odd polynomial to |x| = 1, beyond it 1 - e^(q(|x|)) with q fitted to ln erfc (least squares at Chebyshev points).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs().min(4.0);
    let s = a * a;
    let mut p = 7.898_066_5e-5f32;
    for c in [-8.024_312e-4, 5.190_049e-3, -2.685_480_6e-2, 1.128_361_2e-1, -3.761_263e-1, 1.128_379_2] {
        p = s.mul_add(p, c);
    }
    let small = a * p;
    let mut q = -1.933_392e-5f32;
    for c in [
        4.121_504_3e-4,
        -4.054_395e-3,
        2.479_295_6e-2,
        -1.077_517_9e-1,
        -6.338_417_5e-1,
        -1.129_266_3,
        1.228_512_8e-4,
    ] {
        q = a.mul_add(q, c);
    }
    let large = 1.0 - exp(q);
    (if a < 1.0 { small } else { large }).copysign(x)
}

/// e^(-x²/2)/√(2π).
#[inline(always)]
pub fn normal_density(x: f32) -> f32 {
    0.398_942_3 * exp(-0.5 * x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Series and continued fraction in f64: an oracle that shares nothing with the code above.
    fn erf_f64(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn within_two_ulp_of_their_scale() {
        let ulp = f64::from(f32::EPSILON);
        let (mut worst_exp, mut worst_tanh, mut worst_erf) = (0f64, 0f64, 0f64);
        for i in -40_000..=40_000 {
            let x = i as f32 * 1e-3;
            let e = f64::from(x).exp();
            worst_exp = worst_exp.max((f64::from(exp(x)) - e).abs() / e);
            worst_tanh = worst_tanh.max((f64::from(tanh(x)) - f64::from(x).tanh()).abs());
            if x.abs() <= 4.0 {
                worst_erf = worst_erf.max((f64::from(erf(x)) - erf_f64(f64::from(x))).abs());
            }
        }
        println!("exp {:.2} ulp, tanh {:.2}, erf {:.2}", worst_exp / ulp, worst_tanh / ulp, worst_erf / ulp);
        assert!(worst_exp <= 2.0 * ulp && worst_tanh <= 2.0 * ulp && worst_erf <= 2.0 * ulp);
        assert_eq!((exp(-200.0), erf(9.0), erf(-9.0), tanh(50.0), tanh(-50.0)), (0.0, 1.0, -1.0, 1.0, -1.0));
        assert!(exp(88.7).is_finite() && exp(0.0) == 1.0);
    }
}
