//! A natural logarithm that gives the same bits on every machine.
//!
//! `f64::ln` calls the platform's libm, and those differ in the last place, which
//! would make a seeded flow depend on the C library. This one uses only the four
//! basic operations, whose rounding IEEE 754 fixes.

use std::f64::consts::SQRT_2;

/// ln 2 in two parts: the first has 21 zero bits at its end, so that its product
/// with an exponent (at most 11 bits) is exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// ln `x` for finite, normal x > 0, within 2 units in the last place.
///
/// 1. x = m x 2^e with m in [sqrt(1/2), sqrt 2).
/// 2. ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716.
/// 3. artanh(s) = s + s^3/3 + s^5/5 + ...; the first term left out, s^23/23, is
///    below 2^-60 of s.
pub(super) fn natural_log(x: f64) -> f64 {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exact_where_the_logarithm_is() {
        assert_eq!(natural_log(1.0), 0.0);
        assert_eq!(natural_log(2.0), std::f64::consts::LN_2);
        assert_eq!(LN_2_HIGH.to_bits() & ((1 << 21) - 1), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_the_platform(x in prop_oneof![1e-17..1.0, 0.5..2.0, 1.0..1e17]) {
            let (ours, theirs) = (natural_log(x), x.ln());
            prop_assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs(), "{ours} {theirs}");
        }
    }
}
