//! A run as it goes: events to lines, and to a block of lines that is drawn again and again. Pure: `now_ms` is
//! any monotonic clock.
//!
//! After a lost connection the controller tells a run from its beginning again; what was told already is not
//! told twice.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use weir_proto::controller::v1::watch_response::Event;
use weir_proto::controller::v1::{FlowProgress, Progress as Rates, RunState, SessionNews};

use weir_experiment::output::is_unreachable;

use super::figure::{RateUnit, clock, date, length};
use super::table::{Align, Table};
use super::text::{Put, plural, printable};

/// One progress line in a pipe for so long.
const LINE_EVERY_MS: u64 = 5_000;
/// So many failed sessions are told one by one; the summary and the result hold all.
const FAILURES_TOLD: usize = 24;
/// So many failed sessions are named in the summary.
const FAILURES_NAMED: usize = 10;

/// What is known of a run in progress.
#[derive(Debug)]
pub(crate) struct Progress {
    run: String,
    /// A live block says the state; a pipe gets a line for each.
    live: bool,
    state: RunState,
    told: Option<Step>,
    ready_told: bool,
    sessions: BTreeSet<u32>,
    failures: Vec<SessionNews>,
    notes: BTreeSet<String>,
    rates: Option<Rates>,
    line_at_ms: Option<u64>,
    line_phase: String,
}

/// The states of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Queued,
    Preparing,
    Starting,
    Running,
    Stopping,
    Draining,
    Closed,
}

impl Step {
    fn of(state: &str) -> Option<Self> {
        Some(match state {
            "queued" => Self::Queued,
            "preparing" => Self::Preparing,
            "starting" => Self::Starting,
            "running" => Self::Running,
            "stopping" => Self::Stopping,
            "draining" | "closing" => Self::Draining,
            "closed" => Self::Closed,
            _ => return None,
        })
    }
}

impl Progress {
    /// Nothing known yet.
    pub(crate) fn new(run: &str, live: bool) -> Self {
        Self {
            run: printable(run),
            live,
            state: RunState::default(),
            told: None,
            ready_told: false,
            sessions: BTreeSet::new(),
            failures: Vec::new(),
            notes: BTreeSet::new(),
            rates: None,
            line_at_ms: None,
            line_phase: String::new(),
        }
    }

    /// Takes an event and returns the lines to print for good.
    pub(crate) fn event(&mut self, event: &Event, now_ms: u64) -> Vec<String> {
        match event {
            Event::State(state) => self.state(state),
            Event::Session(news) => self.session(news),
            Event::Progress(rates) => self.rates(rates, now_ms),
            Event::Note(note) if self.notes.insert(note.clone()) => {
                vec![format!("{}: {}", self.run, printable(note))]
            }
            Event::Note(_) | Event::Closed(_) => Vec::new(),
        }
    }

    fn state(&mut self, state: &RunState) -> Vec<String> {
        let step = Step::of(&state.state);
        if step < self.told {
            return Vec::new();
        }
        self.state = state.clone();
        let mut lines = Vec::new();
        let decided = state.sessions > 0 && state.ready + state.failed >= state.sessions;
        if !self.ready_told && state.sessions > 0 && (decided || step >= Some(Step::Starting)) {
            self.ready_told = true;
            lines.extend(self.readiness());
        }
        if step == self.told {
            return lines;
        }
        self.told = step;
        if !self.live
            && let Some(step) = step
        {
            lines.extend(self.step_line(step));
        }
        lines
    }

    fn step_line(&self, step: Step) -> Option<String> {
        let what = match step {
            Step::Queued => {
                "waiting for another run on the same kernel (--share runs beside it)".to_owned()
            }
            Step::Preparing => format!("preparing {}", plural(self.state.flows as usize, "flow")),
            Step::Starting => "starting".to_owned(),
            Step::Running => {
                let start = date(self.state.t0_unix_ns).filter(|_| self.state.t0_unix_ns > 0);
                let start = start.map_or(String::new(), |start| format!(" from {start}"));
                format!(
                    "running{start} for {}",
                    length(self.state.end_ns as f64 / 1e9)
                )
            }
            Step::Stopping => "stopping".to_owned(),
            Step::Draining => "waiting for the last records".to_owned(),
            Step::Closed => return None,
        };
        Some(format!("{}: {what}", self.run))
    }

    fn session(&mut self, news: &SessionNews) -> Vec<String> {
        if news.code.is_empty() || !self.sessions.insert(news.session) {
            return Vec::new();
        }
        self.failures.push(news.clone());
        if self.failures.len() > FAILURES_TOLD {
            return Vec::new();
        }
        vec![format!(
            "{}: not ready: {} -> {}: {} ({})",
            self.run,
            printable(&news.from),
            printable(&news.to),
            printable(&news.reason),
            printable(&news.code)
        )]
    }

    /// `8 of 10 READY, 2 unreachable: 162-host_1 (no route), 171-host_0 (refused)`.
    fn readiness(&self) -> Vec<String> {
        let (ready, all) = (self.state.ready, self.state.sessions);
        let mut line = format!("{}: {ready} of {all} READY", self.run);
        let failed = (self.state.failed as usize).max(self.failures.len());
        if failed == 0 {
            return vec![line];
        }
        let is_silent = |news: &SessionNews| is_unreachable(&news.code);
        let silent = self.failures.iter().all(is_silent);
        let what = if silent { "unreachable" } else { "not ready" };
        line.put(format_args!(", {failed} {what}"));
        let mut names: Vec<String> = Vec::new();
        for news in &self.failures {
            let who = if is_silent(news) {
                printable(&news.to)
            } else {
                format!("{} -> {}", printable(&news.from), printable(&news.to))
            };
            let name = format!("{who} ({})", printable(short_reason(news)));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if !names.is_empty() {
            let more = names.len().saturating_sub(FAILURES_NAMED);
            names.truncate(FAILURES_NAMED);
            line.put(format_args!(": {}", names.join(", ")));
            if more > 0 {
                line.put(format_args!(" and {more} more"));
            }
        }
        let mut lines = vec![line];
        if self.failures.iter().any(is_silent) {
            lines.push(format!(
                "{}: hint: while routes converge, --settle 120s keeps trying for longer",
                self.run
            ));
        }
        lines
    }

    fn rates(&mut self, rates: &Rates, now_ms: u64) -> Vec<String> {
        self.rates = Some(rates.clone());
        let since_ms = *self.line_at_ms.get_or_insert(now_ms);
        // A phase has rates only when its first interval is over; a pause has none worth a line of its own.
        let is_new = rates.phase != self.line_phase;
        let begun = !rates.phase.is_empty() && (rates.tx_bps > 0 || rates.rx_bps > 0);
        let patience_ms = if is_new && !begun {
            2 * LINE_EVERY_MS
        } else {
            LINE_EVERY_MS
        };
        let due = now_ms.saturating_sub(since_ms) >= patience_ms;
        if self.live || !(due || (is_new && begun)) {
            return Vec::new();
        }
        self.line_at_ms = Some(now_ms);
        self.line_phase.clone_from(&rates.phase);
        vec![format!("{}: {}", self.run, self.summary(rates))]
    }

    /// Clock, phase, rates and rows in one line.
    fn summary(&self, rates: &Rates) -> String {
        let phase = if rates.phase.is_empty() {
            "pause"
        } else {
            &rates.phase
        };
        let unit = RateUnit::fitting([rates.rx_bps as f64, rates.tx_bps as f64]);
        let mut line = clock(rates.elapsed_ns as f64 / 1e9);
        if self.state.end_ns > 0 {
            line.put(format_args!(
                " of {}",
                clock(self.state.end_ns as f64 / 1e9)
            ));
        }
        line.put(format_args!(
            "  {}  sent {}, got {} {}  records {} of {}",
            printable(phase),
            unit.show(rates.tx_bps as f64),
            unit.show(rates.rx_bps as f64),
            unit.name(),
            rates.records,
            rates.records_expected
        ));
        line
    }

    /// The block that shows the run now, at most `rows` lines high.
    pub(crate) fn block(&self, rows: usize) -> Vec<String> {
        let state = if self.state.state.is_empty() {
            "asking"
        } else {
            &self.state.state
        };
        let mut head = format!("{} {}", self.run, printable(state));
        let Some(rates) = &self.rates else {
            if self.state.sessions > 0 {
                let RunState {
                    ready,
                    failed,
                    sessions,
                    ..
                } = &self.state;
                head.put(format_args!(
                    "  {ready} of {sessions} ready, {failed} failed"
                ));
            }
            return vec![head];
        };
        head.put(format_args!("  {}", self.summary(rates)));
        let mut lines = vec![head];
        // The head of the table, and the line that says what is left out.
        let room = rows.saturating_sub(3);
        if room > 0 && !rates.flows.is_empty() {
            lines.extend(flow_lines(&rates.flows[..rates.flows.len().min(room)]));
            let hidden = (self.state.flows as usize).saturating_sub(rates.flows.len().min(room));
            if hidden > 0 {
                lines.push(format!("  and {}", plural(hidden, "more flow")));
            }
        }
        lines
    }
}

/// The last part of a reason, such as `No route to host`; the code where the reason is empty.
fn short_reason(news: &SessionNews) -> &str {
    let last = news.reason.rsplit(": ").next().unwrap_or_default().trim();
    if last.is_empty() { &news.code } else { last }
}

fn flow_lines(flows: &[FlowProgress]) -> Vec<String> {
    let unit = RateUnit::fitting(
        flows
            .iter()
            .flat_map(|flow| [flow.tx_bps as f64, flow.rx_bps as f64]),
    );
    let mut table = Table::new([
        ("  flow".to_owned(), Align::Right),
        ("set".to_owned(), Align::Left),
        ("from -> to".to_owned(), Align::Left),
        ("sent".to_owned(), Align::Right),
        (format!("got {}", unit.name()), Align::Right),
        ("lost".to_owned(), Align::Right),
    ]);
    for flow in flows {
        table.row([
            flow.flow.to_string(),
            flow.set.clone(),
            format!("{} -> {}", flow.from, flow.to),
            unit.show(flow.tx_bps as f64),
            unit.show(flow.rx_bps as f64),
            flow.lost_packets
                .map_or("-".to_owned(), |lost| lost.to_string()),
        ]);
    }
    table.lines()
}
