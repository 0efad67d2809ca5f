//! Why a text is not a law of the language.

use super::{NAMES, NumberError};

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
