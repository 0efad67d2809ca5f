//! Rows as csv, jsonl or json, written as they come.

use std::io::{self, Write};

use serde_json::{Map, Value};
use weir_controller::export::csv;

/// The form of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values with a head (RFC 4180, lines end with LF).
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
}

/// Why rows cannot be written.
#[derive(Debug)]
pub(crate) enum RowError {
    /// Standard output.
    Output(io::Error),
    /// A row of the controller is no JSON object.
    Row(serde_json::Error),
}

impl From<io::Error> for RowError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes rows. Order of calls: [`batch`](Self::batch) any number of times, [`end`](Self::end).
#[derive(Debug)]
pub(crate) struct Rows {
    format: Format,
    columns: Vec<String>,
    written: u64,
}

impl Rows {
    /// No row yet.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            columns: Vec::new(),
            written: 0,
        }
    }

    /// Writes rows, each a JSON object. The first batch names the columns.
    pub(crate) fn batch(
        &mut self,
        out: &mut dyn Write,
        columns: &[String],
        rows: &[String],
    ) -> Result<(), RowError> {
        if self.columns.is_empty() && !columns.is_empty() {
            self.columns = columns.to_vec();
            if self.format == Format::Csv {
                out.write_all(csv::head(columns).as_bytes())?;
            }
        }
        for row in rows {
            match self.format {
                Format::Csv => self.csv(out, row)?,
                Format::Jsonl => writeln!(out, "{}", row.trim())?,
                Format::Json => {
                    let before = if self.written == 0 { "[\n" } else { ",\n" };
                    write!(out, "{before}{}", row.trim())?;
                }
            }
            self.written += 1;
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write, row: &str) -> Result<(), RowError> {
        let object: Map<String, Value> = serde_json::from_str(row).map_err(RowError::Row)?;
        Ok(out.write_all(csv::line(&self.columns, &object).as_bytes())?)
    }

    /// Ends the document.
    pub(crate) fn end(&self, out: &mut dyn Write) -> io::Result<()> {
        match (self.format, self.written) {
            (Format::Json, 0) => writeln!(out, "[]"),
            (Format::Json, _) => writeln!(out, "\n]"),
            (Format::Csv | Format::Jsonl, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, batches: &[&[&str]]) -> String {
        let columns = ["run", "k", "flags", "ratio"].map(str::to_owned);
        let (mut rows, mut out) = (Rows::new(format), Vec::new());
        for (index, batch) in batches.iter().enumerate() {
            let batch: Vec<String> = batch.iter().map(|row| (*row).to_owned()).collect();
            let columns: &[String] = if index == 0 { &columns } else { &[] };
            rows.batch(&mut out, columns, &batch).unwrap();
        }
        rows.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const ROWS: &[&[&str]] = &[
        &[r#"{"run":"r-0001","k":0,"flags":"warmup,short","ratio":0.5}"#],
        &[r#"{"k":18446744073709551615,"run":"a\"b","flags":null}"#],
    ];

    #[test]
    fn csv_has_the_columns_in_order_and_quotes_what_it_must() {
        assert_eq!(
            written(Format::Csv, ROWS),
            "run,k,flags,ratio\nr-0001,0,\"warmup,short\",0.5\n\"a\"\"b\",18446744073709551615,,\n"
        );
        assert_eq!(written(Format::Csv, &[&[]]), "run,k,flags,ratio\n");
    }

    #[test]
    fn a_spreadsheet_is_given_no_formula() {
        let rows: &[&[&str]] = &[&[r#"{"run":"=cmd()","k":-1}"#]];
        let csv = written(Format::Csv, rows);
        assert_eq!(csv, "run,k,flags,ratio\n'=cmd(),-1,,\n");
    }

    #[test]
    fn json_is_one_document_and_jsonl_a_line_each() {
        let document: Value = serde_json::from_str(&written(Format::Json, ROWS)).unwrap();
        assert_eq!(document.as_array().unwrap().len(), 2);
        assert_eq!(written(Format::Json, &[&[]]), "[]\n");
        assert_eq!(written(Format::Jsonl, ROWS).lines().count(), 2);
    }

    #[test]
    fn a_row_that_is_no_object_is_an_error() {
        let mut rows = Rows::new(Format::Csv);
        let error = rows.batch(&mut Vec::new(), &["a".to_owned()], &["[1]".to_owned()]);
        assert!(matches!(error, Err(RowError::Row(_))));
    }
}
