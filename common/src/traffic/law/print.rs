//! A law as text, which reads back equal.

use super::{Law, Quantity};
use std::fmt::{self, Display};

impl<Q: Quantity> Display for Law<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text(self, None))
    }
}

fn text<Q: Quantity>(law: &Law<Q>, cap: Option<Q>) -> String {
    let mut parameters: Vec<String> = Vec::new();
    let mut push = |key: &str, value: Option<&dyn Display>| {
        parameters.extend(value.map(|value| format!("{key} = {value}")));
    };
    match law {
        Law::Capped { law, cap } => return text(law, Some(*cap)),
        Law::Constant => {}
        Law::Fixed { value } => push("value", Some(value)),
        Law::Uniform { range } => {
            push("min", range.as_ref().map(|(min, _)| min as _));
            push("max", range.as_ref().map(|(_, max)| max as _));
        }
        Law::Exponential { mean } | Law::Poisson { mean } => {
            push("mean", mean.as_ref().map(|mean| mean as _));
        }
        Law::Normal { mean, sd } => {
            push("mean", mean.as_ref().map(|mean| mean as _));
            push("sd", Some(sd));
        }
        Law::Pareto { shape, scale }
        | Law::Gamma { shape, scale }
        | Law::Weibull { shape, scale } => {
            push("shape", Some(shape));
            push("scale", scale.as_ref().map(|scale| scale as _));
        }
        Law::Cauchy { location, scale } => {
            push("location", Some(location));
            push("scale", Some(scale));
        }
        Law::Student {
            location,
            scale,
            nu,
        } => {
            push("location", location.as_ref().map(|location| location as _));
            push("scale", Some(scale));
            push("nu", Some(nu));
        }
        Law::Discrete(items) => {
            let items = items
                .iter()
                .map(|(value, weight)| format!("{value}: {weight}"));
            parameters.extend(items);
        }
        Law::Mixture(items) => {
            let items = items.iter().map(|(weight, law)| format!("{weight}: {law}"));
            parameters.extend(items);
        }
        Law::OnOff { on, off, arrival } => {
            push("on", Some(on));
            push("off", Some(off));
            push(
                "arrival",
                (**arrival != Law::Constant).then_some(arrival as _),
            );
        }
        Law::Trace { file, repeat } => {
            parameters.push(format!("\"{file}\""));
            if !repeat {
                parameters.push("repeat = false".to_owned());
            }
        }
    }
    parameters.extend(cap.map(|cap| format!("cap = {cap}")));
    if parameters.is_empty() {
        law.name().to_owned()
    } else {
        format!("{}({})", law.name(), parameters.join(", "))
    }
}
