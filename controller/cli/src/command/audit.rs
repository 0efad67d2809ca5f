//! `weir audit`: reads the controller's audit log and checks its chain. It reads
//! the file, not the controller: a log has to be checked without trusting whom it is about.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use weir_controller::audit::{FILE, chain};
use weir_runtime::Endpoint;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::audit::{self, Log};
use crate::output::text::printable;

/// Arguments of `weir audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    common: Common,
    /// The controller's data directory [default: that of the controller's socket]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Check the chain and show no entries
    #[arg(long)]
    verify: bool,
    /// At most so many entries, the last ones
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "verify", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Reads the log. A chain that is broken is an error, after what is whole of it.
pub(crate) fn run(args: AuditArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let directory = match args.data {
        Some(directory) => directory,
        None => beside(&common.endpoint()?)?,
    };
    let path = directory.join(FILE);
    let limit = if args.verify { 0 } else { args.limit as usize };
    let log = read(&path, limit).map_err(|error| {
        Failure::usage(format!(
            "read the audit log {}: {error}: name the controller's directory with --data DIR",
            path.display()
        ))
    })?;
    let exit = common.print(|| audit::document(&log), || audit::lines(&log))?;
    match &log.checked.broken {
        None => Ok(exit),
        Some(broken) => Err(Failure::usage(format!(
            "the audit log {} is broken: line {}: {}; keep a copy: the controller begins a new one when it is started",
            path.display(),
            broken.line,
            printable(&broken.problem)
        ))),
    }
}

/// The directory of the operators' socket, which is the controller's.
fn beside(endpoint: &Endpoint) -> Result<PathBuf, Failure> {
    match endpoint {
        Endpoint::Unix(socket) => Ok(socket.parent().unwrap_or(Path::new("")).to_owned()),
        Endpoint::Tcp { .. } | Endpoint::Tls { .. } | Endpoint::Gateway { .. } => {
            Err(Failure::usage(format!(
                "the audit log of {endpoint} is a file on the controller's machine: read it there, or name its directory with --data DIR"
            )))
        }
    }
}

fn read(path: &Path, limit: usize) -> io::Result<Log> {
    let mut last = VecDeque::new();
    let checked = chain::check(BufReader::new(File::open(path)?), |line| {
        if last.len() == limit {
            last.pop_front();
        }
        if limit > 0 {
            last.push_back(line.to_owned());
        }
    })?;
    let entries = last
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(Log {
        path: path.display().to_string(),
        entries: entries.collect(),
        checked,
    })
}
