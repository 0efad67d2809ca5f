//! Quantities with units: parsed once into valid values, printed so that they read back equal.
//!
//! A quantity is a decimal number and a unit, with or without a space: `10 Mbit/s`, `60s`. SI prefixes are powers
//! of ten, `KiB` and friends powers of two. A bare number is refused except for bytes and for 0: nobody
//! should have to guess whether `10` was seconds or minutes. Arithmetic is exact, never floating.

mod bit_rate;
mod byte_count;
mod decimal;
mod packet_rate;
mod ratio;
mod span;

pub use bit_rate::BitRate;
pub use byte_count::ByteCount;
pub use packet_rate::PacketRate;
pub use ratio::Ratio;
pub use span::Span;

/// Why a text is not the quantity it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is no decimal number at the beginning.
    #[error("`{text}` is not {what}: write a number and a unit, such as `{example}`")]
    NotANumber {
        /// The text as given (cut to a readable length).
        text: String,
        /// What was expected, with its article: "a rate".
        what: &'static str,
        /// A valid text.
        example: &'static str,
    },
    /// The number is below zero.
    #[error("`{text}` is negative: {what} cannot be")]
    Negative {
        /// The text as given.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
    },
    /// A number without a unit.
    #[error(
        "`{text}` has no unit: write `{text}{unit}` if you mean {what} such as `{example}` (units: {known})"
    )]
    NoUnit {
        /// The text as given.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
        /// The base unit, with a leading space.
        unit: &'static str,
        /// A valid text.
        example: &'static str,
        /// All units, most useful first.
        known: String,
    },
    /// A unit that does not exist or measures something else.
    #[error(
        "`{text}` is not {what}: unknown unit `{unit}`: did you mean `{nearest}`? units: {known}"
    )]
    BadUnit {
        /// The text as given.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
        /// The part that is not a unit.
        unit: String,
        /// The same quantity with the nearest valid unit.
        nearest: String,
        /// All units.
        known: String,
    },
    /// Zero where only more than zero makes sense.
    #[error("`{text}` is zero: {what} must be more than 0")]
    Zero {
        /// The text as given.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
    },
    /// More than the largest value that makes sense.
    #[error("`{text}` is too large: {what} is at most {most}")]
    TooLarge {
        /// The text as given.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
        /// The largest value.
        most: String,
    },
    /// Finer than what is represented exactly.
    #[error("`{text}` is too fine: {what} is a multiple of {least}")]
    TooFine {
        /// The text as given.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
        /// The smallest step.
        least: &'static str,
    },
}

#[cfg(test)]
mod tests;
