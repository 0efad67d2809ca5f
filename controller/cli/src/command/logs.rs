//! `weir logs`: the files that flows wrote on their hosts; `--fetch` brings them here.

mod file;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use weir_common::id::RunId;
use weir_proto::controller::v1::{ArtifactInfo, FetchArtifactRequest};

use self::file::Arriving;
use super::{Common, is_read, write_lines};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::json;
use crate::output::table::{Align, Table};
use crate::output::text::printable;

/// Arguments of `weir logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    common: Common,
    /// Run: r-0007, a campaign's name, last, last~1 [default: last]
    #[arg(value_name = "RUN", default_value = "", hide_default_value = true)]
    run: String,
    /// Bring the files into this directory; what is there already is not brought again
    #[arg(long, value_name = "DIR")]
    fetch: Option<PathBuf>,
}

/// Lists the files, or fetches them.
pub(crate) async fn run(args: LogsArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let client = common.connect().await?;
    let listed = client.artifacts(&args.run).await?;
    let run = RunId(listed.run);
    let Some(directory) = &args.fetch else {
        let document = || document(run, &listed.artifacts, &[]);
        return common.print(document, || lines(run, &listed.artifacts));
    };
    let directory = directory.join(run.to_string());
    let mut outcomes = Vec::new();
    for artifact in &listed.artifacts {
        let outcome = fetch(&client, run, artifact, &directory).await;
        if !common.json {
            let line = match &outcome {
                Ok(path) => format!("{}", path.display()),
                Err(why) => format!(
                    "{}: not fetched: {why}",
                    path(artifact, &directory).display()
                ),
            };
            write_lines(&mut std::io::stdout().lock(), &[line])?;
        }
        outcomes.push(outcome);
    }
    if common.json {
        let document = document(run, &listed.artifacts, &outcomes);
        json::write(&mut std::io::stdout().lock(), &document, is_read())?;
    } else if outcomes.is_empty() {
        write_lines(&mut std::io::stdout().lock(), &lines(run, &[]))?;
    }
    match outcomes.iter().filter(|outcome| outcome.is_err()).count() {
        0 => Ok(Exit::Pass),
        missing => Err(Failure::infrastructure(format!(
            "{missing} of {} files of {run} are missing: the same command fetches what is left",
            outcomes.len()
        ))),
    }
}

/// Where a file of a run goes. Its name was checked by everybody it passed, and is
/// checked here again: it comes from a host.
fn path(artifact: &ArtifactInfo, directory: &Path) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = artifact.name.replace(|c| !plain(c), "_");
    let end = if artifact.end == "tx" { "tx" } else { "rx" };
    directory.join(format!("{}-{end}-{name}", artifact.flow))
}

/// Brings one file, from where an earlier attempt has left off.
async fn fetch(
    client: &Client,
    run: RunId,
    artifact: &ArtifactInfo,
    directory: &Path,
) -> Result<PathBuf, String> {
    let path = path(artifact, directory);
    let arriving = Arriving::open(&path, artifact.size_bytes, &artifact.sha256)?;
    let Some(mut file) = arriving else {
        return Ok(path);
    };
    let request = FetchArtifactRequest {
        run: run.0,
        flow: artifact.flow,
        end: artifact.end.clone(),
        name: artifact.name.clone(),
        offset_bytes: file.bytes(),
    };
    let said = |status: tonic::Status| printable(status.message());
    let mut parts = client.fetch(request).await.map_err(said)?;
    while let Some(part) = parts.message().await.map_err(said)? {
        file.put(&part.content)?;
    }
    file.finish()?;
    Ok(path)
}

fn lines(run: RunId, artifacts: &[ArtifactInfo]) -> Vec<String> {
    if artifacts.is_empty() {
        let hint = "flows write one with log_file = \"NAME.jsonl\", or --log-file";
        return vec![format!("{run} has no files: {hint}")];
    }
    let mut table = Table::new([
        ("flow", Align::Right),
        ("end", Align::Left),
        ("agent", Align::Left),
        ("file", Align::Left),
        ("bytes", Align::Right),
        ("SHA-256", Align::Left),
    ]);
    for artifact in artifacts {
        let agent = printable(&artifact.agent);
        table.row([
            artifact.flow.to_string(),
            printable(&artifact.end),
            if artifact.reachable {
                agent
            } else {
                format!("{agent} (away)")
            },
            printable(&artifact.name),
            artifact.size_bytes.to_string(),
            hex(&artifact.sha256),
        ]);
    }
    let mut lines = table.lines();
    lines.push(format!("weir logs {run} --fetch DIR brings them here"));
    lines
}

fn document(run: RunId, artifacts: &[ArtifactInfo], outcomes: &[Result<PathBuf, String>]) -> Value {
    let told = artifacts.iter().enumerate().map(|(i, artifact)| {
        let mut told = json!({
            "flow": artifact.flow,
            "end": artifact.end,
            "agent": artifact.agent,
            "name": artifact.name,
            "size_bytes": artifact.size_bytes,
            "sha256": hex(&artifact.sha256),
            "reachable": artifact.reachable,
        });
        match outcomes.get(i) {
            Some(Ok(path)) => told["path"] = json!(path.display().to_string()),
            Some(Err(why)) => told["problem"] = json!(why),
            None => {}
        }
        told
    });
    json!({ "schema": "weir.logs/1", "run": run.to_string(), "files": told.collect::<Vec<_>>() })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str) -> ArtifactInfo {
        ArtifactInfo {
            agent: "150-host_0".into(),
            flow: 3,
            end: "tx".into(),
            name: name.into(),
            size_bytes: 4096,
            sha256: vec![0xab; 32],
            reachable: true,
        }
    }

    #[test]
    fn files_stay_in_their_directory_whatever_they_are_called() {
        let directory = Path::new("/d");
        assert_eq!(
            path(&artifact("a.jsonl"), directory),
            Path::new("/d/3-tx-a.jsonl")
        );
        let odd = path(&artifact("../../etc/x.jsonl"), directory);
        assert_eq!(odd, Path::new("/d/3-tx-.._.._etc_x.jsonl"));
    }

    #[test]
    fn files_are_a_table() {
        let lines = lines(RunId(7), &[artifact("a.jsonl")]);
        assert!(
            lines[1].contains("150-host_0  a.jsonl   4096  abab"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "weir logs r-0007 --fetch DIR brings them here");
        let document = document(RunId(7), &[artifact("a.jsonl")], &[Err("gone".into())]);
        assert_eq!(document["files"][0]["problem"], "gone");
    }
}
