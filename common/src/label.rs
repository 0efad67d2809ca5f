//! Labels of agents: `asn = 162`, `role = host`. Folded once, compared exactly afterwards.

use std::{collections::BTreeMap, fmt};

/// Longest key or value, in bytes after folding: labels are words, not documents.
pub const LONGEST: usize = 128;

/// Words that mean something else in a selector and so cannot be label keys.
pub const RESERVED: [&str; 6] = ["name", "prefix", "sample", "except", "per", "discover"];

/// Why a text is not a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A key with a character outside `[a-z0-9_-]`, or none at all.
    #[error("label key `{key}` is not valid: use letters, digits, `_` and `-`")]
    Key {
        /// The key as given.
        key: String,
    },
    /// A key that selectors use for something else.
    #[error("label key `{key}` is taken by the selector language: choose another")]
    Reserved {
        /// The key as given.
        key: String,
    },
    /// A value that no selector could name.
    #[error(
        "value `{value}` of label `{key}` is not valid: it must not be empty or hold `, = ! * ? \"` or control characters"
    )]
    Value {
        /// The key.
        key: String,
        /// The value as given.
        value: String,
    },
    /// Longer than [`LONGEST`].
    #[error("label `{key}` is too long: at most {LONGEST} bytes for a key or a value")]
    TooLong {
        /// The beginning of the key.
        key: String,
    },
    /// Not of the form `key=value`.
    #[error("`{text}` is not a label: write `key=value`, such as `asn=150`")]
    Form {
        /// The text as given.
        text: String,
    },
}

/// Folds a label's key or value: lower case, each run of blanks one `-`, nothing at the ends.
pub fn fold(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join("-")
}

/// Folds and checks a label key.
pub fn key(text: &str) -> Result<String, LabelError> {
    let folded = fold(text);
    check_length(&folded, &folded)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if folded.is_empty() || !folded.chars().all(allowed) {
        return Err(LabelError::Key {
            key: text.to_owned(),
        });
    }
    if RESERVED.contains(&folded.as_str()) {
        return Err(LabelError::Reserved { key: folded });
    }
    Ok(folded)
}

/// Folds and checks the value of the label `key`.
pub fn value(key: &str, text: &str) -> Result<String, LabelError> {
    let folded = fold(text);
    check_length(key, &folded)?;
    let forbidden = |c: char| c.is_control() || matches!(c, ',' | '=' | '!' | '*' | '?' | '"');
    if folded.is_empty() || folded.contains(forbidden) {
        return Err(LabelError::Value {
            key: key.to_owned(),
            value: text.to_owned(),
        });
    }
    Ok(folded)
}

fn check_length(key: &str, text: &str) -> Result<(), LabelError> {
    if text.len() > LONGEST {
        return Err(LabelError::TooLong {
            key: key.chars().take(20).collect(),
        });
    }
    Ok(())
}

/// The labels of one agent, folded, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// No labels.
    pub fn new() -> Labels {
        Labels::default()
    }

    /// Folds, checks and adds a label; an earlier value of the same key is replaced and returned.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<Option<String>, LabelError> {
        let key = self::key(key)?;
        let value = self::value(&key, value)?;
        Ok(self.0.insert(key, value))
    }

    /// Adds a label written `key=value`, as on a command line.
    pub fn insert_text(&mut self, text: &str) -> Result<Option<String>, LabelError> {
        let (key, value) = text.split_once('=').ok_or_else(|| LabelError::Form {
            text: text.to_owned(),
        })?;
        self.insert(key, value)
    }

    /// The value of a folded key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and values in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `asn=150 role=host`, in the order of keys: also a selector for agents with these labels.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_at_registration() {
        let mut labels = Labels::new();
        labels.insert("ASN", "150").unwrap();
        labels.insert("Display Name", "Web  Server 1").unwrap();
        assert_eq!(labels.to_string(), "asn=150 display-name=web-server-1");
        assert_eq!(labels.insert_text("asn=151"), Ok(Some("150".to_owned())));
        assert_eq!(labels.value("asn"), Some("151"));
    }

    #[test]
    fn refused_with_the_reason() {
        let mut labels = Labels::new();
        assert!(matches!(
            labels.insert("a.b", "x"),
            Err(LabelError::Key { .. })
        ));
        assert!(matches!(
            labels.insert("", "x"),
            Err(LabelError::Key { .. })
        ));
        assert!(matches!(
            labels.insert("name", "x"),
            Err(LabelError::Reserved { .. })
        ));
        assert!(matches!(
            labels.insert("x", "a,b"),
            Err(LabelError::Value { .. })
        ));
        assert!(matches!(
            labels.insert("x", " "),
            Err(LabelError::Value { .. })
        ));
        assert!(matches!(
            labels.insert("x", &"y".repeat(200)),
            Err(LabelError::TooLong { .. })
        ));
        assert!(matches!(
            labels.insert_text("asn"),
            Err(LabelError::Form { .. })
        ));
    }
}
