//! The one thread that writes: takes what waits, makes one transaction of it,
//! answers after its commit.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::append::{self, RunCache};
use super::column::storage;
use super::open;
use crate::store::{AppendDone, Appended, Batch, StoreError};

/// A transaction takes no more work after this many entries ...
const GROUP_ENTRIES: usize = 2_000;
/// ... or after this time. What waits is taken at once: while one commit
/// syncs, the next group gathers by itself, so nobody waits to be joined.
const GROUP_TIME: Duration = Duration::from_millis(50);

/// What the writer is asked to do.
pub(super) enum Job {
    /// A batch of records.
    Append(Batch, AppendDone),
    /// Anything else that writes.
    Work(Box<dyn Work>),
    /// Bring everything into the database file, and cut the WAL.
    Checkpoint(SyncSender<()>),
    /// End after what came before.
    Stop,
}

/// One write with a value for its caller.
pub(super) trait Work: Send {
    /// Does it. An error undoes it.
    fn run(&mut self, db: &mut Db) -> Result<(), StoreError>;
    /// Tells the caller, with the value that `run` left or with the error.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A closure, its value and its caller.
pub(super) struct Task<F, T> {
    work: Option<F>,
    value: Option<T>,
    caller: SyncSender<Result<T, StoreError>>,
}

impl<F, T> Task<F, T> {
    pub(super) fn new(work: F, caller: SyncSender<Result<T, StoreError>>) -> Self {
        Self {
            work: Some(work),
            value: None,
            caller,
        }
    }
}

impl<F, T> Work for Task<F, T>
where
    F: FnOnce(&mut Db) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, db: &mut Db) -> Result<(), StoreError> {
        let work = self.work.take().expect("a task is run once");
        self.value = Some(work(db)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(StoreError::Stopped),
        };
        // A caller that went away needs no answer.
        self.caller.send(answer).ok();
    }
}

/// The open database as the writer sees it.
pub(super) struct Db {
    /// The connection.
    pub(super) conn: Connection,
    /// What appending knows of runs.
    pub(super) runs: RunCache,
    /// Number of the next row. Numbers are given here and never fall, so that
    /// a run's rows never lie below its `first_record`.
    pub(super) next_record: i64,
}

impl Db {
    fn open(path: &std::path::Path) -> rusqlite::Result<Self> {
        let conn = open::writing(path)?;
        let next_record = conn.query_row(
            "SELECT max(ifnull((SELECT max(record) FROM records), 0) + 1,
                        ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'record_floor'), 1))",
            [],
            |row| row.get(0),
        )?;
        Ok(Self {
            conn,
            runs: RunCache::default(),
            next_record,
        })
    }
}

/// Someone who gets an answer after the commit.
enum Pending {
    Append(Result<Appended, StoreError>, AppendDone),
    Work(Result<(), StoreError>, Box<dyn Work>),
}

impl Pending {
    fn answer(self, committed: &Result<(), StoreError>) {
        match (self, committed) {
            (Self::Append(result, done), Ok(())) => done(result),
            (Self::Work(result, work), Ok(())) => work.answer(result),
            (Self::Append(_, done), Err(error)) => done(Err(error.clone())),
            (Self::Work(_, work), Err(error)) => work.answer(Err(error.clone())),
        }
    }
}

/// The thread's state.
pub(super) struct Writer {
    path: PathBuf,
    jobs: Receiver<Job>,
    /// `None` after a failure, until it can be opened again.
    db: Option<Db>,
    /// The file may grow to so many pages (tests of a full disk).
    #[cfg(test)]
    pub(super) page_limit: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

/// What is to be done after a group.
#[derive(PartialEq)]
enum After {
    Next,
    Checkpoint,
    Stop,
}

impl Writer {
    pub(super) fn new(path: PathBuf, jobs: Receiver<Job>) -> rusqlite::Result<Self> {
        let db = Some(Db::open(&path)?);
        Ok(Self {
            path,
            jobs,
            db,
            #[cfg(test)]
            page_limit: std::sync::Arc::default(),
        })
    }

    /// Works until it is told to stop, or nobody can ask any more.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut waiting = Vec::new();
            let mut asked = Vec::new();
            let (after, committed) = match self.group(first, &mut waiting, &mut asked) {
                Ok(after) => (after, Ok(())),
                Err((after, error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        answers = waiting.len(),
                        "nothing of this transaction is stored"
                    );
                    // SQLite's state after a failed commit is not to be trusted
                    // (pages may be marked clean): start from the file.
                    self.db = None;
                    (after, Err(error))
                }
            };
            for pending in waiting {
                pending.answer(&committed);
            }
            if !asked.is_empty() {
                self.checkpoint();
            }
            for asker in asked {
                asker.send(()).ok();
            }
            if after == After::Stop {
                self.checkpoint();
                break;
            }
        }
    }

    /// One transaction: `first` and what waits behind it.
    fn group(
        &mut self,
        first: Job,
        waiting: &mut Vec<Pending>,
        asked: &mut Vec<SyncSender<()>>,
    ) -> Result<After, (After, StoreError)> {
        let began = Instant::now();
        let mut entries = 0;
        let mut next = Some(first);
        let mut failure = self.begin().err();
        let mut after = After::Next;
        while let Some(job) = next.take() {
            match job {
                Job::Append(batch, done) => {
                    entries += batch.entries.len();
                    let result = self.attempt(&mut failure, |db| append::append(db, batch));
                    if let Err(error) = &result
                        && error.is_storage()
                    {
                        failure.get_or_insert_with(|| error.clone());
                    }
                    waiting.push(Pending::Append(result, done));
                }
                Job::Work(mut work) => {
                    let result = self.isolated(&mut failure, work.as_mut());
                    waiting.push(Pending::Work(result, work));
                }
                Job::Checkpoint(asker) => {
                    asked.push(asker);
                    after = After::Checkpoint;
                }
                Job::Stop => after = After::Stop,
            }
            let more = failure.is_none()
                && after == After::Next
                && entries < GROUP_ENTRIES
                && began.elapsed() < GROUP_TIME;
            if more {
                next = self.jobs.try_recv().ok();
            }
        }
        match failure {
            Some(error) => Err((after, error)),
            None => match self.commit() {
                Ok(()) => Ok(after),
                Err(error) => Err((after, error)),
            },
        }
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.db.is_none() {
            let db = Db::open(&self.path).map_err(storage("opening the database again"))?;
            self.db = Some(db);
        }
        let db = self.db.as_mut().expect("just opened");
        #[cfg(test)]
        {
            let pages = self.page_limit.load(std::sync::atomic::Ordering::SeqCst);
            let pages = if pages == 0 { u32::MAX - 1 } else { pages };
            db.conn
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(storage("limiting the database"))?;
        }
        db.conn
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(storage("starting a transaction"))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let db = self.db.as_mut().expect("a transaction is open");
        db.conn.execute_batch("COMMIT").map_err(storage("storing"))
    }

    fn attempt<T>(
        &mut self,
        failure: &mut Option<StoreError>,
        work: impl FnOnce(&mut Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match (failure, self.db.as_mut()) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(db)) => work(db),
            (None, None) => Err(StoreError::Stopped),
        }
    }

    /// Runs one write so that its failure undoes it alone. Where even that
    /// cannot be done, the whole group has failed.
    fn isolated(
        &mut self,
        failure: &mut Option<StoreError>,
        work: &mut dyn Work,
    ) -> Result<(), StoreError> {
        let mut broken = None;
        let result = self.attempt(failure, |db| {
            let step = |db: &Db, sql| db.conn.execute_batch(sql).map_err(storage("storing"));
            let outcome = step(db, "SAVEPOINT work").and_then(|()| work.run(db));
            let closed = match &outcome {
                Ok(()) => step(db, "RELEASE work"),
                Err(_) => step(db, "ROLLBACK TO work; RELEASE work"),
            };
            if let Err(error) = closed {
                broken = Some(outcome.as_ref().err().cloned().unwrap_or(error));
            }
            outcome
        });
        if let Some(error) = broken {
            failure.get_or_insert(error);
        }
        result
    }

    /// Brings the WAL into the file and cuts it, as far as readers let it.
    fn checkpoint(&mut self) {
        let Some(db) = self.db.as_mut() else { return };
        let done = db
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = done {
            // Nothing is lost by it: the WAL is read as well.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the WAL was not cut"
            );
        }
    }
}
