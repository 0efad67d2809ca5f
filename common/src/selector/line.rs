//! The command-line form: `'asn=150,151 role=host node!=host_9'`.

use super::{Condition, Glob, Selector, SelectorError};
use std::{fmt, str::FromStr};

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let mut selector = Selector::default();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err(SelectorError::Empty);
        }
        for word in words {
            let (key, negated, values) = condition(word)?;
            selector.add(key, negated, &values)?;
        }
        Ok(selector)
    }
}

/// Splits `key=v,v` or `key!=v,v`.
fn condition(word: &str) -> Result<(&str, bool, Vec<&str>), SelectorError> {
    let Some((left, right)) = word.split_once('=') else {
        let bare = word.trim_start_matches('!');
        if bare.len() < word.len() && !bare.is_empty() {
            return Err(SelectorError::Bang {
                text: word.to_owned(),
                right: format!("name!={bare}"),
            });
        }
        return Err(SelectorError::NoCondition {
            word: word.to_owned(),
            example: format!("name={word}"),
        });
    };
    let (key, negated) = left
        .strip_suffix('!')
        .map_or((left, false), |key| (key, true));
    if right.contains('=') {
        return Err(SelectorError::Comma {
            text: word.to_owned(),
            right: split_labels(word),
        });
    }
    if let Some(value) = right.strip_prefix('!') {
        let right = format!("{key}!={}", value.replace(",!", ","));
        return Err(SelectorError::Bang {
            text: word.to_owned(),
            right,
        });
    }
    Ok((key, negated, right.split(',').collect()))
}

/// `asn=150,151,role=host` as it should be: `asn=150,151 role=host`.
fn split_labels(word: &str) -> String {
    let mut right = String::new();
    for part in word.split(',') {
        if !right.is_empty() {
            right.push(if part.contains('=') { ' ' } else { ',' });
        }
        right.push_str(part);
    }
    right
}

/// The command-line form, which reads back equal. The empty selector, which has none, is `name=*`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for (key, condition) in &self.labels {
            push_condition(&mut words, key, condition);
        }
        if let Some(condition) = &self.name {
            push_condition(&mut words, "name", condition);
        }
        if !self.prefix.is_empty() {
            words.push(format!("prefix={}", joined(&self.prefix)));
        }
        if let Some(count) = self.sample {
            words.push(format!("sample={count}"));
        }
        if !self.except.is_empty() {
            words.push(format!("except={}", joined(&self.except)));
        }
        if words.is_empty() {
            words.push("name=*".to_owned());
        }
        f.pad(&words.join(" "))
    }
}

fn push_condition(words: &mut Vec<String>, key: &str, condition: &Condition) {
    let mut push = |operator: &str, values: &[Glob]| {
        if !values.is_empty() {
            words.push(format!("{key}{operator}{}", joined(values)));
        }
    };
    push("=", &condition.any);
    push("!=", &condition.none);
}

fn joined<T: fmt::Display>(values: &[T]) -> String {
    values
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
