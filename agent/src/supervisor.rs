//! Does what the core says: asks the engine, keeps the journal, reports. One
//! loop, one message after the other, so that acknowledgements keep the order
//! of their snapshots.

mod snapshot;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_common::assignment::Assignment;
use weir_common::id::{FlowId, RunId};
use weir_common::record::{End, Entry, FlowClosed, PeerTotals};
use weir_engine::engine::Event;
use weir_proto::agent::v1::control_request::Message as Report;
use weir_proto::types::v1::Snapshot;

use crate::agent::{AgentSink, Shared};
use crate::artifacts::RunLog;
use crate::observe::{self, Observation, Observations};
use crate::outbox::Level;
use crate::runs::Action;
use crate::state::StateError;
use crate::traffic::{Running, Traffic};

/// How long an ending agent waits for its flows to close and its records to be stored.
const GRACE: Duration = Duration::from_secs(3);
/// Messages taken in one go, so that many flows that end together are logged together.
const MESSAGES_AT_ONCE: usize = 256;

/// Why generators are stopped, or not begun, for want of space.
const SPOOL_FULL: &str = "SPOOL_FULL: too many records wait for the controller";

/// What the supervisor is told.
pub(crate) enum Message {
    /// By the engine; never a record.
    Event(RunId, Event),
    /// By an observation that has ended, with everything of it in the outbox.
    Observed(RunId),
    /// By the control stream.
    Snapshot {
        snapshot: Snapshot,
        epoch: u64,
        controller_id: String,
    },
    /// A heartbeat that was sent then, host-monotonic ns, has been answered.
    ControllerSeen { sent_ns: u64 },
    /// The spool is fuller than it was.
    SpoolLevel(Level),
    /// The policy file says something else.
    PolicyChanged,
    /// What earlier starts left for a controller is delivered.
    BacklogDelivered { controller_id: String },
}

/// A line of the local log.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LogLine<'a> {
    /// A flow has ended at this end.
    FlowClosed(&'a FlowClosed),
    /// What the other end counted.
    PeerClosed {
        run: RunId,
        flow: FlowId,
        end: End,
        totals: PeerTotals,
    },
}

/// See the module.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    messages: mpsc::UnboundedReceiver<Message>,
    traffic: Arc<dyn Traffic>,
    handles: BTreeMap<RunId, Box<dyn Running>>,
    observations: Observations,
    /// Lines of the local log that are not written yet.
    lines: Vec<u8>,
}

impl Supervisor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        messages: mpsc::UnboundedReceiver<Message>,
        traffic: Arc<dyn Traffic>,
    ) -> Self {
        Self {
            shared,
            messages,
            traffic,
            handles: BTreeMap::new(),
            observations: Observations::new(),
            lines: Vec::new(),
        }
    }

    /// Runs until `shutdown`, and then until all is stopped and delivered or
    /// the grace is over.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut end_by: Option<Instant> = None;
        let mut taken = Vec::new();
        let shared = self.shared.clone();
        loop {
            let deadline = self.deadline();
            let actions = tokio::select! {
                _ = self.messages.recv_many(&mut taken, MESSAGES_AT_ONCE) => Vec::new(),
                () = at(deadline) => {
                    let now_ns = self.shared.clock.now_ns();
                    self.shared.core().runs.on_time(now_ns)
                }
                () = shutdown.cancelled(), if end_by.is_none() => {
                    end_by = Some(Instant::now() + GRACE);
                    self.shared.core().runs.stop_all("the agent was ended")
                }
                () = shared.outbox_shrank.notified(), if end_by.is_some() => Vec::new(),
                () = at(end_by) => {
                    let entries = self.shared.waiting();
                    tracing::warn!(entries, "ending before all records were stored: the next start delivers them");
                    return;
                }
            };
            self.perform(actions).await;
            for message in taken.drain(..) {
                self.follow(message).await;
            }
            self.write_log().await;
            if end_by.is_some() && !self.shared.is_busy() {
                return;
            }
        }
    }

    /// The core's next deadline on tokio's clock.
    fn deadline(&self) -> Option<Instant> {
        let deadline_ns = self.shared.core().runs.next_deadline_ns()?;
        let wait_ns = deadline_ns.saturating_sub(self.shared.clock.now_ns());
        Instant::now().checked_add(Duration::from_nanos(wait_ns))
    }

    async fn follow(&mut self, message: Message) {
        let actions = match message {
            Message::Snapshot {
                snapshot,
                epoch,
                controller_id,
            } => {
                return self.take_snapshot(snapshot, epoch, controller_id).await;
            }
            Message::Event(run, event) => {
                self.note(run, &event);
                self.shared.core().runs.on_event(run, &event)
            }
            Message::Observed(run) => {
                self.observations.remove(&run);
                self.shared.core().runs.observed(run)
            }
            Message::ControllerSeen { sent_ns } => {
                self.shared.core().runs.controller_seen(sent_ns);
                return;
            }
            Message::SpoolLevel(level) => self.spool_level(level),
            Message::PolicyChanged => {
                let policy = self.shared.policy.now();
                self.shared.core().runs.policy_changed(&policy)
            }
            Message::BacklogDelivered { controller_id } => {
                let mut core = self.shared.core();
                if core.accepted.controller_id == controller_id {
                    core.runs.tell_aborted()
                } else {
                    Vec::new()
                }
            }
        };
        self.perform(actions).await;
    }

    fn spool_level(&self, level: Level) -> Vec<Action> {
        let waiting = self.shared.waiting();
        match level {
            Level::Room => {}
            Level::High => tracing::warn!(waiting, "the spool is 80 % full"),
            Level::Coalescing => tracing::warn!(
                waiting,
                "the spool is 95 % full: intervals are merged, counts stay exact"
            ),
            Level::Full => {
                tracing::error!(waiting, "{SPOOL_FULL}: stopping all runs");
                return self.shared.core().runs.stop_all(SPOOL_FULL);
            }
        }
        Vec::new()
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        let mut actions = std::collections::VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Persist => {
                    if let Err(error) = self.keep_journal().await {
                        tracing::error!(error = chain(&error), "the journal cannot be written");
                    }
                }
                Action::Prepare(assignment) => {
                    let run = assignment.run;
                    match self.prepare(assignment).await {
                        Ok(handle) => {
                            self.handles.insert(run, handle);
                        }
                        Err(reason) => {
                            tracing::error!(%run, reason, "cannot be prepared");
                            let failed = self.shared.core().runs.prepare_failed(run, &reason);
                            actions.extend(failed);
                        }
                    }
                }
                Action::SetTarget(run, session, port) => {
                    self.with(run, |handle| handle.set_target(session, port));
                }
                Action::Exclude(run, session) => self.with(run, |handle| handle.exclude(session)),
                Action::Start(run, t0_ns) => self.with(run, |handle| handle.start(t0_ns)),
                Action::Stop(run, reason) => {
                    tracing::info!(%run, reason, "stopping");
                    self.with(run, |handle| handle.stop(&reason));
                }
                Action::Release(run) => drop(self.handles.remove(&run)),
                Action::Observe(assignment, t0_ns) => {
                    let run = assignment.run;
                    match self.observe(assignment, t0_ns) {
                        Ok(observation) => {
                            self.observations.insert(run, observation);
                        }
                        Err(error) => {
                            tracing::warn!(%run, %error, "the host is not observed: no thread");
                            actions.extend(self.shared.core().runs.observed(run));
                        }
                    }
                }
                Action::EndObservation(run) => drop(self.observations.remove(&run)),
                Action::Report(report) => self.report(*report),
            }
        }
    }

    /// Rows go straight into the outbox.
    fn observe(&self, assignment: Arc<Assignment>, t0_ns: u64) -> io::Result<Observation> {
        let (run, shared) = (assignment.run, Arc::clone(&self.shared));
        let sequence = shared.sequence();
        let take = move |entry: Entry| {
            let ends = matches!(entry, Entry::Observed(_));
            shared.append(&sequence, entry);
            if ends {
                shared.tell(Message::Observed(run));
            }
        };
        let kernel = self.shared.kernel_boot_id.clone();
        observe::begin(self.shared.clock, kernel, assignment, t0_ns, take)
    }

    async fn prepare(&self, assignment: Arc<Assignment>) -> Result<Box<dyn Running>, String> {
        if self.shared.is_full() {
            return Err(SPOOL_FULL.to_owned());
        }
        let (traffic, shared) = (self.traffic.clone(), self.shared.clone());
        let controller = self.shared.core().accepted.controller_id.clone();
        let sequence = self.shared.sequence();
        self.blocking(move |_| {
            let offered = (Arc::clone(&shared), Arc::clone(&sequence));
            let offer = move |artifact| {
                let (shared, sequence) = &offered;
                shared.append(sequence, Entry::Artifact(Box::new(artifact)));
            };
            let log = RunLog::begin(&shared.artifacts, &controller, &assignment, offer);
            let log = log.unwrap_or_else(|error| {
                tracing::warn!(run = %assignment.run, %error, "no log files: no thread");
                None
            });
            let sink = AgentSink {
                shared,
                sequence,
                log,
            };
            traffic.prepare(assignment, Arc::new(sink))
        })
        .await
    }

    fn with(&self, run: RunId, call: impl FnOnce(&dyn Running)) {
        if let Some(handle) = self.handles.get(&run) {
            call(handle.as_ref());
        }
    }

    /// Sends a report. Standings are read anew, so that one that waited here
    /// never follows a later one.
    fn report(&self, report: Report) {
        let core = self.shared.core();
        let report = match report {
            Report::AssignmentStatus(status) => {
                let now = core.runs.status(RunId(status.run)).unwrap_or(status);
                tracing::info!(run = %RunId(now.run), state = ?now.state(), reason = now.reason, "assignment");
                Report::AssignmentStatus(now)
            }
            other => other,
        };
        core.send(report);
    }

    async fn keep_journal(&self) -> Result<(), StateError> {
        self.blocking(|shared| {
            let journal = shared.core().runs.journal();
            shared.state.keep_journal(&journal)
        })
        .await
    }

    /// Runs something that blocks off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> T {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.expect("blocking work neither panics nor is aborted")
    }

    /// Collects what belongs into the local log.
    fn note(&mut self, run: RunId, event: &Event) {
        let line = match event {
            Event::Closed(closed) => LogLine::FlowClosed(closed),
            Event::PeerClosed { flow, end, totals } => LogLine::PeerClosed {
                run,
                flow: *flow,
                end: *end,
                totals: *totals,
            },
            _ => return,
        };
        serde_json::to_writer(&mut self.lines, &line).expect("a manifest is plain data");
        self.lines.push(b'\n');
    }

    async fn write_log(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        if let Err(error) = self.blocking(move |shared| shared.state.log(&lines)).await {
            tracing::warn!(error = chain(&error), "the local log misses lines");
        }
    }
}

/// Sleeps until an instant; for ever without one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
