//! Who is let in no more, as the store keeps it.

use std::fmt;
use std::str::FromStr;

use weir_common::id::AgentName;

/// Most hexadecimal digits of a serial number (RFC 5280 section 4.1.2.2).
const SERIAL_DIGITS: usize = 40;

/// Whom a denial concerns. Written `NAME` or `agent:NAME`, `operator:NAME`,
/// `viewer:NAME`, `serial:HEX`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An agent, however it is connected.
    Agent(AgentName),
    /// Whoever has a certificate of this operator.
    Operator(AgentName),
    /// Whoever has a certificate of this viewer.
    Viewer(AgentName),
    /// One certificate, by its serial number in lower-case hexadecimal.
    Serial(String),
}

/// A text that means nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is neither NAME of an agent, operator:NAME, viewer:NAME nor serial:HEX: {problem}"
)]
pub struct SubjectError {
    text: String,
    problem: String,
}

impl Subject {
    /// In a sentence.
    pub fn described(&self) -> String {
        match self {
            Self::Agent(name) => format!("agent {name}"),
            Self::Operator(name) => format!("operator {name}"),
            Self::Viewer(name) => format!("viewer {name}"),
            Self::Serial(serial) => format!("the certificate {serial}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "{name}"),
            Self::Operator(name) => write!(f, "operator:{name}"),
            Self::Viewer(name) => write!(f, "viewer:{name}"),
            Self::Serial(serial) => write!(f, "serial:{serial}"),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let error = |problem: String| SubjectError {
            text: text.chars().take(80).collect(),
            problem,
        };
        let name = |name: &str| name.parse().map_err(|problem| error(format!("{problem}")));
        match text.split_once(':') {
            None => Ok(Self::Agent(name(text)?)),
            Some(("agent", rest)) => Ok(Self::Agent(name(rest)?)),
            Some(("operator", rest)) => Ok(Self::Operator(name(rest)?)),
            Some(("viewer", rest)) => Ok(Self::Viewer(name(rest)?)),
            Some(("serial", rest)) => {
                // Other programs write colons between the bytes.
                let serial = rest.replace(':', "").to_ascii_lowercase();
                let fits = (1..=SERIAL_DIGITS).contains(&serial.len());
                if fits && serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    Ok(Self::Serial(serial))
                } else {
                    Err(error(format!(
                        "a serial has 1 to {SERIAL_DIGITS} hexadecimal digits"
                    )))
                }
            }
            Some((kind, _)) => Err(error(format!("no kind `{kind}`"))),
        }
    }
}

/// One entry of the deny list. Its text tells the peer what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Whom it concerns.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// Who put it there.
    pub by: String,
    /// When, ns since the Unix epoch.
    pub since_unix_ns: i64,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject, reason, ..
        } = self;
        write!(f, "{} is on the deny list", subject.described())?;
        if !reason.is_empty() {
            write!(f, " ({reason})")?;
        }
        write!(
            f,
            ": an operator lets it in again with weir allow {subject}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_they_are_written() {
        for text in ["a1", "operator:anna", "viewer:vera", "serial:4f00ab"] {
            let subject: Subject = text.parse().unwrap();
            assert_eq!(subject.to_string(), text);
        }
        let named: Subject = "agent:a1".parse().unwrap();
        assert_eq!(named, "a1".parse().unwrap());
        let serial: Subject = "serial:4F:00:AB".parse().unwrap();
        assert_eq!(serial.to_string(), "serial:4f00ab");
    }

    #[test]
    fn what_means_nobody_is_refused_by_name() {
        let long = format!("serial:{}", "a".repeat(41));
        for text in [
            "",
            "a b",
            "agent:",
            "newcomer:a",
            "serial:",
            "serial:xy",
            &long,
        ] {
            let error = text.parse::<Subject>().unwrap_err().to_string();
            assert!(error.contains("operator:NAME"), "{error}");
        }
    }

    #[test]
    fn a_denial_says_why_and_what_to_do() {
        let mut denial = Denial {
            subject: "operator:anna".parse().unwrap(),
            reason: "laptop stolen".to_owned(),
            by: "uid 0".to_owned(),
            since_unix_ns: 0,
        };
        assert_eq!(
            denial.to_string(),
            "operator anna is on the deny list (laptop stolen): an operator lets it in again with weir allow operator:anna"
        );
        denial.reason.clear();
        assert!(denial.to_string().contains("deny list: an operator"));
    }
}
