//! Whether a law can be drawn from.

use super::{CAP_MOST, ITEMS_MOST, Law, LawError, Number, Quantity, parse};

impl<Q: Quantity> Law<Q> {
    /// Checks every parameter; a law that was read from a text is right.
    pub fn check(&self) -> Result<(), LawError> {
        if !Q::SPACING {
            let problem = match self {
                Law::OnOff { .. } => "`onoff` is a law of `arrival`, not of `size`",
                Law::Capped { .. } => "`cap` is for `arrival`: sizes end at what a packet can have",
                law if law.is_open() => {
                    return Err(LawError::Missing {
                        law: law.name(),
                        key: law.open_parameter(),
                        example: law.size_example(),
                    });
                }
                _ => "",
            };
            if !problem.is_empty() {
                return Err(form(problem));
            }
        }
        match self {
            Law::Capped { law, cap } => {
                if cap.as_f64() <= 0.0 || cap.as_f64() > CAP_MOST.as_f64() {
                    return Err(law.range("cap", "must be more than 0 and at most 1 h"));
                }
                if matches!(
                    **law,
                    Law::Capped { .. } | Law::Trace { .. } | Law::Constant
                ) {
                    return Err(law.range("cap", "has nothing to cut off here"));
                }
                law.check()
            }
            Law::Mixture(items) => self.check_mixture(items),
            Law::OnOff { on, off, arrival } => check_on_off(on, off, arrival),
            _ => self.check_parameters(),
        }
    }

    fn check_parameters(&self) -> Result<(), LawError> {
        const POSITIVE: &str = "must be more than 0";
        const SHAPE: &str = "is outside 0.05 to 1000000";
        let positive = |key, value: Option<Q>| match value {
            Some(value) if value.as_f64() <= 0.0 => Err(self.range(key, POSITIVE)),
            _ => Ok(()),
        };
        let shape = |shape: Number| match shape.as_f64() {
            shape if !(0.05..=1e6).contains(&shape) => Err(self.range("shape", SHAPE)),
            _ => Ok(()),
        };
        match self {
            Law::Fixed { value } => positive("value", Some(*value)),
            Law::Uniform { range: Some(range) } => match range {
                (min, max) if min > max => Err(self.range("min", "is more than `max`")),
                (_, max) => positive("max", Some(*max)),
            },
            Law::Exponential { mean } | Law::Poisson { mean } => positive("mean", *mean),
            Law::Normal { sd, .. } => positive("sd", Some(*sd)),
            Law::Cauchy { scale, .. } => positive("scale", Some(*scale)),
            Law::Gamma { shape: k, scale } | Law::Weibull { shape: k, scale } => {
                shape(*k)?;
                positive("scale", *scale)
            }
            Law::Pareto { shape: k, scale } => {
                shape(*k)?;
                if scale.is_none() && *k <= Number::whole(1) {
                    let problem = "of 1 or less has no mean that a rate could set: give `scale`, and `arrival` for the rate";
                    return Err(self.range("shape", problem));
                }
                positive("scale", *scale)
            }
            Law::Student {
                location,
                scale,
                nu,
            } => {
                if !(0.1..=1e6).contains(&nu.as_f64()) {
                    return Err(self.range("nu", "is outside 0.1 to 1000000"));
                }
                if location.is_none() && *nu <= Number::whole(1) {
                    let problem = "of 1 or less has no mean that a rate could set: give `location`, and `arrival` for the rate";
                    return Err(self.range("nu", problem));
                }
                positive("scale", Some(*scale))
            }
            Law::Discrete(items) => {
                if items.is_empty() || items.len() > ITEMS_MOST {
                    return Err(form(&format!("`discrete` has 1 to {ITEMS_MOST} entries")));
                }
                if items.iter().any(|(_, weight)| weight.is_zero()) {
                    return Err(self.range("weight", POSITIVE));
                }
                if items.iter().all(|(value, _)| value.as_f64() <= 0.0) {
                    return Err(self.range("value", POSITIVE));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_mixture(&self, items: &[(Number, Law<Q>)]) -> Result<(), LawError> {
        if items.is_empty() || items.len() > ITEMS_MOST {
            return Err(form(&format!("`mixture` has 1 to {ITEMS_MOST} entries")));
        }
        for (weight, law) in items {
            if weight.is_zero() {
                return Err(self.range("weight", "must be more than 0"));
            }
            match law {
                Law::Capped { .. } => {
                    return Err(form(
                        "a `cap` within `mixture`: give it to the whole instead, in an on/off law or none at all",
                    ));
                }
                Law::OnOff { .. } | Law::Trace { .. } | Law::Mixture(_) => {
                    return Err(form(&format!(
                        "`{}` cannot be a part of `mixture`",
                        law.name()
                    )));
                }
                law if law.is_open() => {
                    return Err(LawError::Missing {
                        law: law.name(),
                        key: law.open_parameter(),
                        example: parse::example(law.name()),
                    });
                }
                law => law.check()?,
            }
        }
        Ok(())
    }

    /// The parameter that a rate stands for.
    fn open_parameter(&self) -> &'static str {
        match self {
            Law::Constant => "value",
            Law::Uniform { .. } => "min",
            Law::Pareto { .. } | Law::Gamma { .. } | Law::Weibull { .. } => "scale",
            Law::Student { .. } => "location",
            Law::Capped { law, .. } => law.open_parameter(),
            Law::OnOff { .. } => "arrival",
            _ => "mean",
        }
    }

    fn size_example(&self) -> &'static str {
        match self {
            Law::Constant => "constant(value = 200)",
            Law::Uniform { .. } => "uniform(min = 100, max = 320)",
            Law::Normal { .. } => "normal(mean = 200, sd = 30)",
            Law::Pareto { .. } => "pareto(shape = 1.5, scale = 100)",
            Law::Gamma { .. } => "gamma(shape = 2, scale = 100)",
            Law::Weibull { .. } => "weibull(shape = 0.8, scale = 100)",
            Law::Student { .. } => "student(location = 200, scale = 10, nu = 2)",
            Law::Poisson { .. } => "poisson(mean = 200)",
            _ => "exponential(mean = 200)",
        }
    }

    fn range(&self, key: &'static str, problem: &'static str) -> LawError {
        LawError::Range {
            law: self.name(),
            key,
            problem,
        }
    }
}

fn form(problem: &str) -> LawError {
    LawError::Form {
        problem: problem.to_owned(),
    }
}

fn check_on_off<Q: Quantity>(on: &Law<Q>, off: &Law<Q>, arrival: &Law<Q>) -> Result<(), LawError> {
    for (key, law) in [("on", on), ("off", off)] {
        if law.is_open() {
            return Err(LawError::Missing {
                law: "onoff",
                key: law.open_parameter(),
                example: parse::example(law.name()),
            });
        }
        if matches!(law.uncapped().0, Law::OnOff { .. } | Law::Trace { .. }) {
            return Err(form(&format!(
                "`{key}` of `onoff` cannot be `{}`",
                law.name()
            )));
        }
        law.check()?;
    }
    if matches!(arrival.uncapped().0, Law::OnOff { .. }) {
        return Err(form("`arrival` of `onoff` cannot be `onoff` again"));
    }
    arrival.check()
}
