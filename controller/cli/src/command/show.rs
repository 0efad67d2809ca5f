//! `weir show`: the result of a run.

use std::io;

use clap::Args;

use super::{Common, is_read, write_lines};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::json;
use crate::output::result::{self, Shown};

/// Arguments of `weir show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    common: Common,
    /// Run: r-0007, a campaign's name, last, last~1 [default: last]
    #[arg(value_name = "RUN", default_value = "", hide_default_value = true)]
    run: String,
    /// Show every flow, reason and warning, however many
    #[arg(long)]
    flows: bool,
}

/// Shows a result, also of a run in progress.
pub(crate) async fn run(args: ShowArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let client = common.connect().await?;
    let document = client.result(&args.run).await?;
    let mut out = io::stdout().lock();
    if common.json {
        json::write_text(&mut out, &document, is_read())?;
    } else {
        write_lines(
            &mut out,
            &lines(&client, &document, args.flows, false).await?,
        )?;
    }
    Ok(Exit::Pass)
}

/// The closing table, with the place of the data if the controller still tells it.
pub(crate) async fn lines(
    client: &Client,
    document: &str,
    all: bool,
    next: bool,
) -> Result<Vec<String>, Failure> {
    let document = result::parse(document).map_err(Failure::infrastructure)?;
    // The result is there already: not knowing where the database lies takes nothing from it.
    let database = client.info().await.ok().map(|info| info.database);
    let home = std::env::var("HOME").ok();
    let shown = Shown {
        database: database.as_deref(),
        home: home.as_deref(),
        all,
        next,
    };
    Ok(result::lines(&document, shown))
}
