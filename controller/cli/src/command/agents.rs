//! `weir agents`: who is there.

use clap::Args;
use weir_common::selector::Selector;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::agents;

/// Arguments of `weir agents`.
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    common: Common,
    /// Only these: 'asn=150,151 role=host'
    #[arg(value_name = "SELECTOR")]
    selector: Vec<String>,
}

/// Lists the agents.
pub(crate) async fn run(args: AgentsArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let selector = args.selector.join(" ");
    if !selector.trim().is_empty() {
        selector.parse::<Selector>().map_err(Failure::usage)?;
    }
    let agents = common.connect().await?.agents(selector.clone()).await?;
    common.print(
        || agents::document(&agents),
        || agents::lines(&agents, &selector),
    )
}
