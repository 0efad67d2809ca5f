//! What the runs of an agent tell of themselves.

use weir_common::id::RunId;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Report;
use weir_proto::agent::v1::session_status::State as SessionState;

use super::Runs;
use super::run::{Run, session_report};
use crate::state::JournalEntry;

impl Runs {
    /// The journal as it has to be kept now: everything that is not over or
    /// still wanted, and the newest of the rest.
    pub(crate) fn journal(&self) -> Vec<JournalEntry> {
        let entry = |(run, state): (&RunId, &Run)| JournalEntry {
            run: *run,
            nonce: state.nonce,
            standing: state.standing,
            reason: state.reason.clone(),
            wanted: state.wanted,
        };
        self.runs.iter().map(entry).collect()
    }

    /// Whether traffic runs or is about to.
    pub(crate) fn is_busy(&self) -> bool {
        self.runs.values().any(|run| !run.standing.is_final())
    }

    /// How each assignment stands that the accepted snapshot holds, or that runs.
    pub(crate) fn statuses(&self) -> Vec<pb::AssignmentStatus> {
        let told = self
            .runs
            .iter()
            .filter(|(_, run)| run.wanted || !run.standing.is_final())
            .filter(|(_, run)| !run.untold);
        told.map(|(id, run)| run.status(*id)).collect()
    }

    /// How one assignment stands.
    pub(crate) fn status(&self, id: RunId) -> Option<pb::AssignmentStatus> {
        self.runs.get(&id).map(|run| run.status(id))
    }

    /// Everything a controller has to know that may have missed it.
    pub(crate) fn replay(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for (id, run) in &self.runs {
            if run.untold || (run.standing.is_final() && !run.wanted) {
                continue;
            }
            for ((session, end), state) in &run.ends {
                let port = state
                    .port
                    .map(|port| SessionState::ListeningPort(port.into()));
                let states = port.into_iter().chain(state.outcome.clone());
                reports.extend(states.map(|state| session_report(*id, *session, *end, state)));
            }
            reports.push(Report::AssignmentStatus(run.status(*id)));
        }
        reports
    }
}
