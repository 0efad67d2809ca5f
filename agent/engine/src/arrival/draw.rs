//! Values drawn from a law, by IEEE basic operations alone.
//!
//! | law | method |
//! |---|---|
//! | exponential | inversion |
//! | Pareto, Weibull | powers of an exponential |
//! | normal | polar (Marsaglia, Bray 1964) |
//! | Cauchy | ratio of the coordinates of a point in the unit disc |
//! | gamma | squeeze on a cubed normal (Marsaglia, Tsang 2000), below shape 1 times a power of a uniform |
//! | Student's t | a normal over the root of a chi-square, which is a gamma |
//! | discrete, counts | inversion in a table |

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;
use weir_common::portable::{exp, ln};
use weir_common::traffic::law::{Conditioned, Distribution};

/// Uniform numbers of a stream.
#[derive(Debug, Clone)]
struct Uniforms(ChaCha12Rng);

impl Uniforms {
    /// On [0, 1), with 53 bits.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * TWO_POW_MINUS_53
    }

    /// On (0, 1]: exact and never 0, so its logarithm is finite.
    fn positive(&mut self) -> f64 {
        let bits = self.0.next_u64() >> 11;
        ((1_u64 << 53) - bits) as f64 * TWO_POW_MINUS_53
    }

    /// Exponential with mean 1.
    fn exponential(&mut self) -> f64 {
        -ln(self.positive())
    }

    /// A point of the unit disc other than its centre, and its squared distance from there.
    fn disc(&mut self) -> (f64, f64, f64) {
        loop {
            let x = 2.0 * self.unit() - 1.0;
            let y = 2.0 * self.unit() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                return (x, y, square);
            }
        }
    }

    fn normal(&mut self) -> f64 {
        let (x, _, square) = self.disc();
        x * (-2.0 * ln(square) / square).sqrt()
    }

    /// Gamma with scale 1.
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            // A gamma of shape + 1 times U^(1 / shape).
            let power = exp(ln(self.positive()) / shape);
            return self.gamma(shape + 1.0) * power;
        }
        let third = shape - 1.0 / 3.0;
        let slope = 1.0 / (9.0 * third).sqrt();
        loop {
            let normal = self.normal();
            let root = 1.0 + slope * normal;
            if root <= 0.0 {
                continue;
            }
            let cube = root * root * root;
            let accepted = 0.5 * normal * normal + third - third * cube + third * ln(cube);
            if ln(self.positive()) < accepted {
                return third * cube;
            }
        }
    }
}

const TWO_POW_MINUS_53: f64 = 1.0 / (1_u64 << 53) as f64;

/// A law, ready to be drawn from.
#[derive(Debug, Clone)]
enum Sampler {
    Point(f64),
    Uniform { min: f64, width: f64 },
    Exponential { mean: f64 },
    Normal { mean: f64, sd: f64 },
    Pareto { inverse: f64, scale: f64 },
    Cauchy { location: f64, scale: f64 },
    Gamma { shape: f64, scale: f64 },
    Weibull { inverse: f64, scale: f64 },
    Student { location: f64, scale: f64, nu: f64 },
    Table(Table<f64>),
    Mixture(Table<Sampler>),
}

impl Sampler {
    fn new(law: &Distribution) -> Self {
        match law {
            Distribution::Point(value) => Self::Point(*value),
            Distribution::Uniform { min, max } => Self::Uniform {
                min: *min,
                width: max - min,
            },
            Distribution::Exponential { mean } => Self::Exponential { mean: *mean },
            Distribution::Poisson { mean } => Self::Table(Table::new(
                Distribution::counts(*mean)
                    .into_iter()
                    .map(|(count, weight)| (weight, count)),
            )),
            Distribution::Normal { mean, sd } => Self::Normal {
                mean: *mean,
                sd: *sd,
            },
            Distribution::Pareto { shape, scale } => Self::Pareto {
                inverse: 1.0 / shape,
                scale: *scale,
            },
            Distribution::Cauchy { location, scale } => Self::Cauchy {
                location: *location,
                scale: *scale,
            },
            Distribution::Gamma { shape, scale } => Self::Gamma {
                shape: *shape,
                scale: *scale,
            },
            Distribution::Weibull { shape, scale } => Self::Weibull {
                inverse: 1.0 / shape,
                scale: *scale,
            },
            Distribution::Student {
                location,
                scale,
                nu,
            } => Self::Student {
                location: *location,
                scale: *scale,
                nu: *nu,
            },
            Distribution::Discrete(items) => Self::Table(Table::new(
                items.iter().map(|(value, share)| (*share, *value)),
            )),
            Distribution::Mixture(items) => Self::Mixture(Table::new(
                items.iter().map(|(share, law)| (*share, Self::new(law))),
            )),
        }
    }

    #[inline]
    fn draw(&self, uniforms: &mut Uniforms) -> f64 {
        match self {
            Self::Point(value) => *value,
            Self::Uniform { min, width } => min + width * uniforms.unit(),
            Self::Exponential { mean } => uniforms.exponential() * mean,
            Self::Normal { mean, sd } => mean + sd * uniforms.normal(),
            Self::Pareto { inverse, scale } => scale * exp(uniforms.exponential() * inverse),
            Self::Cauchy { location, scale } => {
                let (x, y, _) = uniforms.disc();
                // Infinite for y = 0: outside every range, and so drawn again.
                location + scale * (x / y)
            }
            Self::Gamma { shape, scale } => scale * uniforms.gamma(*shape),
            Self::Weibull { inverse, scale } => {
                let unit = uniforms.exponential();
                if unit > 0.0 {
                    scale * exp(ln(unit) * inverse)
                } else {
                    0.0
                }
            }
            Self::Student {
                location,
                scale,
                nu,
            } => {
                let normal = uniforms.normal();
                let square = 2.0 * uniforms.gamma(nu / 2.0) / nu;
                location + scale * (normal / square.sqrt())
            }
            Self::Table(table) => *table.pick(uniforms.unit()),
            Self::Mixture(parts) => parts.pick(uniforms.unit()).draw(uniforms),
        }
    }
}

/// Things with weights, of which one is drawn.
#[derive(Debug, Clone)]
struct Table<T> {
    /// Sums of the weights so far, rising.
    sums: Vec<f64>,
    items: Vec<T>,
}

impl<T> Table<T> {
    fn new(weighted: impl Iterator<Item = (f64, T)>) -> Self {
        let mut sum = 0.0;
        let (sums, items) = weighted
            .map(|(weight, item)| {
                sum += weight;
                (sum, item)
            })
            .unzip();
        Self { sums, items }
    }

    /// The item at `unit`, on [0, 1), of the whole weight.
    fn pick(&self, unit: f64) -> &T {
        let last = self.items.len() - 1;
        let at = unit * self.sums[last];
        &self.items[self.sums.partition_point(|sum| *sum <= at).min(last)]
    }
}

/// A law conditioned on its range, drawn from one generator.
#[derive(Debug, Clone)]
pub(super) struct Draw {
    uniforms: Uniforms,
    sampler: Sampler,
    low: f64,
    high: f64,
    mean: f64,
}

/// Draws after which the mean is taken instead. A law keeps at least 2 % of its draws, so that never happens: 0.98^10000 is
/// 10^-88.
const REDRAWS: usize = 10_000;

impl Draw {
    pub(super) fn new(law: &Conditioned, rng: ChaCha12Rng) -> Self {
        Self {
            uniforms: Uniforms(rng),
            sampler: Sampler::new(&law.distribution),
            low: law.low,
            high: law.high,
            mean: law.mean,
        }
    }

    /// The next value, in ns or bytes.
    #[inline]
    pub(super) fn next(&mut self) -> f64 {
        for _ in 0..REDRAWS {
            let value = self.sampler.draw(&mut self.uniforms);
            if value >= self.low && value <= self.high {
                return value;
            }
        }
        self.mean
    }
}
