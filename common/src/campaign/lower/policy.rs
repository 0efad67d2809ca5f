//! `[valid]` and `[limits]`.

use super::read::{Reader, Result, bad, cut};
use crate::campaign::keys::{LIMITS, VALID};
use crate::campaign::tree::{Entry, Value};
use crate::campaign::{CampaignError, Cause, ErrorKind, Limits, Load, Valid};
use crate::label;
use crate::traffic::Rate;
use crate::unit::Ratio;

pub(super) fn valid(top: &Reader<'_>) -> Result<Valid> {
    let mut valid = Valid::default();
    let Some(table) = top.sub_table("valid")? else {
        return Ok(valid);
    };
    let reader = Reader::new(table, &VALID)?;
    valid.behind = reader.quantity("behind")?.unwrap_or(valid.behind);
    valid.lateness = reader.quantity("lateness")?;
    valid.clock_step = reader.quantity("clock_step")?.unwrap_or(valid.clock_step);
    cause(&reader, "throttled", &mut valid.throttled)?;
    cause(&reader, "runq", &mut valid.runq)?;
    cause(&reader, "steal", &mut valid.steal)?;
    cause(&reader, "softnet_drops", &mut valid.softnet_drops)?;
    valid.observers = observers(&reader)?;
    if let Some(entry) = reader.entry("ignore") {
        valid.ignore = ignore(entry)?;
    }
    Ok(valid)
}

/// A share makes the cause decide above it; a word says what happens above the default.
fn cause(reader: &Reader<'_>, key: &str, cause: &mut Cause) -> Result<()> {
    let Some(node) = reader.node(key) else {
        return Ok(());
    };
    match node.scalar(key, "a share, `invalid` or `warn`")? {
        "invalid" => cause.decides = true,
        "warn" => cause.decides = false,
        text => {
            let share = text.parse::<Ratio>().map_err(|error| {
                bad(
                    &node.place,
                    format!("`{key}`: {error}; or write `invalid` or `warn`"),
                )
            })?;
            *cause = Cause {
                above: share,
                decides: true,
            };
        }
    }
    Ok(())
}

/// Somebody observes or nobody does: there is no share of it.
fn observers(reader: &Reader<'_>) -> Result<bool> {
    let Some(node) = reader.node("observers") else {
        return Ok(Valid::default().observers);
    };
    match node.scalar("observers", "`invalid` or `warn`")? {
        "invalid" => Ok(true),
        "warn" => Ok(false),
        text => Err(bad(
            &node.place,
            format!(
                "`observers`: `{}` is neither `invalid` nor `warn`",
                cut(text)
            ),
        )),
    }
}

fn ignore(entry: &Entry) -> Result<Vec<String>> {
    if matches!(&entry.node.value, Value::List(nodes) if nodes.is_empty()) {
        return Ok(Vec::new());
    }
    let mut codes = Vec::new();
    for (code, place) in entry.node.texts("ignore")? {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        if code.is_empty() || code.len() > 64 || !code.chars().all(allowed) {
            return Err(bad(
                place,
                format!(
                    "`ignore`: `{}` is not the code of a reason, such as `runq`",
                    cut(code)
                ),
            ));
        }
        codes.push(code.to_owned());
    }
    codes.sort();
    codes.dedup();
    Ok(codes)
}

pub(super) fn limits(top: &Reader<'_>) -> Result<Limits> {
    let mut limits = Limits::default();
    let Some(table) = top.sub_table("limits")? else {
        return Ok(limits);
    };
    // `per_LABEL` is any label: the reader checks the fixed keys, this loop the rest.
    let reader = Reader {
        table,
        section: &LIMITS,
    };
    for entry in &table.entries {
        match entry.key.as_str() {
            "per_kernel" => limits.per_kernel = Some(load(entry)?),
            "target" => limits.target = Some(load(entry)?),
            "flows" => limits.flows = reader.count("flows", 1..=i64::MAX as u64)?,
            key => {
                let Some(label) = key.strip_prefix("per_") else {
                    let message = LIMITS.unknown(key) + ", per_LABEL";
                    return Err(CampaignError::new(
                        ErrorKind::UnknownKey,
                        &entry.place,
                        message,
                    ));
                };
                let label =
                    label::key(label).map_err(|error| bad(&entry.place, error.to_string()))?;
                if limits.per_label.insert(label, load(entry)?).is_some() {
                    return Err(bad(&entry.place, format!("`{}` stands twice", entry.key)));
                }
            }
        }
    }
    Ok(limits)
}

fn load(entry: &Entry) -> Result<Load> {
    let (key, place) = (&entry.key, &entry.node.place);
    let text = entry.node.scalar(key, "a rate in quotes")?;
    if text.contains("hops") {
        let message = format!("`{key}`: `x hops` is not available yet: give pkt/s or bit/s");
        return Err(CampaignError::new(ErrorKind::NotAvailable, place, message));
    }
    match text.parse::<Rate>() {
        Ok(Rate::Bits(rate)) => Ok(Load::Bits(rate)),
        Ok(Rate::Packets(rate)) => Ok(Load::Packets(rate)),
        Ok(Rate::Max | Rate::Arrival) => Err(bad(
            place,
            format!("`{key}`: `{text}` limits nothing: write a rate"),
        )),
        Err(error) => Err(bad(place, format!("`{key}`: {error}"))),
    }
}
