//! The words behind `weir-agent generate`: its own flags, the receiver, and the
//! traffic in the words of `weir run`.

use weir_common::campaign::flags::{self, FLAGS, FlagSection, FlagSpec, OwnFlag};
use weir_common::campaign::{Campaign, CampaignError};
use weir_common::id::AgentName;

use super::Error;
use super::target::Target;

const OWN: [OwnFlag; 3] = [
    OwnFlag {
        name: "json",
        value: None,
        help: "print one result document, and nothing else, on standard output",
    },
    OwnFlag {
        name: "quiet",
        value: None,
        help: "no line for each interval, only the result",
    },
    OwnFlag {
        name: "host",
        value: Some("NAME"),
        help: "what this host is called in the result [env: WEIR_NAME] [default: its hostname]",
    },
];

/// Flags of the language that the two hosts of a meeting answer already.
const FIXED: [&str; 9] = [
    "from",
    "to",
    "sample",
    "except",
    "how",
    "apart",
    "dial",
    "lost-agent",
    "per-LABEL",
];

/// A command line of `weir-agent generate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) target: Target,
    pub(super) json: bool,
    pub(super) quiet: bool,
    pub(super) host: Option<String>,
    /// The language's words, without the receiver.
    traffic: Vec<String>,
}

/// What the words ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// How it is used.
    Help,
    /// A test.
    Test(Box<Words>),
}

impl Words {
    /// Reads the words; the traffic is read with [`campaign`](Self::campaign).
    pub(super) fn read(words: &[String], default_port: u16) -> Result<Asked, Error> {
        let divided = flags::divide(&OWN, words).map_err(Error::usage)?;
        if divided.help {
            return Ok(Asked::Help);
        }
        let target = match divided.alone().as_slice() {
            [] => {
                return Err(Error::usage(
                    "no receiver: `weir-agent generate 10.162.0.71 --udp 10M --for 10s`; --help lists the flags",
                ));
            }
            [one] => Target::read(one, default_port).map_err(Error::usage)?,
            [one, two, ..] => {
                slip(&divided.campaign)?;
                return Err(Error::usage(format!(
                    "`{one}` and `{two}`: one receiver at a time"
                )));
            }
        };
        let traffic = divided.flags();
        for word in &traffic {
            let name = word
                .strip_prefix("--")
                .map(|flag| flag.split('=').next().unwrap_or(flag));
            let fixed = name.filter(|name| {
                FIXED.contains(name)
                    || flags::spec(name)
                        .is_some_and(|spec| spec.name == "per-LABEL" && *name != "per")
            });
            if let Some(name) = fixed {
                return Err(Error::usage(format!(
                    "--{name}: `weir-agent generate` sends from this host to the one receiver; --reverse turns it round, --both does both, `weir run` has many hosts"
                )));
            }
        }
        let mut read = Self {
            target,
            json: false,
            quiet: false,
            host: None,
            traffic,
        };
        for (name, value) in divided.own {
            match name {
                "json" => read.json = true,
                "quiet" => read.quiet = true,
                _ => read.host = Some(value),
            }
        }
        // What is wrong is told before anybody is dialled.
        let (here, there) = ("here".parse(), "there".parse());
        let names = here.ok().zip(there.ok());
        let (here, there) = names.expect("two plain words are names");
        read.campaign(&here, &there).map_err(Error::usage)?;
        Ok(Asked::Test(Box::new(read)))
    }

    /// The campaign between these two.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub(super) fn campaign(
        &self,
        here: &AgentName,
        there: &AgentName,
    ) -> Result<Campaign, CampaignError> {
        let pair = ["--from", here.as_str(), "--to", there.as_str()].map(str::to_owned);
        let mut campaign = flags::parse(&[&pair[..], &self.traffic].concat())?;
        if campaign.name == flags::NAME {
            "generate".clone_into(&mut campaign.name);
        }
        Ok(campaign)
    }

    /// The traffic as it was typed, for people at the other side.
    pub(super) fn title(&self) -> String {
        self.traffic.join(" ")
    }
}

/// A flag that the language does not have leaves its value standing alone: the
/// flag is the slip.
fn slip(words: &[String]) -> Result<(), Error> {
    let unknown = words.iter().find(|word| {
        let name = word
            .strip_prefix("--")
            .map(|flag| flag.split('=').next().unwrap_or(flag));
        name.is_some_and(|name| flags::spec(name).is_none())
    });
    let Some(unknown) = unknown else {
        return Ok(());
    };
    flags::parse(std::slice::from_ref(unknown))
        .map(drop)
        .map_err(Error::usage)
}

fn is_offered(flag: &FlagSpec) -> bool {
    !FIXED.contains(&flag.name)
}

/// The command with every flag, for help. It is never parsed with: the order of
/// flags matters, and the language has its own, better errors.
pub(super) fn described(program: &str) -> clap::Command {
    let mut command = clap::Command::new("generate")
        .bin_name(format!("{program} generate"))
        .about("Measure towards a host where `weir-agent receive` waits, without a controller")
        .override_usage(format!(
            "{program} generate [OPTIONS] RECEIVER[:PORT] FLAGS..."
        ))
        .after_help(AFTER_HELP)
        .arg(clap::Arg::new("RECEIVER").help("Address or name of the receiver [port: 7900]"));
    let own = OWN
        .iter()
        .map(|flag| (flag.name, flag.value, flag.help, None));
    let language = FLAGS.iter().filter(|flag| is_offered(flag)).map(|flag| {
        let heading = match flag.section {
            FlagSection::Pairs => "Direction",
            section => section.heading(),
        };
        (flag.name, flag.value, flag.help, Some(heading))
    });
    for (name, value, help, heading) in own.chain(language) {
        let mut arg = clap::Arg::new(name).long(name).help(help);
        if let Some(heading) = heading {
            arg = arg.help_heading(heading);
        }
        command = command.arg(match value {
            Some(value) => arg.value_name(value).num_args(1),
            None => arg.action(clap::ArgAction::SetTrue),
        });
    }
    command
}

const AFTER_HELP: &str = "\
Traffic is said as in `weir run`:

  weir-agent generate 10.162.0.71 --udp 10M --size 1400 --for 10s
  weir-agent generate 10.162.0.71 --tcp max --streams 4 --for 10s
  weir-agent generate 10.162.0.71 --tcp max --reverse --for 10s

--reverse and --both need a receiver that was started with --allow-generate.

Exit codes: 0 pass, 1 an expectation failed, 2 usage error, 3 infrastructure,
4 invalid measurement, 130 interrupted. Ctrl-C stops the test and waits for its
result; a second one leaves at once.";

#[cfg(test)]
mod tests {
    use weir_common::campaign::Dial;

    use super::*;

    fn read(line: &str) -> Result<Words, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match Words::read(&words, 7900) {
            Ok(Asked::Test(words)) => Ok(*words),
            Ok(Asked::Help) => Err("help".to_owned()),
            Err(error) => Err(error.text),
        }
    }

    fn campaign(line: &str) -> Campaign {
        let words = read(line).unwrap();
        words
            .campaign(&"a".parse().unwrap(), &"b".parse().unwrap())
            .unwrap()
    }

    #[test]
    fn traffic_is_that_of_weir_run() {
        let words = read("10.0.0.2:7901 --udp 10M --json --for 5s --quiet").unwrap();
        assert_eq!(words.target.to_string(), "10.0.0.2:7901");
        assert!(words.json && words.quiet && words.host.is_none());
        assert_eq!(words.title(), "--udp 10M --for 5s");
        let campaign = campaign("--tcp max --for 3s --interval 500ms 10.0.0.2 --streams 4");
        assert_eq!(campaign.name, "generate");
        assert_eq!(campaign.interval.as_nanos(), 500_000_000);
        assert_eq!(campaign.flow_sets[0].traffic.streams, 4);
        assert_eq!(campaign.flow_sets[0].from.to_string(), "a");
    }

    #[test]
    fn reverse_turns_it_round_and_this_side_dials() {
        let set = &campaign("h --udp 1M --reverse --for 3s").flow_sets[0];
        assert_eq!(
            (set.from.to_string(), set.to.to_string()),
            ("b".to_owned(), "a".to_owned())
        );
        assert_eq!(set.dial, Dial::To);
        assert!(campaign("h --udp 1M --both --for 3s").flow_sets[0].both);
    }

    #[test]
    fn slips_are_named() {
        for (line, word) in [
            ("--udp 10M --for 5s", "no receiver"),
            ("a b --udp 10M --for 5s", "one receiver"),
            ("a:x --udp 10M --for 5s", "port"),
            ("a --udp 10M", "--for"),
            ("a --for 5s", "--udp"),
            ("a --udp 10M --for 5s --from x", "--from"),
            ("a --udp 10M --for 5s --how=mesh", "--how"),
            ("a --udp 10M --for 5s --per-asn 1G", "--per-asn"),
            ("a --udp 10M --for 5s --dial to", "--reverse"),
            ("a --upd 10M --for 5s", "did you mean"),
            ("a --udp 10M --for 5s --json=1", "takes no value"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
        assert_eq!(read("--help").unwrap_err(), "help");
        assert!(read("a --udp 10M --per stream --for 5s").is_ok());
    }

    #[test]
    fn help_lists_what_is_taken() {
        described("weir-agent").debug_assert();
        let help = described("weir-agent").render_help().to_string();
        for flag in FLAGS {
            let listed = help.lines().any(|line| {
                let first = line.split_whitespace().next();
                first == Some(format!("--{}", flag.name).as_str())
            });
            assert_eq!(listed, is_offered(flag), "--{}", flag.name);
        }
        for flag in OWN {
            assert!(flags::spec(flag.name).is_none(), "--{}", flag.name);
        }
    }
}
