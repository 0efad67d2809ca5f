use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest name of a file that a flow writes, bytes: it becomes a part of longer ones.
const NAME_MOST: usize = 64;
/// The one format there is: JSON lines, an object each.
const SUFFIX: &str = ".jsonl";

/// Name of the file into which each end of a flow writes its rows on its own host.
///
/// Invariant: letters, digits, `.`, `_` and `-` only, at most 64 bytes, no leading dot,
/// `.jsonl` at the end: safe as the name of a file everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFile(String);

/// Why a text does not name such a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a log file: write a name without directories that ends in .jsonl, such as `probe.jsonl`, of at most 64 letters, digits, `.`, `_` and `-`"
)]
pub struct LogFileError(String);

impl LogFile {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFile {
    type Err = LogFileError;

    fn from_str(text: &str) -> Result<Self, LogFileError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let stem = text.strip_suffix(SUFFIX).unwrap_or_default();
        let right = !stem.is_empty()
            && !stem.starts_with(['.', '-'])
            && text.len() <= NAME_MOST
            && text.bytes().all(plain);
        if right {
            Ok(Self(text.to_owned()))
        } else {
            Err(LogFileError(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for LogFile {
    type Error = LogFileError;

    fn try_from(text: String) -> Result<Self, LogFileError> {
        text.parse()
    }
}

impl From<LogFile> for String {
    fn from(name: LogFile) -> Self {
        name.0
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_plain_files_only() {
        for name in ["probe.jsonl", "a.b-c_1.jsonl", "x.jsonl"] {
            assert_eq!(name.parse::<LogFile>().unwrap().as_str(), name);
        }
        let long = format!("{}.jsonl", "x".repeat(60));
        for name in [
            "",
            ".jsonl",
            "..jsonl",
            "-x.jsonl",
            "probe",
            "probe.csv",
            "a/b.jsonl",
            "../x.jsonl",
            "a b.jsonl",
            "é.jsonl",
            "a\n.jsonl",
            &long,
        ] {
            let error = name.parse::<LogFile>().unwrap_err().to_string();
            assert!(error.contains(".jsonl"), "{error}");
        }
    }
}
