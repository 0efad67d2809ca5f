//! Laws with every parameter known, as numbers, and conditioned on a range.

use super::quantity::{Bytes, Quantity};
use super::solve::{Open, solve};
use super::{CAP, Law, LawError, MASS_LEAST};
use crate::traffic::UDP_SIZE_MOST;
use crate::unit::Span;

/// Most sending periods for each packet, on average: each is drawn.
const PERIODS_MOST: f64 = 1_000.0;

/// A law whose parameters are all known, in ns or bytes. Its values may lie anywhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// One value.
    Point(f64),
    /// Between two values.
    Uniform {
        /// The least.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// Exponential.
    Exponential {
        /// Its mean.
        mean: f64,
    },
    /// Counts.
    Poisson {
        /// Their mean.
        mean: f64,
    },
    /// Normal.
    Normal {
        /// Its mean.
        mean: f64,
        /// Its standard deviation.
        sd: f64,
    },
    /// Pareto.
    Pareto {
        /// Its exponent.
        shape: f64,
        /// Its least value.
        scale: f64,
    },
    /// Cauchy.
    Cauchy {
        /// Its median.
        location: f64,
        /// Half of its interquartile range.
        scale: f64,
    },
    /// Gamma.
    Gamma {
        /// Its shape.
        shape: f64,
        /// Its scale.
        scale: f64,
    },
    /// Weibull.
    Weibull {
        /// Its shape.
        shape: f64,
        /// Its scale.
        scale: f64,
    },
    /// Student's t.
    Student {
        /// Its median.
        location: f64,
        /// Its scale.
        scale: f64,
        /// Its degrees of freedom.
        nu: f64,
    },
    /// Values with probabilities that sum to 1.
    Discrete(Vec<(f64, f64)>),
    /// Probabilities that sum to 1, each with what is drawn then.
    Mixture(Vec<(f64, Distribution)>),
}

/// A distribution conditioned on a range by drawing again.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditioned {
    /// What is drawn from.
    pub distribution: Distribution,
    /// The least value that is kept.
    pub low: f64,
    /// The largest value that is kept.
    pub high: f64,
    /// Share of the draws that is kept: at least [`MASS_LEAST`].
    pub mass: f64,
    /// Mean of what is kept.
    pub mean: f64,
}

impl<Q: Quantity> Law<Q> {
    /// The law with its open parameter, if it has one, set to `open`. `None` for what is not drawn value by value: on/off
    /// laws and traces.
    pub(super) fn distribution(&self, open: f64) -> Option<Distribution> {
        let or_open = |value: &Option<Q>| value.map_or(open, Q::as_f64);
        Some(match self {
            Law::Constant => Distribution::Point(open),
            Law::Fixed { value } => Distribution::Point(value.as_f64()),
            Law::Uniform { range } => {
                let (min, max) =
                    range.map_or((0.0, open), |(min, max)| (min.as_f64(), max.as_f64()));
                if min < max {
                    Distribution::Uniform { min, max }
                } else {
                    Distribution::Point(min)
                }
            }
            Law::Poisson { mean } if !Q::SPACING => Distribution::Poisson {
                mean: or_open(mean),
            },
            Law::Exponential { mean } | Law::Poisson { mean } => Distribution::Exponential {
                mean: or_open(mean),
            },
            Law::Normal { mean, sd } => Distribution::Normal {
                mean: or_open(mean),
                sd: sd.as_f64(),
            },
            Law::Pareto { shape, scale } => Distribution::Pareto {
                shape: shape.as_f64(),
                scale: or_open(scale),
            },
            Law::Cauchy { location, scale } => Distribution::Cauchy {
                location: location.as_f64(),
                scale: scale.as_f64(),
            },
            Law::Gamma { shape, scale } => Distribution::Gamma {
                shape: shape.as_f64(),
                scale: or_open(scale),
            },
            Law::Weibull { shape, scale } => Distribution::Weibull {
                shape: shape.as_f64(),
                scale: or_open(scale),
            },
            Law::Student {
                location,
                scale,
                nu,
            } => Distribution::Student {
                location: or_open(location),
                scale: scale.as_f64(),
                nu: nu.as_f64(),
            },
            Law::Discrete(items) => {
                let sum: f64 = items.iter().map(|(_, weight)| weight.as_f64()).sum();
                let items = items.iter();
                let items = items.map(|(value, weight)| (value.as_f64(), weight.as_f64() / sum));
                Distribution::Discrete(items.collect())
            }
            Law::Mixture(items) => {
                let sum: f64 = items.iter().map(|(weight, _)| weight.as_f64()).sum();
                let items = items.iter().map(|(weight, law)| {
                    let distribution = law.distribution(open)?;
                    Some((weight.as_f64() / sum, distribution))
                });
                Distribution::Mixture(items.collect::<Option<_>>()?)
            }
            Law::Capped { law, .. } => law.distribution(open)?,
            Law::OnOff { .. } | Law::Trace { .. } => return None,
        })
    }

    /// Conditions on `low` to `high`; an open parameter is chosen so that the conditioned mean is `mean`.
    fn conditioned_on(
        &self,
        (low, high): (f64, f64),
        mean: Option<f64>,
        range: String,
        unit: impl Fn(f64) -> String,
    ) -> Result<Conditioned, LawError> {
        let law = self.uncapped().0;
        let condition = |open: f64| {
            let distribution = law.distribution(open)?;
            let (mass, moment) = distribution.within(low, high);
            Some(Conditioned {
                distribution,
                low,
                high,
                mass,
                mean: moment / mass,
            })
        };
        let conditioned = match mean.filter(|_| law.is_open()) {
            None => condition(0.0),
            Some(mean) => {
                let found = solve(law.open(mean), mean, |open| {
                    condition(open).filter(|found| found.mass > 0.0)
                });
                Some(found.ok_or_else(|| LawError::NoSuchMean {
                    law: self.to_string(),
                    mean: unit(mean),
                    range: range.clone(),
                })?)
            }
        };
        let conditioned = conditioned.ok_or_else(|| LawError::Form {
            problem: format!("`{}` cannot stand here", self.name()),
        })?;
        if !(conditioned.mass >= MASS_LEAST && conditioned.mean > 0.0) {
            return Err(LawError::OutOfRange {
                law: self.to_string(),
                range,
                more: if Q::SPACING { ", or raise `cap`" } else { "" },
            });
        }
        Ok(conditioned)
    }

    /// The open parameter: how it moves the law, and its value where nothing is cut off.
    fn open(&self, mean: f64) -> Open {
        match self {
            Law::Uniform { .. } => Open::Scale(2.0 * mean),
            Law::Pareto { shape, .. } => {
                let shape = shape.as_f64();
                Open::Scale(mean * (shape - 1.0) / shape)
            }
            Law::Gamma { shape, .. } => Open::Scale(mean / shape.as_f64()),
            Law::Normal { sd, .. } => Open::Location(mean, sd.as_f64()),
            Law::Student { scale, .. } => Open::Location(mean, scale.as_f64()),
            _ => Open::Scale(mean),
        }
    }
}

impl Law<Span> {
    /// The law on \[0, cap\]. `mean_ns` is the rate's mean spacing, which an open parameter is chosen for.
    ///
    /// # Errors
    /// Where hardly any draw would be kept, or no parameter gives that mean; and for on/off laws and traces, which have no single
    /// distribution.
    pub fn conditioned(&self, mean_ns: Option<f64>) -> Result<Conditioned, LawError> {
        let cap = self.uncapped().1.unwrap_or(CAP);
        let range = format!("0 s to {cap}");
        let unit = |ns: f64| Span::from_nanos(ns as u64).to_string();
        self.conditioned_on((0.0, cap.as_f64()), mean_ns, range, unit)
    }

    /// Share of the time in which packets leave: that of the sending periods of an on/off law.
    pub fn duty(&self) -> Result<f64, LawError> {
        match self.uncapped().0 {
            Law::OnOff { on, off, .. } => {
                let (on, off) = (on.conditioned(None)?.mean, off.conditioned(None)?.mean);
                Ok(on / (on + off))
            }
            _ => Ok(1.0),
        }
    }

    /// The mean spacing in ns over a long time, silent periods included. `rate_ns` is that of the rate, `trace_ns` that
    /// of a trace's values; `None` where one of them is needed and missing.
    pub fn mean_spacing(
        &self,
        rate_ns: Option<f64>,
        trace_ns: Option<f64>,
    ) -> Result<Option<f64>, LawError> {
        match self {
            Law::OnOff { on, arrival, .. } => {
                let spacing = arrival.mean_spacing(rate_ns, trace_ns)?;
                let on = on.conditioned(None)?.mean;
                if spacing.is_some_and(|spacing| spacing > on * PERIODS_MOST) {
                    return Err(LawError::Form {
                        problem: format!(
                            "`onoff` sends less than one packet in {PERIODS_MOST} periods: give longer `on` periods or a higher rate"
                        ),
                    });
                }
                let duty = self.duty()?;
                Ok(spacing.map(|spacing| spacing / duty))
            }
            Law::Trace { .. } => Ok(trace_ns),
            Law::Constant => Ok(rate_ns),
            law if law.is_open() && rate_ns.is_none() => Ok(None),
            law => Ok(Some(law.conditioned(rate_ns)?.mean)),
        }
    }
}

impl Distribution {
    /// The counts of a Poisson law that matter, rising, with their probabilities relative to that of the most likely one.
    pub fn counts(mean: f64) -> Vec<(f64, f64)> {
        let mut counts = Vec::new();
        super::moments::each_count(mean, |count, weight| counts.push((count, weight)));
        counts
    }
}

impl Law<Bytes> {
    /// The law on `least` to 65507 bytes.
    ///
    /// # Errors
    /// As for spacings.
    pub fn conditioned(&self, least: u32) -> Result<Conditioned, LawError> {
        let range = format!("{least} to {UDP_SIZE_MOST} bytes");
        let bounds = (f64::from(least), f64::from(UDP_SIZE_MOST));
        self.conditioned_on(bounds, None, range, |bytes| format!("{bytes} bytes"))
    }
}
