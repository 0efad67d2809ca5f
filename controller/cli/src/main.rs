//! `weir`, the one binary a person types: the command line, the controller, an agent, and the demo.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod command;
mod failure;
mod follow;
mod interrupt;
mod login;
mod output;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::of_process().carry_out()
}
