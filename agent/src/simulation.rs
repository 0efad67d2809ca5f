//! The agent's half of delivery without a thread, a clock, a file or a socket: whoever
//! holds it takes each of its steps. For simulations of whole deployments, which are
//! the same again for the same seed.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use weir_common::id::BootId;
use weir_common::record::Entry;
use weir_proto::agent::v1 as pb;

use crate::link::records::course::Course;
use crate::outbox::{Reserve, Sequence, Spool, Work, Writer};

pub use crate::outbox::{Disk, Found, Ground, Limits};

/// One start of an agent, as far as its records go.
pub struct Half {
    spool: Spool,
    work: mpsc::Receiver<Work>,
    writer: Writer,
    controller: String,
    live: Arc<Sequence>,
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Half")
            .field("boot", &self.live.boot())
            .finish_non_exhaustive()
    }
}

impl Half {
    /// Starts on what earlier boots have left for `controller`.
    ///
    /// # Errors
    /// Those of [`Ground::found`] and of its disks.
    pub fn start(
        ground: Box<dyn Ground>,
        start: (BootId, u64),
        controller: &str,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let none = Reserve::at(PathBuf::new(), 0);
        let (spool, work) = Spool::over(ground, none, start, limits)?;
        let live = spool.live(controller);
        Ok(Self {
            spool,
            work,
            writer: Writer::default(),
            controller: controller.to_owned(),
            live,
        })
    }

    /// An entry was made; `true` when generators have to stop.
    pub fn append(&self, entry: Entry) -> bool {
        self.spool.append(&self.live, entry);
        self.spool.level() == crate::outbox::Level::Full
    }

    /// The writer does what it was told of.
    pub fn write(&mut self, now: Instant) {
        while let Ok(Work::Look(sequence)) = self.work.try_recv() {
            self.writer.look(sequence, now);
        }
    }

    /// The writer does what it does each second.
    pub fn tick(&mut self, now: Instant) {
        self.writer.tick(now);
    }

    /// The agent ends as after SIGTERM. Without it, it ends as after SIGKILL.
    pub fn end(mut self, now: Instant) {
        self.write(now);
        self.writer.end(now);
    }

    /// The control stream's greeting said how far this boot is stored.
    pub fn acknowledged(&self, seq: u64) {
        self.live.ack(seq);
    }

    /// The boots of which something is to be delivered; this one is the last.
    pub fn boots(&self) -> Vec<BootId> {
        let old = self.spool.backlog(&self.controller);
        let old = old.iter().map(|sequence| sequence.boot());
        old.chain([self.live.boot()]).collect()
    }

    /// Entries that wait.
    pub fn waiting(&self) -> u64 {
        self.spool.waiting(&self.controller)
    }

    /// A boot's sequence: the last written to disk, the highest acknowledged, the last given.
    pub fn positions(&self, boot: BootId) -> Option<(u64, u64, u64)> {
        let sequence = self.sequence(boot)?;
        Some((sequence.written(), sequence.acked(), sequence.last()))
    }

    /// A records stream of a boot, to be opened.
    pub fn open(&self, boot: BootId) -> Option<Stream> {
        let sequence = self.sequence(boot)?;
        Some(Stream {
            sequence,
            course: None,
        })
    }

    fn sequence(&self, boot: BootId) -> Option<Arc<Sequence>> {
        let old = self.spool.backlog(&self.controller);
        let mut all = old.into_iter().chain([Arc::clone(&self.live)]);
        all.find(|sequence| sequence.boot() == boot)
    }
}

/// The agent's end of a records stream.
pub struct Stream {
    sequence: Arc<Sequence>,
    course: Option<Course>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("boot", &self.sequence.boot())
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// A message has come.
    ///
    /// # Errors
    /// The stream ends, for this reason.
    pub fn answered(&mut self, response: pb::RecordsResponse) -> Result<(), String> {
        let message = response.message.ok_or("a message of an unknown kind")?;
        match &mut self.course {
            Some(course) => course.answered(&message),
            none => Course::begin(Arc::clone(&self.sequence), &message)
                .map(|course| *none = Some(course)),
        }
        .map_err(|error| error.to_string())
    }

    /// The batch to send now, if there is one.
    ///
    /// # Errors
    /// The stream ends, for this reason.
    pub fn batch(&mut self, now: Instant) -> Result<Option<pb::Batch>, String> {
        let Some(course) = &mut self.course else {
            return Ok(None);
        };
        let step = course.step(now.into());
        if step.room == 0 {
            return Ok(None);
        }
        let read = course.next(step.room).and_then(|(next, limit)| {
            let sequence = &self.sequence;
            let memory = sequence.in_memory(next, limit);
            course.batch(memory.unwrap_or_else(|| sequence.on_disk(next, limit)))
        });
        read.map(Some).map_err(|error| error.to_string())
    }

    /// Whether all is delivered that an earlier boot left.
    pub fn is_over(&self) -> bool {
        self.course.as_ref().is_some_and(Course::is_over)
    }
}
