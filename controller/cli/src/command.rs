//! One file for each command: its arguments, and what it does with them.

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod campaign;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod credentials;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod deny;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod stop;
pub(crate) mod token;
pub(crate) mod watch;

use std::future::Future;
use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde_json::Value;

use crate::client::{self, Client};
use crate::failure::{Exit, Failure};
use crate::output::json;

/// What every command that speaks with the controller takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Common {
    /// Controller: unix:/path or tcp://host:port [env: WEIR_CONTROLLER] [default: that of weir login, else operators.sock in the data directory]
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) controller: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    /// These, and where they say nothing those that stood before the command.
    pub(crate) fn over(self, outer: &Self) -> Self {
        Self {
            controller: self.controller.or_else(|| outer.controller.clone()),
            json: self.json || outer.json,
        }
    }

    /// The endpoint that the flag or the environment names.
    pub(crate) fn named_endpoint(&self) -> Result<Option<weir_runtime::Endpoint>, Failure> {
        let is_named = self.controller.is_some()
            || std::env::var_os("WEIR_CONTROLLER").is_some_and(|text| !text.is_empty());
        is_named.then(|| self.endpoint()).transpose()
    }

    /// The endpoint that is meant: the flag's, else the environment's, else the default one.
    pub(crate) fn endpoint(&self) -> Result<weir_runtime::Endpoint, Failure> {
        let variable = std::env::var("WEIR_CONTROLLER")
            .ok()
            .filter(|text| !text.is_empty());
        let given = self.controller.as_deref();
        match (given, variable.as_deref()) {
            (Some(text), _) => client::endpoint("--controller", Some(text)),
            (None, text) => client::endpoint("WEIR_CONTROLLER", text),
        }
    }

    /// Connects to the controller.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(self.endpoint()?).await
    }

    /// Prints a document, or the lines that say the same to a person.
    pub(crate) fn print(
        &self,
        document: impl FnOnce() -> Value,
        lines: impl FnOnce() -> Vec<String>,
    ) -> Result<Exit, Failure> {
        let mut out = io::stdout().lock();
        if self.json {
            json::write(&mut out, &document(), is_read())?;
        } else {
            write_lines(&mut out, &lines())?;
        }
        Ok(Exit::Pass)
    }
}

/// Whether a person reads standard output: documents are indented then.
pub(crate) fn is_read() -> bool {
    io::stdout().is_terminal()
}

/// Writes lines and makes sure that they are out.
pub(crate) fn write_lines(out: &mut dyn Write, lines: &[String]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// Runs a command on this thread alone.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::infrastructure(format!("start the runtime: {error}")))?
        .block_on(command)
}
