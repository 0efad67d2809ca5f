//! What the controller wants: checked, kept on disk, answered, carried out.

use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Report;
use weir_proto::types::v1::Snapshot;

use super::{Supervisor, chain};
use crate::runs::{Action, World};
use crate::state::{Accepted, StateError};

impl Supervisor {
    /// Checks, keeps, acknowledges, follows.
    pub(super) async fn take_snapshot(
        &mut self,
        snapshot: Snapshot,
        epoch: u64,
        controller_id: String,
    ) {
        let version = snapshot.version;
        let policy = self.shared.policy.now();
        let checked = {
            let core = self.shared.core();
            core.runs
                .checked(&snapshot, epoch, &controller_id, &core.accepted, &policy)
        };
        let items = match checked {
            Ok(items) => items,
            Err(reasons) => return self.refuse(version, reasons),
        };
        let accepted = Accepted {
            controller_id: controller_id.clone(),
            version,
        };
        let kept =
            self.blocking(move |shared| shared.state.keep_accepted(&controller_id, &snapshot));
        if let Err(error) = kept.await {
            return self.refuse_unkept(version, &error);
        }
        let mut actions = {
            let mut core = self.shared.core();
            core.accepted = accepted;
            let world = World {
                now_ns: self.shared.clock.now_ns(),
                unix_ns: self.shared.clock.unix_ns(),
                clock_domain: &self.shared.clock_domain,
                policy: &policy,
            };
            core.runs.apply(items, &world)
        };
        actions.retain(|action| *action != Action::Persist);
        if let Err(error) = self.keep_journal().await {
            self.refuse_unkept(version, &error);
            self.abandon(&mut actions);
        } else {
            tracing::debug!(version, "snapshot accepted");
            self.shared
                .core()
                .send(Report::SnapshotAck(pb::SnapshotAck { version }));
        }
        self.perform(actions).await;
    }

    fn refuse(&self, version: u64, reasons: Vec<pb::NackReason>) {
        for reason in &reasons {
            tracing::warn!(
                version,
                run = reason.run,
                field = reason.field,
                problem = reason.problem,
                "snapshot refused"
            );
        }
        let core = self.shared.core();
        let last_good_version = core.accepted.version;
        core.send(Report::SnapshotNack(pb::SnapshotNack {
            version,
            last_good_version,
            reasons,
        }));
    }

    fn refuse_unkept(&self, version: u64, error: &StateError) {
        let problem = format!(
            "cannot be kept in the agent's data directory: {}",
            chain(error)
        );
        let field = "items".to_owned();
        self.refuse(
            version,
            vec![pb::NackReason {
                field,
                problem,
                ..pb::NackReason::default()
            }],
        );
    }

    /// Without a journal a run might be run twice: what is new does not begin.
    fn abandon(&self, actions: &mut Vec<Action>) {
        let mut ended = Vec::new();
        for action in actions.iter() {
            if let Action::Prepare(assignment) = action {
                let reason = "the agent's journal cannot be written";
                ended.extend(
                    self.shared
                        .core()
                        .runs
                        .prepare_failed(assignment.run, reason),
                );
            }
        }
        actions.retain(|action| {
            !matches!(
                action,
                Action::Prepare(_) | Action::Start(..) | Action::Observe(..)
            )
        });
        actions.extend(ended);
    }
}
