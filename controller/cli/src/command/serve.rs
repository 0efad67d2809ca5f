//! `weir serve`: the controller in this process.

use clap::Args;
use weir_controller::app::{self, ServeArgs};
use weir_runtime::privilege::{CapabilitySet, Keep, confine};
use weir_runtime::{host, log};

use crate::failure::{Exit, Failure};

/// Arguments of `weir serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeCommand {
    #[command(flatten)]
    serve: ServeArgs,
    /// What to log: error, warn, info, debug or trace [env: WEIR_LOG]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

/// Serves until a signal, on as many threads as there are cores.
pub(crate) fn run(args: ServeCommand) -> Result<Exit, Failure> {
    log::start(args.log.as_deref()).map_err(Failure::usage)?;
    // As many connections as the system allows; with less it serves fewer agents.
    let _unchanged = host::raise_open_files().is_none();
    // Root's controller may keep its data in anybody's directory; it needs nothing more.
    let confined = confine(Keep {
        effective: CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER,
        raisable: CapabilitySet::empty(),
        writes: None,
    });
    confined.map_err(|error| Failure::infrastructure(format!("{error:?}")))?;
    tokio::runtime::Runtime::new()
        .map_err(|error| Failure::infrastructure(format!("start the runtime: {error}")))?
        .block_on(app::serve(args.serve))
        .map_err(|error| Failure::infrastructure(format!("serve: {error:#}")))?;
    Ok(Exit::Pass)
}
