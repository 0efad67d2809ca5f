//! The rows of flows with `log_file`, a JSON object a line, beside the outbox. The
//! threads of the traffic only queue lines; one thread of the run writes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::Serialize;
use weir_common::assignment::{Assignment, Kind};
use weir_common::id::FlowId;
use weir_common::record::{Artifact, End, FlowClosed, Record};

use super::{Artifacts, Key};

/// Lines that may wait for the disk.
const QUEUED: usize = 1024;
/// Largest file; a row a second of 1 kB fills it in 18 hours.
const FILE_BYTES: u64 = 64 << 20;
const STACK_BYTES: usize = 256 << 10;

type Which = (FlowId, End);

/// A line of a file; named as in the agent's other files.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Record(&'a Record),
    FlowClosed(&'a FlowClosed),
    /// Rows that are not here, because the disk was too slow or the file is too long.
    LeftOut {
        rows: u64,
    },
}

struct Queued {
    which: Which,
    line: Vec<u8>,
    last: bool,
}

/// The files of one run. Complete when it is dropped, at the latest.
#[derive(Debug)]
pub(crate) struct RunLog {
    left_out: Arc<BTreeMap<Which, AtomicU64>>,
    lines: SyncSender<Queued>,
}

impl RunLog {
    /// Begins the files of this agent's ends; `None` when no flow of the assignment has one.
    /// What is complete is offered.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn begin(
        artifacts: &Arc<Artifacts>,
        controller: &str,
        assignment: &Assignment,
        offer: impl Fn(Artifact) + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let keys = keys(controller, assignment);
        if keys.is_empty() {
            return Ok(None);
        }
        let counts = keys.keys().map(|which| (*which, AtomicU64::new(0)));
        let left_out = Arc::new(counts.collect::<BTreeMap<_, _>>());
        let (lines, queue) = sync_channel(QUEUED);
        let mut writer = Writer {
            artifacts: Arc::clone(artifacts),
            files: BTreeMap::new(),
            left_out: Arc::clone(&left_out),
        };
        thread::Builder::new()
            .name("weir-logs".into())
            .stack_size(STACK_BYTES)
            .spawn(move || writer.write(keys, &queue, &offer))?;
        Ok(Some(Self { left_out, lines }))
    }

    /// Takes a row.
    pub(crate) fn record(&self, record: &Record) {
        let which = (record.flow, record.end);
        if let Some(left_out) = self.left_out.get(&which) {
            let queued = Queued {
                which,
                line: line(&Line::Record(record)),
                last: false,
            };
            if self.lines.try_send(queued).is_err() {
                left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes the manifest, behind which nothing comes. Blocks while the queue is full:
    /// it comes once, when the traffic is over.
    pub(crate) fn closed(&self, closed: &FlowClosed) {
        let which = (closed.flow, closed.end);
        if self.left_out.contains_key(&which) {
            let queued = Queued {
                which,
                line: line(&Line::FlowClosed(closed)),
                last: true,
            };
            // The writer lives as long as this does.
            self.lines.send(queued).ok();
        }
    }
}

fn keys(controller: &str, assignment: &Assignment) -> BTreeMap<Which, Key> {
    let mut keys = BTreeMap::new();
    for session in &assignment.sessions {
        let Kind::Socket(traffic) = &session.kind;
        let Some(name) = &traffic.log_file else {
            continue;
        };
        for segment in &session.segments {
            let key = Key {
                controller: controller.to_owned(),
                run: assignment.run,
                flow: segment.flow,
                end: session.end,
                name: name.clone(),
            };
            keys.insert((segment.flow, session.end), key);
        }
    }
    keys
}

fn line(line: &Line<'_>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("rows and manifests are plain data");
    bytes.push(b'\n');
    bytes
}

struct Open {
    key: Key,
    file: BufWriter<File>,
    bytes: u64,
}

struct Writer {
    artifacts: Arc<Artifacts>,
    files: BTreeMap<Which, Open>,
    left_out: Arc<BTreeMap<Which, AtomicU64>>,
}

impl Writer {
    fn write(
        &mut self,
        keys: BTreeMap<Which, Key>,
        queue: &Receiver<Queued>,
        offer: &impl Fn(Artifact),
    ) {
        for (which, key) in keys {
            match self.artifacts.create(&key) {
                Ok(file) => {
                    let file = BufWriter::new(file);
                    let bytes = 0;
                    self.files.insert(which, Open { key, file, bytes });
                }
                Err(error) => lost(&key, &error),
            }
        }
        while let Ok(first) = queue.recv() {
            self.take(first, offer);
            while let Ok(next) = queue.try_recv() {
                self.take(next, offer);
            }
            // What a killed process has written stays.
            self.files.retain(|_, open| {
                let flushed = open.file.flush();
                if let Err(error) = &flushed {
                    lost(&open.key, error);
                }
                flushed.is_ok()
            });
        }
        for (which, open) in std::mem::take(&mut self.files) {
            self.complete(which, open, offer);
        }
    }

    fn take(&mut self, queued: Queued, offer: &impl Fn(Artifact)) {
        let Some(open) = self.files.get_mut(&queued.which) else {
            return;
        };
        let length = queued.line.len() as u64;
        if !queued.last && open.bytes + length > FILE_BYTES {
            self.left_out[&queued.which].fetch_add(1, Ordering::Relaxed);
            return;
        }
        open.bytes += length;
        let written = open.file.write_all(&queued.line);
        match (written, queued.last) {
            (Ok(()), false) => {}
            (Ok(()), true) => {
                let open = self.files.remove(&queued.which).expect("found above");
                self.complete(queued.which, open, offer);
            }
            (Err(error), _) => {
                let open = self.files.remove(&queued.which).expect("found above");
                lost(&open.key, &error);
            }
        }
    }

    fn complete(&self, which: Which, mut open: Open, offer: &impl Fn(Artifact)) {
        let rows = self.left_out[&which].load(Ordering::Relaxed);
        if open.bytes == 0 && rows == 0 {
            return self.artifacts.discard(&open.key);
        }
        let said = match rows {
            0 => Ok(()),
            rows => open.file.write_all(&line(&Line::LeftOut { rows })),
        };
        let done = said
            .and_then(|()| open.file.flush())
            .and_then(|()| self.artifacts.complete(&open.key, offer));
        if let Err(error) = done {
            lost(&open.key, &error);
        }
    }
}

fn lost(key: &Key, error: &io::Error) {
    let (run, flow, name) = (key.run, key.flow.0, key.name.as_str());
    tracing::warn!(%run, flow, name, %error, "no log file: it cannot be written; the records are not concerned");
}
