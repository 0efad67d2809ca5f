//! The TOML face: text to tree, with the line of everything.

use super::tree::{Entry, Node, Table, Value};
use super::{Campaign, CampaignError, ErrorKind, Place, lower};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest file that is read, in bytes: a campaign is written by a person.
pub const FILE_MOST: usize = 1 << 20;

/// Deepest nesting of a campaign, with room: file, array of flows, flow, traffic, law.
const DEEPEST: usize = 8;

/// Reads a campaign file. `file_name` is named in errors, and names the campaign if it has no name of its own.
///
/// Never panics, whatever the text; the first error found is returned.
pub fn parse(text: &str, file_name: &str) -> Result<Campaign, CampaignError> {
    let parsed = tree(text).and_then(|root| lower::campaign(&root, stem(file_name)));
    parsed.map_err(|error| error.in_source(file_name))
}

/// `path/to/as150.toml` without folders and ending.
fn stem(file_name: &str) -> &str {
    let file = file_name.rsplit('/').next().unwrap_or(file_name);
    match file.strip_suffix(".toml").unwrap_or(file) {
        "" => "campaign",
        stem => stem,
    }
}

fn tree(text: &str) -> Result<Table, CampaignError> {
    if text.len() > FILE_MOST {
        let message = format!(
            "the file has {} bytes: a campaign has at most {FILE_MOST}",
            text.len()
        );
        return Err(CampaignError::new(
            ErrorKind::Syntax,
            &Place::Whole,
            message,
        ));
    }
    let lines = Lines::new(text);
    match DeTable::parse(text) {
        Ok(root) => convert_table(root.get_ref(), Place::Whole, &lines, 0),
        Err(error) => {
            let place = error.span().map_or(Place::Whole, |span| lines.place(span));
            let message = format!("not valid TOML: {}", error.message().replace('\n', ", "));
            Err(CampaignError::new(ErrorKind::Syntax, &place, message))
        }
    }
}

fn convert_table(
    table: &DeTable<'_>,
    place: Place,
    lines: &Lines<'_>,
    depth: usize,
) -> Result<Table, CampaignError> {
    if depth > DEEPEST {
        let message = "nested too deeply: nothing in a campaign is";
        return Err(CampaignError::new(ErrorKind::BadValue, &place, message));
    }
    let mut converted = Table::new(place);
    for (key, value) in table {
        converted.entries.push(Entry {
            key: key.get_ref().clone().into_owned(),
            place: lines.place(key.span()),
            node: convert(value, lines, depth)?,
        });
    }
    Ok(converted)
}

fn convert(
    node: &Spanned<DeValue<'_>>,
    lines: &Lines<'_>,
    depth: usize,
) -> Result<Node, CampaignError> {
    let place = lines.place(node.span());
    let value = match node.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => {
            Value::Number(number.as_str().to_owned())
        }
        DeValue::Integer(_) => {
            let message = "write numbers in decimal";
            return Err(CampaignError::new(ErrorKind::BadValue, &place, message));
        }
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => {
            let message =
                "a date has no place in a campaign: write a length of time, such as `\"60 s\"`";
            return Err(CampaignError::new(ErrorKind::BadValue, &place, message));
        }
        DeValue::Array(items) if depth > DEEPEST || items.is_empty() => Value::List(Vec::new()),
        DeValue::Array(items) => {
            let nodes = items.iter().map(|item| convert(item, lines, depth + 1));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            Value::Table(convert_table(table, place.clone(), lines, depth + 1)?)
        }
    };
    Ok(Node { place, value })
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        let after_breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Lines {
            text,
            starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let at = span.start.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts[line - 1];
        let column = self
            .text
            .get(start..at)
            .map_or(0, |before| before.chars().count())
            + 1;
        Place::Line {
            line: line as u32,
            column: column as u32,
        }
    }
}
