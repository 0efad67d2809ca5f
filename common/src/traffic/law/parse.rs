//! A law from its text: `name`, `name(parameter = value, ...)`, or a list of `value: weight`.

use super::quantity::{Number, NumberError, Quantity};
use super::{DEEPEST, ITEMS_MOST, Law, LawError, NAMES, TEXT_MOST};
use crate::nearest::nearest;
use std::str::FromStr;

/// Reads a whole law.
pub(super) fn law<Q: Quantity>(text: &str) -> Result<Law<Q>, LawError> {
    if text.len() > TEXT_MOST {
        return Err(LawError::Form {
            problem: format!("a law has at most {TEXT_MOST} bytes, a longer list is a trace"),
        });
    }
    nested(text, 0)
}

fn nested<Q: Quantity>(text: &str, depth: usize) -> Result<Law<Q>, LawError> {
    let text = text.trim();
    if depth > DEEPEST {
        return Err(LawError::Form {
            problem: "laws are nested too deeply".to_owned(),
        });
    }
    let (name, inside) = match text.find('(') {
        None => (text, ""),
        Some(at) => {
            let inside = text[at + 1..].strip_suffix(')');
            let inside = inside.ok_or_else(|| LawError::Form {
                problem: format!("`{}` has no `)` at its end", cut(text)),
            })?;
            (text[..at].trim_end(), inside)
        }
    };
    let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
        let near = nearest(name, NAMES).map(str::to_owned);
        return Err(LawError::Unknown {
            text: cut(name),
            near,
        });
    };
    let mut items = split(inside, name)?;
    let (law, cap) = if matches!(name, "discrete" | "mixture") {
        let is_cap = |item: &&str| item.starts_with("cap") && item.contains('=');
        let cap = items.iter().position(is_cap).map(|at| items.remove(at));
        let cap: Vec<&str> = cap.into_iter().collect();
        let law = match name {
            "discrete" => discrete(&items)?,
            _ => mixture(&items, depth)?,
        };
        let mut parameters = Parameters::read(name, &cap)?;
        let cap = parameters.optional::<Q>("cap")?;
        parameters.finish()?;
        (law, cap)
    } else {
        let mut parameters = Parameters::read(name, &items)?;
        let law = named(&mut parameters, depth)?;
        let cap = parameters.optional::<Q>("cap")?;
        parameters.finish()?;
        (law, cap)
    };
    Ok(match cap {
        None => law,
        Some(cap) => Law::Capped {
            law: Box::new(law),
            cap,
        },
    })
}

fn named<Q: Quantity>(parameters: &mut Parameters<'_>, depth: usize) -> Result<Law<Q>, LawError> {
    let law = match parameters.law {
        "constant" => match parameters.optional("value")? {
            None => Law::Constant,
            Some(value) => Law::Fixed { value },
        },
        "uniform" => match (parameters.optional("min")?, parameters.optional("max")?) {
            (None, None) => Law::Uniform { range: None },
            (Some(min), Some(max)) => Law::Uniform {
                range: Some((min, max)),
            },
            (Some(_), None) => return Err(parameters.missing("max")),
            (None, Some(_)) => return Err(parameters.missing("min")),
        },
        "exponential" => Law::Exponential {
            mean: parameters.optional("mean")?,
        },
        "poisson" => Law::Poisson {
            mean: parameters.optional("mean")?,
        },
        "normal" => Law::Normal {
            mean: parameters.optional("mean")?,
            sd: parameters.required("sd")?,
        },
        "pareto" => Law::Pareto {
            shape: parameters.required("shape")?,
            scale: parameters.optional("scale")?,
        },
        "cauchy" => Law::Cauchy {
            location: parameters.required("location")?,
            scale: parameters.required("scale")?,
        },
        "gamma" => Law::Gamma {
            shape: parameters.required("shape")?,
            scale: parameters.optional("scale")?,
        },
        "weibull" => Law::Weibull {
            shape: parameters.required("shape")?,
            scale: parameters.optional("scale")?,
        },
        "student" => Law::Student {
            location: parameters.optional("location")?,
            scale: parameters.required("scale")?,
            nu: parameters.required("nu")?,
        },
        "onoff" => Law::OnOff {
            on: Box::new(nested(parameters.text("on")?, depth + 1)?),
            off: Box::new(nested(parameters.text("off")?, depth + 1)?),
            arrival: Box::new(match parameters.take("arrival") {
                Some(text) => nested(text, depth + 1)?,
                None => Law::Constant,
            }),
        },
        _ => Law::Trace {
            file: parameters.file()?,
            repeat: parameters.optional_bool("repeat")?.unwrap_or(true),
        },
    };
    Ok(law)
}

fn discrete<Q: Quantity>(items: &[&str]) -> Result<Law<Q>, LawError> {
    let items = pairs(items, "discrete")?;
    let items = items.into_iter().map(|(value, weight)| {
        Ok((
            read("discrete", "value", value)?,
            read::<Number>("discrete", "weight", weight)?,
        ))
    });
    Ok(Law::Discrete(items.collect::<Result<_, LawError>>()?))
}

fn mixture<Q: Quantity>(items: &[&str], depth: usize) -> Result<Law<Q>, LawError> {
    let items = pairs(items, "mixture")?;
    let items = items.into_iter().map(|(weight, law)| {
        Ok((
            read::<Number>("mixture", "weight", weight)?,
            nested(law, depth + 1)?,
        ))
    });
    Ok(Law::Mixture(items.collect::<Result<_, LawError>>()?))
}

/// The two sides of each `left: right`.
fn pairs<'a>(items: &[&'a str], law: &'static str) -> Result<Vec<(&'a str, &'a str)>, LawError> {
    if items.is_empty() || items.len() > ITEMS_MOST {
        return Err(LawError::Form {
            problem: format!(
                "`{law}` has 1 to {ITEMS_MOST} entries, such as `{}`",
                example(law)
            ),
        });
    }
    let pair = |item: &&'a str| {
        item.split_once(':').ok_or_else(|| LawError::Parameter {
            text: cut(item),
            law,
            example: example(law),
        })
    };
    items.iter().map(pair).collect()
}

/// Splits at the commas that stand in no parentheses and no quotes.
fn split<'a>(inside: &'a str, law: &'static str) -> Result<Vec<&'a str>, LawError> {
    let (mut depth, mut quoted, mut begin, mut items) = (0_usize, false, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                items.push(inside[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 || quoted {
        return Err(LawError::Form {
            problem: format!("`{law}(` is not closed"),
        });
    }
    let last = inside[begin..].trim();
    if !last.is_empty() || !items.is_empty() {
        items.push(last);
    }
    Ok(items)
}

/// The `key = value` of a law, taken out one by one.
struct Parameters<'a> {
    law: &'static str,
    given: Vec<(&'a str, &'a str)>,
}

impl<'a> Parameters<'a> {
    fn read(law: &'static str, items: &[&'a str]) -> Result<Self, LawError> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let pair = match item.split_once('=') {
                Some((key, value)) if !key.contains('"') => (key.trim(), value.trim()),
                _ if law == "trace" && at == 0 => ("file", *item),
                _ => return Err(parameter(item, law)),
            };
            if given.iter().any(|(key, _)| *key == pair.0) {
                return Err(LawError::Form {
                    problem: format!("`{}` of `{law}` is given twice", cut(pair.0)),
                });
            }
            given.push(pair);
        }
        Ok(Self { law, given })
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.given.iter().position(|(given, _)| *given == key)?;
        Some(self.given.remove(at).1)
    }

    fn text(&mut self, key: &'static str) -> Result<&'a str, LawError> {
        self.take(key).ok_or_else(|| self.missing(key))
    }

    fn optional<T>(&mut self, key: &'static str) -> Result<Option<T>, LawError>
    where
        T: FromStr<Err: Into<NumberError>>,
    {
        let law = self.law;
        self.take(key).map(|text| read(law, key, text)).transpose()
    }

    fn required<T>(&mut self, key: &'static str) -> Result<T, LawError>
    where
        T: FromStr<Err: Into<NumberError>>,
    {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional_bool(&mut self, key: &'static str) -> Result<Option<bool>, LawError> {
        match self.take(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(LawError::Form {
                problem: format!(
                    "`{key}` of `{}` is true or false, not `{}`",
                    self.law,
                    cut(other)
                ),
            }),
        }
    }

    fn file(&mut self) -> Result<String, LawError> {
        let text = self.text("file")?;
        let file = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let plain = |file: &&str| {
            !file.is_empty()
                && file.len() <= 1_024
                && !file.contains(['"', '\\'])
                && !file.chars().any(char::is_control)
        };
        let file = file
            .filter(plain)
            .ok_or_else(|| parameter(text, self.law))?;
        Ok(file.to_owned())
    }

    fn missing(&self, key: &'static str) -> LawError {
        LawError::Missing {
            law: self.law,
            key,
            example: example(self.law),
        }
    }

    fn finish(self) -> Result<(), LawError> {
        match self.given.first() {
            None => Ok(()),
            Some((key, _)) => Err(parameter(key, self.law)),
        }
    }
}

fn read<T>(law: &'static str, key: &'static str, text: &str) -> Result<T, LawError>
where
    T: FromStr<Err: Into<NumberError>>,
{
    text.trim().parse::<T>().map_err(|error| LawError::Value {
        law,
        key,
        problem: Box::new(error.into()),
    })
}

fn parameter(text: &str, law: &'static str) -> LawError {
    LawError::Parameter {
        text: cut(text),
        law,
        example: example(law),
    }
}

/// A valid form of each law, as an error shows it.
pub(super) fn example(law: &str) -> &'static str {
    match law {
        "constant" => "constant(value = 1 ms)",
        "uniform" => "uniform(min = 1 ms, max = 3 ms)",
        "exponential" => "exponential(mean = 1 ms)",
        "poisson" => "poisson(mean = 1 ms)",
        "normal" => "normal(mean = 10 ms, sd = 1 ms)",
        "pareto" => "pareto(shape = 1.5, scale = 1 ms)",
        "cauchy" => "cauchy(location = 10 ms, scale = 1 ms)",
        "gamma" => "gamma(shape = 2, scale = 1 ms)",
        "weibull" => "weibull(shape = 0.8, scale = 1 ms)",
        "student" => "student(location = 10 ms, scale = 1 ms, nu = 2)",
        "discrete" => "discrete(1 ms: 0.9, 20 ms: 0.1)",
        "mixture" => "mixture(0.6: exponential(mean = 4 ms), 0.4: constant(value = 10 ms))",
        "onoff" => "onoff(on = exponential(mean = 1 s), off = exponential(mean = 2 s))",
        _ => "trace(\"gaps.txt\", repeat = true)",
    }
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
