//! One sequence: what [`queue`](super::super::queue) decides, carried out.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use tokio::sync::Notify;
use weir_common::id::{BootId, RunId};
use weir_common::record::{Entry, Gap, GapCause};
use weir_proto::types::v1 as pb;

use super::{Common, Work, locked};
use crate::outbox::coalesce::Coalescer;
use crate::outbox::disk::Disk;
use crate::outbox::marks::Marks;
use crate::outbox::queue::Queue;
use crate::outbox::recover::{Loaded, Recovery, missing};
use crate::outbox::{BatchLimit, Entries, Level};

/// Entries of one boot for one controller, numbered from 1.
pub(crate) struct Sequence {
    pub(super) controller: String,
    boot: BootId,
    /// Whether it is this boot's, and still grows.
    pub(super) live: bool,
    pub(super) common: Arc<Common>,
    pub(super) core: Mutex<Core>,
    pub(super) disk: Mutex<Box<dyn Disk>>,
    /// The segment that a reader is at.
    loaded: Mutex<Option<Loaded>>,
    /// Whether the writer has been told and has not looked yet.
    pub(super) told: AtomicBool,
    /// Entries can be sent that could not before.
    pub(crate) grew: Notify,
}

pub(super) struct Core {
    pub(super) queue: Queue,
    coalescer: Coalescer,
    /// Whose entries they are, for those of which nothing else is known.
    marks: Marks,
    /// Whether a failure was told.
    said: bool,
    /// Whether a sync has failed: what was written before it may not be on disk, and no
    /// later sync tells.
    pub(super) unsynced: bool,
}

impl Core {
    pub(super) fn append(&mut self, entry: Entry, coalesce: bool) {
        for mut entry in self.coalescer.take(entry, coalesce) {
            let manifest = matches!(entry, Entry::Closed(_) | Entry::Observed(_));
            if let Entry::Closed(closed) = &mut entry
                && (self.unsynced || self.queue.is_degraded())
            {
                closed.warnings.push("spool-degraded".to_owned());
            }
            let bytes = pb::Entry::from(&entry).encode_to_vec();
            let seq = self.queue.append(bytes, manifest);
            self.marks.put(seq, entry.run());
        }
    }
}

impl Sequence {
    pub(super) fn new(
        common: &Arc<Common>,
        (controller, boot): (String, BootId),
        queue: Queue,
        disk: Box<dyn Disk>,
    ) -> Self {
        Self {
            controller,
            boot,
            live: true,
            common: Arc::clone(common),
            core: Mutex::new(Core {
                queue,
                coalescer: Coalescer::default(),
                marks: Marks::default(),
                said: false,
                unsynced: false,
            }),
            disk: Mutex::new(disk),
            loaded: Mutex::default(),
            told: AtomicBool::new(false),
            grew: Notify::new(),
        }
    }

    /// What an earlier boot left; `None` when all of it is delivered.
    pub(super) fn found(
        common: &Arc<Common>,
        controller: String,
        boot: BootId,
        mut disk: Box<dyn Disk>,
    ) -> io::Result<Option<Self>> {
        let names = disk.segments()?;
        let acked = match disk.acked() {
            Ok(acked) => acked.unwrap_or(0),
            // What is gone was delivered: it is kept before anything is removed.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                names.first().map_or(0, |first| first.saturating_sub(1))
            }
            Err(error) => return Err(error),
        };
        let mut recovery = Recovery::new(acked);
        for first in names {
            recovery.segment(first, &disk.read(first)?);
        }
        let mut found = recovery.finish();
        if let Some((segment, bytes)) = found.torn {
            disk.truncate(segment, bytes)?;
        }
        if found.lost > 0 {
            tracing::error!(
                %boot,
                entries = found.lost,
                "records on disk are damaged; the controller is told which"
            );
        }
        if found.last <= acked && found.under_way.is_empty() {
            disk.clear()?;
            return Ok(None);
        }
        let (Some(run), Some(last_run)) = (found.run, found.last_run) else {
            tracing::error!(
                %boot,
                "nothing of these records can be read, not even whose they are: they stay on disk"
            );
            return Ok(None);
        };
        let bytes = found.segments.iter().map(|segment| segment.bytes).sum();
        let before = common.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
        if Level::of(&common.limits, before + bytes, 0) >= Level::Coalescing {
            // Several intervals were under way, in a row that was not done.
            found.under_way.iter_mut().for_each(|gap| gap.to_ns = None);
        }
        let queue = Queue::found(common.limits, acked, found.last, found.segments);
        let mut sequence = Self::new(common, (controller, boot), queue, disk);
        sequence.live = false;
        sequence.core_mut().marks = Marks::found(run, last_run);
        sequence.tell(found.under_way);
        Ok(Some(sequence))
    }

    /// Adds what is known to be missing.
    fn tell(&mut self, gaps: Vec<Gap>) {
        let core = self.core_mut();
        for gap in gaps {
            core.append(Entry::Gap(Box::new(gap)), false);
        }
    }

    fn core_mut(&mut self) -> &mut Core {
        self.core.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The boot whose entries these are.
    pub(crate) fn boot(&self) -> BootId {
        self.boot
    }

    /// Whether it is of an earlier boot.
    pub(crate) fn is_old(&self) -> bool {
        !self.live
    }

    /// The last sequence that may be sent now.
    pub(crate) fn ready(&self) -> u64 {
        locked(&self.core).queue.ready()
    }

    /// The last sequence that is on disk, or need not be any more.
    pub(crate) fn written(&self) -> u64 {
        locked(&self.core).queue.written()
    }

    /// The highest sequence acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        locked(&self.core).queue.acked()
    }

    /// The last sequence given.
    pub(crate) fn last(&self) -> u64 {
        locked(&self.core).queue.last()
    }

    /// Whether everything is delivered.
    pub(crate) fn is_empty(&self) -> bool {
        locked(&self.core).queue.is_empty()
    }

    pub(super) fn waiting(&self) -> u64 {
        let core = locked(&self.core);
        core.queue.last() - core.queue.acked()
    }

    /// Everything up to `seq` is stored.
    pub(crate) fn ack(self: &Arc<Self>, seq: u64) {
        let look = {
            let mut core = locked(&self.core);
            core.queue.ack(seq);
            core.queue.next_forget(!self.live).is_some()
        };
        if look {
            self.look();
        }
    }

    /// The controller stands before what it has acknowledged: its database is an older
    /// one. What the disk still has is offered again; a gap stands for the rest.
    pub(crate) fn rewind(&self, seq: u64) {
        locked(&self.core).queue.rewind(seq);
    }

    /// The highest run of the entries so far.
    pub(crate) fn last_run(&self) -> Option<RunId> {
        locked(&self.core).marks.last_run()
    }

    /// Entries from `seq` on, if memory has them; the first of them is `seq`.
    pub(crate) fn in_memory(&self, seq: u64, most: BatchLimit) -> Option<Entries> {
        let mut taken = Entries::new();
        let mut bytes = 0;
        {
            let core = locked(&self.core);
            for entry in core.queue.held(seq)?.take(most.entries) {
                bytes += entry.len();
                if bytes > most.bytes && !taken.is_empty() {
                    break;
                }
                taken.push(pb::Entry::decode(entry).expect("what was encoded here decodes"));
            }
        }
        locked(&self.loaded).take();
        Some(taken)
    }

    /// Entries from `seq` on, from disk: at least one unless nothing tells to
    /// which run it belongs. Blocks.
    pub(crate) fn on_disk(&self, seq: u64, most: BatchLimit) -> Entries {
        let (segment, run, most) = {
            let core = locked(&self.core);
            let run_of = |seq| core.marks.run_of(seq);
            if let Some(last) = core.queue.forgotten(seq) {
                let gap = |seq| Some(missing(run_of(seq)?, GapCause::Forgotten));
                return (seq..=last).map_while(gap).take(most.entries).collect();
            }
            let Some(segment) = core.queue.segment(seq) else {
                return Entries::new();
            };
            // What is in memory is never lost with a file.
            let before = core.queue.first_held().saturating_sub(seq);
            let entries = most
                .entries
                .min(usize::try_from(before).unwrap_or(usize::MAX));
            (segment, run_of(seq), BatchLimit { entries, ..most })
        };
        let mut loaded = locked(&self.loaded);
        if !loaded.as_ref().is_some_and(|loaded| loaded.is(segment)) {
            let bytes = locked(&self.disk).read(segment.first).unwrap_or_else(|error| {
                tracing::error!(boot = %self.boot, segment = segment.first, %error, "a segment of the spool cannot be read");
                Vec::new()
            });
            *loaded = Some(Loaded::new(segment, bytes));
        }
        let entries = loaded.as_ref().map(|loaded| loaded.entries(seq, most, run));
        entries.unwrap_or_default()
    }

    /// Tells the writer to look.
    pub(super) fn look(self: &Arc<Self>) {
        if !self.told.swap(true, Ordering::AcqRel) {
            // Nobody listens once the agent has ended.
            self.common.writer.send(Work::Look(Arc::clone(self))).ok();
        }
    }

    /// Says once that the disk takes nothing, and once that it does again.
    pub(super) fn say(&self, error: Option<&io::Error>) {
        let before = std::mem::replace(&mut locked(&self.core).said, error.is_some());
        match error {
            Some(error) if !before => tracing::error!(
                boot = %self.boot,
                %error,
                "the spool cannot be written: records are kept in memory only, and are lost if the agent is killed; free space on its disk"
            ),
            None if before => tracing::info!(boot = %self.boot, "the spool is written again"),
            _ => {}
        }
    }
}
