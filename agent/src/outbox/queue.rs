//! One sequence of entries: what is in memory, what is on disk, what is
//! acknowledged, and what has to be written or removed next. Pure: it never
//! touches a file.

use std::collections::VecDeque;

use super::Limits;
use super::frame;

/// Bytes of entries that one write takes at most; one entry may be larger.
const WRITE_BYTES: usize = 64 << 10;
/// What an entry costs in memory beside its bytes: its place in the queue and
/// the allocator's own.
const ENTRY_COST: usize = 32;

/// A segment on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Sequence of its first entry; its name.
    pub(super) first: u64,
    /// Sequence of its last entry.
    pub(super) last: u64,
    /// The last sequence that its frames tell of, torn ones too: after a restart it may
    /// be the only one that knows of it, and stays until that is delivered.
    pub(super) tells: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

/// Bytes to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// The segment they go to the end of.
    pub(super) segment: u64,
    /// Its length before.
    pub(super) at: u64,
    /// One frame.
    pub(super) bytes: Vec<u8>,
    /// The last entry in it.
    pub(super) last: u64,
    /// Its chain value.
    check: u32,
    /// Whether a manifest is in it, so that it is synced at once.
    pub(super) sync: bool,
}

/// Segments that nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forget {
    /// The position that has to be on disk before they are removed.
    pub(super) acked: u64,
    /// Their names.
    pub(super) segments: Vec<u64>,
}

struct Held {
    bytes: Box<[u8]>,
    sync: bool,
}

/// See the module.
///
/// Invariants: `acked <= last` and `written <= last`; memory holds the entries
/// from `last + 1 - entries.len()` to `last`, all that are above `written` and
/// not acknowledged among them; every entry above `acked` is in memory, in a
/// segment, lost with a part of one, or not above `delivered`.
pub(super) struct Queue {
    limits: Limits,
    entries: VecDeque<Held>,
    held_bytes: usize,
    unwritten_bytes: usize,
    /// Entries that are not on disk and are to be as soon as they can.
    unwritten_syncs: usize,
    last: u64,
    written: u64,
    acked: u64,
    /// The highest sequence that was ever acknowledged: up to it segments may be gone.
    delivered: u64,
    segments: VecDeque<Segment>,
    /// Whether the last segment takes no more.
    sealed: bool,
    chain: u32,
    /// Whether the disk refused the last write.
    degraded: bool,
    /// What could be sent while it did.
    offered: u64,
}

impl Queue {
    /// Nothing yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self::found(limits, 0, 0, Vec::new())
    }

    /// What was found on disk: entries up to `last`, of which those up to
    /// `acked` are delivered. Its segments take no more.
    pub(super) fn found(limits: Limits, acked: u64, last: u64, segments: Vec<Segment>) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            held_bytes: 0,
            unwritten_bytes: 0,
            unwritten_syncs: 0,
            last: last.max(acked),
            written: last.max(acked),
            acked,
            delivered: acked,
            segments: segments.into(),
            sealed: true,
            chain: 0,
            degraded: false,
            offered: 0,
        }
    }

    /// Takes an encoded entry; gives its sequence. `sync`: it is to be on disk
    /// as soon as it is written.
    pub(super) fn append(&mut self, entry: Vec<u8>, sync: bool) -> u64 {
        let entry = Held {
            bytes: entry.into_boxed_slice(),
            sync,
        };
        self.held_bytes += cost(&entry);
        self.unwritten_bytes += cost(&entry);
        self.unwritten_syncs += usize::from(entry.sync);
        self.entries.push_back(entry);
        self.last += 1;
        self.last
    }

    /// Everything up to `seq` is stored by the controller; one that was
    /// acknowledged before changes nothing.
    pub(super) fn ack(&mut self, seq: u64) {
        self.acked = self.acked.max(seq.min(self.last));
        self.delivered = self.delivered.max(self.acked);
        while self.first_held() <= self.acked {
            if !self.drop_first() {
                break;
            }
        }
    }

    /// The controller stands before what it has acknowledged: its database is an older
    /// one. What is still in a segment can be sent again, the rest is
    /// [`forgotten`](Self::forgotten).
    pub(super) fn rewind(&mut self, seq: u64) {
        self.acked = self.acked.min(seq);
    }

    /// The last of the entries from `seq` on that were delivered and are gone; `None`
    /// when that one is there.
    pub(super) fn forgotten(&self, seq: u64) -> Option<u64> {
        let next = self
            .segment(seq)
            .map_or(self.first_held(), |segment| segment.first);
        (seq <= self.delivered && seq < next).then(|| self.delivered.min(next - 1))
    }

    /// The last sequence given.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The last sequence that is on disk, or need not be any more.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The highest sequence acknowledged.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// The last entry that may be sent: what is on disk survives this process,
    /// so that no sequence is ever given to two entries. Without a disk there
    /// is nothing to wait for.
    pub(super) fn ready(&self) -> u64 {
        if self.degraded {
            self.last
        } else {
            self.written.max(self.acked).max(self.offered)
        }
    }

    /// Whether everything is delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.acked == self.last
    }

    /// Whether the disk refused the last write.
    pub(super) fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes in memory that are not on disk.
    pub(super) fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// Whether a manifest is among what is not on disk.
    pub(super) fn manifest_waits(&self) -> bool {
        self.unwritten_syncs > 0
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Entries in memory from `seq` on, the first first; `None` when that one is only on disk.
    pub(super) fn held(&self, seq: u64) -> Option<impl Iterator<Item = &[u8]>> {
        let skip = seq.checked_sub(self.first_held())?;
        let take = (self.ready() + 1).saturating_sub(seq);
        let entries = self.entries.iter().skip(usize::try_from(skip).ok()?);
        Some(entries.take(take as usize).map(|entry| &*entry.bytes))
    }

    /// The segment that holds `seq`, or the first after it.
    pub(super) fn segment(&self, seq: u64) -> Option<Segment> {
        let after = self.segments.partition_point(|segment| segment.last < seq);
        self.segments.get(after).copied()
    }

    /// What to write next; ask again after [`wrote`](Self::wrote).
    pub(super) fn next_write(&self) -> Option<Write> {
        if self.written >= self.last {
            return None;
        }
        let first = self.written + 1;
        let skip = usize::try_from(first.checked_sub(self.first_held())?).ok()?;
        let (mut body, mut count, mut sync) = (Vec::new(), 0, false);
        for entry in self.entries.iter().skip(skip) {
            if count > 0 && body.len() + entry.bytes.len() > WRITE_BYTES {
                break;
            }
            frame::put_entry(&mut body, &entry.bytes);
            count += 1;
            sync |= entry.sync;
        }
        let (bytes, check) = frame::frame(first, count, &body, self.chain);
        let open = self.segments.back().filter(|segment| {
            !self.sealed && segment.bytes + bytes.len() as u64 <= self.limits.segment_bytes
        });
        Some(Write {
            segment: open.map_or(first, |segment| segment.first),
            at: open.map_or(0, |segment| segment.bytes),
            bytes,
            last: self.written + u64::from(count),
            check,
            sync,
        })
    }

    /// The outcome of a write. One that failed is tried again, in a segment of
    /// its own: what the old one has got of it cannot be trusted.
    pub(super) fn wrote(&mut self, write: &Write, ok: bool) {
        if self.degraded && ok {
            self.offered = self.last;
        }
        self.degraded = !ok;
        if !ok {
            self.sealed = true;
            return;
        }
        // Without a disk entries may have been delivered while they were written.
        let fresh = write.last.saturating_sub(self.written) as usize;
        let written = self.entries.iter().skip(self.written_held());
        for entry in written.take(fresh) {
            self.unwritten_bytes -= cost(entry);
            self.unwritten_syncs -= usize::from(entry.sync);
        }
        self.sealed = write.last < self.written;
        self.chain = if self.sealed { 0 } else { write.check };
        self.written = self.written.max(write.last);
        let bytes = write.at + write.bytes.len() as u64;
        match self.segments.back_mut() {
            Some(open) if open.first == write.segment => {
                (open.last, open.tells, open.bytes) = (write.last, write.last, bytes);
            }
            _ => self.segments.push_back(Segment {
                first: write.segment,
                last: write.last,
                tells: write.last,
                bytes,
            }),
        }
        // What is on disk need not be in memory as well.
        while self.held_bytes > self.limits.memory_bytes && self.first_held() <= self.written {
            self.drop_first();
        }
    }

    /// Segments that can go: those before the last as soon as they are
    /// delivered, with `all` the last one too.
    pub(super) fn next_forget(&self, all: bool) -> Option<Forget> {
        let spare = usize::from(!(self.sealed || all && self.is_empty()));
        let most = self.segments.len().saturating_sub(spare);
        let gone = self.segments.iter().take(most);
        let segments: Vec<u64> = gone
            .take_while(|segment| segment.tells <= self.acked)
            .map(|segment| segment.first)
            .collect();
        (!segments.is_empty()).then_some(Forget {
            acked: self.acked,
            segments,
        })
    }

    /// What they take on disk.
    pub(super) fn forgettable_bytes(&self, forget: &Forget) -> u64 {
        let segments = self.segments.iter().take(forget.segments.len());
        segments.map(|segment| segment.bytes).sum()
    }

    /// The open segment takes no more: what was written last is not on disk for sure.
    pub(super) fn seal(&mut self) {
        self.sealed = true;
    }

    /// These segments are no more.
    pub(super) fn forgot(&mut self, forget: &Forget) {
        for _ in &forget.segments {
            self.segments.pop_front();
        }
        self.sealed |= self.segments.is_empty();
    }

    /// The first sequence in memory.
    pub(super) fn first_held(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    /// How many of the entries in memory are on disk too.
    fn written_held(&self) -> usize {
        (self.written + 1).saturating_sub(self.first_held()) as usize
    }

    fn drop_first(&mut self) -> bool {
        let unwritten = self.first_held() > self.written;
        let Some(entry) = self.entries.pop_front() else {
            return false;
        };
        self.held_bytes -= cost(&entry);
        if unwritten {
            // Delivered before it was written: it need not be any more.
            self.unwritten_bytes -= cost(&entry);
            self.unwritten_syncs -= usize::from(entry.sync);
            self.written += 1;
            self.chain = 0;
            self.sealed = true;
        }
        if self.entries.is_empty() {
            // A backlog that has gone leaves no memory behind.
            self.entries.shrink_to(256);
        }
        true
    }
}

fn cost(entry: &Held) -> usize {
    entry.bytes.len() + ENTRY_COST
}
