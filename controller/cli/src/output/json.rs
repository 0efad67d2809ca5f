//! Documents for programs: exactly one on standard output.

use std::io::{self, Write};

use serde_json::Value;

/// Writes a document that the controller made: as it is, or indented for a person who reads it.
pub(crate) fn write_text(out: &mut dyn Write, document: &str, indented: bool) -> io::Result<()> {
    if indented && let Ok(value) = serde_json::from_str::<Value>(document) {
        return write(out, &value, true);
    }
    writeln!(out, "{}", document.trim_end())
}

/// Writes a document.
pub(crate) fn write(out: &mut dyn Write, document: &Value, indented: bool) -> io::Result<()> {
    if indented {
        writeln!(out, "{document:#}")
    } else {
        writeln!(out, "{document}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_line_or_indented() {
        let mut out = Vec::new();
        write_text(&mut out, "{\"b\":1,\"a\":2}\n", false).unwrap();
        assert_eq!(out, b"{\"b\":1,\"a\":2}\n");
        out.clear();
        write_text(&mut out, "{\"b\":1,\"a\":2}", true).unwrap();
        assert_eq!(out, b"{\n  \"b\": 1,\n  \"a\": 2\n}\n");
    }
}
