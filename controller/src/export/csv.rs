//! CSV as RFC 4180 writes it, safe to open in a spreadsheet.

use serde_json::{Map, Value};

/// The first line: the names of the columns. Ends with a line feed.
pub fn head(columns: &[String]) -> String {
    join(columns.iter().map(|name| cell(name)))
}

/// One row with its figures in the order of the columns; a column that it does
/// not have is empty. Ends with a line feed.
pub fn line(columns: &[String], row: &Map<String, Value>) -> String {
    join(columns.iter().map(|name| match row.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        Some(value) => cell(&value.to_string()),
    }))
}

/// Lines end with LF alone, which RFC 4180 readers take and Unix tools expect.
fn join(cells: impl Iterator<Item = String>) -> String {
    let mut line = cells.collect::<Vec<_>>().join(",");
    line.push('\n');
    line
}

/// A text in one cell. What a spreadsheet would take for a formula gets an
/// apostrophe before it (as OWASP's "CSV injection" advises): names come from
/// campaigns and agents, and a number is never a text here.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        for (text, written) in [
            ("plain", "plain"),
            ("a>b, c", "\"a>b, c\""),
            ("say \"so\"", "\"say \"\"so\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@cmd,x", "\"'@cmd,x\""),
            ("-x", "'-x"),
        ] {
            assert_eq!(cell(text), written);
        }
    }

    #[test]
    fn a_line_has_a_cell_for_every_column() {
        let columns = ["a", "b", "c", "d"].map(str::to_owned);
        let row = json!({ "d": -1.5, "b": "x,y", "a": 7, "other": 1 });
        assert_eq!(head(&columns), "a,b,c,d\n");
        assert_eq!(
            line(&columns, row.as_object().unwrap()),
            "7,\"x,y\",,-1.5\n"
        );
    }
}
