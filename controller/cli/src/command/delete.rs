//! `weir delete`: a closed run and all its rows are gone.

use clap::Args;
use serde_json::json;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::text::{plural, printable};

/// Arguments of `weir delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    common: Common,
    /// Run: r-0007, or a campaign's name for its last run; closed
    #[arg(value_name = "RUN", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    run: String,
}

/// Deletes a run.
pub(crate) async fn run(args: DeleteArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let deleted = common.connect().await?.delete(&args.run).await?;
    let rows = plural(deleted.rows as usize, "record");
    let line = format!("{} is deleted with its {rows}", printable(&deleted.run));
    let document =
        || json!({ "schema": "weir.delete/1", "run": deleted.run, "rows": deleted.rows });
    common.print(document, || vec![line])
}
