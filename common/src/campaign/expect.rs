//! Expectations: `[phase/][set.]metric OP quantity`.

mod metric;
mod that;

pub use metric::{Measure, Metric};
pub use that::{That, ThatError};

use crate::unit::{BitRate, Ratio, Span};
use std::fmt;

/// Something that must hold for the run to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The phase it is about; `None`: every phase.
    pub phase: Option<String>,
    /// The flow set it is about; `None`: every set that has the metric.
    pub set: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub bound: Bound,
    /// What it must hold for.
    pub each: Each,
    /// What it means if it does not hold.
    pub level: Level,
}

impl Expectation {
    /// The expectation without phase and set: `loss <= 1 %`.
    pub fn that(&self) -> String {
        format!(
            "{} {} {}",
            self.metric.as_str(),
            self.operator.as_str(),
            self.bound
        )
    }
}

/// As `that` is written in a file, with phase and set.
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(phase) = &self.phase {
            write!(f, "{phase}/")?;
        }
        if let Some(set) = &self.set {
            write!(f, "{set}.")?;
        }
        f.write_str(&self.that())
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `>`
    Above,
    /// `==`
    Equal,
}

impl Operator {
    /// As the language writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operator::AtMost => "<=",
            Operator::AtLeast => ">=",
            Operator::Below => "<",
            Operator::Above => ">",
            Operator::Equal => "==",
        }
    }

    /// True if `measured OP bound`. A measurement that is not a number holds nothing.
    pub fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Operator::AtMost => measured <= bound,
            Operator::AtLeast => measured >= bound,
            Operator::Below => measured < bound,
            Operator::Above => measured > bound,
            Operator::Equal => measured == bound,
        }
    }
}

/// The quantity of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// A share.
    Share(Ratio),
    /// A rate; `None` is 0.
    Rate(Option<BitRate>),
    /// A time.
    Time(Span),
    /// A count.
    Count(u64),
}

impl Bound {
    /// In the unit of the measure: 0..1, bit/s, seconds, or a count.
    pub fn value(self) -> f64 {
        match self {
            Bound::Share(share) => share.value(),
            Bound::Rate(rate) => rate.map_or(0.0, |rate| rate.bits_per_second() as f64),
            Bound::Time(span) => span.as_secs_f64(),
            Bound::Count(count) => count as f64,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Share(share) => share.fmt(f),
            Bound::Rate(Some(rate)) => rate.fmt(f),
            Bound::Rate(None) => f.pad("0"),
            Bound::Time(span) => span.fmt(f),
            Bound::Count(count) => count.fmt(f),
        }
    }
}

/// What an expectation must hold for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Each {
    /// Every flow of every repeat; the worst is reported.
    #[default]
    Flow,
    /// The flows of a set summed.
    Set,
    /// Each pair's median over the repeats.
    Pair,
}

impl Each {
    /// As the language writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Each::Flow => "flow",
            Each::Set => "set",
            Each::Pair => "pair",
        }
    }
}

/// What a failed expectation means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// The verdict is `fail`.
    #[default]
    Fail,
    /// It is reported.
    Warn,
}

impl Level {
    /// As the language writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Fail => "fail",
            Level::Warn => "warn",
        }
    }
}
