//! The one error of both faces: where, what, what was probably meant, what there is.

use std::fmt;

/// Where in the campaign the error is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    Line {
        /// From 1.
        line: u32,
        /// From 1, in characters.
        column: u32,
    },
    /// On a command line.
    Argument {
        /// From 0, in the arguments given.
        index: usize,
        /// The argument.
        text: String,
    },
    /// Of the whole: something is missing.
    Whole,
}

/// The sort of error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not TOML, or not a command line.
    Syntax,
    /// No key of the language.
    UnknownKey,
    /// A key or value of the language that this version does not have.
    NotAvailable,
    /// A value that its key cannot have.
    BadValue,
    /// A key that must be there.
    Missing,
    /// Two things that cannot both be.
    Conflict,
}

/// Why a text is not a campaign. One line, which names the place, the problem and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignError {
    kind: ErrorKind,
    source_name: Option<String>,
    place: Place,
    message: String,
}

impl CampaignError {
    pub(super) fn new(kind: ErrorKind, place: &Place, message: impl Into<String>) -> CampaignError {
        CampaignError {
            kind,
            source_name: None,
            place: place.clone(),
            message: message.into(),
        }
    }

    pub(super) fn in_source(mut self, name: &str) -> CampaignError {
        self.source_name = Some(name.to_owned());
        self
    }

    /// The sort of error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for CampaignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source_name, &self.place) {
            (Some(name), Place::Line { line, .. }) => write!(f, "{name}:{line}: ")?,
            (None, Place::Line { line, .. }) => write!(f, "line {line}: ")?,
            (_, Place::Argument { text, .. }) => {
                // The key that the message begins with is the flag itself.
                let key = text.trim_start_matches('-').replace('-', "_");
                let message = self.message.strip_prefix(&format!("`{key}`: "));
                return write!(f, "{text}: {}", message.unwrap_or(&self.message));
            }
            (Some(name), Place::Whole) => write!(f, "{name}: ")?,
            (None, Place::Whole) => {}
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for CampaignError {}
