//! `weir records`: the rows of a run, as they were stored.

use std::io::{self, BufWriter, Write};

use clap::Args;
use weir_proto::controller::v1::RecordsRequest;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::records::{Format, RowError, Rows};

/// Arguments of `weir records`.
#[derive(Debug, Args)]
pub(crate) struct RecordsArgs {
    #[command(flatten)]
    common: Common,
    /// Run: r-0007, a campaign's name, last, last~1 [default: last]
    #[arg(value_name = "RUN", default_value = "", hide_default_value = true)]
    run: String,
    /// Form of the rows [default: csv; --json means json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// A row for each end, instead of both ends in one
    #[arg(long)]
    per_end: bool,
    /// Rows of single streams too
    #[arg(long)]
    streams: bool,
}

/// Writes the rows as they come.
pub(crate) async fn run(args: RecordsArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let format = match (args.format, common.json) {
        (Some(Format::Csv | Format::Jsonl), true) => {
            return Err(Failure::usage("--json and --format: name one form"));
        }
        (Some(format), _) => format,
        (None, true) => Format::Json,
        (None, false) => Format::Csv,
    };
    let client = common.connect().await?;
    let request = RecordsRequest {
        run: args.run,
        joined: !args.per_end,
        streams: args.streams,
    };
    let mut batches = client.records(request).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut rows = Rows::new(format);
    loop {
        let batch = batches.message().await;
        let batch = batch
            .map_err(|status| Failure::status("read the records", client.endpoint(), &status))?;
        let Some(batch) = batch else { break };
        rows.batch(&mut out, &batch.columns, &batch.rows_json)
            .map_err(|error| match error {
                RowError::Output(error) => Failure::output(&error),
                RowError::Row(error) => Failure::infrastructure(format!(
                    "the controller at {} sent a row that is no JSON object: {error}",
                    client.endpoint()
                )),
            })?;
    }
    rows.end(&mut out)?;
    out.flush()?;
    Ok(Exit::Pass)
}
