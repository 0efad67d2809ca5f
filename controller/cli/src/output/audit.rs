//! The audit log as a table.

use serde_json::{Value, json};
use weir_controller::audit::chain::Checked;

use super::table::{Align, Table};
use super::text::{cut, plural, printable};

/// Widest reason in the table; the document has all of it.
const REASON: usize = 100;

/// What was read of a log.
#[derive(Debug)]
pub(crate) struct Log {
    /// The file.
    pub(crate) path: String,
    /// Its last entries, the oldest first.
    pub(crate) entries: Vec<Value>,
    /// What the check found.
    pub(crate) checked: Checked,
}

/// The entries, and whether the chain is whole.
pub(crate) fn lines(log: &Log) -> Vec<String> {
    let mut lines = Vec::new();
    if !log.entries.is_empty() {
        let mut table = Table::new([
            ("time", Align::Left),
            ("event", Align::Left),
            ("outcome", Align::Left),
            ("count", Align::Right),
            ("who", Align::Left),
            ("object", Align::Left),
            ("why", Align::Left),
        ]);
        for entry in &log.entries {
            table.row([
                text(entry, "time"),
                text(entry, "event"),
                text(entry, "outcome"),
                entry["count"].as_u64().unwrap_or(1).to_string(),
                who(entry),
                or_else(text(entry, "object"), || text(entry, "method")),
                cut(&text(entry, "reason"), REASON),
            ]);
        }
        lines.extend(table.lines());
    }
    let Checked { head, broken, .. } = &log.checked;
    let entries = match head.seq {
        1 => "1 entry".to_owned(),
        n => format!("{n} entries"),
    };
    let state = if broken.is_some() { "broken" } else { "whole" };
    let path = printable(&log.path);
    lines.push(format!(
        "{path}: {state}: {entries}, last hash {}",
        head.hash
    ));
    if log.checked.unfinished > 0 {
        let bytes = plural(log.checked.unfinished, "byte");
        lines.push(format!("a line of {bytes} so far is being written"));
    }
    lines
}

/// The log as a document.
pub(crate) fn document(log: &Log) -> Value {
    let broken = log.checked.broken.as_ref();
    json!({
        "schema": "weir.audit/1",
        "path": log.path,
        "whole": broken.is_none(),
        "entries": log.checked.head.seq,
        "hash": log.checked.head.hash,
        "broken": broken.map(|broken| json!({ "line": broken.line, "problem": broken.problem })),
        "last": log.entries,
    })
}

fn text(entry: &Value, key: &str) -> String {
    printable(entry[key].as_str().unwrap_or_default())
}

fn or_else(text: String, other: impl FnOnce() -> String) -> String {
    if text.is_empty() { other() } else { text }
}

/// Role and name, and where from.
fn who(entry: &Value) -> String {
    let uid = entry["uid"].as_u64().map(|uid| format!("uid {uid}"));
    let parts = [
        text(entry, "role"),
        text(entry, "name"),
        uid.unwrap_or_default(),
        text(entry, "address"),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use weir_controller::audit::chain::Head;

    use super::*;

    #[test]
    fn entries_are_a_table_and_the_chain_has_the_last_word() {
        let entry = json!({
            "seq": 2, "time": "2026-11-24T03:00:00Z", "event": "run-stopped", "outcome": "done",
            "role": "operator", "uid": 0, "object": "r-0007", "reason": "weir stop",
        });
        let log = Log {
            path: "/d/audit.jsonl".to_owned(),
            entries: vec![entry],
            checked: Checked {
                head: Head {
                    seq: 2,
                    hash: "ab".to_owned(),
                },
                broken: None,
                unfinished: 0,
            },
        };
        assert_eq!(
            lines(&log),
            [
                "time                  event        outcome  count  who             object  why",
                "2026-11-24T03:00:00Z  run-stopped  done         1  operator uid 0  r-0007  weir stop",
                "/d/audit.jsonl: whole: 2 entries, last hash ab",
            ]
        );
        assert_eq!(document(&log)["whole"], true);
    }
}
