use super::{Bound, Measure, Metric, Operator};
use crate::nearest::nearest;
use crate::unit::{BitRate, Ratio, Span, UnitError};
use std::str::FromStr;

/// The text of an expectation, parsed: `[phase/][set.]metric OP quantity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct That {
    /// Before the slash.
    pub phase: Option<String>,
    /// Before the metric's point.
    pub set: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub bound: Bound,
}

/// Why a text is not an expectation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThatError {
    /// No comparison.
    #[error(
        "`{text}` compares nothing: write `metric <= quantity`, such as `loss <= 1%` (operators: <=, >=, <, >, ==)"
    )]
    NoOperator {
        /// The text as given.
        text: String,
    },
    /// No such metric.
    #[error("unknown metric `{text}`{}; metrics: {known}", meant(.near.as_deref()))]
    UnknownMetric {
        /// The text as given.
        text: String,
        /// The metric that was meant, if one is near.
        near: Option<String>,
        /// All metrics.
        known: String,
    },
    /// A metric, or a form, of the language that this version does not have.
    #[error("{what} is not available yet in an expectation")]
    NotYet {
        /// What, in backquotes if it is a word of the language.
        what: String,
    },
    /// A quantity of the wrong unit or value.
    #[error("{metric}: {error}")]
    Quantity {
        /// The metric.
        metric: &'static str,
        /// What is wrong.
        error: Box<UnitError>,
    },
    /// A count that is none.
    #[error("{metric}: `{text}` is not a count: write a whole number, such as `0`")]
    Count {
        /// The metric.
        metric: &'static str,
        /// The text as given.
        text: String,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"))
}

const OPERATORS: [Operator; 5] = [
    Operator::AtMost,
    Operator::AtLeast,
    Operator::Equal,
    Operator::Below,
    Operator::Above,
];

impl FromStr for That {
    type Err = ThatError;

    fn from_str(text: &str) -> Result<That, ThatError> {
        let (left, operator, right) = split(text)?;
        refuse_expressions(left, right)?;
        let (phase, name) = match left.split_once('/') {
            Some((phase, name)) => (Some(phase.trim().to_owned()), name.trim()),
            None => (None, left),
        };
        let (set, metric) = set_and_metric(name)?;
        let bound = bound(metric, right)?;
        Ok(That {
            phase,
            set,
            metric,
            operator,
            bound,
        })
    }
}

fn split(text: &str) -> Result<(&str, Operator, &str), ThatError> {
    let none = || ThatError::NoOperator { text: cut(text) };
    let at = text.find(['<', '>', '=']).ok_or_else(none)?;
    let (left, rest) = text.split_at(at);
    let operator = OPERATORS
        .into_iter()
        .find(|operator| rest.starts_with(operator.as_str()))
        .ok_or_else(none)?;
    let right = rest[operator.as_str().len()..].trim();
    Ok((left.trim(), operator, right))
}

fn refuse_expressions(left: &str, right: &str) -> Result<(), ThatError> {
    let name_only = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@');
    let combined = left.contains(['+', '*']) || left.contains(" - ");
    let metric_right = right.starts_with(|c: char| c.is_alphabetic())
        && right.chars().all(name_only)
        || right.contains(['+', '*']);
    if combined || metric_right {
        return Err(ThatError::NotYet {
            what: "arithmetic, or a metric on both sides,".to_owned(),
        });
    }
    Ok(())
}

fn set_and_metric(name: &str) -> Result<(Option<String>, Metric), ThatError> {
    if let Some(metric) = Metric::from_name(name) {
        return Ok((None, metric));
    }
    let after_set = name
        .split_once('.')
        .map(|(set, metric)| (set.trim(), metric.trim()));
    if let Some((set, metric)) =
        after_set.and_then(|(set, metric)| Some((set, Metric::from_name(metric)?)))
    {
        return Ok((Some(set.to_owned()), metric));
    }
    let later = |name: &str| Metric::LATER.contains(&name);
    if later(name) || after_set.is_some_and(|(_, metric)| later(metric)) {
        let metric = after_set
            .filter(|(_, metric)| later(metric))
            .map_or(name, |(_, metric)| metric);
        return Err(ThatError::NotYet {
            what: format!("`{metric}`"),
        });
    }
    let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.as_str()).collect();
    // The set's name is no part of what was mistyped.
    let near_in_set = after_set.and_then(|(set, metric)| {
        Some(format!("{set}.{}", nearest(metric, names.iter().copied())?))
    });
    let near = nearest(name, names.iter().copied())
        .map(str::to_owned)
        .or(near_in_set);
    Err(ThatError::UnknownMetric {
        text: cut(name),
        near,
        known: names.join(", "),
    })
}

fn bound(metric: Metric, text: &str) -> Result<Bound, ThatError> {
    let quantity = |error: UnitError| ThatError::Quantity {
        metric: metric.as_str(),
        error: Box::new(error),
    };
    match metric.measure() {
        Measure::Share => text.parse::<Ratio>().map(Bound::Share).map_err(quantity),
        Measure::Time => text.parse::<Span>().map(Bound::Time).map_err(quantity),
        Measure::Rate => match text.parse::<BitRate>() {
            Ok(rate) => Ok(Bound::Rate(Some(rate))),
            Err(UnitError::Zero { .. }) => Ok(Bound::Rate(None)),
            Err(error) => Err(quantity(error)),
        },
        Measure::Count => {
            let error = || ThatError::Count {
                metric: metric.as_str(),
                text: cut(text),
            };
            text.parse().map(Bound::Count).map_err(|_| error())
        }
    }
}

fn cut(text: &str) -> String {
    text.trim().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<That>().unwrap_err().to_string()
    }

    #[test]
    fn phase_set_and_metric() {
        let that: That = "main/probe.loss.egress<=1%".parse().unwrap();
        assert_eq!(that.phase.as_deref(), Some("main"));
        assert_eq!(that.set.as_deref(), Some("probe"));
        assert_eq!(that.metric, Metric::LossEgress);
        assert_eq!(that.bound.value(), 0.01);
        let that: That = " loss.egress == 0 ".parse().unwrap();
        assert_eq!(
            (that.phase, that.set, that.bound.value()),
            (None, None, 0.0)
        );
        let that: That = "rate >= 9.5 Mbit/s".parse().unwrap();
        assert_eq!(that.bound.value(), 9_500_000.0);
        let that: That = "delay.p99 < 5ms".parse().unwrap();
        assert_eq!(
            (that.operator, that.bound.value()),
            (Operator::Below, 0.005)
        );
        let that: That = "probe.outage.max <= 5 s".parse().unwrap();
        assert_eq!(that.set.as_deref(), Some("probe"));
        assert_eq!((that.metric, that.bound.value()), (Metric::OutageMax, 5.0));
        let that: That = "retransmits <= 3".parse().unwrap();
        assert_eq!(that.bound, Bound::Count(3));
    }

    #[test]
    fn errors_show_the_way() {
        assert!(error("loss <= 200%").contains("at most 100 %"));
        assert!(error("loss <= 1").contains("has no unit"));
        assert!(error("los <= 1%").contains("did you mean `loss`?"));
        assert!(error("udp.jiter <= 1 ms").contains("did you mean `udp.jitter`?"));
        assert!(error("loss").contains("compares nothing"));
        assert!(error("loss = 1%").contains("compares nothing"));
        assert!(error("delay.p99 <= 5 Mbit/s").contains("is not a length of time"));
        assert!(error("retransmits <= many").contains("both sides"));
        assert!(error("retransmits <= 1.5").contains("whole number"));
        assert!(error("fairness >= 90%").contains("`fairness` is not available yet"));
        assert!(
            error("up/ping.rtt.p99 - idle/ping.rtt.p99 <= 50 ms").contains("not available yet")
        );
        assert!(error("a.rate >= b.rate").contains("not available yet"));
    }
}
