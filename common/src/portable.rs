//! Functions that give the same bits on every machine.
//!
//! `f64::ln`, `exp` and their like call the platform's libm, and those differ in the last place, which would make a
//! seeded flow depend on the C library. These use only the four basic operations and the square root, whose rounding
//! IEEE 754 fixes.

use std::f64::consts::SQRT_2;

/// ln 2 in two parts: the first has 21 zero bits at its end, so that its product with an exponent (at most 11 bits)
/// is exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// ln `x` for finite, normal x > 0, within 2 units in the last place.
///
/// 1. x = m x 2^e with m in [sqrt(1/2), sqrt 2).
/// 2. ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716.
/// 3. artanh(s) = s + s^3/3 + s^5/5 + ...; the first term left out, s^23/23, is below 2^-60 of s.
pub fn ln(x: f64) -> f64 {
    debug_assert!(x.is_normal() && x > 0.0, "logarithm of {x}");
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa >= SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut tail = 0.0;
    for odd in (3..=21_u32).rev().step_by(2) {
        tail = (tail + 1.0 / f64::from(odd)) * square;
    }
    let exponent = exponent as f64;
    exponent * LN_2_HIGH + (2.0 * s + (2.0 * s * tail + exponent * LN_2_LOW))
}

/// e^`x`, within 2 units in the last place; infinite above the largest double, 0 below the smallest normal one.
///
/// 1. x = k ln 2 + r with |r| <= ln 2 / 2.
/// 2. e^r = 1 + r + r^2/2! + ...; the first term left out, r^15/15!, is below 2^-62.
/// 3. The result is scaled by 2^k.
pub fn exp(x: f64) -> f64 {
    if x > 709.7 {
        return f64::INFINITY;
    }
    if x < -708.0 || x.is_nan() {
        return 0.0;
    }
    let k = (x * std::f64::consts::LOG2_E + 0.5).floor();
    let rest = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let mut sum = 1.0;
    for n in (1..=14_u32).rev() {
        sum = 1.0 + sum * rest / f64::from(n);
    }
    // k is -1021 to 1024: the scale is a normal double once halved.
    sum * f64::from_bits(((k as i64 - 1 + 1023) as u64) << 52) * 2.0
}

/// `x` to the power of `y`, for normal x > 0.
pub fn pow(x: f64, y: f64) -> f64 {
    exp(y * ln(x))
}

/// The value whose hyperbolic sine is `x`: for |x| up to 10^150.
pub fn asinh(x: f64) -> f64 {
    let size = x.abs();
    let value = if size < 0.02 {
        // Near 0 the logarithm would lose digits. The first term left out, 945 x^11 / 42240, is below 2^-61 of x.
        let square = size * size;
        let tail = 3.0 / 40.0 - square * (15.0 / 336.0 - square * (105.0 / 3_456.0));
        size - size * square * (1.0 / 6.0 - square * tail)
    } else {
        ln(size + (size * size + 1.0).sqrt())
    };
    if x < 0.0 { -value } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exact_where_the_functions_are() {
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(2.0), std::f64::consts::LN_2);
        assert_eq!(LN_2_HIGH.to_bits() & ((1 << 21) - 1), 0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(1e9), f64::INFINITY);
        assert_eq!(exp(-1e9), 0.0);
        assert_eq!(asinh(0.0), 0.0);
    }

    /// The same numbers on every machine: a change breaks every seeded run.
    #[test]
    fn golden_bits() {
        let mut hash = 0_u64;
        for n in 1..2000_u32 {
            let x = f64::from(n) / 37.0;
            for value in [ln(x), exp(-x), pow(x, 0.7), asinh(x - 20.0)] {
                hash = (hash ^ value.to_bits()).wrapping_mul(0x0100_0000_01b3);
            }
        }
        assert_eq!(hash, GOLDEN, "{hash:#x}");
    }

    const GOLDEN: u64 = 0x0e54_b590_b9c3_c950;

    proptest! {
        #[test]
        fn logarithm_agrees_with_the_platform(x in prop_oneof![1e-17..1.0, 0.5..2.0, 1.0..1e17]) {
            let (ours, theirs) = (ln(x), x.ln());
            prop_assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs(), "{ours} {theirs}");
        }

        #[test]
        fn exponential_agrees_with_the_platform(x in prop_oneof![-1.0..1.0, -700.0..709.0]) {
            let (ours, theirs) = (exp(x), x.exp());
            prop_assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs, "{ours} {theirs}");
        }

        #[test]
        fn inverse_sine_agrees_with_the_platform(x in prop_oneof![-1e-3..1e-3, -1e6..1e6, 0.0..1e100]) {
            let (ours, theirs) = (asinh(x), x.asinh());
            prop_assert!((ours - theirs).abs() <= 1e-12 * theirs.abs(), "{ours} {theirs}");
        }
    }
}
