//! The store in one SQLite file, in WAL mode: one thread writes, any number
//! of connections read.
//!
//! Rows and watermark are committed together with `synchronous = FULL`; the
//! answer leaves after the commit. What waits while a commit syncs goes into
//! the next one.

mod agents;
mod append;
mod artifact;
mod column;
mod denials;
mod gap;
mod observation;
mod open;
mod parts;
mod runs;
mod scan;
mod side;
mod sweep;
mod tokens;
mod writer;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use weir_common::assignment::StartAt;
use weir_common::id::{AgentName, BootId, RunId};
use weir_common::observation::KernelRow;
use weir_experiment::analysis::ReportedGap;

use self::column::storage;
use self::sweep::Sweep;
use self::writer::{Db, Job, Task, Writer};
use super::{
    AgentHello, AgentLinkRow, AgentRow, AppendDone, ArtifactRow, AssignmentRow, AssignmentState,
    Batch, CertificateRow, Denial, Enrolment, FlowRow, Identity, ManifestRow, NewRun, ObservedRow,
    PhaseRow, RecordQuery, RowCount, RunPlan, RunRef, RunRow, RunState, RunSummary, SessionRow,
    Store, StoreError, StoredRecord, Subject, TokenRow,
};

/// Idle read connections kept.
const READERS: usize = 8;

/// The store in one SQLite file. Dropping it ends the writing thread after
/// everything that was queued.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    identity: Identity,
    jobs: Sender<Job>,
    writer: Option<JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
    /// Last, so that the file is free only when nothing uses it any more.
    _lock: open::Lock,
    #[cfg(test)]
    page_limit: Arc<std::sync::atomic::AtomicU32>,
}

impl SqliteStore {
    /// Opens the file, or makes it; its directory must exist. Beside it stands
    /// `FILE.lock`, which keeps a second controller out.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Newer`], [`StoreError::Foreign`],
    /// [`StoreError::UnsafeSqlite`], [`StoreError::Open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        open::check_library(rusqlite::version_number())?;
        let lock = open::Lock::take(path)?;
        let identity = open::prepare(path)?;
        let (jobs, queue) = mpsc::channel();
        let open_error = |source: Arc<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: path.to_owned(),
            fix: "see the cause",
            source,
        };
        let writer = Writer::new(path.to_owned(), queue).map_err(|e| open_error(Arc::new(e)))?;
        #[cfg(test)]
        let page_limit = Arc::clone(&writer.page_limit);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|e| open_error(Arc::new(e)))?;
        let store = Self {
            path: path.to_owned(),
            identity,
            jobs,
            writer: Some(thread),
            readers: Mutex::default(),
            _lock: lock,
            #[cfg(test)]
            page_limit,
        };
        // Indexes that a controller did not live to finish.
        for run in store.query("looking for unfinished indexes", sweep::unindexed)? {
            store.index(store.write(move |db| sweep::resume(db, run))?)?;
        }
        Ok(store)
    }

    /// Builds a run's index, slice by slice.
    fn index(&self, mut sweep: Option<Sweep>) -> Result<(), StoreError> {
        while let Some(step) = sweep {
            sweep =
                self.write(move |db| step.index(db).map_err(storage("building a run's index")))?;
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does one write on the writer's thread and waits for its commit.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Db) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (caller, answer) = mpsc::sync_channel(1);
        let task = Box::new(Task::new(work, caller));
        self.jobs
            .send(Job::Work(task))
            .map_err(|_| StoreError::Stopped)?;
        answer.recv().unwrap_or(Err(StoreError::Stopped))
    }

    /// Lends a read connection.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open::reading(&self.path).map_err(storage("opening the database to read"))?,
        };
        let result = work(&connection)?;
        // A connection that failed is not kept.
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(connection);
        }
        Ok(result)
    }

    fn query<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.read(|db| work(db).map_err(storage(operation)))
    }

    /// Brings everything into the database file and cuts the WAL.
    fn checkpoint(&self) {
        let (asker, answer) = mpsc::sync_channel(1);
        if self.jobs.send(Job::Checkpoint(asker)).is_ok() {
            // Without an answer the thread has ended, which checkpoints too.
            answer.recv().ok();
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs.send(Job::Stop).ok();
        if let Some(writer) = self.writer.take() {
            writer.join().ok();
        }
    }
}

impl Store for SqliteStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn next_session_epoch(&self) -> Result<u64, StoreError> {
        self.write(|db| {
            open::draw(&db.conn, "session_epoch").map_err(storage("drawing a session's epoch"))
        })
    }

    fn register_agent(&self, hello: &AgentHello) -> Result<AgentRow, StoreError> {
        let hello = hello.clone();
        self.write(move |db| agents::register(&db.conn, &hello))
    }

    fn touch_agent(&self, name: &AgentName, last_seen_unix_ns: i64) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |db| {
            agents::touch(&db.conn, &name, last_seen_unix_ns).map_err(storage("noting an agent"))
        })
    }

    fn agent(&self, name: &AgentName) -> Result<Option<AgentRow>, StoreError> {
        self.query("reading an agent", |db| agents::one(db, name))
    }

    fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.query("reading the agents", agents::all)
    }

    fn next_snapshot_version(&self, name: &AgentName) -> Result<u64, StoreError> {
        let name = name.clone();
        self.write(move |db| agents::next_snapshot_version(&db.conn, &name))
    }

    fn skip_snapshot_versions(&self, name: &AgentName, accepted: u64) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write(move |db| {
            agents::skip_snapshot_versions(&db.conn, &name, accepted)
                .map_err(storage("skipping versions of snapshots"))
        })
    }

    fn create_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |db| tokens::create(&db.conn, &token).map_err(storage("keeping a token")))
    }

    fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.query("reading the tokens", tokens::all)
    }

    fn revoke_token(&self, id: &str, now_unix_s: u64) -> Result<Option<TokenRow>, StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            tokens::revoke(&db.conn, &id, now_unix_s).map_err(storage("taking a token back"))
        })
    }

    fn forget_tokens(&self, before_unix_s: u64) -> Result<usize, StoreError> {
        self.write(move |db| {
            tokens::forget(&db.conn, before_unix_s).map_err(storage("forgetting tokens"))
        })
    }

    fn enrol(&self, enrolment: &Enrolment) -> Result<(), StoreError> {
        let enrolment = enrolment.clone();
        self.write(move |db| tokens::enrol(&db.conn, &enrolment))
    }

    fn record_certificate(&self, certificate: &CertificateRow) -> Result<(), StoreError> {
        let certificate = certificate.clone();
        self.write(move |db| {
            tokens::record(&db.conn, &certificate).map_err(storage("recording a certificate"))
        })
    }

    fn certificates(&self) -> Result<Vec<CertificateRow>, StoreError> {
        self.query("reading the certificates", tokens::certificates)
    }

    fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        let denial = denial.clone();
        self.write(move |db| {
            denials::put(&db.conn, &denial).map_err(storage("keeping the deny list"))
        })
    }

    fn allow(&self, subject: &Subject) -> Result<bool, StoreError> {
        let subject = subject.clone();
        self.write(move |db| {
            denials::remove(&db.conn, &subject).map_err(storage("keeping the deny list"))
        })
    }

    fn denials(&self) -> Result<Vec<Denial>, StoreError> {
        self.query("reading the deny list", denials::all)
    }

    fn create_run(&self, new: &NewRun) -> Result<RunId, StoreError> {
        let new = new.clone();
        self.write(move |db| runs::create(db, &new))
    }

    fn skip_runs(&self, last: RunId) -> Result<bool, StoreError> {
        let given = self.query("reading the last run", runs::last_given)?;
        if last.0 <= given {
            return Ok(false);
        }
        self.write(move |db| runs::skip(&db.conn, last))
    }

    fn set_plan(&self, run: RunId, plan: &RunPlan) -> Result<(), StoreError> {
        let plan = plan.clone();
        self.write(move |db| parts::set_plan(db, run, &plan))
    }

    fn set_waiting(&self, run: RunId, state: RunState) -> Result<(), StoreError> {
        self.write(move |db| runs::set_waiting(&db.conn, run, state))
    }

    fn set_started(&self, run: RunId, start: &StartAt) -> Result<(), StoreError> {
        let start = start.clone();
        self.write(move |db| runs::set_started(&db.conn, run, &start))
    }

    fn set_stopping(&self, run: RunId, reason: &str) -> Result<bool, StoreError> {
        let reason = reason.to_owned();
        self.write(move |db| runs::set_stopping(&db.conn, run, &reason))
    }

    fn close_run(
        &self,
        run: RunId,
        verdict: &str,
        result_json: &str,
        closed_unix_ns: i64,
    ) -> Result<(), StoreError> {
        let (verdict, result_json) = (verdict.to_owned(), result_json.to_owned());
        let sweep =
            self.write(move |db| sweep::close(db, run, &verdict, &result_json, closed_unix_ns))?;
        self.index(sweep)
    }

    fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.query("reading a run", |db| runs::one(db, run))
    }

    fn find_run(&self, reference: &RunRef) -> Result<RunId, StoreError> {
        self.read(|db| runs::find(db, reference))
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunSummary>, StoreError> {
        self.query("reading the runs", |db| runs::list(db, limit))
    }

    fn open_runs(&self) -> Result<Vec<RunId>, StoreError> {
        self.query("reading the open runs", runs::open)
    }

    fn delete_run(&self, run: RunId) -> Result<u64, StoreError> {
        let failed = || storage("deleting a run");
        let sweep = self.write(move |db| sweep::begin_delete(db, run))?;
        // The index lies behind the rows in the file, so it goes first.
        while self.write(move |db| sweep.delete_index(db).map_err(failed()))? {}
        let (mut step, mut rows) = (sweep, 0);
        while let Some((next, deleted)) = self.write(move |db| step.delete(db).map_err(failed()))? {
            step = next;
            rows += deleted;
        }
        self.write(move |db| sweep.delete_run(db).map_err(failed()))?;
        while self.write(move |db| sweep::vacuum(db).map_err(failed()))? {}
        self.checkpoint();
        Ok(rows)
    }

    fn phases(&self, run: RunId) -> Result<Vec<PhaseRow>, StoreError> {
        self.query("reading a run's phases", |db| parts::phases(db, run))
    }

    fn flows(&self, run: RunId) -> Result<Vec<FlowRow>, StoreError> {
        self.query("reading a run's flows", |db| parts::flows(db, run))
    }

    fn assignments(&self, run: RunId) -> Result<Vec<AssignmentRow>, StoreError> {
        self.query("reading a run's assignments", |db| {
            parts::assignments(db, run)
        })
    }

    fn set_assignment_state(
        &self,
        run: RunId,
        agent: &AgentName,
        state: AssignmentState,
        reason: &str,
        late_by_ns: u64,
    ) -> Result<(), StoreError> {
        let (agent, reason) = (agent.clone(), reason.to_owned());
        self.write(move |db| {
            parts::set_assignment_state(&db.conn, run, &agent, state, &reason, late_by_ns)
                .map_err(storage("noting an assignment's state"))
        })
    }

    fn set_session(&self, run: RunId, session: &SessionRow) -> Result<(), StoreError> {
        let session = session.clone();
        self.write(move |db| {
            parts::set_session(&db.conn, run, &session).map_err(storage("noting a session"))
        })
    }

    fn sessions(&self, run: RunId) -> Result<Vec<SessionRow>, StoreError> {
        self.query("reading a run's sessions", |db| parts::sessions(db, run))
    }

    fn append(&self, batch: Batch, done: AppendDone) {
        if let Err(unsent) = self.jobs.send(Job::Append(batch, done))
            && let Job::Append(_, done) = unsent.0
        {
            done(Err(StoreError::Stopped));
        }
    }

    fn note_conflict(
        &self,
        run: RunId,
        (agent, boot): (&AgentName, BootId),
        seq: (u64, u64),
    ) -> Result<(), StoreError> {
        let agent = agent.clone();
        self.write(move |db| {
            gap::put_conflict(&db.conn, run, (&agent, boot), seq)
                .map_err(storage("noting a conflict"))
        })
    }

    fn watermark(&self, agent: &AgentName, boot: BootId) -> Result<u64, StoreError> {
        self.query("reading a watermark", |db| {
            append::watermark(db, agent, boot)
        })
    }

    fn records(
        &self,
        run: RunId,
        query: &RecordQuery,
        each: &mut dyn FnMut(Vec<StoredRecord>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.query("reading records", |db| scan::records(db, run, query, each))
    }

    fn manifests(&self, run: RunId) -> Result<Vec<ManifestRow>, StoreError> {
        self.query("reading a run's manifests", |db| scan::manifests(db, run))
    }

    fn row_counts(&self, run: RunId) -> Result<Vec<RowCount>, StoreError> {
        self.query("counting a run's rows", |db| scan::row_counts(db, run))
    }

    fn links(
        &self,
        run: RunId,
        each: &mut dyn FnMut(Vec<AgentLinkRow>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.query("reading rows of interfaces", |db| {
            observation::links(db, run, each)
        })
    }

    fn kernels(
        &self,
        run: RunId,
        each: &mut dyn FnMut(Vec<KernelRow>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.query("reading rows of kernels", |db| {
            observation::kernels(db, run, each)
        })
    }

    fn observations(&self, run: RunId) -> Result<Vec<ObservedRow>, StoreError> {
        self.query("reading a run's observations", |db| {
            observation::observations(db, run)
        })
    }

    fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactRow>, StoreError> {
        self.query("reading a run's artifacts", |db| {
            artifact::artifacts(db, run)
        })
    }

    fn gaps(&self, run: RunId) -> Result<Vec<ReportedGap>, StoreError> {
        self.query("reading a run's gaps", |db| gap::gaps(db, run))
    }
}
