//! The thread that appends. What waits becomes one write and one sync.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use jiff::Timestamp;
use weir_runtime::HostClock;

use super::Shared;
use super::chain::{self, Head};
use super::entry::{Entry, Event, Who};

/// How often windows of counted refusals are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Most lines of one write.
const AT_ONCE: usize = 256;

/// An entry with its time, and how often it happened.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) entry: Entry,
    /// When; the last time of several, ns since the Unix epoch.
    pub(super) unix_ns: i64,
    /// The first time of several.
    pub(super) since_unix_ns: Option<i64>,
    pub(super) count: u64,
}

impl Told {
    pub(super) fn once(entry: Entry, unix_ns: i64) -> Self {
        Self {
            entry,
            unix_ns,
            since_unix_ns: None,
            count: 1,
        }
    }
}

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Job {
    Write(Box<Told>),
    /// Everything to the disk, then answer.
    Flush(SyncSender<()>),
}

/// The file and the end of its chain.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    /// Length up to which the file is whole.
    length: u64,
    head: Head,
    shared: Arc<Shared>,
    clock: HostClock,
    /// Whether the last write failed: a full disk is told once.
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        file: File,
        head: Head,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            length,
            head,
            shared,
            clock: HostClock::from_host(),
            failing: false,
        })
    }

    /// Writes until nobody can tell anything any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match jobs.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    let rest = self.shared.limiter().all(self.clock.now_ns());
                    self.append(rest);
                    return;
                }
            };
            let mut told = self.shared.limiter().due(self.clock.now_ns());
            let mut waiting = Vec::new();
            for job in first.into_iter().chain(jobs.try_iter().take(AT_ONCE)) {
                match job {
                    Job::Write(entry) => told.push(*entry),
                    Job::Flush(done) => waiting.push(done),
                }
            }
            if !waiting.is_empty() {
                told.extend(self.shared.limiter().all(self.clock.now_ns()));
            }
            self.append(told);
            for done in waiting {
                // Whoever asked may have gone.
                done.try_send(()).ok();
            }
        }
    }

    /// Appends all of it or nothing: a line that is half there would break the chain.
    fn append(&mut self, mut told: Vec<Told>) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if told.is_empty() && lost == 0 {
            return;
        }
        if lost > 0 {
            let why = "entries are missing here: the queue or the disk was full";
            let entry = Entry::new(Event::Lost, Who::controller()).failed(why);
            let count = lost;
            told.insert(
                0,
                Told {
                    count,
                    ..Told::once(entry, self.clock.unix_ns())
                },
            );
        }
        let (mut lines, mut head) = (String::new(), self.head.clone());
        let mut entries = lost.saturating_sub(u64::from(lost > 0));
        for told in &told {
            let (line, next) = chain::seal(&head, fields(told));
            lines.push_str(&line);
            head = next;
            entries += 1;
        }
        match self.write(lines.as_bytes()) {
            Ok(()) => {
                self.head = head;
                self.failing = false;
            }
            Err(error) => {
                self.shared.lost.fetch_add(entries, Ordering::Relaxed);
                if !self.failing {
                    self.failing = true;
                    let path = self.path.display();
                    tracing::error!(%path, %error, "audit log: entries are not written; free space on its disk");
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            // What went out in part must not be in the way of the next line.
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }
}

fn fields(told: &Told) -> serde_json::Map<String, serde_json::Value> {
    let mut fields = serde_json::Map::new();
    fields.insert("time".to_owned(), time(told.unix_ns).into());
    fields.extend(told.entry.fields());
    if let Some(since) = told.since_unix_ns {
        fields.insert("since".to_owned(), time(since).into());
    }
    if told.since_unix_ns.is_some() || told.count != 1 {
        fields.insert("count".to_owned(), told.count.into());
    }
    fields
}

/// RFC 3339, to the microsecond.
fn time(unix_ns: i64) -> String {
    Timestamp::from_microsecond(unix_ns.div_euclid(1_000))
        .map(|time| time.to_string())
        .unwrap_or_default()
}
