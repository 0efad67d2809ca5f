//! The list of tokens.

use serde_json::{Value, json};
use weir_proto::controller::v1::TokenInfo;

use super::figure::date;
use super::table::{Align, Table};
use super::text::{plural, printable};

/// The tokens, those that end first before the others.
pub(crate) fn lines(all: &[TokenInfo]) -> Vec<String> {
    if all.is_empty() {
        return vec!["no tokens: weir token create makes one".to_owned()];
    }
    let mut table = Table::new([
        ("token", Align::Left),
        ("state", Align::Left),
        ("uses left", Align::Right),
        ("until", Align::Left),
        ("names", Align::Left),
    ]);
    for token in all {
        let until = i64::try_from(token.expires_unix_s).unwrap_or(i64::MAX);
        table.row([
            token.id.clone(),
            token.state.clone(),
            token.uses_left.to_string(),
            date(until.saturating_mul(1_000_000_000)).unwrap_or_default(),
            match token.name_pattern.as_str() {
                "" => "any".to_owned(),
                pattern => pattern.to_owned(),
            },
        ]);
    }
    table.lines()
}

/// The tokens as a document.
pub(crate) fn document(all: &[TokenInfo]) -> Value {
    let tokens = all.iter().map(|token| {
        json!({
            "id": token.id,
            "state": token.state,
            "uses_left": token.uses_left,
            "expires_unix_s": token.expires_unix_s,
            "name_pattern": token.name_pattern,
        })
    });
    json!({ "schema": "weir.tokens/1", "tokens": tokens.collect::<Vec<_>>() })
}

/// What `weir token revoke` says of a token as it was.
pub(crate) fn revoked(before: &TokenInfo) -> String {
    let id = printable(&before.id);
    if before.state == "valid" {
        let uses = plural(before.uses_left as usize, "use");
        format!("{id} is revoked, with {uses} left · weir deny keeps out who has a certificate")
    } else {
        format!("{id} was {} already", printable(&before.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_table() {
        let mut token = TokenInfo {
            id: "0011223344556677".to_owned(),
            uses_left: 3,
            expires_unix_s: 1_795_445_880,
            name_pattern: "lab-*".to_owned(),
            state: "valid".to_owned(),
        };
        assert_eq!(
            lines(std::slice::from_ref(&token)),
            [
                "token             state  uses left  until                         names",
                "0011223344556677  valid          3  Mon Nov 23 14:58:00 UTC 2026  lab-*",
            ]
        );
        assert_eq!(
            document(std::slice::from_ref(&token))["tokens"][0]["uses_left"],
            3
        );
        assert!(revoked(&token).contains("revoked, with 3 uses left"));
        token.state = "expired".to_owned();
        assert!(revoked(&token).contains("expired already"));
        assert!(lines(&[])[0].contains("weir token create"));
    }
}
