//! What segments hold: after a restart all of them, later one at a time for
//! entries that are no longer in memory. Pure.

use std::collections::BTreeMap;

use prost::Message;
use weir_common::id::RunId;
use weir_common::record::{End, Entry, Gap, GapCause};
use weir_proto::types::v1 as pb;
use weir_proto::types::v1::entry::Item;

use super::BatchLimit;
use super::frame::{Scan, scan};
use super::queue::Segment;

/// Takes the segments of a boot that is over, in order, one at a time.
#[derive(Debug)]
pub(super) struct Recovery {
    found: Found,
    /// The next sequence that has not been readable yet.
    next: u64,
    /// Ends of flows that have rows and no manifest: run, flow, end; the end of
    /// the last row and the longest row.
    open: BTreeMap<(u32, u32, i32), (u64, u64)>,
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The segments; each reaches up to the next.
    pub(super) segments: Vec<Segment>,
    /// The last sequence that anything tells of.
    pub(super) last: u64,
    /// A torn tail: the segment, and its length without it.
    pub(super) torn: Option<(u64, u64)>,
    /// Sequences that cannot be read, among those above what is delivered.
    pub(super) lost: u64,
    /// The run of the last entry that can be read.
    pub(super) run: Option<RunId>,
    /// The highest run of those.
    pub(super) last_run: Option<RunId>,
    /// The intervals that were under way when the process ended.
    pub(super) under_way: Vec<Gap>,
}

impl Recovery {
    /// Everything up to `acked` is delivered.
    pub(super) fn new(acked: u64) -> Self {
        let found = Found {
            last: acked,
            ..Found::default()
        };
        Self {
            found,
            next: acked + 1,
            open: BTreeMap::new(),
        }
    }

    /// The next segment.
    pub(super) fn segment(&mut self, first: u64, bytes: &[u8]) {
        if let Some(before) = self.found.segments.last_mut() {
            before.last = first.saturating_sub(1);
        }
        let scan = scan(bytes, 0);
        for frame in &scan.frames {
            if frame.intact {
                self.found.lost += frame.first.saturating_sub(self.next);
                for (_, entry) in frame.entries(bytes) {
                    self.entry(entry);
                }
                self.next = self.next.max(frame.last + 1);
            }
        }
        self.found.torn = (scan.end < bytes.len()).then_some((first, scan.end as u64));
        let last = scan
            .frames
            .last()
            .map_or(first.saturating_sub(1), |frame| frame.last);
        self.found.last = self.found.last.max(last);
        self.found.segments.push(Segment {
            first,
            last,
            tells: last,
            bytes: scan.end as u64,
        });
    }

    /// All segments were taken.
    pub(super) fn finish(mut self) -> Found {
        let gap = |((run, flow, end), (last_ns, length_ns)): ((u32, u32, i32), (u64, u64))| {
            let end = match pb::End::try_from(end) {
                Ok(pb::End::Rx) => End::Rx,
                _ => End::Tx,
            };
            Gap {
                run: RunId(run),
                flow: Some((weir_common::id::FlowId(flow), end)),
                from_ns: Some(last_ns),
                to_ns: Some(last_ns.saturating_add(length_ns)),
                cause: GapCause::Ended,
            }
        };
        self.found.lost += (self.found.last + 1).saturating_sub(self.next);
        if let Some(last) = self.found.segments.last_mut() {
            // An earlier one may tell of more: a frame that was torn and told again.
            last.last = self.found.last;
        }
        self.found.under_way = self.open.into_iter().map(gap).collect();
        self.found
    }

    fn entry(&mut self, bytes: &[u8]) {
        let Some(entry) = decode(bytes) else {
            return;
        };
        self.found.run = run(&entry).or(self.found.run);
        self.found.last_run = self.found.run.max(self.found.last_run);
        match entry.item {
            Some(Item::Record(row)) => {
                let end_ns = row.start_ns.saturating_add(row.length_ns);
                let key = (row.run, row.flow, row.end);
                let seen = self.open.entry(key).or_default();
                *seen = (seen.0.max(end_ns), seen.1.max(row.length_ns));
            }
            Some(Item::Closed(closed)) => {
                self.open.remove(&(closed.run, closed.flow, closed.end));
            }
            Some(Item::Gap(gap)) => {
                let flow = gap.flow.unwrap_or_default();
                self.open.remove(&(gap.run, flow, gap.end));
            }
            _ => {}
        }
    }
}

/// One segment in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    segment: Segment,
    bytes: Vec<u8>,
    scan: Scan,
}

impl Loaded {
    pub(super) fn new(segment: Segment, bytes: Vec<u8>) -> Self {
        let scan = scan(&bytes, 0);
        Self {
            segment,
            bytes,
            scan,
        }
    }

    /// Whether it is this segment and holds as much of it.
    pub(super) fn is(&self, segment: Segment) -> bool {
        self.segment == segment
    }

    /// The consecutive entries from `seq` on, within this segment: as many as
    /// `most` allows, at least one. What cannot be read is a gap each, of the
    /// run of the entry before it, else after it, else of `run`; nothing when
    /// no run is known.
    pub(super) fn entries(
        &self,
        seq: u64,
        most: BatchLimit,
        run_else: Option<RunId>,
    ) -> Vec<pb::Entry> {
        let mut taken = Taken {
            entries: Vec::new(),
            bytes: 0,
            next: seq,
            most,
        };
        let mut before = None;
        for frame in self.scan.frames.iter().filter(|frame| frame.intact) {
            if frame.last < seq {
                before = Some(frame);
                continue;
            }
            if frame.first > taken.next {
                let near = before.and_then(|frame| frame.entries(&self.bytes).last());
                let near = near.or_else(|| frame.entries(&self.bytes).next());
                let near = near.and_then(|(_, entry)| run(&decode(entry)?));
                taken.gaps(frame.first.min(self.segment.last + 1), near.or(run_else));
            }
            for (at, bytes) in frame.entries(&self.bytes) {
                if at != taken.next || at > self.segment.last {
                    continue;
                }
                let Some(entry) = decode(bytes) else {
                    taken.gaps(at + 1, run_else);
                    continue;
                };
                if !taken.put(entry, bytes.len()) {
                    return taken.entries;
                }
            }
            before = Some(frame);
        }
        let near = before.and_then(|frame| frame.entries(&self.bytes).last());
        let near = near.and_then(|(_, entry)| run(&decode(entry)?));
        taken.gaps(self.segment.last + 1, near.or(run_else));
        taken.entries
    }
}

/// Entries that are being collected.
struct Taken {
    entries: Vec<pb::Entry>,
    bytes: usize,
    next: u64,
    most: BatchLimit,
}

impl Taken {
    /// Takes the next entry; `false` when there is no room.
    fn put(&mut self, entry: pb::Entry, bytes: usize) -> bool {
        self.bytes += bytes;
        let full = self.entries.len() >= self.most.entries || self.bytes > self.most.bytes;
        if full && !self.entries.is_empty() {
            return false;
        }
        self.entries.push(entry);
        self.next += 1;
        true
    }

    /// Gaps up to `end`, exclusive.
    fn gaps(&mut self, end: u64, run: Option<RunId>) {
        let Some(run) = run else {
            return;
        };
        let gap = missing(run, GapCause::Damaged);
        while self.next < end {
            if !self.put(gap.clone(), gap.encoded_len()) {
                return;
            }
        }
    }
}

/// What stands for a record of which only the run is known.
pub(super) fn missing(run: RunId, cause: GapCause) -> pb::Entry {
    pb::Entry::from(&Entry::Gap(Box::new(Gap {
        run,
        flow: None,
        from_ns: None,
        to_ns: None,
        cause,
    })))
}

fn decode(bytes: &[u8]) -> Option<pb::Entry> {
    let entry = pb::Entry::decode(bytes).ok()?;
    // One that the controller would refuse is as good as unreadable.
    Entry::try_from(&entry).is_ok().then_some(entry)
}

fn run(entry: &pb::Entry) -> Option<RunId> {
    let run = match entry.item.as_ref()? {
        Item::Record(record) => record.run,
        Item::Closed(closed) => closed.run,
        Item::Link(row) => row.run,
        Item::Kernel(row) => row.run,
        Item::Observed(observed) => observed.run,
        Item::Gap(gap) => gap.run,
        Item::Artifact(artifact) => artifact.run,
    };
    Some(RunId(run))
}
