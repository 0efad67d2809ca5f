//! Where everything is kept: one narrow trait, [`Store`], used by the registry,
//! the run's life, ingest, queries and export.
//!
//! Every method but [`Store::append`] blocks until its work is durable or
//! read; call them from `spawn_blocking`. `append` only queues and answers
//! through a callback after the commit, so that a thousand agents cost no
//! thousand threads.
//!
//! One conformance suite runs against every implementation.

mod agent;
pub mod check;
mod denial;
mod error;
mod flow;
mod records;
mod run;
mod sqlite;
mod token;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod samples;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::mpsc;

use weir_common::assignment::StartAt;
use weir_common::id::{AgentName, BootId, RunId};
use weir_common::observation::KernelRow;
use weir_experiment::analysis::ReportedGap;

pub use agent::{AgentHello, AgentRow};
pub use denial::{Denial, Subject, SubjectError};
pub use error::{Fault, StoreError};
pub use flow::{
    AssignmentRow, AssignmentState, FlowRow, Party, PhaseRow, RunPlan, SessionRow, SessionState,
};
pub use records::{
    AgentLinkRow, AppendDone, Appended, ArtifactRow, Batch, ManifestRow, ObservedRow, RecordQuery,
    RowCount, StoredRecord, Streams,
};
pub use run::{CampaignText, NewRun, RunRef, RunRefError, RunRow, RunState, RunSummary};
pub use sqlite::SqliteStore;
pub use token::{CertificateRow, Enrolment, TokenRefusal, TokenRow};

/// Who this controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 32 hexadecimal digits, drawn once when the store was made.
    pub controller_id: String,
    /// Rises by one each time the store is opened.
    pub controller_epoch: u64,
}

/// The store. No method is a transaction over several calls; what must be
/// atomic is one call.
///
/// # Contracts
/// - *Atomic*: a method that writes leaves all of its effect or none. It
///   returns `Ok` only after the effect is durable.
/// - *Ordered*: writes take effect in the order in which they were called
///   from one thread. A read sees every write that has returned.
/// - *Duplicates*: stated per method. Repeating a write that names its key is
///   harmless, except where a method says that it allocates.
pub trait Store: Send + Sync + fmt::Debug {
    // ---- identity ----

    /// Who this controller is; read when the store was opened.
    fn identity(&self) -> &Identity;

    /// Draws the epoch of a new control session. Allocates: each call gives a
    /// larger number than every call before it, over restarts too.
    fn next_session_epoch(&self) -> Result<u64, StoreError>;

    // ---- agents ----

    /// Registers an agent's start or return, and gives the row as it is now.
    ///
    /// In one transaction: the first key proven owns the name, be it here or to
    /// [`Store::enrol`]; the same boot
    /// may return any number of times; another boot needs a higher generation.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] for another key, [`StoreError::StaleBoot`]
    /// for another boot of lower or equal generation; neither changes anything.
    fn register_agent(&self, hello: &AgentHello) -> Result<AgentRow, StoreError>;

    /// Notes when an agent was last heard, ns since the Unix epoch. Unknown
    /// names are ignored.
    fn touch_agent(&self, name: &AgentName, last_seen_unix_ns: i64) -> Result<(), StoreError>;

    /// One agent.
    fn agent(&self, name: &AgentName) -> Result<Option<AgentRow>, StoreError>;

    /// All agents ever registered, by name.
    fn agents(&self) -> Result<Vec<AgentRow>, StoreError>;

    /// Draws the version of an agent's next snapshot. Allocates: rises with
    /// each call per agent, over restarts too.
    ///
    /// # Errors
    /// [`StoreError::UnknownAgent`].
    fn next_snapshot_version(&self, name: &AgentName) -> Result<u64, StoreError>;

    /// The agent has accepted this version: those drawn from now on are higher. `true` when
    /// they would not have been, which tells that the database was put back to an older
    /// state. Unknown names are ignored.
    fn skip_snapshot_versions(&self, name: &AgentName, accepted: u64) -> Result<bool, StoreError>;

    // ---- tokens and certificates ----

    /// Keeps a new token.
    ///
    /// # Errors
    /// There is one with this id.
    fn create_token(&self, token: &TokenRow) -> Result<(), StoreError>;

    /// All tokens, those that end first before the others.
    fn tokens(&self) -> Result<Vec<TokenRow>, StoreError>;

    /// Takes a token back, at a time in s since the Unix epoch, and gives it as it was;
    /// the first time stays. `None` when there is none with this id.
    fn revoke_token(&self, id: &str, now_unix_s: u64) -> Result<Option<TokenRow>, StoreError>;

    /// Forgets tokens that ended before a time in s since the Unix epoch; how many.
    fn forget_tokens(&self, before_unix_s: u64) -> Result<usize, StoreError>;

    /// Takes one use of a token and records the certificate that is given out
    /// for it, in one transaction. An agent of the same name and key that has used
    /// the token before takes no other use.
    ///
    /// # Errors
    /// [`StoreError::Token`], [`StoreError::NameTaken`] if another key owns the name, or
    /// the serial number was given out before; none changes anything.
    fn enrol(&self, enrolment: &Enrolment) -> Result<(), StoreError>;

    /// Records a certificate that was renewed.
    ///
    /// # Errors
    /// The serial number was given out before.
    fn record_certificate(&self, certificate: &CertificateRow) -> Result<(), StoreError>;

    /// Certificates of agents, in the order in which they were given out.
    fn certificates(&self) -> Result<Vec<CertificateRow>, StoreError>;

    // ---- the deny list ----

    /// Puts somebody on the deny list; replaces an earlier entry of the same subject.
    fn deny(&self, denial: &Denial) -> Result<(), StoreError>;

    /// Takes somebody off the deny list; `false` when nobody was there.
    fn allow(&self, subject: &Subject) -> Result<bool, StoreError>;

    /// The deny list, by subject.
    fn denials(&self) -> Result<Vec<Denial>, StoreError>;

    // ---- runs ----

    /// Makes a run in the state [`RunState::Created`]. Allocates its number;
    /// numbers are never used again, not even those of deleted runs.
    fn create_run(&self, new: &NewRun) -> Result<RunId, StoreError>;

    /// Gives no number up to this one any more: an agent has records of that run. `true`
    /// when some were still to be given, which tells that the database was put back to an
    /// older state. Entries of runs with those numbers are then dropped like those of
    /// deleted runs.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a number more than 10,000 beyond the last.
    fn skip_runs(&self, last: RunId) -> Result<bool, StoreError>;

    /// Gives a run its plan: phases, flows, assignments and the plan document.
    /// Replaces an earlier one.
    ///
    /// # Errors
    /// [`StoreError::Refused`] once the run has a start or is closed.
    fn set_plan(&self, run: RunId, plan: &RunPlan) -> Result<(), StoreError>;

    /// Moves a run to `Queued` or `Preparing`, or back.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for other states, and for a run that has started or is closed.
    fn set_waiting(&self, run: RunId, state: RunState) -> Result<(), StoreError>;

    /// Commits T0: to be called before any agent is told. Once set it never
    /// changes; the same value again is harmless.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for another T0, or when the run is stopping or closed.
    fn set_started(&self, run: RunId, start: &StartAt) -> Result<(), StoreError>;

    /// Notes that a run is to stop, and why; the first reason stays.
    /// `false` when it was stopping or closed already.
    fn set_stopping(&self, run: RunId, reason: &str) -> Result<bool, StoreError>;

    /// Closes a run with its verdict (`pass`, `fail`, `partial`, `invalid`) and
    /// result document, then builds the index of its rows, in slices that let
    /// ingest through. Returns when the index is whole. Closing again replaces
    /// verdict and document (a late record may complete a run).
    fn close_run(
        &self,
        run: RunId,
        verdict: &str,
        result_json: &str,
        closed_unix_ns: i64,
    ) -> Result<(), StoreError>;

    /// One run, whole; `None` when there is none, or it was deleted.
    fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError>;

    /// Which run a person means.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRun`], with what there is.
    fn find_run(&self, reference: &RunRef) -> Result<RunId, StoreError>;

    /// Runs, the newest first, at most `limit`.
    fn runs(&self, limit: usize) -> Result<Vec<RunSummary>, StoreError>;

    /// Runs that are not closed, the oldest first: what a controller takes up
    /// again after its restart.
    fn open_runs(&self) -> Result<Vec<RunId>, StoreError>;

    /// Deletes a closed run with everything that belongs to it, in slices with
    /// other writes between them; the file shrinks as it goes. Tells how many
    /// rows it deleted. If interrupted, the run is listed as `deleting`, and a
    /// second call goes on.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the run is not closed.
    fn delete_run(&self, run: RunId) -> Result<u64, StoreError>;

    // ---- the parts of a run ----

    /// Phases of a run, in order.
    fn phases(&self, run: RunId) -> Result<Vec<PhaseRow>, StoreError>;

    /// Flows of a run, by number.
    fn flows(&self, run: RunId) -> Result<Vec<FlowRow>, StoreError>;

    /// Assignments of a run, by agent.
    fn assignments(&self, run: RunId) -> Result<Vec<AssignmentRow>, StoreError>;

    /// How an assignment stands at its agent. A state earlier in the list of
    /// [`AssignmentState`] than the stored one is ignored.
    fn set_assignment_state(
        &self,
        run: RunId,
        agent: &AgentName,
        state: AssignmentState,
        reason: &str,
        late_by_ns: u64,
    ) -> Result<(), StoreError>;

    /// How one end of a session stands; replaces what was known of it.
    fn set_session(&self, run: RunId, session: &SessionRow) -> Result<(), StoreError>;

    /// All that is known of a run's sessions, by session, tx first.
    fn sessions(&self, run: RunId) -> Result<Vec<SessionRow>, StoreError>;

    // ---- records ----

    /// Queues a batch; `done` is called once, from the store's own thread,
    /// after its commit or its failure. It must not block.
    ///
    /// Rows, manifests and the watermark of (agent, boot) change in one
    /// transaction. Entries up to the watermark are skipped, so a batch may be
    /// repeated or overlap. Batches of one caller are taken in order.
    ///
    /// Entries of a run that was deleted are dropped and counted, so that an
    /// agent with old records is not stuck.
    ///
    /// # Errors
    /// [`StoreError::Expected`] when `first_seq` leaves a hole,
    /// [`StoreError::Entry`] for an entry that names no run or flow, speaks for
    /// an end that is not the agent's (nor a foreign peer's of its own) or of a
    /// run in which the agent has no part, or holds a figure above 2^63 - 1; nothing of the batch is stored then.
    /// [`StoreError::Storage`]: nothing of the batch is stored; it may be sent again.
    fn append(&self, batch: Batch, done: AppendDone);

    /// [`Store::append`], waiting for the answer.
    fn append_wait(&self, batch: Batch) -> Result<Appended, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.append(
            batch,
            Box::new(move |result| {
                // The receiver below waits for exactly this message.
                sender.send(result).ok();
            }),
        );
        receiver.recv().unwrap_or(Err(StoreError::Stopped))
    }

    /// Notes in the ledger of a run that these sequences came again with other content.
    /// Nothing, when the agent has no part in such a run or it is noted already.
    fn note_conflict(
        &self,
        run: RunId,
        whose: (&AgentName, BootId),
        seq: (u64, u64),
    ) -> Result<(), StoreError>;

    /// Sequence up to which the records of a boot are stored; 0 for an unknown boot.
    fn watermark(&self, agent: &AgentName, boot: BootId) -> Result<u64, StoreError>;

    /// Rows of a run ordered by flow, end (tx first), stream (the sum first)
    /// and k, given to `each` in chunks of at most 1,000. The order is taken
    /// once at the beginning: rows stored later are not included. No lock is
    /// held while `each` runs; it may be slow, and may end the scan.
    fn records(
        &self,
        run: RunId,
        query: &RecordQuery,
        each: &mut dyn FnMut(Vec<StoredRecord>) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Manifests of a run in the order in which they were stored.
    fn manifests(&self, run: RunId) -> Result<Vec<ManifestRow>, StoreError>;

    /// Rows really stored for each (flow, end) that has any, by flow, tx
    /// first: counted, not remembered.
    fn row_counts(&self, run: RunId) -> Result<Vec<RowCount>, StoreError>;

    // ---- what was seen beside the flows ----

    /// Rows of interfaces by agent, interface and k, given to `each` in chunks
    /// of at most 1,000; it may end the scan.
    fn links(
        &self,
        run: RunId,
        each: &mut dyn FnMut(Vec<AgentLinkRow>) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Rows of kernels by boot id and k, given to `each` in chunks of at most
    /// 1,000; it may end the scan.
    fn kernels(
        &self,
        run: RunId,
        each: &mut dyn FnMut(Vec<KernelRow>) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// How observations of a run ended, by agent.
    fn observations(&self, run: RunId) -> Result<Vec<ObservedRow>, StoreError>;

    /// Files of a run that agents offer, by flow, tx first.
    fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactRow>, StoreError>;

    /// Records of a run that agents could not deliver, in the order in which they said so.
    fn gaps(&self, run: RunId) -> Result<Vec<ReportedGap>, StoreError>;
}
