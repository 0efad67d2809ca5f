//! Laws of spacing and of size: what the text of a campaign says, checked.
//!
//! A law is what its name says, *conditioned on a range* by drawing again: spacings on [0, cap], sizes on what a packet
//! can have. What a rate and a plan call its mean is the mean of the conditioned law ([`Conditioned`]).

mod distribution;
mod moments;
mod parse;
mod print;
mod quantity;
mod solve;

pub use distribution::{Conditioned, Distribution};
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

/// Why a text is not a law, or a law cannot be drawn from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LawError {
    /// No law of the language.
    #[error("unknown law `{text}`{}; laws: {}", meant(.near.as_deref()), NAMES.join(", "))]
    Unknown {
        /// The text as given.
        text: String,
        /// The law that was meant, if one is near.
        near: Option<String>,
    },
    /// A parameter that the law does not have, or one in a wrong form.
    #[error("`{text}` is not a parameter of `{law}`; write `{example}`")]
    Parameter {
        /// The parameter as given.
        text: String,
        /// The law.
        law: &'static str,
        /// A valid form.
        example: &'static str,
    },
    /// A parameter that the law needs.
    #[error("`{law}` needs `{key}`; write `{example}`")]
    Missing {
        /// The law.
        law: &'static str,
        /// The parameter.
        key: &'static str,
        /// A valid form.
        example: &'static str,
    },
    /// A parameter that is no quantity.
    #[error("`{key}` of `{law}`: {problem}")]
    Value {
        /// The law.
        law: &'static str,
        /// The parameter.
        key: &'static str,
        /// What is wrong with it.
        problem: Box<NumberError>,
    },
    /// A parameter outside its range.
    #[error("`{key}` of `{law}` {problem}")]
    Range {
        /// The law.
        law: &'static str,
        /// The parameter.
        key: &'static str,
        /// What is allowed.
        problem: &'static str,
    },
    /// Anything else about its text or its parts.
    #[error("{problem}")]
    Form {
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// Almost nothing that is drawn is in the range.
    #[error(
        "`{law}` is almost never within {range}: most draws would be thrown away; change its parameters{more}"
    )]
    OutOfRange {
        /// The law.
        law: String,
        /// The range, with its unit.
        range: String,
        /// What else helps.
        more: &'static str,
    },
    /// No value of the open parameter gives the mean of the rate.
    #[error(
        "`{law}` cannot have a mean of {mean} within {range}: change the rate, the law or `cap`"
    )]
    NoSuchMean {
        /// The law.
        law: String,
        /// The mean of the rate.
        mean: String,
        /// The range.
        range: String,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"))
}

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

    /// Checks every parameter; a law that was read from a text is right.
    pub fn check(&self) -> Result<(), LawError> {
        if !Q::SPACING {
            let problem = match self {
                Law::OnOff { .. } => "`onoff` is a law of `arrival`, not of `size`",
                Law::Capped { .. } => "`cap` is for `arrival`: sizes end at what a packet can have",
                law if law.is_open() => {
                    return Err(LawError::Missing {
                        law: law.name(),
                        key: law.open_parameter(),
                        example: law.size_example(),
                    });
                }
                _ => "",
            };
            if !problem.is_empty() {
                return Err(form(problem));
            }
        }
        match self {
            Law::Capped { law, cap } => {
                if cap.as_f64() <= 0.0 || cap.as_f64() > CAP_MOST.as_f64() {
                    return Err(law.range("cap", "must be more than 0 and at most 1 h"));
                }
                if matches!(
                    **law,
                    Law::Capped { .. } | Law::Trace { .. } | Law::Constant
                ) {
                    return Err(law.range("cap", "has nothing to cut off here"));
                }
                law.check()
            }
            Law::Mixture(items) => self.check_mixture(items),
            Law::OnOff { on, off, arrival } => check_on_off(on, off, arrival),
            _ => self.check_parameters(),
        }
    }

    fn check_parameters(&self) -> Result<(), LawError> {
        const POSITIVE: &str = "must be more than 0";
        const SHAPE: &str = "is outside 0.05 to 1000000";
        let positive = |key, value: Option<Q>| match value {
            Some(value) if value.as_f64() <= 0.0 => Err(self.range(key, POSITIVE)),
            _ => Ok(()),
        };
        let shape = |shape: Number| match shape.as_f64() {
            shape if !(0.05..=1e6).contains(&shape) => Err(self.range("shape", SHAPE)),
            _ => Ok(()),
        };
        match self {
            Law::Fixed { value } => positive("value", Some(*value)),
            Law::Uniform { range: Some(range) } => match range {
                (min, max) if min > max => Err(self.range("min", "is more than `max`")),
                (_, max) => positive("max", Some(*max)),
            },
            Law::Exponential { mean } | Law::Poisson { mean } => positive("mean", *mean),
            Law::Normal { sd, .. } => positive("sd", Some(*sd)),
            Law::Cauchy { scale, .. } => positive("scale", Some(*scale)),
            Law::Gamma { shape: k, scale } | Law::Weibull { shape: k, scale } => {
                shape(*k)?;
                positive("scale", *scale)
            }
            Law::Pareto { shape: k, scale } => {
                shape(*k)?;
                if scale.is_none() && *k <= Number::whole(1) {
                    let problem = "of 1 or less has no mean that a rate could set: give `scale`, and `arrival` for the rate";
                    return Err(self.range("shape", problem));
                }
                positive("scale", *scale)
            }
            Law::Student {
                location,
                scale,
                nu,
            } => {
                if !(0.1..=1e6).contains(&nu.as_f64()) {
                    return Err(self.range("nu", "is outside 0.1 to 1000000"));
                }
                if location.is_none() && *nu <= Number::whole(1) {
                    let problem = "of 1 or less has no mean that a rate could set: give `location`, and `arrival` for the rate";
                    return Err(self.range("nu", problem));
                }
                positive("scale", Some(*scale))
            }
            Law::Discrete(items) => {
                if items.is_empty() || items.len() > ITEMS_MOST {
                    return Err(form(&format!("`discrete` has 1 to {ITEMS_MOST} entries")));
                }
                if items.iter().any(|(_, weight)| weight.is_zero()) {
                    return Err(self.range("weight", POSITIVE));
                }
                if items.iter().all(|(value, _)| value.as_f64() <= 0.0) {
                    return Err(self.range("value", POSITIVE));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_mixture(&self, items: &[(Number, Law<Q>)]) -> Result<(), LawError> {
        if items.is_empty() || items.len() > ITEMS_MOST {
            return Err(form(&format!("`mixture` has 1 to {ITEMS_MOST} entries")));
        }
        for (weight, law) in items {
            if weight.is_zero() {
                return Err(self.range("weight", "must be more than 0"));
            }
            match law {
                Law::Capped { .. } => {
                    return Err(form(
                        "a `cap` within `mixture`: give it to the whole instead, in an on/off law or none at all",
                    ));
                }
                Law::OnOff { .. } | Law::Trace { .. } | Law::Mixture(_) => {
                    return Err(form(&format!(
                        "`{}` cannot be a part of `mixture`",
                        law.name()
                    )));
                }
                law if law.is_open() => {
                    return Err(LawError::Missing {
                        law: law.name(),
                        key: law.open_parameter(),
                        example: parse::example(law.name()),
                    });
                }
                law => law.check()?,
            }
        }
        Ok(())
    }

    /// The parameter that a rate stands for.
    fn open_parameter(&self) -> &'static str {
        match self {
            Law::Constant => "value",
            Law::Uniform { .. } => "min",
            Law::Pareto { .. } | Law::Gamma { .. } | Law::Weibull { .. } => "scale",
            Law::Student { .. } => "location",
            Law::Capped { law, .. } => law.open_parameter(),
            Law::OnOff { .. } => "arrival",
            _ => "mean",
        }
    }

    fn size_example(&self) -> &'static str {
        match self {
            Law::Constant => "constant(value = 200)",
            Law::Uniform { .. } => "uniform(min = 100, max = 320)",
            Law::Normal { .. } => "normal(mean = 200, sd = 30)",
            Law::Pareto { .. } => "pareto(shape = 1.5, scale = 100)",
            Law::Gamma { .. } => "gamma(shape = 2, scale = 100)",
            Law::Weibull { .. } => "weibull(shape = 0.8, scale = 100)",
            Law::Student { .. } => "student(location = 200, scale = 10, nu = 2)",
            Law::Poisson { .. } => "poisson(mean = 200)",
            _ => "exponential(mean = 200)",
        }
    }

    fn range(&self, key: &'static str, problem: &'static str) -> LawError {
        LawError::Range {
            law: self.name(),
            key,
            problem,
        }
    }
}

fn form(problem: &str) -> LawError {
    LawError::Form {
        problem: problem.to_owned(),
    }
}

fn check_on_off<Q: Quantity>(on: &Law<Q>, off: &Law<Q>, arrival: &Law<Q>) -> Result<(), LawError> {
    for (key, law) in [("on", on), ("off", off)] {
        if law.is_open() {
            return Err(LawError::Missing {
                law: "onoff",
                key: law.open_parameter(),
                example: parse::example(law.name()),
            });
        }
        if matches!(law.uncapped().0, Law::OnOff { .. } | Law::Trace { .. }) {
            return Err(form(&format!(
                "`{key}` of `onoff` cannot be `{}`",
                law.name()
            )));
        }
        law.check()?;
    }
    if matches!(arrival.uncapped().0, Law::OnOff { .. }) {
        return Err(form("`arrival` of `onoff` cannot be `onoff` again"));
    }
    arrival.check()
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
