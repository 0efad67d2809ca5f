//! What makes a snapshot unacceptable. One fault refuses all of it: the agent
//! follows whole snapshots or the last good one.

use std::collections::BTreeSet;

use weir_common::assignment::Desired;
use weir_common::id::RunId;
use weir_proto::agent::v1 as pb;
use weir_proto::types::v1::Snapshot;

use super::Runs;
use crate::policy::LocalPolicy;
use crate::state::Accepted;

/// Why a snapshot is refused.
pub(super) type Refusal = Vec<pb::NackReason>;

fn reason(run: u32, field: impl Into<String>, problem: impl Into<String>) -> pb::NackReason {
    pb::NackReason {
        run,
        field: field.into(),
        problem: problem.into(),
        sessions: Vec::new(),
    }
}

impl Runs {
    /// The items of a snapshot, or why it cannot be followed. In this order:
    ///
    /// 1. it belongs to this control session;
    /// 2. it is not older than what was accepted from the same controller;
    /// 3. every item is well formed and within its bounds, each run once;
    /// 4. no item is larger than this host can hold;
    /// 5. an assignment never changes, and a run that is active is not replaced.
    ///
    /// # Errors
    /// One reason per item.
    pub(crate) fn checked(
        &self,
        snapshot: &Snapshot,
        epoch: u64,
        controller_id: &str,
        accepted: &Accepted,
        policy: &LocalPolicy,
    ) -> Result<Vec<Desired>, Refusal> {
        if snapshot.epoch != epoch {
            let problem = format!("{} is not this session's {epoch}", snapshot.epoch);
            return Err(vec![reason(0, "epoch", problem)]);
        }
        if controller_id == accepted.controller_id && snapshot.version < accepted.version {
            let problem = format!(
                "{} is older than {}, which was accepted",
                snapshot.version, accepted.version
            );
            return Err(vec![reason(0, "version", problem)]);
        }
        let most = weir_proto::convert::limits::ITEMS;
        if snapshot.items.len() > most {
            let problem = format!("{} are more than {most}", snapshot.items.len());
            return Err(vec![reason(0, "items", problem)]);
        }
        let mut items = Vec::with_capacity(snapshot.items.len());
        let mut refusal = Refusal::new();
        let mut seen = BTreeSet::new();
        for (i, item) in snapshot.items.iter().enumerate() {
            let run = item
                .assignment
                .as_ref()
                .map_or(0, |assignment| assignment.run);
            match Desired::try_from(item) {
                Err(error) => {
                    refusal.push(reason(
                        run,
                        format!("items[{i}].{}", error.field),
                        error.problem,
                    ));
                }
                Ok(_) if !seen.insert(run) => {
                    refusal.push(reason(
                        run,
                        format!("items[{i}].assignment.run"),
                        "appears twice",
                    ));
                }
                Ok(item) => match self.fault(&item, policy) {
                    Some((field, problem)) => {
                        let field = format!("items[{i}].assignment.{field}");
                        refusal.push(reason(run, field, problem));
                    }
                    None => items.push(item),
                },
            }
        }
        if refusal.is_empty() {
            Ok(items)
        } else {
            Err(refusal)
        }
    }

    fn fault(&self, item: &Desired, policy: &LocalPolicy) -> Option<(&'static str, String)> {
        let sessions = item.assignment.sessions.len();
        if sessions > policy.max_sessions {
            let problem = format!(
                "{sessions} are more than the {} that this agent's limit of open files allows; raise it (ulimit -n) and start the agent again",
                policy.max_sessions
            );
            return Some(("sessions", problem));
        }
        let run: RunId = item.assignment.run;
        let known = self.runs.get(&run)?;
        if known.nonce != item.assignment.nonce {
            let active = !known.standing.is_final();
            return active.then(|| ("nonce", format!("{run} is active with another nonce")));
        }
        let changed = known
            .assignment
            .as_ref()
            .is_some_and(|known| **known != item.assignment);
        changed.then(|| {
            (
                "run",
                format!("{run} was accepted with other contents, which never change"),
            )
        })
    }
}
