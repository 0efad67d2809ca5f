//! The audit log: who did, or was refused, what. JSON lines in the data
//! directory, appended and synced, each sealed with a hash over itself and the
//! one before ([`chain`]), so that a line that was changed, taken out or put in
//! is found.
//!
//! Telling never waits for the disk. Equal refusals become one line with a
//! count, and each peer has a purse for different ones ([`limit`]): a flood of
//! refusals fills neither the disk nor the memory.

pub mod chain;
mod entry;
mod limit;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use weir_runtime::HostClock;

pub use self::entry::{Entry, Event, Who};

use self::chain::{Break, Head};
use self::limit::Limiter;
use self::writer::{Job, Told, Writer};

/// The file's name in the data directory.
pub const FILE: &str = "audit.jsonl";
/// Lines that wait for the disk; beyond it they are counted, and the count is written.
const WAITING: usize = 1_024;

/// Why the audit log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{operation} the audit log {path}: check the disk and the permissions of the data directory", path = path.display())]
pub struct AuditError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl AuditError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            operation,
            path,
            source,
        }
    }
}

/// Handle of the audit log. Cheap to clone; the last one that is dropped ends its thread.
#[derive(Debug, Clone)]
pub struct Audit {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    clock: HostClock,
}

/// What those who tell share with the thread that writes.
#[derive(Debug, Default)]
struct Shared {
    limiter: Mutex<Limiter>,
    /// Entries that found no room in the queue, or no place on the disk.
    lost: AtomicU64,
}

impl Shared {
    /// A panic inside the limiter leaves counts behind that are still good.
    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Opens the log of a data directory and checks its chain. A broken one is
    /// kept under another name, and a new one begins that says so.
    ///
    /// # Errors
    /// The file cannot be read, made or moved.
    pub fn open(directory: &Path) -> Result<Self, AuditError> {
        let path = directory.join(FILE);
        let (head, broken) = check_at_start(&path)?;
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(AuditError::io("open", &path))?;
        private(&file).map_err(AuditError::io("restrict", &path))?;
        fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(AuditError::io("make", &path))?;
        let shared = Arc::new(Shared::default());
        let (jobs, queue) = sync_channel(WAITING);
        let writer = Writer::new(path.clone(), file, head.clone(), Arc::clone(&shared))
            .map_err(AuditError::io("open", &path))?;
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&queue))
            .map_err(AuditError::io("start the writer of", &path))?;
        let audit = Self {
            shared,
            jobs,
            clock: HostClock::from_host(),
        };
        if head.seq == 0 {
            let mut began = Entry::new(Event::ChainBegan, Who::controller());
            if let Some(broken) = broken {
                began = began.failed(broken);
            }
            audit.tell(began);
        }
        tracing::info!(entries = head.seq, head = %head.hash, "audit log is whole");
        Ok(audit)
    }

    /// Takes an entry. Refusals are limited and coalesced; nothing else is.
    pub fn tell(&self, entry: Entry) {
        let unix_ns = self.clock.unix_ns();
        if entry.is_refusal()
            && !self
                .shared
                .limiter()
                .offer(&entry, self.clock.now_ns(), unix_ns)
        {
            return;
        }
        match self
            .jobs
            .try_send(Job::Write(Box::new(Told::once(entry, unix_ns))))
        {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes what is counted and not yet written, and waits until all is on
    /// the disk. Blocks: not for the async threads.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.jobs.send(Job::Flush(done)).is_ok() {
            // Ends also when the writer has gone.
            wait.recv().ok();
        }
    }
}

/// Readable by its owner only, also when it was made by another hand.
fn private(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// Where the chain stands; the sentence that a new chain begins with when the
/// old one is broken.
fn check_at_start(path: &Path) -> Result<(Head, Option<String>), AuditError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Head::default(), None));
        }
        Err(error) => return Err(AuditError::io("open", path)(error)),
    };
    let checked =
        chain::check(io::BufReader::new(file), |_| {}).map_err(AuditError::io("read", path))?;
    // Nobody writes now: a line without its end was torn.
    let broken = checked.broken.or_else(|| {
        (checked.unfinished > 0).then(|| Break {
            line: checked.head.seq + 1,
            problem: "ends in the middle (a write that was cut off?)".to_owned(),
        })
    });
    let Some(broken) = broken else {
        return Ok((checked.head, None));
    };
    let kept = free_name(path);
    fs::rename(path, &kept).map_err(AuditError::io("move away", path))?;
    let name = kept.file_name().unwrap_or_default().to_string_lossy();
    let told = format!(
        "the chain before is broken and kept as {name}: line {}: {}; whole up to entry {} with hash {}",
        broken.line, broken.problem, checked.head.seq, checked.head.hash
    );
    tracing::error!("audit log: {told}");
    Ok((Head::default(), Some(told)))
}

/// `audit-broken-N.jsonl`, the first that is not there.
fn free_name(path: &Path) -> PathBuf {
    (1..1_000_000_u32)
        .map(|n| path.with_file_name(format!("audit-broken-{n}.jsonl")))
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_else(|| path.with_file_name("audit-broken.jsonl"))
}

#[cfg(test)]
mod tests;
