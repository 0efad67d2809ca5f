//! Laws of spacing and of size: what the text of a campaign says, checked.
//!
//! A law is what its name says, *conditioned on a range* by drawing again: spacings on [0, cap], sizes on what a packet
//! can have. What a rate and a plan call its mean is the mean of the conditioned law ([`Conditioned`]).

mod check;
mod distribution;
mod error;
mod moments;
mod parse;
mod print;
mod quantity;
mod solve;

pub use distribution::{Conditioned, Distribution};
pub use error::LawError;
pub use quantity::{Bytes, Number, NumberError, Quantity};

use crate::unit::Span;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::str::FromStr;

/// Longest spacing that is drawn where a law does not say `cap`: a flow whose next packet is more than a minute away
/// looks dead to whoever watches it.
pub const CAP: Span = Span::from_secs(60);
/// Longest `cap`.
pub const CAP_MOST: Span = Span::from_secs(3_600);
/// Least share of a law's draws that must be in its range: on average at most 50 draws a packet.
pub const MASS_LEAST: f64 = 0.02;
/// Longest text of a law, in bytes.
pub const TEXT_MOST: usize = 4_000;
/// Most entries of `discrete` and `mixture`.
const ITEMS_MOST: usize = 256;
/// Deepest nesting: an on/off law of mixtures.
const DEEPEST: usize = 3;

/// Every law of the language.
const NAMES: [&str; 14] = [
    "constant",
    "uniform",
    "exponential",
    "poisson",
    "normal",
    "pareto",
    "cauchy",
    "gamma",
    "weibull",
    "student",
    "discrete",
    "mixture",
    "onoff",
    "trace",
];

/// A law of spacing (of [`Span`]) or of size (of [`Bytes`], see [`SizeLaw`]).
///
/// Parameters that are `None` are left to the rate, so that the conditioned mean is that of the rate; sizes have all of them.
/// A law made by [`FromStr`] is valid; others are after [`Law::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Law<Q = Span> {
    /// The spacing of the rate.
    #[default]
    Constant,
    /// Always the same value: `constant(value = Q)`.
    Fixed {
        /// More than 0.
        value: Q,
    },
    /// Every value of a range is as likely; `None`: from 0 to twice the mean.
    Uniform {
        /// Least and largest, not both 0.
        range: Option<(Q, Q)>,
    },
    /// Exponential; as spacing a Poisson process.
    Exponential {
        /// More than 0.
        mean: Option<Q>,
    },
    /// As spacing the Poisson process, which is [`Law::Exponential`]; as size the law of counts.
    Poisson {
        /// More than 0.
        mean: Option<Q>,
    },
    /// Normal.
    Normal {
        /// Mean before conditioning.
        mean: Option<Q>,
        /// Standard deviation before conditioning, more than 0.
        sd: Q,
    },
    /// Pareto: P(X > x) = (scale / x)^shape from the scale on.
    Pareto {
        /// 0.05 to 10^6; above 1 where the scale is left to the rate.
        shape: Number,
        /// The least value, more than 0.
        scale: Option<Q>,
    },
    /// Cauchy.
    Cauchy {
        /// The median.
        location: Q,
        /// Half of the distance between the quartiles, more than 0.
        scale: Q,
    },
    /// Gamma.
    Gamma {
        /// 0.05 to 10^6.
        shape: Number,
        /// More than 0.
        scale: Option<Q>,
    },
    /// Weibull: P(X > x) = exp(-(x / scale)^shape).
    Weibull {
        /// 0.05 to 10^6.
        shape: Number,
        /// More than 0.
        scale: Option<Q>,
    },
    /// Student's t, moved and stretched.
    Student {
        /// The median.
        location: Option<Q>,
        /// More than 0.
        scale: Q,
        /// Degrees of freedom, 0.1 to 10^6; above 1 where the location is left to the rate.
        nu: Number,
    },
    /// Values with their weights, which need not sum to 1.
    Discrete(Vec<(Q, Number)>),
    /// Laws with their weights, which need not sum to 1: each value is drawn from one of them.
    Mixture(Vec<(Number, Law<Q>)>),
    /// Packets leave by `arrival` while a period of `on` lasts, and not at all while one of `off` does.
    OnOff {
        /// Lengths of the sending periods, which begin the flow.
        on: Box<Law<Q>>,
        /// Lengths of the silent periods.
        off: Box<Law<Q>>,
        /// Spacing by a clock that stands still in silent periods; [`Law::Constant`]: the rate's.
        arrival: Box<Law<Q>>,
    },
    /// The values of a file, in its order.
    Trace {
        /// The file, as the campaign names it.
        file: String,
        /// Begins again at its end, instead of ending the flow.
        repeat: bool,
    },
    /// The law with another longest value. Spacings only; at the outermost.
    Capped {
        /// The law.
        law: Box<Law<Q>>,
        /// The longest value, more than 0.
        cap: Q,
    },
}

/// A law of sizes.
pub type SizeLaw = Law<Bytes>;

impl<Q: Quantity> Law<Q> {
    /// Its name in the language.
    pub fn name(&self) -> &'static str {
        match self {
            Law::Constant | Law::Fixed { .. } => "constant",
            Law::Uniform { .. } => "uniform",
            Law::Exponential { .. } => "exponential",
            Law::Poisson { .. } => "poisson",
            Law::Normal { .. } => "normal",
            Law::Pareto { .. } => "pareto",
            Law::Cauchy { .. } => "cauchy",
            Law::Gamma { .. } => "gamma",
            Law::Weibull { .. } => "weibull",
            Law::Student { .. } => "student",
            Law::Discrete(_) => "discrete",
            Law::Mixture(_) => "mixture",
            Law::OnOff { .. } => "onoff",
            Law::Trace { .. } => "trace",
            Law::Capped { law, .. } => law.name(),
        }
    }

    /// The law without its cap, and the cap.
    pub fn uncapped(&self) -> (&Law<Q>, Option<Q>) {
        match self {
            Law::Capped { law, cap } => (law, Some(*cap)),
            law => (law, None),
        }
    }

    /// Whether a parameter is left to the rate.
    pub fn is_open(&self) -> bool {
        match self {
            Law::Constant
            | Law::Uniform { range: None }
            | Law::Exponential { mean: None }
            | Law::Poisson { mean: None }
            | Law::Normal { mean: None, .. }
            | Law::Pareto { scale: None, .. }
            | Law::Gamma { scale: None, .. }
            | Law::Weibull { scale: None, .. }
            | Law::Student { location: None, .. } => true,
            Law::OnOff { arrival, .. } => arrival.is_open(),
            Law::Capped { law, .. } => law.is_open(),
            _ => false,
        }
    }

    /// Whether values are drawn at random.
    pub fn is_random(&self) -> bool {
        match self {
            Law::Constant | Law::Fixed { .. } | Law::Trace { .. } => false,
            Law::OnOff { on, off, arrival } => {
                on.is_random() || off.is_random() || arrival.is_random()
            }
            Law::Capped { law, .. } => law.is_random(),
            _ => true,
        }
    }

    /// The file of its values, if it is a trace or has one.
    pub fn trace(&self) -> Option<&str> {
        match self {
            Law::Trace { file, .. } => Some(file),
            Law::OnOff { arrival, .. } => arrival.trace(),
            Law::Capped { law, .. } => law.trace(),
            _ => None,
        }
    }
}

impl<Q: Quantity> FromStr for Law<Q> {
    type Err = LawError;

    fn from_str(text: &str) -> Result<Law<Q>, LawError> {
        let law = parse::law(text)?;
        law.check()?;
        Ok(law)
    }
}

impl<Q: Quantity> Serialize for Law<Q> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, Q: Quantity> Deserialize<'de> for Law<Q> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Law<Q>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod strategies;
#[cfg(test)]
mod tests;
