//! The command line: commands, and which file carries each out.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command::campaign::{Purpose, described};
use crate::command::{
    Common, agents, audit, block_on, check, completions, credentials, delete, demo, deny, login,
    logs, plan, records, run, runs, serve, show, stop, token, watch,
};
use crate::failure::Failure;

/// Traffic in emulated networks: generate, measure, keep.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = false, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
`weir demo` shows it all on this machine. `weir run --help` lists the language.

Exit codes: 0 pass, 1 an expectation failed, 2 usage or file error,
3 infrastructure, 4 invalid measurement, 130 interrupted.";

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a real experiment on this machine, and clean up after it
    Demo(demo::DemoArgs),
    /// Serve as the controller
    Serve(serve::ServeCommand),
    /// Run the agent of a host
    Agent(Box<weir_agent::AgentArgs>),
    /// List agents
    Agents(agents::AgentsArgs),
    /// Measure the noise floor of pairs of hosts: delay, lateness, largest rate without loss
    Check(check::CheckArgs),
    /// Show what a campaign would do; starts nothing
    #[command(disable_help_flag = true)]
    Plan(run::CampaignArgs),
    /// Run a campaign from a file or from flags, and show its result
    #[command(disable_help_flag = true)]
    Run(run::CampaignArgs),
    /// List runs
    Runs(runs::RunsArgs),
    /// Show the result of a run
    Show(show::ShowArgs),
    /// Follow a run in progress
    Watch(watch::WatchArgs),
    /// Stop a run; what it measured so far is kept
    Stop(stop::StopArgs),
    /// Write the records of a run: csv, jsonl or json
    Records(records::RecordsArgs),
    /// List the files that flows of a run wrote on their hosts, or fetch them
    Logs(logs::LogsArgs),
    /// Delete a run and its records
    Delete(delete::DeleteArgs),
    /// Make tokens, with which agents at other hosts get their certificates
    Token(token::TokenArgs),
    /// Make a certificate for a person at another machine
    Credentials(credentials::CredentialsArgs),
    /// Let an agent, a person or a certificate in no more, and cut it off at once
    Deny(deny::DenyArgs),
    /// Let it in again
    Allow(deny::AllowArgs),
    /// List who is let in no more
    Denied(deny::DeniedArgs),
    /// Use the controller of another machine from now on
    Login(login::LoginArgs),
    /// Use this machine's controller again
    Logout(login::LogoutArgs),
    /// Read the controller's audit log and check that it is whole
    Audit(audit::AuditArgs),
    /// Print a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Reads the process's arguments; ends the process with help, the version or a usage error.
    pub(crate) fn of_process() -> Self {
        let matches = parser().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Carries the command out.
    pub(crate) fn carry_out(self) -> ExitCode {
        let outer = self.common;
        let done = match self.command {
            Command::Agent(args) => match local("agent", &outer) {
                Ok(()) => return weir_agent::run_command(&args, "weir agent"),
                Err(failure) => Err(failure),
            },
            Command::Serve(args) => local("serve", &outer).and_then(|()| serve::run(args)),
            Command::Completions(args) => {
                local("completions", &outer).and_then(|()| completions::run(&args, described_all()))
            }
            Command::Demo(args) => demo::run(&args, &outer),
            Command::Credentials(args) => block_on(credentials::run(args, &outer)),
            Command::Token(args) => block_on(token::run(args, &outer)),
            Command::Deny(args) => block_on(deny::deny(args, &outer)),
            Command::Allow(args) => block_on(deny::allow(args, &outer)),
            Command::Denied(args) => block_on(deny::list(args, &outer)),
            Command::Login(args) => block_on(login::login(args, &outer)),
            Command::Logout(args) => login::logout(args, &outer),
            Command::Audit(args) => audit::run(args, &outer),
            Command::Agents(args) => block_on(agents::run(args, &outer)),
            Command::Check(args) => block_on(check::run(args, &outer)),
            Command::Plan(args) => block_on(plan::run(args, &outer)),
            Command::Run(args) => block_on(run::run(args, &outer)),
            Command::Runs(args) => block_on(runs::run(args, &outer)),
            Command::Show(args) => block_on(show::run(args, &outer)),
            Command::Watch(args) => block_on(watch::run(args, &outer)),
            Command::Stop(args) => block_on(stop::run(args, &outer)),
            Command::Records(args) => block_on(records::run(args, &outer)),
            Command::Logs(args) => block_on(logs::run(args, &outer)),
            Command::Delete(args) => block_on(delete::run(args, &outer)),
        };
        let exit = done.unwrap_or_else(|failure| {
            let text = failure.to_string();
            if !text.is_empty() {
                eprintln!("weir: {text}");
            }
            failure.exit()
        });
        ExitCode::from(exit.code())
    }
}

/// Flags before a command that speaks with no controller and prints no document are slips.
fn local(command: &str, outer: &Common) -> Result<(), Failure> {
    let slip = match outer {
        Common {
            controller: Some(_),
            ..
        } => "--controller",
        Common { json: true, .. } => "--json",
        Common { .. } => return Ok(()),
    };
    let way_out = if command == "agent" && slip == "--controller" {
        "; write it behind `agent` to say which controller the agent joins"
    } else {
        ""
    };
    Err(Failure::usage(format!(
        "{slip}: `weir {command}` does not take it there{way_out}"
    )))
}

/// The parser. Its `run` and `plan` leave the words of a campaign as they are, and have the help of [`described`].
fn parser() -> clap::Command {
    [Purpose::Run, Purpose::Plan]
        .into_iter()
        .fold(Cli::command(), |command, purpose| {
            let help = described(purpose).render_help();
            command.mut_subcommand(purpose.name(), |raw| raw.override_help(help))
        })
}

/// The commands with every flag of a campaign as an argument, for completion.
fn described_all() -> clap::Command {
    let command = Cli::command();
    let others = command
        .get_subcommands()
        .filter(|raw| !["run", "plan"].contains(&raw.get_name()));
    let commands: Vec<clap::Command> = others
        .cloned()
        .chain([described(Purpose::Run), described(Purpose::Plan)])
        .collect();
    clap::Command::new("weir")
        .args(Cli::command().get_arguments().cloned())
        .subcommands(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        let matches = parser().try_get_matches_from([&["weir"], line].concat())?;
        Cli::from_arg_matches(&matches)
    }

    fn words(line: &[&str]) -> Vec<String> {
        match parse(line).unwrap().command {
            Command::Run(args) | Command::Plan(args) => args.words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        parser().debug_assert();
        described_all().debug_assert();
    }

    #[test]
    fn words_of_a_campaign_stay_in_their_order() {
        let line = [
            "run",
            "--from",
            "asn=150 role=host",
            "--json",
            "--udp",
            "10M",
            "--controller",
            "unix:/x",
            "--help",
        ];
        assert_eq!(words(&line), line[1..]);
        assert_eq!(words(&["plan", "x.toml", "--flows"]), ["x.toml", "--flows"]);
        assert_eq!(words(&["run", "--json", "x.toml"]), ["--json", "x.toml"]);
        assert_eq!(words(&["run", "-h"]), ["-h"]);
        assert!(words(&["run"]).is_empty());
    }

    #[test]
    fn common_flags_stand_before_or_behind_the_command() {
        for line in [
            ["--json", "--controller=unix:/x", "runs"],
            ["runs", "--json", "--controller=unix:/x"],
        ] {
            let cli = parse(&line).unwrap();
            let Command::Runs(args) = cli.command else {
                panic!()
            };
            let common = args.common.over(&cli.common);
            assert!(common.json);
            assert_eq!(common.controller.as_deref(), Some("unix:/x"));
        }
    }

    #[test]
    fn usage_errors_exit_2() {
        for line in [
            &["nonsense"][..],
            &["delete"],
            &["delete", ""],
            &["runs", "--limit", "0"],
            &["completions", "x"],
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
        let outer = Common {
            controller: None,
            json: true,
        };
        assert_eq!(local("serve", &outer).unwrap_err().exit().code(), 2);
        assert!(local("serve", &Common::default()).is_ok());
    }

    #[test]
    fn completions_know_the_flags_of_the_language() {
        let mut script = Vec::new();
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut described_all(),
            "weir",
            &mut script,
        );
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("--warmup") && script.contains("--per-end"));
    }
}
