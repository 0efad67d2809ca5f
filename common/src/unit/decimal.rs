//! The one parser and printer behind every quantity: an exact decimal number and a unit.

use super::UnitError;
use crate::nearest::nearest;
use std::fmt;

/// One kind of quantity, kept as a whole number of its base step.
pub(super) struct Kind {
    /// With its article, for errors: "a rate".
    pub(super) what: &'static str,
    pub(super) example: &'static str,
    /// Unit and its size in base steps; the first is the one proposed for a bare number.
    pub(super) units: &'static [(&'static str, u64)],
    /// Accepted as well but not proposed: short forms (`10M`).
    pub(super) short: &'static [(&'static str, u64)],
    /// Size of a number without a unit, where that is allowed.
    pub(super) bare: Option<u64>,
    /// Name of the base step.
    pub(super) least: &'static str,
    /// Largest value in base steps and how it reads.
    pub(super) most: (u64, &'static str),
}

impl Kind {
    /// Parses `text` into base steps.
    pub(super) fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(UnitError::Negative {
                text: cut(text),
                what: self.what,
            });
        }
        let (number, unit) = split(text);
        let Some((mantissa, decimals)) = digits(number) else {
            return Err(UnitError::NotANumber {
                text: cut(text),
                what: self.what,
                example: self.example,
            });
        };
        let factor = match self.factor(unit) {
            Some(factor) => factor,
            None if unit.is_empty() && mantissa == Some(0) => 1,
            None => return Err(self.unit_error(text, number, unit)),
        };
        let too_large = || UnitError::TooLarge {
            text: cut(text),
            what: self.what,
            most: self.most.1.to_owned(),
        };
        let scaled = mantissa
            .and_then(|m| m.checked_mul(u128::from(factor)))
            .ok_or_else(too_large)?;
        let divisor = 10_u128.pow(decimals);
        if !scaled.is_multiple_of(divisor) {
            return Err(UnitError::TooFine {
                text: cut(text),
                what: self.what,
                least: self.least,
            });
        }
        let steps = u64::try_from(scaled / divisor).map_err(|_| too_large())?;
        if steps > self.most.0 {
            Err(too_large())
        } else {
            Ok(steps)
        }
    }

    /// As [`Kind::parse`], but zero is an error.
    pub(super) fn parse_positive(&self, text: &str) -> Result<u64, UnitError> {
        match self.parse(text)? {
            0 => Err(UnitError::Zero {
                text: cut(text.trim()),
                what: self.what,
            }),
            steps => Ok(steps),
        }
    }

    fn factor(&self, unit: &str) -> Option<u64> {
        if unit.is_empty() {
            return self.bare;
        }
        let known = self.units.iter().chain(self.short);
        known
            .into_iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
    }

    fn unit_error(&self, text: &str, number: &str, unit: &str) -> UnitError {
        let names: Vec<&'static str> = self.units.iter().map(|(name, _)| *name).collect();
        let known = names.join(", ");
        if unit.is_empty() {
            let unit = SPACED
                .iter()
                .find(|spaced| spaced.trim() == names[0])
                .copied()
                .unwrap_or("");
            return UnitError::NoUnit {
                text: cut(text),
                what: self.what,
                unit,
                example: self.example,
                known,
            };
        }
        let nearest = format!("{} {}", cut(number), meant(unit, &names));
        UnitError::BadUnit {
            text: cut(text),
            what: self.what,
            unit: cut(unit),
            nearest,
            known,
        }
    }
}

/// The unit that was probably meant by `unit`: one that it begins with (`sec`, `minutes`), else the nearest, else the first.
fn meant(unit: &str, names: &[&'static str]) -> &'static str {
    let begun = names.iter().filter(|name| unit.starts_with(**name));
    let begun = begun.max_by_key(|name| name.len()).copied();
    begun
        .or_else(|| nearest(unit, names.iter().copied()))
        .unwrap_or(names[0])
}

/// The units proposed for bare numbers, with the space that readable quantities have.
const SPACED: [&str; 5] = [" bit/s", " pkt/s", " s", " %", " B"];

/// Splits into the number and the unit, both without the space between them.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// The digits without the point, and how many stood behind it. The value is `None` when it has more digits than fit.
/// At least one digit must stand on each side of a point.
fn digits(number: &str) -> Option<(Option<u128>, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let valid = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !valid(whole) || !valid(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    let all = all.trim_start_matches('0');
    // 30 digits times the largest factor may overflow u128, which the caller checks.
    if all.len() > 30 || fraction.len() > 30 {
        return Some((None, 0));
    }
    let value = if all.is_empty() {
        Some(0)
    } else {
        all.parse().ok()
    };
    Some((value, fraction.len() as u32))
}

/// Cuts a text for an error, so that a hostile input cannot flood a log.
pub(super) fn cut(text: &str) -> String {
    const READABLE: usize = 60;
    if text.chars().count() <= READABLE {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(READABLE).collect();
    start.push_str("...");
    start
}

/// Writes `steps` exactly in a unit whose size is a power of ten, then the unit.
pub(super) fn write_decimal(
    f: &mut fmt::Formatter<'_>,
    steps: u64,
    (unit, factor): (&str, u64),
) -> fmt::Result {
    let (whole, rest) = (steps / factor, steps % factor);
    let mut text = whole.to_string();
    if rest > 0 {
        let places = factor.ilog10() as usize;
        let fraction = format!("{rest:0places$}");
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    f.pad(&format!("{text} {unit}"))
}

/// The largest of the units (listed small to large) that is not above `steps`, else the first.
pub(super) fn fitting(steps: u64, units: &'static [(&'static str, u64)]) -> (&'static str, u64) {
    let fits = units.iter().rev().find(|(_, factor)| steps >= *factor);
    *fits.unwrap_or(&units[0])
}
