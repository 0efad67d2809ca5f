//! `weir watch`: follows a run that somebody else started. Ctrl-C leaves it alone.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};
use weir_proto::controller::v1::watch_response::Event;

use super::Common;
use super::run::{Report, conclude};
use crate::failure::{Exit, Failure};
use crate::follow::{Follow, Watcher};
use crate::interrupt::{Interrupts, Policy};
use crate::output::screen::Screen;

/// Arguments of `weir watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Controller: unix:/path or tcp://127.0.0.1:port [env: WEIR_CONTROLLER] [default: operators.sock in the data directory]
    #[arg(long, value_name = "ENDPOINT")]
    controller: Option<String>,
    /// Print one JSON document for each event; the last one holds the result
    #[arg(long)]
    json: bool,
    /// Run: r-0007, a campaign's name, last, last~1 [default: last]
    #[arg(value_name = "RUN", default_value = "", hide_default_value = true)]
    run: String,
    /// Show every flow, reason and warning, however many
    #[arg(long)]
    flows: bool,
}

/// Follows a run to its end; the exit code is its verdict.
pub(crate) async fn run(args: WatchArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = Common {
        controller: args.controller,
        json: args.json,
    }
    .over(outer);
    let client = common.connect().await?;
    let mut interrupts = Interrupts::listen()?;
    let report = Report {
        json: false,
        flows: args.flows,
        next: true,
    };
    if common.json {
        let mut lines = JsonLines { out: io::stdout() };
        let follow = Follow::new(
            client.clone(),
            &args.run,
            Policy::Leave,
            &mut lines,
            &mut interrupts,
        );
        let closed = follow.until_closed().await?;
        // The document was the last event.
        return conclude(
            &client,
            &closed,
            Report {
                json: true,
                ..report
            },
            &mut io::sink(),
        )
        .await;
    }
    let mut screen = Screen::fitting(false, false);
    let follow = Follow::new(
        client.clone(),
        &args.run,
        Policy::Leave,
        &mut screen,
        &mut interrupts,
    );
    let closed = follow.until_closed().await;
    screen.end()?;
    conclude(&client, &closed?, report, &mut io::stdout()).await
}

/// One document a line.
#[derive(Debug)]
struct JsonLines<W> {
    out: W,
}

impl<W: Write> Watcher for JsonLines<W> {
    fn begin(&mut self, _run: &str) {}

    fn event(&mut self, run: &str, event: &Event) -> io::Result<()> {
        writeln!(self.out, "{}", document(run, event))?;
        self.out.flush()
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(
            self.out,
            "{}",
            json!({ "event": "connection", "text": line })
        )?;
        self.out.flush()
    }
}

fn document(run: &str, event: &Event) -> Value {
    match event {
        Event::State(state) => json!({
            "run": run, "event": "state", "state": state.state,
            "t0_unix_ns": (state.t0_unix_ns != 0).then_some(state.t0_unix_ns),
            "end_s": state.end_ns as f64 / 1e9,
            "flows": state.flows, "sessions": state.sessions, "ready": state.ready, "failed": state.failed,
        }),
        Event::Session(news) => json!({
            "run": run, "event": "session", "session": news.session, "from": news.from, "to": news.to,
            "ready": news.code.is_empty(), "code": news.code, "reason": news.reason,
        }),
        Event::Progress(rates) => json!({
            "run": run, "event": "progress", "elapsed_s": rates.elapsed_ns as f64 / 1e9, "phase": rates.phase,
            "records": rates.records, "records_expected": rates.records_expected,
            "sent_bps": rates.tx_bps, "received_bps": rates.rx_bps,
            "flows": rates.flows.iter().map(|flow| json!({
                "flow": flow.flow, "set": flow.set, "from": flow.from, "to": flow.to,
                "sent_bps": flow.tx_bps, "received_bps": flow.rx_bps, "lost_packets": flow.lost_packets,
            })).collect::<Vec<_>>(),
        }),
        Event::Note(text) => json!({ "run": run, "event": "note", "text": text }),
        Event::Closed(closed) => {
            let result = serde_json::from_str::<Value>(&closed.result_json);
            json!({ "run": run, "event": "closed", "result": result.unwrap_or(Value::Null) })
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::controller::v1::RunClosed;

    use super::*;

    #[test]
    fn each_event_is_one_line() {
        let mut lines = JsonLines { out: Vec::new() };
        lines
            .event("r-0001", &Event::Note("a\nb".to_owned()))
            .unwrap();
        let closed = RunClosed {
            result_json: "{\n\"exit\": 0\n}".to_owned(),
        };
        lines.event("r-0001", &Event::Closed(closed)).unwrap();
        let text = String::from_utf8(lines.out).unwrap();
        assert_eq!(
            text,
            "{\"run\":\"r-0001\",\"event\":\"note\",\"text\":\"a\\nb\"}\n\
             {\"run\":\"r-0001\",\"event\":\"closed\",\"result\":{\"exit\":0}}\n"
        );
    }
}
