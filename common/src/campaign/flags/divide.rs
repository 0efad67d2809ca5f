//! A command line that mixes the language with flags of the program that reads it.

use super::specs::spec;
use crate::campaign::{CampaignError, ErrorKind, Place};

/// A flag of a program, not of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnFlag {
    /// Without the dashes.
    pub name: &'static str,
    /// Name of its value; `None` if it takes none.
    pub value: Option<&'static str>,
    /// One line.
    pub help: &'static str,
}

/// A command line, divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Divided {
    /// The program's own flags with their values, empty for those that take none.
    pub own: Vec<(&'static str, String)>,
    /// The language's words, in their order; those that stand alone among them.
    pub campaign: Vec<String>,
    /// Where in `campaign` words stand alone, such as a file.
    pub alone_at: Vec<usize>,
    /// `--help` or `-h` was among them.
    pub help: bool,
}

impl Divided {
    /// The words that stand alone.
    pub fn alone(&self) -> Vec<String> {
        let words = self.alone_at.iter();
        words.map(|at| self.campaign[*at].clone()).collect()
    }

    /// The language's words without those that stand alone.
    pub fn flags(&self) -> Vec<String> {
        let words = self.campaign.iter().enumerate();
        words
            .filter(|(at, _)| !self.alone_at.contains(at))
            .map(|(_, word)| word.clone())
            .collect()
    }
}

/// Takes the program's own flags out of a command line, wherever they stand.
///
/// # Errors
/// One of them lacks its value, or has one that it does not take. Errors of the
/// language are left to [`parse`](super::parse).
pub fn divide(own: &[OwnFlag], words: &[String]) -> Result<Divided, CampaignError> {
    let mut divided = Divided::default();
    let mut rest = words.iter().enumerate().peekable();
    while let Some((index, word)) = rest.next() {
        let Some(flag) = word.strip_prefix("--") else {
            if word == "-h" {
                divided.help = true;
            } else {
                divided.alone_at.push(divided.campaign.len());
                divided.campaign.push(word.clone());
            }
            continue;
        };
        let (name, joined) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value)));
        if let Some(own) = own.iter().find(|own| own.name == name) {
            let error = |message: String| {
                let text = format!("--{name}");
                let place = Place::Argument { index, text };
                CampaignError::new(ErrorKind::Syntax, &place, message)
            };
            let value = match (own.value, joined) {
                (None, None) => String::new(),
                (None, Some(_)) => return Err(error("takes no value".to_owned())),
                (Some(_), Some(value)) => value.to_owned(),
                (Some(what), None) => {
                    let value = rest.next_if(|(_, value)| !value.starts_with("--"));
                    let missing = || {
                        error(format!(
                            "its value is missing: --{name} {what}: {}",
                            own.help
                        ))
                    };
                    value.map(|(_, value)| value.clone()).ok_or_else(missing)?
                }
            };
            divided.own.push((own.name, value));
        } else if name == "help" {
            divided.help = true;
        } else {
            divided.campaign.push(word.clone());
            let takes_value = spec(name).is_some_and(|spec| spec.takes_value());
            if takes_value && joined.is_none() {
                let value = rest.next_if(|(_, value)| !value.starts_with("--"));
                divided
                    .campaign
                    .extend(value.map(|(_, value)| value.clone()));
            }
        }
    }
    Ok(divided)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [OwnFlag; 2] = [
        OwnFlag {
            name: "json",
            value: None,
            help: "print one document",
        },
        OwnFlag {
            name: "save",
            value: Some("FILE"),
            help: "write the campaign",
        },
    ];

    fn divided(line: &str) -> Result<Divided, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        divide(&OWN, &words).map_err(|error| error.to_string())
    }

    #[test]
    fn own_flags_come_out_and_the_rest_keeps_its_order() {
        let line = divided("10.0.0.1 --udp 10M --json --for=5s --save x.toml --both -h").unwrap();
        assert_eq!(
            line.own,
            [("json", String::new()), ("save", "x.toml".to_owned())]
        );
        assert_eq!(
            line.campaign,
            ["10.0.0.1", "--udp", "10M", "--for=5s", "--both"]
        );
        assert_eq!(line.alone(), ["10.0.0.1"]);
        assert_eq!(line.flags(), ["--udp", "10M", "--for=5s", "--both"]);
        assert!(line.help);
    }

    #[test]
    fn values_of_own_flags_are_looked_at() {
        assert_eq!(
            divided("--json=yes"),
            Err("--json: takes no value".to_owned())
        );
        let missing = divided("--save --udp 10M").unwrap_err();
        assert_eq!(
            missing,
            "--save: its value is missing: --save FILE: write the campaign"
        );
    }
}
