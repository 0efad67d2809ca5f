//! The words behind `weir run` and `weir plan`: this program's own flags, and a campaign as a file or as flags of
//! the language, whose order matters.

use std::fs;
use std::io::Read;
use std::path::Path;

use weir_common::campaign::file::{self, FILE_MOST};
use weir_common::campaign::flags::{self, FLAGS, OwnFlag};
use weir_common::campaign::{Campaign, render};
use weir_proto::controller::v1::{CampaignFile, CampaignSource};
use weir_runtime::read_traces;

use super::Common;
use crate::failure::Failure;

/// A flag of these commands; one that is only for runs is not a flag of `weir plan`.
#[derive(Debug, Clone, Copy)]
struct CommandFlag {
    flag: OwnFlag,
    only_run: bool,
}

const fn own(
    name: &'static str,
    value: Option<&'static str>,
    only_run: bool,
    help: &'static str,
) -> CommandFlag {
    CommandFlag {
        flag: OwnFlag { name, value, help },
        only_run,
    }
}

const OWN: [CommandFlag; 7] = [
    own(
        "save",
        Some("FILE"),
        false,
        "also write the campaign as a file",
    ),
    own("flows", None, false, "show every flow, however many"),
    own(
        "json",
        None,
        false,
        "print one JSON document, and nothing else, on standard output",
    ),
    own("quiet", None, true, "no progress"),
    own(
        "queue",
        None,
        true,
        "wait for a run on the same kernel [the default in a pipe]",
    ),
    own(
        "share",
        None,
        true,
        "run beside a run on the same kernel, and warn in both",
    ),
    own(
        "controller",
        Some("ENDPOINT"),
        false,
        "controller [env: WEIR_CONTROLLER] [default: operators.sock in the data directory]",
    ),
];

/// What the experimenter wants of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `weir run`
    Run,
    /// `weir plan`
    Plan,
}

impl Purpose {
    /// The command's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Plan => "plan",
        }
    }

    /// The program's own flags of the command.
    pub(crate) fn flags(self) -> Vec<OwnFlag> {
        OWN.iter()
            .filter(|own| self == Self::Run || !own.only_run)
            .map(|own| own.flag)
            .collect()
    }
}

/// A command line, divided.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Controller and form of the answer.
    pub(crate) common: Common,
    /// Write the campaign to this file.
    pub(crate) save: Option<String>,
    /// Show every flow.
    pub(crate) flows: bool,
    /// No progress.
    pub(crate) quiet: bool,
    /// Wait for another run.
    pub(crate) queue: bool,
    /// Run beside another run.
    pub(crate) share: bool,
    /// Show the help.
    pub(crate) help: bool,
    /// The campaign's words, in their order.
    campaign: Vec<String>,
    /// Those of them that stand alone: files, or slips.
    alone: Vec<String>,
}

impl Words {
    /// Divides the words behind the command.
    pub(crate) fn read(purpose: Purpose, words: &[String]) -> Result<Self, Failure> {
        let divided = flags::divide(&purpose.flags(), words).map_err(Failure::usage)?;
        let mut read = Self {
            help: divided.help,
            alone: divided.alone(),
            campaign: divided.campaign,
            ..Self::default()
        };
        for (name, value) in divided.own {
            read.set(name, value);
        }
        if read.queue && read.share {
            return Err(Failure::usage(
                "--queue and --share: either wait for the run on the same kernel, or run beside it",
            ));
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: String) {
        match name {
            "save" => self.save = Some(value),
            "controller" => self.common.controller = Some(value),
            "flows" => self.flows = true,
            "json" => self.common.json = true,
            "quiet" => self.quiet = true,
            "queue" => self.queue = true,
            _ => self.share = true,
        }
    }

    /// Reads the campaign; writes it where `--save` says.
    pub(crate) fn source(
        &self,
        purpose: Purpose,
        argv: Vec<String>,
    ) -> Result<CampaignSource, Failure> {
        let by_flags = self.campaign.len() > self.alone.len();
        let (toml, file, mut campaign) = match (by_flags, self.alone.as_slice()) {
            (false, []) => return Err(nothing(purpose)),
            (false, [name]) => {
                let text = read_text(name)?;
                let campaign = file::parse(&text, name).map_err(Failure::usage)?;
                (text, name.clone(), campaign)
            }
            (false, [first, second, ..]) => {
                return Err(Failure::usage(format!(
                    "`{first}` and `{second}`: one campaign at a time"
                )));
            }
            (true, alone) => {
                if let Some(name) = alone.iter().find(|name| is_file(name)) {
                    return Err(Failure::usage(format!(
                        "`{name}` with `{}`: a campaign is a file or flags, not both; change the file, or leave it out",
                        self.first_flag()
                    )));
                }
                let campaign = flags::parse(&self.campaign).map_err(Failure::usage)?;
                (render(&campaign), String::new(), campaign)
            }
        };
        // Of standard input and of flags the folder is that of the command.
        let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
        let traces = read_traces(&mut campaign, folder).map_err(|error| {
            let cause = std::error::Error::source(&error);
            Failure::usage(cause.map_or(error.to_string(), |cause| format!("{error}: {cause}")))
        })?;
        self.save(&file, &campaign)?;
        let files = traces.into_iter();
        let files = files
            .map(|(name, text)| CampaignFile { name, text })
            .collect();
        Ok(CampaignSource {
            toml,
            file,
            argv,
            files,
        })
    }

    fn first_flag(&self) -> &str {
        let flag = self.campaign.iter().find(|word| word.starts_with("--"));
        flag.map_or("", |flag| flag.split('=').next().unwrap_or(flag))
    }

    fn save(&self, read_from: &str, campaign: &Campaign) -> Result<(), Failure> {
        let Some(save) = &self.save else {
            return Ok(());
        };
        let same = fs::canonicalize(save).ok();
        if same.is_some() && same == fs::canonicalize(read_from).ok() {
            return Err(Failure::usage(format!(
                "--save {save}: this is the file that is read, and its comments would be lost; name another"
            )));
        }
        fs::write(save, render(campaign)).map_err(|error| {
            Failure::usage(format!("--save {save}: cannot write the file: {error}"))
        })
    }
}

fn nothing(purpose: Purpose) -> Failure {
    let name = purpose.name();
    Failure::usage(format!(
        "no campaign: name a file (`weir {name} campaign.toml`) or say it with flags \
         (`weir {name} --from 'asn=150' --to 'asn=162' --udp 10M --for 10s`); `weir {name} --help` lists them"
    ))
}

/// Whether a word that stands alone is meant as a file, not a slip such as an unquoted selector.
fn is_file(word: &str) -> bool {
    word == "-"
        || Path::new(word).extension().is_some_and(|end| end == "toml")
        || Path::new(word).is_file()
}

/// The text of a campaign file; `-` is standard input.
fn read_text(name: &str) -> Result<String, Failure> {
    let failure = |error: std::io::Error| {
        Failure::usage(format!("cannot read campaign file `{name}`: {error}"))
    };
    let mut bytes = Vec::new();
    // One byte more than allowed shows that it is too long, and a device that never ends does no harm.
    let most = FILE_MOST as u64 + 1;
    if name == "-" {
        std::io::stdin()
            .lock()
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(failure)?;
    } else {
        let file = fs::File::open(name).map_err(failure)?;
        file.take(most).read_to_end(&mut bytes).map_err(failure)?;
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("campaign file `{name}` is not text in UTF-8")))
}

/// The command with every flag as an argument of its own, for help and completion. It is never parsed with: the
/// order of flags matters, and the language has its own, better errors.
pub(crate) fn described(purpose: Purpose) -> clap::Command {
    let about = match purpose {
        Purpose::Run => "Run a campaign from a file or from flags, and show its result",
        Purpose::Plan => "Show what a campaign would do; starts nothing",
    };
    let name = purpose.name();
    let mut command = clap::Command::new(name)
        .bin_name(format!("weir {name}"))
        .about(about)
        .override_usage(format!(
            "weir {name} [OPTIONS] FILE\n       weir {name} [OPTIONS] FLAGS..."
        ))
        .after_help(AFTER_HELP)
        .arg(
            clap::Arg::new("FILE")
                .help("Campaign file (TOML); - is standard input")
                .value_hint(clap::ValueHint::FilePath),
        );
    for flag in purpose.flags() {
        let mut arg = clap::Arg::new(flag.name).long(flag.name).help(flag.help);
        if flag.name == "save" {
            arg = arg.value_hint(clap::ValueHint::FilePath);
        }
        command = command.arg(valued(arg, flag.value));
    }
    for flag in FLAGS {
        // `--per-LABEL` stands for many: it is in the help, and completes to `--per-asn`.
        let long = flag.name.replace("LABEL", "asn");
        let help = flag.help;
        let arg = clap::Arg::new(flag.name)
            .long(long)
            .help(help)
            .help_heading(flag.section.heading());
        command = command.arg(valued(arg, flag.value));
    }
    command
}

fn valued(arg: clap::Arg, value: Option<&'static str>) -> clap::Arg {
    match value {
        Some(value) => arg.value_name(value).num_args(1),
        None => arg.action(clap::ArgAction::SetTrue),
    }
}

const AFTER_HELP: &str = "\
The order of a campaign's flags matters: those before the first --udp or --tcp
are for all flow sets, the others belong to the flow set or phase that they
stand in. Quote selectors and expectations.

  weir run --from 'asn=150 role=host' --to 'asn=162,171' --udp 10M --for 60s \\
           --then --tcp max --for 60s

--save FILE writes the campaign and goes on: `weir run` also runs it, `weir plan`
only plans it. RUN in other commands is a number (r-0007), a campaign's name,
last, or last~1.

Exit codes: 0 pass, 1 an expectation failed, 2 usage or file error,
3 infrastructure, 4 invalid measurement, 130 interrupted. Ctrl-C stops the run
and waits for its result; a second one leaves at once.";

#[cfg(test)]
mod tests;
