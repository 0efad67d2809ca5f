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
    /// What the rows are of [default: records]
    #[arg(long, value_enum, value_name = "TABLE")]
    table: Option<Table>,
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

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Table {
    /// What the ends of flows saw.
    Records,
    /// What passed interfaces: bytes, packets, drops, queues.
    Links,
    /// What kernels went through: CPU, steal, softnet, pressure.
    Kernels,
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
    let table = match args.table.unwrap_or(Table::Records) {
        Table::Records => "records",
        Table::Links | Table::Kernels if args.per_end || args.streams => {
            return Err(Failure::usage(
                "--per-end and --streams say which rows of --table records; leave them out",
            ));
        }
        Table::Links => "links",
        Table::Kernels => "kernels",
    };
    let client = common.connect().await?;
    let request = RecordsRequest {
        run: args.run,
        joined: !args.per_end,
        streams: args.streams,
        table: table.to_owned(),
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
