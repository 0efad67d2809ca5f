//! Files of spacings or sizes.

use super::law::{Bytes, CAP_MOST, Number};
use super::{TCP_SIZE_MOST, UDP_SIZE_MOST};
use crate::unit::Span;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most bytes of a trace file.
pub const TRACE_BYTES_MOST: usize = 16 << 20;
/// Most lines of a trace file.
pub const TRACE_LINES_MOST: usize = 1_000_000;

/// What the values of a trace are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceOf {
    /// Spacings, in ns.
    Arrival,
    /// Sizes, in bytes.
    Size,
}

/// The values of a file, in its order.
///
/// Invariant: there is at least one, not all are 0, and no size is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The file, as the campaign names it.
    pub file: String,
    /// What the values are.
    pub of: TraceOf,
    /// Spacings in ns, or sizes in bytes.
    #[serde(with = "shared")]
    pub values: Arc<[u64]>,
    /// SHA-256 of the file, as hexadecimal digits; empty where nobody needs it.
    #[serde(default)]
    pub sha256: String,
}

/// Why a text is not a trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A line that is no value.
    #[error("trace file `{file}`, line {line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// The file as a whole.
    #[error("trace file `{file}`: {problem}")]
    Whole {
        /// The file.
        file: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

impl TraceOf {
    /// The key of the campaign whose values these are.
    pub const fn key(self) -> &'static str {
        match self {
            TraceOf::Arrival => "arrival",
            TraceOf::Size => "size",
        }
    }
}

impl Trace {
    /// Reads a file: one value a line, `#` begins a comment, empty lines are skipped. Sizes are bytes. Spacings have a unit,
    /// or the one that a line `unit ms` before them gives.
    ///
    /// Never panics, whatever the text.
    pub fn parse(file: &str, of: TraceOf, text: &str) -> Result<Trace, TraceError> {
        let whole = |problem: String| TraceError::Whole {
            file: file.to_owned(),
            problem,
        };
        if text.len() > TRACE_BYTES_MOST {
            return Err(whole(format!("more than {TRACE_BYTES_MOST} bytes")));
        }
        let mut unit = "";
        let mut values = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let wrong = |problem: String| TraceError::Line {
                file: file.to_owned(),
                line: at + 1,
                problem,
            };
            if at >= TRACE_LINES_MOST {
                return Err(whole(format!("more than {TRACE_LINES_MOST} lines")));
            }
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line
                .strip_prefix("unit ")
                .filter(|_| of == TraceOf::Arrival)
            {
                unit = name.trim();
                let known = ["ns", "us", "ms", "s"].contains(&unit);
                if !known {
                    return Err(wrong("`unit` is ns, us, ms or s".to_owned()));
                }
                continue;
            }
            let value = match of {
                TraceOf::Arrival => spacing(line, unit),
                TraceOf::Size => size(line),
            };
            values.push(value.map_err(wrong)?);
        }
        let trace = Trace {
            file: file.to_owned(),
            of,
            values: values.into(),
            sha256: String::new(),
        };
        trace.check().map_err(whole)?;
        Ok(trace)
    }

    /// Checks the invariant, for a trace that was not read from a text.
    pub fn check(&self) -> Result<(), String> {
        let most = match self.of {
            TraceOf::Arrival => CAP_MOST.as_nanos(),
            TraceOf::Size => u64::from(TCP_SIZE_MOST.max(UDP_SIZE_MOST)),
        };
        if self.values.is_empty() {
            return Err("there is no value in it".to_owned());
        }
        if self.values.iter().any(|value| *value > most) {
            return Err(format!("a value is above {most}"));
        }
        let zeros = self.values.iter().filter(|value| **value == 0).count();
        match self.of {
            TraceOf::Arrival if zeros == self.values.len() => Err("all spacings are 0".to_owned()),
            TraceOf::Size if zeros > 0 => Err("a size is 0".to_owned()),
            _ => Ok(()),
        }
    }

    /// Mean of the values, in ns or bytes.
    pub fn mean(&self) -> f64 {
        // At most 10^6 values of at most 3.6 x 10^12 ns: the sum fits.
        self.values.iter().sum::<u64>() as f64 / self.values.len().max(1) as f64
    }
}

/// Values as a list.
mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(
        values: &Arc<[u64]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        values.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<[u64]>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::from)
    }
}

fn spacing(text: &str, unit: &str) -> Result<u64, String> {
    let bare = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let parsed: Result<Span, _> = if bare && !unit.is_empty() {
        // A file written with more digits than nanoseconds have is rounded to them.
        let rounded = rounded(text, unit).ok_or_else(|| format!("`{text}` is not a number"))?;
        Ok(rounded)
    } else {
        text.parse()
    };
    match parsed {
        Ok(span) if span <= CAP_MOST => Ok(span.as_nanos()),
        Ok(_) => Err(format!("`{}` is more than {CAP_MOST}", cut(text))),
        Err(error) => Err(format!("{error}; or write `unit ms` on a line before")),
    }
}

fn rounded(number: &str, unit: &str) -> Option<Span> {
    let value: f64 = number.parse().ok()?;
    let factor = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        _ => 1e9,
    };
    let ns = (value * factor).round();
    // Beyond what is allowed it is refused by the caller, with the text.
    (ns >= 0.0).then(|| Span::from_nanos(ns as u64))
}

fn size(text: &str) -> Result<u64, String> {
    let bytes: Bytes = text
        .parse()
        .map_err(|_| format!("`{}` is not a number of bytes", cut(text)))?;
    let range = Bytes::whole(1)..=Bytes::whole(UDP_SIZE_MOST);
    if !range.contains(&bytes) || bytes != Bytes::new(Number::whole(bytes.whole_part())) {
        return Err(format!(
            "`{}` is not a whole number from 1 to {UDP_SIZE_MOST}",
            cut(text)
        ));
    }
    Ok(u64::from(bytes.whole_part()))
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_comments_and_units() {
        let trace = Trace::parse(
            "g",
            TraceOf::Arrival,
            "# gaps\n1 ms\n\n2.5us # short\n0 s\nunit ms\n0.25\n7\n",
        );
        assert_eq!(
            *trace.unwrap().values,
            [1_000_000, 2_500, 0, 250_000, 7_000_000]
        );
        let sizes = Trace::parse("s", TraceOf::Size, "64\n65507 B\n").unwrap();
        assert_eq!(
            (&*sizes.values, sizes.mean()),
            (&[64, 65_507][..], 32_785.5)
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        let error = |of, text: &str| Trace::parse("t.txt", of, text).unwrap_err().to_string();
        let arrival = |text| error(TraceOf::Arrival, text);
        assert!(arrival("1 ms\n\n5\n").starts_with("trace file `t.txt`, line 3: `5` has no unit"));
        assert!(arrival("1 ms\nunit weeks\n").contains("line 2: `unit` is ns, us, ms or s"));
        assert!(arrival("2 h\n").contains("line 1: `2 h` is more than 1 h"));
        assert!(arrival("# nothing\n").contains("no value"));
        assert!(arrival("0 ms\n0 ms\n").contains("all spacings are 0"));
        assert!(arrival("unit s\n1e\n").contains("line 2"));
        let size = |text| error(TraceOf::Size, text);
        for text in ["0", "65508", "1.5", "-3", "12 kB", "unit ms"] {
            assert!(size(text).contains("line 1"), "{text}");
        }
        let many = "1\n".repeat(TRACE_LINES_MOST + 1);
        assert!(size(&many).contains("lines"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "([0-9.]{0,12}( ?(ms|s|unit|#|B|h))?\n?){0,6}", size: bool) {
            let of = if size { TraceOf::Size } else { TraceOf::Arrival };
            if let Ok(trace) = Trace::parse("t", of, &text) {
                prop_assert_eq!(trace.check(), Ok(()));
            }
        }
    }
}
