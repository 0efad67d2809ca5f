//! Between protocol messages and the vocabulary.
//!
//! Towards the vocabulary nothing is trusted: every conversion is a `TryFrom`
//! that names the first field it refuses and never panics. Towards the protocol
//! it is a plain `From`; texts of free form are clipped to the lengths that the
//! other side accepts, so that what an agent says of an error can never make
//! its record unacceptable.

mod assignment;
mod losses;
mod manifest;
mod observation;
mod record;
#[cfg(test)]
mod tests;
mod traffic;

use weir_common::assignment::AssignmentError;
use weir_common::id::{FlowId, RunId, SessionId};
use weir_common::record::End;

use crate::types::v1 as pb;

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConvertError {
    /// Path of the field in the message, such as `sessions[3].tags`.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub problem: String,
}

impl ConvertError {
    /// An error at a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The same error seen from the message around it.
    #[must_use]
    pub fn within(self, outer: impl std::fmt::Display) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            problem: self.problem,
        }
    }
}

impl From<AssignmentError> for ConvertError {
    fn from(error: AssignmentError) -> Self {
        Self {
            field: error.field,
            problem: error.problem,
        }
    }
}

/// Lengths that no message passes.
pub mod limits {
    /// Bytes of a reason: a sentence or two.
    pub const REASON: usize = 1024;
    /// Bytes of a short text: a tuple, a code, a name.
    pub const WORD: usize = 256;
    /// Bytes of a law of arrival or size.
    pub const LAW: usize = 4096;
    /// Streams of a flow, and so its tuples.
    pub const TUPLES: usize = weir_common::assignment::bounds::STREAMS;
    /// Warnings of a manifest.
    pub const WARNINGS: usize = 64;
    /// Captures that one observation names.
    pub const OBSERVERS: usize = 64;
    /// Routes that one observation tells.
    pub const ROUTES: usize = 256;
    /// Assignments of one snapshot.
    pub const ITEMS: usize = 1024;
    /// Largest count: what a signed 64-bit column of a database holds.
    pub const COUNT: u64 = i64::MAX as u64;
}

/// Cuts a text to `most` bytes at a character's edge.
pub fn clip(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len()))
        .rfind(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text[..end].to_owned()
}

/// A text of at most `most` bytes.
fn text(field: &str, value: &str, most: usize) -> Result<String, ConvertError> {
    if value.len() > most {
        let problem = format!("{} bytes are more than {most}", value.len());
        return Err(ConvertError::new(field, problem));
    }
    Ok(value.to_owned())
}

/// A count that a signed 64-bit column can hold.
fn count(field: &str, value: u64) -> Result<u64, ConvertError> {
    if value > limits::COUNT {
        return Err(ConvertError::new(
            field,
            format!("{value} is above {}", limits::COUNT),
        ));
    }
    Ok(value)
}

fn optional_count(field: &str, value: Option<u64>) -> Result<Option<u64>, ConvertError> {
    value.map(|value| count(field, value)).transpose()
}

fn run(value: u32) -> Result<RunId, ConvertError> {
    if value == 0 {
        return Err(ConvertError::new("run", "runs are numbered from 1"));
    }
    Ok(RunId(value))
}

fn flow(value: u32) -> Result<FlowId, ConvertError> {
    if value == 0 {
        return Err(ConvertError::new("flow", "flows are numbered from 1"));
    }
    Ok(FlowId(value))
}

fn session(value: u32) -> Result<SessionId, ConvertError> {
    if value == 0 {
        return Err(ConvertError::new("session", "sessions are numbered from 1"));
    }
    Ok(SessionId(value))
}

fn required<'a, T>(field: &str, value: Option<&'a T>) -> Result<&'a T, ConvertError> {
    value.ok_or_else(|| ConvertError::new(field, "is missing"))
}

/// The end that a message names.
///
/// # Errors
/// The field `end`, when it is not set or not known.
pub fn end(value: i32) -> Result<End, ConvertError> {
    match pb::End::try_from(value) {
        Ok(pb::End::Tx) => Ok(End::Tx),
        Ok(pb::End::Rx) => Ok(End::Rx),
        Ok(pb::End::Unspecified) | Err(_) => Err(ConvertError::new(
            "end",
            format!("{value} is neither 1 (tx) nor 2 (rx)"),
        )),
    }
}

impl From<End> for pb::End {
    fn from(end: End) -> Self {
        match end {
            End::Tx => Self::Tx,
            End::Rx => Self::Rx,
        }
    }
}

/// Conversions of owned values, by those of borrowed ones.
macro_rules! owned {
    ($($from:ty => $to:ty),+ $(,)?) => {
        $(
            impl TryFrom<$from> for $to {
                type Error = $crate::convert::ConvertError;

                fn try_from(message: $from) -> Result<Self, Self::Error> {
                    Self::try_from(&message)
                }
            }

            impl From<$to> for $from {
                fn from(value: $to) -> Self {
                    Self::from(&value)
                }
            }
        )+
    };
}
use owned;

/// Copies optional counts of the same names into `$to`, checked.
macro_rules! take_counts {
    ($from:expr => $to:expr, [$($name:ident),+ $(,)?]) => {
        $($to.$name = $crate::convert::optional_count(stringify!($name), $from.$name)?;)+
    };
}
use take_counts;
