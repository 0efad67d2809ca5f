//! The list of runs.

use serde_json::{Value, json};
use weir_proto::controller::v1::RunSummary;

use super::figure::{date, length};
use super::table::{Align, Table};

/// The runs, the newest first.
pub(crate) fn lines(runs: &[RunSummary]) -> Vec<String> {
    if runs.is_empty() {
        return vec!["no runs yet: weir run --help shows how to begin".to_owned()];
    }
    let mut table = Table::new([
        ("run", Align::Left),
        ("campaign", Align::Left),
        ("state", Align::Left),
        ("made", Align::Left),
        ("length", Align::Right),
        ("flows", Align::Right),
        ("records", Align::Right),
    ]);
    for run in runs {
        let duration = run.duration_ns as f64 / 1e9;
        table.row([
            run.run.clone(),
            run.campaign.clone(),
            run.state.clone(),
            date(run.created_unix_ns).unwrap_or_default(),
            if run.duration_ns == 0 {
                "-".to_owned()
            } else {
                length(duration)
            },
            run.flows.to_string(),
            run.records.to_string(),
        ]);
    }
    table.lines()
}

/// The runs as a document.
pub(crate) fn document(runs: &[RunSummary]) -> Value {
    let runs = runs.iter().map(|run| {
        json!({
            "run": run.run,
            "campaign": run.campaign,
            "state": run.state,
            "created_unix_ns": run.created_unix_ns,
            "flows": run.flows,
            "records": run.records,
            "duration_s": (run.duration_ns > 0).then(|| run.duration_ns as f64 / 1e9),
        })
    });
    json!({ "schema": "weir.runs/1", "runs": runs.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_a_table() {
        let runs = [RunSummary {
            run: "r-0007".to_owned(),
            campaign: "as150-to-162-171".to_owned(),
            state: "pass".to_owned(),
            created_unix_ns: 1_795_445_880_000_000_000,
            flows: 4,
            records: 480,
            duration_ns: 121_000_000_000,
        }];
        assert_eq!(
            lines(&runs),
            [
                "run     campaign          state  made                             length  flows  records",
                "r-0007  as150-to-162-171  pass   Mon Nov 23 14:58:00 UTC 2026  2 min 1 s      4      480",
            ]
        );
        assert_eq!(document(&runs)["runs"][0]["duration_s"], 121.0);
    }
}
