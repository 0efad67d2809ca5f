//! Arguments to options, and options to the segments they stand in.

use super::specs::{FLAGS, FlagSection, FlagSpec, LATER, spec};
use crate::campaign::keys::not_yet;
use crate::campaign::tree::Value;
use crate::campaign::{CampaignError, ErrorKind, ITEMS_MOST, Place};
use crate::nearest::nearest;

/// A command line, divided.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Options of the campaign, of `[valid]` and of `[limits]`.
    pub(super) wide: Vec<Given>,
    /// Each `--expect` with what belongs to it.
    pub(super) expectations: Vec<Vec<Given>>,
    /// Before the first flow set.
    pub(super) preamble: Vec<Given>,
    pub(super) segments: Vec<Segment>,
}

/// A flow set, or a phase with its flow set.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) begins: Begins,
    pub(super) place: Place,
    pub(super) given: Vec<Given>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    Phase,
    With,
    Always,
}

/// One option with its value.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// As the file writes it: `lost_agent`.
    pub(super) key: String,
    pub(super) section: FlagSection,
    pub(super) place: Place,
    pub(super) value: Value,
}

impl Segment {
    /// The transport option, once there is one.
    pub(super) fn transport(&self) -> Option<&'static str> {
        let keys = ["udp", "tcp"];
        keys.into_iter()
            .find(|key| find(&self.given, key).is_some())
    }
}

pub(super) fn find<'a>(given: &'a [Given], key: &str) -> Option<&'a Given> {
    given.iter().find(|option| option.key == key)
}

pub(super) fn read(arguments: &[String]) -> Result<Line, CampaignError> {
    let mut line = Line::default();
    let mut rest = arguments.iter().enumerate();
    while let Some((index, argument)) = rest.next() {
        let (name, joined) = split(index, argument)?;
        let place = Place::Argument {
            index,
            text: format!("--{name}"),
        };
        let flag = known(name, &place)?;
        let value = match (flag.takes_value(), joined) {
            (true, Some(value)) => Value::Word(value.to_owned()),
            (false, Some(value)) => boolean(value, &place)?,
            (false, None) => Value::Bool(true),
            (true, None) => match rest.next() {
                Some((_, value)) if !value.starts_with("--") => Value::Word(value.clone()),
                _ => return Err(no_value(flag, &place)),
            },
        };
        let given = Given {
            key: name.replace('-', "_"),
            section: flag.section,
            place,
            value,
        };
        line.add(given)?;
    }
    Ok(line)
}

/// `--name` or `--name=value`.
fn split(index: usize, argument: &str) -> Result<(&str, Option<&str>), CampaignError> {
    let shown: String = argument.chars().take(60).collect();
    let Some(flag) = argument.strip_prefix("--").filter(|flag| !flag.is_empty()) else {
        let message = format!(
            "unexpected `{shown}`: every value stands behind its flag; quote selectors and expectations, such as `--from 'asn=150 role=host'`"
        );
        let place = Place::Argument { index, text: shown };
        return Err(CampaignError::new(ErrorKind::Syntax, &place, message));
    };
    Ok(flag
        .split_once('=')
        .map_or((flag, None), |(name, value)| (name, Some(value))))
}

fn known(name: &str, place: &Place) -> Result<&'static FlagSpec, CampaignError> {
    if LATER.contains(&name) {
        return Err(CampaignError::new(
            ErrorKind::NotAvailable,
            place,
            not_yet(&format!("--{name}")),
        ));
    }
    spec(name).ok_or_else(|| {
        let known = FLAGS
            .iter()
            .map(|flag| flag.name)
            .chain(LATER.iter().copied());
        let near = nearest(&name.replace('_', "-"), known)
            .map_or_else(String::new, |near| format!(": did you mean `--{near}`?"));
        CampaignError::new(ErrorKind::UnknownKey, place, format!("unknown flag{near}"))
    })
}

fn boolean(value: &str, place: &Place) -> Result<Value, CampaignError> {
    match value {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        _ => Err(CampaignError::new(
            ErrorKind::BadValue,
            place,
            "takes no value, or `true` or `false`",
        )),
    }
}

fn no_value(flag: &FlagSpec, place: &Place) -> CampaignError {
    let value = flag.value.unwrap_or_default();
    let message = format!(
        "its value is missing: --{} {value}: {}",
        flag.name, flag.help
    );
    CampaignError::new(ErrorKind::Syntax, place, message)
}

impl Line {
    fn add(&mut self, given: Given) -> Result<(), CampaignError> {
        match given.section {
            FlagSection::Structure => self.begin(&given),
            FlagSection::Expect => self.expect(given),
            FlagSection::Campaign | FlagSection::Valid | FlagSection::Limits => {
                push(&mut self.wide, given)
            }
            FlagSection::Pairs if given.key == "sample" || given.key == "except" => {
                narrow(self.here(), &given)
            }
            FlagSection::Pairs | FlagSection::Phase | FlagSection::Traffic => {
                let transport = given.key == "udp" || given.key == "tcp";
                if transport && self.segments.is_empty() {
                    let place = given.place.clone();
                    self.segments.push(Segment {
                        begins: Begins::Phase,
                        place,
                        given: Vec::new(),
                    });
                }
                push(self.here(), given)
            }
        }
    }

    /// Where options belong now.
    fn here(&mut self) -> &mut Vec<Given> {
        self.segments
            .last_mut()
            .map_or(&mut self.preamble, |segment| &mut segment.given)
    }

    fn begin(&mut self, given: &Given) -> Result<(), CampaignError> {
        if matches!(given.value, Value::Bool(false)) {
            return Err(CampaignError::new(
                ErrorKind::BadValue,
                &given.place,
                "takes no value",
            ));
        }
        let begins = match given.key.as_str() {
            "then" => Begins::Phase,
            "with" => Begins::With,
            _ => Begins::Always,
        };
        let in_phase = self
            .segments
            .iter()
            .any(|segment| segment.begins == Begins::Phase);
        if begins == Begins::With && !in_phase {
            let message = "adds a flow set to a phase, but none has begun: give the first `--udp` or `--tcp` before it";
            return Err(CampaignError::new(ErrorKind::Syntax, &given.place, message));
        }
        if self.segments.len() >= ITEMS_MOST {
            let message = format!("more than {ITEMS_MOST} phases and flow sets");
            return Err(CampaignError::new(
                ErrorKind::BadValue,
                &given.place,
                message,
            ));
        }
        self.segments.push(Segment {
            begins,
            place: given.place.clone(),
            given: Vec::new(),
        });
        Ok(())
    }

    fn expect(&mut self, mut given: Given) -> Result<(), CampaignError> {
        if given.key == "expect" {
            "that".clone_into(&mut given.key);
            self.expectations.push(vec![given]);
            return Ok(());
        }
        let Some(last) = self.expectations.last_mut() else {
            let message = "belongs to the `--expect` before it, but there is none";
            return Err(CampaignError::new(ErrorKind::Syntax, &given.place, message));
        };
        push(last, given)
    }
}

/// Adds an option that may stand once.
fn push(options: &mut Vec<Given>, given: Given) -> Result<(), CampaignError> {
    if find(options, &given.key).is_some() {
        let mut message = "stands twice for the same thing".to_owned();
        if matches!(
            given.section,
            FlagSection::Phase | FlagSection::Traffic | FlagSection::Pairs
        ) {
            message.push_str(
                ": begin the next phase with `--then`, or another flow set with `--with`",
            );
        }
        return Err(CampaignError::new(
            ErrorKind::Conflict,
            &given.place,
            message,
        ));
    }
    options.push(given);
    Ok(())
}

/// `--sample` and `--except` are conditions of the selector before them.
fn narrow(options: &mut [Given], given: &Given) -> Result<(), CampaignError> {
    let side = options
        .iter_mut()
        .rev()
        .find(|option| option.key == "from" || option.key == "to");
    let (Some(side), Value::Word(condition)) = (side, &given.value) else {
        let message = "belongs to the `--from` or `--to` before it, but there is none";
        return Err(CampaignError::new(ErrorKind::Syntax, &given.place, message));
    };
    if let Value::Word(selector) = &mut side.value {
        *selector = format!("{selector} {}={condition}", given.key);
    }
    Ok(())
}
