//! What agents have measured, known beside the way that it takes: every record is in
//! the agent's spool before it is sent, and a second name for each of its files keeps
//! what the agent removes. The format is read here by a reader of its own, from
//! docs/adr/0015-spool.md and the table in `agent/src/outbox/frame.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prost::Message as _;
use weir_common::record::{End, Entry, Record};
use weir_proto::types::v1 as pb;

use crate::account::KeptRow;

/// Between two looks for new files. Agents keep a segment for seconds.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes before the body of a frame.
const HEAD: usize = 32;

/// Follows the spools of all agents in a directory.
#[derive(Debug)]
pub struct Tap {
    spools: PathBuf,
    kept: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What one boot of an agent has measured, by sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Boot {
    /// The agent.
    pub agent: String,
    /// The boot, 32 hexadecimal digits.
    pub boot: String,
    /// Its entries.
    pub entries: BTreeMap<u64, Entry>,
}

impl Boot {
    /// The last sequence.
    pub fn last(&self) -> u64 {
        self.entries.keys().next_back().copied().unwrap_or(0)
    }

    /// The rows of a run among them.
    pub fn rows(&self, run: u32) -> impl Iterator<Item = (u64, KeptRow)> + '_ {
        self.entries
            .iter()
            .filter_map(move |(seq, entry)| match entry {
                Entry::Record(record) if record.run.0 == run => Some((*seq, kept(record))),
                _ => None,
            })
    }
}

/// The place of a row: flow, end, stream, number of the interval.
pub type Key = (u32, End, Option<u16>, u32);

impl Tap {
    /// Follows `agents`, which holds a data directory of each agent; `kept`, on the
    /// same file system, gets the second names.
    pub fn start(agents: &Path, kept: &Path) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (spools, into, until) = (agents.to_owned(), kept.to_owned(), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                keep(&spools, &into);
                thread::sleep(LOOK);
            }
        });
        Self {
            spools: agents.to_owned(),
            kept: kept.to_owned(),
            ended,
            thread: Some(thread),
        }
    }

    /// All that was measured so far.
    ///
    /// # Panics
    /// When a file cannot be read, or one sequence was given to two entries.
    pub fn boots(&self) -> Vec<Boot> {
        keep(&self.spools, &self.kept);
        let mut boots: BTreeMap<(String, String), BTreeMap<u64, Entry>> = BTreeMap::new();
        for name in names(&self.kept) {
            let parts: Vec<&str> = name.split('~').collect();
            let [agent, boot, _segment] = parts[..] else {
                continue;
            };
            let bytes = fs::read(self.kept.join(&name)).expect("a second name of a segment");
            let of = boots
                .entry((agent.to_owned(), boot.to_owned()))
                .or_default();
            for (seq, entry) in entries(&bytes) {
                if let Some(before) = of.insert(seq, entry.clone()) {
                    assert_eq!(before, entry, "{agent} gave {seq} of boot {boot} twice");
                }
            }
        }
        let boot = |((agent, boot), entries)| Boot {
            agent,
            boot,
            entries,
        };
        boots.into_iter().map(boot).collect()
    }

    /// The rows of a run that were measured.
    ///
    /// # Panics
    /// As [`boots`](Self::boots).
    pub fn rows(&self, run: u32) -> BTreeMap<Key, KeptRow> {
        let boots = self.boots();
        let rows = boots.iter().flat_map(|boot| boot.rows(run));
        rows.map(|(_, row)| (row.key(), row)).collect()
    }
}

fn kept(record: &Record) -> KeptRow {
    KeptRow {
        flow: record.flow.0,
        end: record.end,
        stream: record.stream,
        k: record.k,
        start_ns: record.start_ns,
        length_ns: record.length_ns,
        warmup: record.flags.0 & 1 != 0,
        counters: record.counters,
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Gives every segment that there is a second name: AGENT~BOOT~SEGMENT.
fn keep(agents: &Path, kept: &Path) {
    for agent in names(agents) {
        let spool = agents.join(&agent).join("spool");
        for controller in names(&spool) {
            for boot in names(&spool.join(&controller)) {
                let directory = spool.join(&controller).join(&boot);
                let Some((_, digits)) = boot.split_once('-') else {
                    continue;
                };
                for segment in names(&directory) {
                    if segment.strip_suffix(".seg").is_some() {
                        let name = format!("{agent}~{digits}~{segment}");
                        // It has one already, or has just gone.
                        fs::hard_link(directory.join(&segment), kept.join(name)).ok();
                    }
                }
            }
        }
    }
}

/// The names in a directory; none if it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The entries of the whole frames of a segment.
fn entries(segment: &[u8]) -> Vec<(u64, Entry)> {
    let mut found = Vec::new();
    let mut rest = segment;
    while rest.len() >= HEAD && rest.starts_with(b"WSP1") {
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("4 bytes"));
        let (length, count) = (number(16) as usize, number(20));
        let first = u64::from(number(24)) | u64::from(number(28)) << 32;
        let Some(mut body) = rest.get(HEAD..HEAD + length) else {
            break;
        };
        for seq in first..first + u64::from(count) {
            let Some((size, after)) = body.split_first_chunk() else {
                break;
            };
            let Some((bytes, after)) = after.split_at_checked(u32::from_le_bytes(*size) as usize)
            else {
                break;
            };
            body = after;
            let entry = pb::Entry::decode(bytes).expect("an entry as the agent wrote it");
            found.push((
                seq,
                Entry::try_from(&entry).expect("an entry of the protocol"),
            ));
        }
        rest = &rest[HEAD + length..];
    }
    found
}
