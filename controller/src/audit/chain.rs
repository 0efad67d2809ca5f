//! The chain of an audit log, pure: how a line is sealed, and how a file is
//! checked.
//!
//! A line is a JSON object whose last member is `hash`: SHA-256, in lower-case
//! hexadecimal, over the hash of the line before (64 characters; zeros before
//! the first line) and the line's own text up to `,"hash":"`. Its first member
//! is `seq`, which counts from 1. So `printf %s PREVIOUS TEXT | sha256sum`
//! checks a line by hand.

use std::io::{self, BufRead, Read as _};

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value};

/// Longest line, bytes: an entry's texts are bounded far below it.
const LINE: u64 = 16 * 1024;
const BEFORE_HASH: &str = ",\"hash\":\"";
const AFTER_HASH: &str = "\"}";
const HASH: usize = 64;

/// The end of a chain: what the next line continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0 = none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(HASH),
        }
    }
}

/// Where a file stops being the chain that it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The end of the part that is whole.
    pub head: Head,
    /// Where the file stops being whole.
    pub broken: Option<Break>,
    /// Bytes of a last line without an end: being written now, or torn.
    pub unfinished: usize,
}

/// The next line of the chain, with its end of line, and the chain's new end.
pub(super) fn seal(head: &Head, fields: Map<String, Value>) -> (String, Head) {
    let seq = head.seq + 1;
    let mut object = Map::new();
    object.insert("seq".to_owned(), seq.into());
    object.extend(fields);
    let mut line = Value::Object(object).to_string();
    line.pop();
    let hash = hash(&head.hash, &line);
    line.push_str(BEFORE_HASH);
    line.push_str(&hash);
    line.push_str(AFTER_HASH);
    line.push('\n');
    (line, Head { seq, hash })
}

/// Checks lines up to the first that does not belong, and hands on each that does.
///
/// # Errors
/// The file cannot be read.
pub fn check(mut file: impl BufRead, mut each: impl FnMut(&str)) -> io::Result<Checked> {
    let mut head = Head::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = file.by_ref().take(LINE).read_until(b'\n', &mut bytes)?;
        let mut checked = Checked {
            head: head.clone(),
            broken: None,
            unfinished: 0,
        };
        if read == 0 {
            return Ok(checked);
        }
        if bytes.pop_if(|last| *last == b'\n').is_none() && (read as u64) < LINE {
            checked.unfinished = read;
            return Ok(checked);
        }
        match next(&head, &bytes) {
            Ok((line, after)) => {
                each(line);
                head = after;
            }
            Err(problem) => {
                let line = head.seq + 1;
                checked.broken = Some(Break { line, problem });
                return Ok(checked);
            }
        }
    }
}

/// The line as text and the chain's end behind it, if it continues the chain.
fn next<'a>(head: &Head, line: &'a [u8]) -> Result<(&'a str, Head), String> {
    let line = str::from_utf8(line).map_err(|_| "is not text".to_owned())?;
    let sealed = line
        .strip_suffix(AFTER_HASH)
        .and_then(|line| line.split_at_checked(line.len().checked_sub(HASH)?))
        .and_then(|(rest, hash)| Some((rest.strip_suffix(BEFORE_HASH)?, hash)));
    let Some((text, claimed)) = sealed else {
        return Err("does not end with a hash".to_owned());
    };
    let seq = head.seq + 1;
    if hash(&head.hash, text) != claimed {
        return Err("its hash does not follow from the line before and its own text".to_owned());
    }
    if !text.starts_with(&format!("{{\"seq\":{seq},")) {
        return Err(format!("is not numbered {seq}"));
    }
    let hash = claimed.to_owned();
    Ok((line, Head { seq, hash }))
}

fn hash(previous: &str, text: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(previous.as_bytes());
    context.update(text.as_bytes());
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}
