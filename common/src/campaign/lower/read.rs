//! Typed reading of a table's values, with errors that name the place, the key and what may stand there.

use crate::campaign::keys::{Section, not_yet};
use crate::campaign::tree::{Entry, Node, Table, Value};
use crate::campaign::{CampaignError, ErrorKind, ITEMS_MOST, Place};
use crate::nearest::nearest;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub(super) type Result<T> = std::result::Result<T, CampaignError>;

/// Longest name of a phase, flow set or group.
const NAME_MOST: usize = 64;

/// A table whose keys are all known.
pub(super) struct Reader<'a> {
    pub(super) table: &'a Table,
    pub(super) section: &'static Section,
}

pub(super) fn bad(place: &Place, message: impl Into<String>) -> CampaignError {
    CampaignError::new(ErrorKind::BadValue, place, message)
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Table, section: &'static Section) -> Result<Reader<'a>> {
        section.check(table)?;
        Ok(Reader { table, section })
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.table.entry(key)
    }

    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The place of a key's value, or of the table.
    pub(super) fn place(&self, key: &str) -> &'a Place {
        self.node(key).map_or(&self.table.place, |node| &node.place)
    }

    pub(super) fn missing(&self, key: &str, example: &str) -> CampaignError {
        let message = format!(
            "`{key}` is missing in {}: write {example}",
            self.section.title
        );
        CampaignError::new(ErrorKind::Missing, &self.table.place, message)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.node(key)
            .map(|node| node.text(key, "a text in quotes"))
            .transpose()
    }

    /// A name that can stand in `phase/set.metric` and in a table's cell.
    pub(super) fn name(&self, key: &str) -> Result<Option<String>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        check_name(text, self.place(key))?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        match &node.value {
            Value::Bool(value) => Ok(Some(*value)),
            Value::Word(word) if word == "true" => Ok(Some(true)),
            Value::Word(word) if word == "false" => Ok(Some(false)),
            other => Err(bad(
                &node.place,
                format!("`{key}` is true or false, not {}", other.sort()),
            )),
        }
    }

    pub(super) fn count(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        let text = node.scalar(key, "a whole number")?;
        let (least, most) = range.into_inner();
        match text.parse::<u64>() {
            Ok(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => Err(bad(
                &node.place,
                format!(
                    "`{key} = {}` is not a whole number from {least} to {most}",
                    cut(text)
                ),
            )),
        }
    }

    /// A value that parses itself, such as a quantity.
    pub(super) fn quantity<T>(&self, key: &str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        let text = node.scalar(key, "a quantity with its unit in quotes")?;
        let parsed = text
            .parse::<T>()
            .map_err(|error| bad(&node.place, format!("`{key}`: {error}")));
        parsed.map(Some)
    }

    /// A quantity within bounds.
    pub(super) fn within<T>(&self, key: &str, range: RangeInclusive<T>) -> Result<Option<T>>
    where
        T: FromStr + PartialOrd + Display + Copy,
        T::Err: Display,
    {
        let Some(value) = self.quantity::<T>(key)? else {
            return Ok(None);
        };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let message = format!(
            "`{key} = {value}` is outside {} to {}",
            range.start(),
            range.end()
        );
        Err(bad(self.place(key), message))
    }

    /// One of a few words; those of `later` are refused as not available yet.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        words: &[(&'static str, T)],
        later: &[&str],
    ) -> Result<Option<T>> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let text = node.scalar(key, &format!("one of {}", names.join(", ")))?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Ok(Some(*value));
        }
        if later.contains(&text) {
            let message = not_yet(&format!("{key} = \"{text}\""));
            return Err(CampaignError::new(
                ErrorKind::NotAvailable,
                &node.place,
                message,
            ));
        }
        Err(bad(
            &node.place,
            format!("`{key}`: {}", unknown_value(text, &names)),
        ))
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<&'a Table>> {
        let Some(node) = self.node(key) else {
            return Ok(Vec::new());
        };
        let wrong = |place: &Place| {
            bad(
                place,
                format!("`{key}` is a table for each: write [[{key}]]"),
            )
        };
        let Value::List(nodes) = &node.value else {
            return Err(wrong(&node.place));
        };
        if nodes.len() > ITEMS_MOST {
            return Err(bad(
                &node.place,
                format!("{} times [[{key}]]: at most {ITEMS_MOST}", nodes.len()),
            ));
        }
        let table = |node: &'a Node| match &node.value {
            Value::Table(table) => Ok(table),
            _ => Err(wrong(&node.place)),
        };
        nodes.iter().map(table).collect()
    }

    /// The table of `[key]` or `key = { }`.
    pub(super) fn sub_table(&self, key: &str) -> Result<Option<&'a Table>> {
        let Some(node) = self.node(key) else {
            return Ok(None);
        };
        match &node.value {
            Value::Table(table) => Ok(Some(table)),
            other => Err(bad(
                &node.place,
                format!(
                    "`{key}` is a table, not {}: write `{key} = {{ ... }}`",
                    other.sort()
                ),
            )),
        }
    }

    /// A list of texts; a single one counts as a list of one. On a command line commas separate.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<(&'a str, &'a Place)>>> {
        self.node(key).map(|node| node.texts(key)).transpose()
    }
}

impl Node {
    fn text(&self, key: &str, wanted: &str) -> Result<&str> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => Ok(text),
            other => Err(bad(
                &self.place,
                format!("`{key}` is {wanted}, not {}", other.sort()),
            )),
        }
    }

    /// Text or number, as text. Variables belong to the matrix, which is not built yet.
    pub(super) fn scalar(&self, key: &str, wanted: &str) -> Result<&str> {
        let text = match &self.value {
            Value::Number(number) => number,
            _ => self.text(key, wanted)?,
        };
        if text.starts_with('$') {
            let message = not_yet(&cut(text)) + ": it is a variable of [matrix]";
            return Err(CampaignError::new(
                ErrorKind::NotAvailable,
                &self.place,
                message,
            ));
        }
        Ok(text)
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<(&str, &Place)>> {
        match &self.value {
            Value::List(nodes) if nodes.is_empty() => {
                Err(bad(&self.place, format!("`{key}` is an empty list")))
            }
            Value::List(nodes) => nodes
                .iter()
                .map(|node| Ok((node.scalar(key, "a text or a list of them")?, &node.place)))
                .collect(),
            Value::Word(word) => Ok(word.split(',').map(|part| (part, &self.place)).collect()),
            _ => Ok(vec![(
                self.scalar(key, "a text or a list of them")?,
                &self.place,
            )]),
        }
    }
}

/// "unknown value `x`: did you mean `y`? there are: ..."
pub(super) fn unknown_value(text: &str, known: &[&str]) -> String {
    let near = nearest(text, known.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    format!(
        "unknown value `{}`: {near}there are: {}",
        cut(text),
        known.join(", ")
    )
}

pub(super) fn check_name(text: &str, place: &Place) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.is_empty() || text.len() > NAME_MOST || !text.chars().all(allowed) {
        let message = format!(
            "`{}` is not a name: use letters, digits, `_` and `-`, at most {NAME_MOST}",
            cut(text)
        );
        return Err(bad(place, message));
    }
    Ok(())
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
