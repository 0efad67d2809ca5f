//! The commands on the command line.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use weir_experiment::output::text::printable;
use weir_runtime::{Shutdown, log};

use super::host::Host;
use super::words::{Asked, Words, described};
use super::{Error, generate, receive, tell};
use crate::agent::AgentConfig;

/// What an agent does without a controller.
#[derive(Debug, Clone, Subcommand)]
pub enum Alone {
    /// Wait for generators and measure what they send, without a controller
    Receive(ReceiveArgs),
    /// Send traffic to a receiver and show what both ends measured, without a controller
    #[command(disable_help_flag = true)]
    Generate(GenerateArgs),
}

/// Arguments of `weir-agent receive`.
#[derive(Debug, Clone, Args)]
pub struct ReceiveArgs {
    /// Where generators are awaited: an address, a port, or both
    /// [default: every address, port 7900]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen)]
    pub listen: Option<Listen>,
    /// Also send traffic, to the generator that asks for it (--reverse, --both)
    #[arg(long)]
    pub allow_generate: bool,
    /// End after one test, with its exit code
    #[arg(long)]
    pub once: bool,
    /// Print one result document a line
    #[arg(long)]
    pub json: bool,
    /// What this host is called [env: WEIR_NAME] [default: its hostname]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    address: Option<IpAddr>,
    port: u16,
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Ok(at) = text.parse::<SocketAddr>() {
        return Ok(Listen {
            address: Some(at.ip()),
            port: at.port(),
        });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Listen {
            address: Some(address),
            port: AgentConfig::DEFAULT_PORT,
        });
    }
    match text.strip_prefix(':').unwrap_or(text).parse() {
        Ok(port) => Ok(Listen {
            address: None,
            port,
        }),
        Err(_) => Err("write 10.162.0.71:7900, [fd00::1]:7900, 10.162.0.71 or :7900".to_owned()),
    }
}

/// Arguments of `weir-agent generate`: the order of traffic flags matters, so
/// they stay as they are.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// The receiver, and flags
    #[arg(
        value_name = "RECEIVER[:PORT] FLAGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<String>,
}

/// Carries a command out in a runtime of its own: call it outside of any other.
pub(crate) fn run(command: &Alone, program: &str) -> ExitCode {
    let done = carry_out(command, program);
    let code = done.unwrap_or_else(|error| {
        eprintln!("{program}: {}", printable(&error.text));
        error.exit
    });
    ExitCode::from(code)
}

fn carry_out(command: &Alone, program: &str) -> Result<u8, Error> {
    // Lines of a log would stand between those of the test.
    let level = std::env::var(log::ENVIRONMENT).is_err().then_some("error");
    log::start(level).map_err(Error::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Error::infrastructure(format!("start: {error}")))?;
    match command {
        Alone::Generate(args) => {
            let words = match Words::read(&args.words, AgentConfig::DEFAULT_PORT)? {
                Asked::Test(words) => words,
                Asked::Help => {
                    tell(described(program).render_help().to_string().trim_end());
                    return Ok(0);
                }
            };
            let host = Host::read(words.host.as_deref()).map_err(Error::usage)?;
            runtime.block_on(generate::run(&host, &words))
        }
        Alone::Receive(args) => {
            let host = Host::read(args.host.as_deref()).map_err(Error::usage)?;
            let options = receive::Options {
                listen: args
                    .listen
                    .and_then(|listen| Some(SocketAddr::new(listen.address?, listen.port))),
                port: args
                    .listen
                    .map_or(AgentConfig::DEFAULT_PORT, |listen| listen.port),
                generates: args.allow_generate,
                once: args.once,
                json: args.json,
            };
            runtime.block_on(async {
                let shutdown = Shutdown::new();
                shutdown.on_signals().map_err(|error| {
                    Error::infrastructure(format!("install signal handlers: {error}"))
                })?;
                receive::serve(host, options, shutdown).await
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen_is_an_address_a_port_or_both() {
        let read = |text: &str| {
            let Listen { address, port } = listen(text).unwrap();
            (address.map(|address| address.to_string()), port)
        };
        assert_eq!(read("10.0.0.1:8000"), (Some("10.0.0.1".to_owned()), 8000));
        assert_eq!(read("[fd00::1]:8000"), (Some("fd00::1".to_owned()), 8000));
        assert_eq!(read("fd00::1"), (Some("fd00::1".to_owned()), 7900));
        assert_eq!(read(":8000"), (None, 8000));
        assert_eq!(read("8000"), (None, 8000));
        for text in ["", "host", "10.0.0.1:x", ":99999"] {
            assert!(listen(text).unwrap_err().contains("7900"), "{text}");
        }
    }
}
