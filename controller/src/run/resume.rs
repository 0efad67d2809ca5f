//! Loading an open run from the store after a restart.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use weir_common::assignment::{Assignment, StartAt};
use weir_common::campaign::{self, Campaign};
use weir_common::id::{AgentName, FlowId, RunId, SessionId};
use weir_common::record::End;
use weir_experiment::plan::Plan;
use weir_proto::types::v1 as pb;

use super::error::RunError;
use super::machine::Machine;
use crate::store::{AssignmentRow, SessionState, Store};

/// An open run as it was left.
#[derive(Debug)]
pub(super) struct Loaded {
    run: RunId,
    pub(super) campaign: Campaign,
    pub(super) plan: Plan,
    assignments: BTreeMap<AgentName, Assignment>,
    start: Option<StartAt>,
    stop: Option<String>,
    failed: Vec<(SessionId, End, String, String)>,
    closed: BTreeSet<(FlowId, End)>,
}

/// Reads everything of an open run.
pub(super) fn load(store: &dyn Store, run: RunId) -> Result<Loaded, RunError> {
    let broken = |what: &'static str| {
        move |why: String| RunError::Internal {
            operation: what,
            why,
        }
    };
    let row = store.run(run)?.ok_or(RunError::NoSuchRun { run })?;
    let campaign = campaign::file::parse(&row.new.source.toml, &row.new.source.file)
        .map_err(RunError::campaign)?;
    let text = row
        .plan_json
        .ok_or_else(|| broken("reading the plan")("there is none".into()))?;
    let plan: Plan = serde_json::from_str(&text)
        .map_err(|error| broken("reading the plan")(error.to_string()))?;
    let assignments = store
        .assignments(run)?
        .into_iter()
        .map(
            |AssignmentRow {
                 agent, assignment, ..
             }| {
                let message = pb::Assignment::decode(assignment.as_slice())
                    .map_err(|error| broken("reading an assignment")(error.to_string()))?;
                let assignment = Assignment::try_from(&message)
                    .map_err(|error| broken("reading an assignment")(error.to_string()))?;
                Ok((agent, assignment))
            },
        )
        .collect::<Result<_, RunError>>()?;
    let failed = store
        .sessions(run)?
        .into_iter()
        .filter_map(|row| match row.state {
            SessionState::Failed { code, reason } => Some((row.session, row.end, code, reason)),
            _ => None,
        })
        .collect();
    let closed = store
        .manifests(run)?
        .into_iter()
        .map(|row| (row.closed.flow, row.closed.end))
        .collect();
    Ok(Loaded {
        run,
        campaign,
        plan,
        assignments,
        start: row.start,
        stop: row.stop_reason,
        failed,
        closed,
    })
}

impl Loaded {
    /// The machine as it goes on, and why the run is to be closed at once, if so.
    pub(super) fn machine(self, now_ns: u64) -> (Machine, Option<String>) {
        let machine = Machine::new(self.run, self.plan, self.assignments, now_ns);
        match self.start {
            Some(start) => (
                machine.resume(start, self.stop, self.failed, &self.closed, now_ns),
                None,
            ),
            None => (
                machine,
                Some(
                    self.stop
                        .unwrap_or("the controller was restarted before T0".into()),
                ),
            ),
        }
    }
}
