//! The deny list.

use serde_json::{Value, json};
use weir_proto::controller::v1::{AllowResponse, Denied, DenyResponse};

use super::figure::date;
use super::table::{Align, Table};
use super::text::{plural, printable};

/// What `weir deny` says when it is done.
pub(crate) fn done(answer: &DenyResponse) -> Vec<String> {
    let subject = printable(&answer.subject);
    let cut = match answer.connections {
        0 => "it had no connection".to_owned(),
        1 => "its connection ends".to_owned(),
        n => format!("its {} end", plural(n as usize, "connection")),
    };
    let mut lines = vec![format!(
        "{subject} is denied: {cut} · weir allow {subject} lets it in again"
    )];
    if !answer.known {
        lines.push(if subject.starts_with("serial:") {
            "note: no agent was given a certificate of that number".to_owned()
        } else {
            "note: no agent of that name has registered".to_owned()
        });
    }
    lines
}

/// What `weir allow` says.
pub(crate) fn undone(answer: &AllowResponse) -> String {
    let subject = printable(&answer.subject);
    if answer.was_denied {
        format!("{subject} is let in again when it comes next")
    } else {
        format!("{subject} was not denied · weir denied lists who is")
    }
}

/// The list.
pub(crate) fn lines(all: &[Denied]) -> Vec<String> {
    if all.is_empty() {
        return vec!["nobody is denied".to_owned()];
    }
    let mut table = Table::new([
        ("denied", Align::Left),
        ("since", Align::Left),
        ("by", Align::Left),
        ("reason", Align::Left),
    ]);
    for each in all {
        table.row([
            each.subject.clone(),
            date(each.since_unix_ns).unwrap_or_default(),
            each.by.clone(),
            each.reason.clone(),
        ]);
    }
    table.lines()
}

/// The list as a document.
pub(crate) fn document(all: &[Denied]) -> Value {
    let denied = all.iter().map(|each| {
        json!({
            "subject": each.subject,
            "reason": each.reason,
            "by": each.by,
            "since_unix_ns": each.since_unix_ns,
        })
    });
    json!({ "schema": "weir.denied/1", "denied": denied.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_a_table() {
        let all = [Denied {
            subject: "operator:anna".to_owned(),
            reason: "laptop stolen".to_owned(),
            by: "uid 0".to_owned(),
            since_unix_ns: 1_795_445_880_000_000_000,
        }];
        assert_eq!(
            lines(&all),
            [
                "denied         since                         by     reason",
                "operator:anna  Mon Nov 23 14:58:00 UTC 2026  uid 0  laptop stolen",
            ]
        );
        assert_eq!(document(&all)["denied"][0]["by"], "uid 0");
        assert_eq!(lines(&[]), ["nobody is denied"]);
    }

    #[test]
    fn a_slip_in_a_name_is_pointed_out() {
        let mut answer = DenyResponse {
            subject: "a1".to_owned(),
            connections: 2,
            known: true,
        };
        let said = done(&answer);
        assert_eq!(
            said,
            ["a1 is denied: its 2 connections end · weir allow a1 lets it in again"]
        );
        answer.known = false;
        answer.connections = 0;
        let said = done(&answer).join("\n");
        assert!(said.contains("no connection") && said.contains("note: no agent of that name"));
    }
}
