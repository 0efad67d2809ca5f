//! Groups, and the two sides of a flow set.

use super::read::{Reader, Result, bad, check_name, cut};
use crate::campaign::keys::not_yet;
use crate::campaign::tree::{Node, Table, Value};
use crate::campaign::{CampaignError, ErrorKind, ITEMS_MOST, Party, Place};
use crate::selector::{Selector, SelectorError};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Most names in a list.
const LIST_MOST: usize = 10_000;

pub(super) fn groups(top: &Reader<'_>) -> Result<BTreeMap<String, Selector>> {
    let mut groups = BTreeMap::new();
    let Some(table) = top.sub_table("groups")? else {
        return Ok(groups);
    };
    if table.entries.len() > ITEMS_MOST {
        return Err(bad(
            &table.place,
            format!("{} groups: at most {ITEMS_MOST}", table.entries.len()),
        ));
    }
    for entry in &table.entries {
        check_name(&entry.key, &entry.place)?;
        let Value::Table(conditions) = &entry.node.value else {
            let message = format!(
                "group `{}` is a table: write `{} = {{ asn = 150 }}`",
                entry.key, entry.key
            );
            return Err(bad(&entry.node.place, message));
        };
        groups.insert(entry.key.clone(), selector(conditions)?);
    }
    Ok(groups)
}

/// `from` or `to`: a selector, a group, a name, or a list of names.
pub(super) fn party(key: &str, node: &Node, groups: &BTreeMap<String, Selector>) -> Result<Party> {
    match &node.value {
        Value::Table(table) => selector(table).map(Party::Selector),
        Value::Word(word)
            if word.contains(['=', '!']) || word.trim().contains(char::is_whitespace) =>
        {
            word.parse()
                .map(Party::Selector)
                .map_err(|error| refused(&node.place, &error))
        }
        Value::Text(text) if text.contains('=') => {
            let message = format!(
                "`{}`: in a file a selector is a table, such as `{key} = {{ asn = 150, role = \"host\" }}`",
                cut(text)
            );
            Err(bad(&node.place, message))
        }
        _ => {
            let names = node.texts(key)?;
            if let [(name, _)] = names[..]
                && groups.contains_key(name)
            {
                return Ok(Party::Group(name.to_owned()));
            }
            agents(key, &names, groups).map(Party::Agents)
        }
    }
}

fn agents(
    key: &str,
    names: &[(&str, &Place)],
    groups: &BTreeMap<String, Selector>,
) -> Result<Vec<String>> {
    let mut agents: Vec<String> = Vec::new();
    if names.len() > LIST_MOST {
        return Err(bad(
            names[0].1,
            format!("`{key}` lists {} names: at most {LIST_MOST}", names.len()),
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (name, place) in names {
        if name.parse::<IpAddr>().is_ok() || name.parse::<SocketAddr>().is_ok() {
            let message =
                not_yet(name) + ": an address needs `speaks`; name an agent or a selector";
            return Err(CampaignError::new(ErrorKind::NotAvailable, place, message));
        }
        if groups.contains_key(*name) {
            return Err(bad(
                place,
                format!("`{name}` is a group: a list holds names of agents only"),
            ));
        }
        if name.contains(['*', '?']) {
            let message = format!(
                "`{}` is a pattern: write `name=...` on a command line, `{{ name = \"...\" }}` in a file",
                cut(name)
            );
            return Err(bad(place, message));
        }
        let odd = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, ',' | '=' | '!' | '"' | '\'')
        };
        if name.is_empty() || name.len() > 255 || name.contains(odd) {
            return Err(bad(
                place,
                format!("`{key}`: `{}` is not the name of an agent", cut(name)),
            ));
        }
        if !seen.insert(*name) {
            return Err(bad(place, format!("`{key}` names `{name}` twice")));
        }
        agents.push((*name).to_owned());
    }
    Ok(agents)
}

/// The table form: `{ asn = [162, 171], node = "!host_9", sample = 5 }`.
fn selector(table: &Table) -> Result<Selector> {
    let mut selector = Selector::default();
    for entry in &table.entries {
        let texts = entry.node.values(&entry.key)?;
        let negated = |text: &&str| text.starts_with('!');
        let any: Vec<&str> = texts
            .iter()
            .copied()
            .filter(|text| !negated(text))
            .collect();
        let none: Vec<&str> = texts
            .iter()
            .copied()
            .filter_map(|text| text.strip_prefix('!'))
            .collect();
        for (negated, values) in [(false, any), (true, none)] {
            if !values.is_empty() {
                let added = selector.add(&entry.key, negated, &values);
                added.map_err(|error| refused(&entry.node.place, &error))?;
            }
        }
    }
    Ok(selector)
}

impl Node {
    /// The values of a condition: texts, numbers and booleans, one or a list.
    fn values(&self, key: &str) -> Result<Vec<&str>> {
        let value = |node: &'_ Node| match &node.value {
            Value::Bool(true) => Ok("true"),
            Value::Bool(false) => Ok("false"),
            _ => Err(()),
        };
        match (&self.value, value(self)) {
            (_, Ok(word)) => Ok(vec![word]),
            (Value::Word(word), _) => Ok(vec![word.as_str()]),
            _ => Ok(self.texts(key)?.into_iter().map(|(text, _)| text).collect()),
        }
    }
}

fn refused(place: &Place, error: &SelectorError) -> CampaignError {
    let kind = match error {
        SelectorError::NotYet { .. } => ErrorKind::NotAvailable,
        _ => ErrorKind::BadValue,
    };
    CampaignError::new(kind, place, error.to_string())
}
