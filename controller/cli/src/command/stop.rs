//! `weir stop`: ends a run before its time; what it measured so far is kept.

use clap::Args;
use serde_json::json;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::text::printable;

/// Arguments of `weir stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    common: Common,
    /// Run: r-0007, a campaign's name, last [default: last]
    #[arg(value_name = "RUN", default_value = "", hide_default_value = true)]
    run: String,
    /// Why, for the record
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "weir stop",
        hide_default_value = true
    )]
    reason: String,
}

/// Stops a run.
pub(crate) async fn run(args: StopArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let stopped = common
        .connect()
        .await?
        .stop(&args.run, &args.reason)
        .await?;
    let run = printable(&stopped.run);
    let line = if stopped.stopped {
        format!("{run} is stopping · weir watch {run} follows it to its end")
    } else {
        format!("{run} was closed already · weir show {run}")
    };
    let document =
        || json!({ "schema": "weir.stop/1", "run": stopped.run, "stopped": stopped.stopped });
    common.print(document, || vec![line])
}
