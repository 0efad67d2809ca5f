//! The agent alone, as a small static file for hosts.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use weir_agent::{AgentArgs, run_command};

/// The agent of weir: generates and receives traffic as a controller asks, or
/// with one peer and without a controller.
#[derive(Debug, Parser)]
#[command(name = "weir-agent", version)]
struct Command {
    #[command(flatten)]
    args: AgentArgs,
}

fn main() -> ExitCode {
    run_command(&Command::parse().args, "weir-agent")
}
