//! How much of a law lies in a range, and its mean there.
//!
//! By formula where there is a short one, else by quadrature of the density on an axis on which it is smooth: the
//! logarithm for laws of positive values, the inverse hyperbolic sine for those around a location. Both ends of a run
//! compute the same bits ([`crate::portable`]).

use super::distribution::Distribution;
use crate::portable::{asinh, exp, ln, pow};

impl Distribution {
    /// Share of the law in \[`low`, `high`\], and the integral of x there; 0 <= low < high.
    pub(super) fn within(&self, low: f64, high: f64) -> (f64, f64) {
        match self {
            Self::Point(value) => point(*value, 1.0, low, high),
            Self::Uniform { min, max } => {
                let (from, to) = (min.max(low), max.min(high));
                let mass = ((to - from) / (max - min)).max(0.0);
                (mass, mass * (from + to) / 2.0)
            }
            Self::Exponential { mean } => exponential(*mean, low, high),
            Self::Poisson { mean } => poisson(*mean, low, high),
            Self::Pareto { shape, scale } => pareto(*shape, *scale, low, high),
            Self::Normal { mean, sd } => around(*mean, *sd, low, high, |w| {
                let z = sinh(w);
                -0.5 * z * z
            }),
            Self::Cauchy { location, scale } => {
                around(*location, *scale, low, high, |w| log_student(w, 1.0))
            }
            Self::Student {
                location,
                scale,
                nu,
            } => around(*location, *scale, low, high, |w| log_student(w, *nu)),
            Self::Gamma { shape, scale } => gamma(*shape, *scale, low, high),
            Self::Weibull { shape, scale } => weibull(*shape, *scale, low, high),
            Self::Discrete(items) => sum(items
                .iter()
                .map(|(value, share)| point(*value, *share, low, high))),
            Self::Mixture(items) => sum(items.iter().map(|(share, part)| {
                let (mass, moment) = part.within(low, high);
                (share * mass, share * moment)
            })),
        }
    }
}

fn sum(parts: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    parts.fold((0.0, 0.0), |all, part| (all.0 + part.0, all.1 + part.1))
}

fn point(value: f64, share: f64, low: f64, high: f64) -> (f64, f64) {
    if (low..=high).contains(&value) {
        (share, share * value)
    } else {
        (0.0, 0.0)
    }
}

fn exponential(mean: f64, low: f64, high: f64) -> (f64, f64) {
    let (above_low, above_high) = (exp(-low / mean), exp(-high / mean));
    let mass = above_low - above_high;
    let moment = (mean + low) * above_low - (mean + high) * above_high;
    if high / mean < 1e-3 {
        // All of it is beyond the range, where the density is even: the differences above would be noise.
        return (mass, mass * (low + high) / 2.0);
    }
    (mass, moment)
}

fn pareto(shape: f64, scale: f64, low: f64, high: f64) -> (f64, f64) {
    let from = low.max(scale);
    if from >= high {
        return (0.0, 0.0);
    }
    let above = |x: f64| pow(scale / x, shape);
    let mass = above(from) - above(high);
    // The integral of a s^a x^-a is a s ((x/s)^(1-a)) / (1-a), or a s ln(x/s) for a = 1.
    let power = 1.0 - shape;
    let integral = |x: f64| {
        if power.abs() < 1e-9 {
            ln(x / scale)
        } else {
            (pow(x / scale, power) - 1.0) / power
        }
    };
    (mass, shape * scale * (integral(high) - integral(from)))
}

/// Counts, from the most likely one outwards.
fn poisson(mean: f64, low: f64, high: f64) -> (f64, f64) {
    let mut all = 0.0;
    let mut part = (0.0, 0.0);
    each_count(mean, |count, weight| {
        all += weight;
        if (low..=high).contains(&count) {
            part = (part.0 + weight, part.1 + weight * count);
        }
    });
    (part.0 / all, part.1 / all)
}

/// Calls `with` for each count of a Poisson law that matters, in rising order, with its probability relative to that of
/// the most likely one.
pub(super) fn each_count(mean: f64, mut with: impl FnMut(f64, f64)) {
    let mode = mean.floor();
    // p(k - 1) = p(k) k / mean; beyond 12 standard deviations nothing of a double is left.
    let mut count = mode;
    let mut weight = 1.0;
    let reach = 12.0 * mean.sqrt() + 40.0;
    while count > 0.0 && count > mode - reach {
        weight *= count / mean;
        count -= 1.0;
    }
    while count <= mode + reach {
        with(count, weight);
        count += 1.0;
        weight *= mean / count;
    }
}

fn sinh(w: f64) -> f64 {
    let up = exp(w.abs());
    let size = if w.abs() < 1e-3 {
        let w = w.abs();
        w + w * w * w / 6.0
    } else {
        0.5 * (up - 1.0 / up)
    };
    if w < 0.0 { -size } else { size }
}

/// Logarithm of the density of Student's t at sinh `w`, up to a constant.
fn log_student(w: f64, nu: f64) -> f64 {
    let size = w.abs();
    let squared = if size > 100.0 {
        // z^2 overflows: it is e^(2 w) / 4, and 1 beside it nothing.
        2.0 * size - ln(4.0 * nu)
    } else {
        let z = sinh(size);
        ln(1.0 + z * z / nu)
    };
    -(nu + 1.0) / 2.0 * squared
}

/// A law whose density at location + scale sinh(w) is e^`log_density`(w), up to a constant.
fn around(
    location: f64,
    scale: f64,
    low: f64,
    high: f64,
    log_density: impl Fn(f64) -> f64,
) -> (f64, f64) {
    // cosh(w) dw = dz; beyond 100 it is e^|w| / 2, which stays a logarithm.
    let weight = |w: f64| {
        let size = w.abs();
        let cosh = size + ln(0.5 + 0.5 * exp(-2.0 * size));
        exp(log_density(w) + cosh)
    };
    let axis = |x: f64| asinh((x - location) / scale);
    let all = quadrature(-400.0, 400.0, 1.0, 0.0, &weight);
    let (from, to) = (axis(low), axis(high));
    let mass = quadrature(from, to, 1.0, 0.0, &weight);
    let offset = quadrature(from, to, 1.0, 0.0, &|w| weight(w) * sinh(w));
    (mass / all, (location * mass + scale * offset) / all)
}

fn gamma(shape: f64, scale: f64, low: f64, high: f64) -> (f64, f64) {
    let peak = ln(shape);
    // Relative to the peak, so that large shapes do not overflow.
    let weight = |u: f64| exp(shape * (u - peak) - (exp(u) - shape));
    let step = 1.0 / shape.sqrt().max(1.0);
    let lowest = peak - 12.0 * step - 45.0 / shape;
    let highest = ln(shape + 12.0 * shape.sqrt() + 45.0);
    let axis = |x: f64| if x > 0.0 { ln(x / scale) } else { lowest }.clamp(lowest, highest);
    let (from, to) = (axis(low), axis(high));
    let all = quadrature(lowest, highest, step, peak, &weight);
    let mass = quadrature(from, to, step, peak, &weight);
    let moment = quadrature(from, to, step, peak, &|u| weight(u) * exp(u));
    (mass / all, scale * moment / all)
}

fn weibull(shape: f64, scale: f64, low: f64, high: f64) -> (f64, f64) {
    // v = shape ln(x / scale) is the logarithm of a unit exponential.
    let (inverse, lowest) = (1.0 / shape, -45.0);
    let highest = ln(1.0 + inverse + 12.0 * (1.0 + inverse).sqrt() + 45.0);
    let axis = |x: f64| {
        if x > 0.0 {
            shape * ln(x / scale)
        } else {
            lowest
        }
        .clamp(lowest, highest)
    };
    let (from, to) = (axis(low), axis(high));
    let weight = |v: f64| exp(v - exp(v));
    let mass = quadrature(from, to, 0.5, 0.0, &weight);
    let moment = quadrature(from, to, 0.5, 0.0, &|v| exp(v - exp(v) + v * inverse));
    (mass, scale * moment)
}

/// The integral of `f` from `from` to `to`: Gauss-Legendre with 16 points on pieces of half a `step`, or a tenth of the distance
/// to `centre` where that is more.
fn quadrature(from: f64, to: f64, step: f64, centre: f64, f: &impl Fn(f64) -> f64) -> f64 {
    let mut total = 0.0;
    let mut begin = from;
    while begin < to {
        let distance = (begin - centre).abs();
        let length = (0.1 * distance).max(0.5 * step);
        // A piece that ends at or before the centre must not be longer for where it begins.
        let end = if begin < centre {
            begin + length.min((centre - begin).max(0.5 * step))
        } else {
            begin + length
        };
        let end = end.min(to);
        let (middle, half) = (0.5 * (begin + end), 0.5 * (end - begin));
        let piece: f64 = GAUSS
            .iter()
            .map(|(at, weight)| weight * (f(middle - half * at) + f(middle + half * at)))
            .sum();
        total += half * piece;
        begin = end;
    }
    total
}

/// The positive nodes of the 16-point rule on \[-1, 1\] and their weights.
const GAUSS: [(f64, f64); 8] = [
    (0.095_012_509_837_637_44, 0.189_450_610_455_068_5),
    (0.281_603_550_779_258_9, 0.182_603_415_044_923_6),
    (0.458_016_777_657_227_4, 0.169_156_519_395_002_54),
    (0.617_876_244_402_643_7, 0.149_595_988_816_576_73),
    (0.755_404_408_355_003, 0.124_628_971_255_533_87),
    (0.865_631_202_387_831_7, 0.095_158_511_682_492_78),
    (0.944_575_023_073_232_6, 0.062_253_523_938_647_894),
    (0.989_400_934_991_649_9, 0.027_152_459_411_754_095),
];
