//! `weir runs`: what has run.

use clap::Args;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::runs;

/// Arguments of `weir runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// At most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Lists the runs.
pub(crate) async fn run(args: RunsArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let runs = common.connect().await?.runs(args.limit).await?;
    common.print(|| runs::document(&runs), || runs::lines(&runs))
}
