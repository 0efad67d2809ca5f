use crate::nearest::nearest;
use crate::unit::{Span, UnitError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A law of inter-departure times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Law {
    /// Equal spacing.
    #[default]
    Constant,
    /// Exponentially distributed spacing: a Poisson process.
    Exponential {
        /// Mean spacing; `None` leaves it to the rate. Never zero.
        mean: Option<Span>,
    },
}

/// Why a text is not a law.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LawError {
    /// A law of the language that this version does not draw from.
    #[error("the law `{name}` is not available yet; available: {AVAILABLE}")]
    NotYet {
        /// Its name.
        name: &'static str,
    },
    /// No law of the language.
    #[error("unknown law `{text}`{}; available: {AVAILABLE}", meant(.near.as_deref()))]
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
    /// A parameter's value.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A mean of zero.
    #[error("the mean of `{law}` must be more than 0")]
    Zero {
        /// The law.
        law: &'static str,
    },
}

const AVAILABLE: &str = "constant, exponential, exponential(mean = 1 ms)";

/// Laws of the language that are not drawn from yet.
const LATER: [&str; 11] = [
    "uniform", "poisson", "normal", "pareto", "cauchy", "gamma", "weibull", "student", "discrete",
    "onoff", "trace",
];

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"))
}

impl Law {
    /// The mean spacing that the law itself states.
    pub fn mean(&self) -> Option<Span> {
        match self {
            Law::Constant => None,
            Law::Exponential { mean } => *mean,
        }
    }
}

impl TryFrom<String> for Law {
    type Error = LawError;

    fn try_from(text: String) -> Result<Law, LawError> {
        text.parse()
    }
}

impl From<Law> for String {
    fn from(law: Law) -> String {
        law.to_string()
    }
}

impl FromStr for Law {
    type Err = LawError;

    fn from_str(text: &str) -> Result<Law, LawError> {
        let text = text.trim();
        let (name, parameters) = match text.split_once('(') {
            None => (text, ""),
            Some((name, rest)) => (
                name.trim_end(),
                rest.strip_suffix(')').unwrap_or(rest).trim(),
            ),
        };
        match name {
            "constant" if parameters.is_empty() => Ok(Law::Constant),
            "constant" => Err(parameter(parameters, "constant", "constant")),
            "exponential" => exponential(parameters),
            _ => Err(unknown(name)),
        }
    }
}

fn exponential(parameters: &str) -> Result<Law, LawError> {
    const LAW: &str = "exponential";
    if parameters.is_empty() {
        return Ok(Law::Exponential { mean: None });
    }
    let wrong = || parameter(parameters, LAW, "exponential(mean = 1 ms)");
    let (key, value) = parameters.split_once('=').ok_or_else(wrong)?;
    if key.trim() != "mean" {
        return Err(wrong());
    }
    let mean: Span = value.parse()?;
    if mean.is_zero() {
        return Err(LawError::Zero { law: LAW });
    }
    Ok(Law::Exponential { mean: Some(mean) })
}

fn parameter(text: &str, law: &'static str, example: &'static str) -> LawError {
    LawError::Parameter {
        text: text.chars().take(60).collect(),
        law,
        example,
    }
}

fn unknown(name: &str) -> LawError {
    if let Some(name) = LATER.iter().find(|law| **law == name) {
        return LawError::NotYet { name };
    }
    let text: String = name.chars().take(60).collect();
    let near = nearest(&text, ["constant", "exponential"]).map(str::to_owned);
    LawError::Unknown { text, near }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Law::Constant => f.pad("constant"),
            Law::Exponential { mean: None } => f.pad("exponential"),
            Law::Exponential { mean: Some(mean) } => f.pad(&format!("exponential(mean = {mean})")),
        }
    }
}
