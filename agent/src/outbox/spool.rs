//! All sequences of an agent, and the thread that writes them.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use weir_common::id::BootId;
use weir_common::record::Entry;

use super::disk::{Directory, Found, Ground};
use super::queue::Queue;
use super::{Level, Limits};

mod reserve;
mod sequence;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use reserve::Reserve;
pub(crate) use sequence::Sequence;
pub(crate) use writer::Writer;
use writer::write_until_the_end;

/// The writer needs little beside its frame, which is on the heap.
const STACK_BYTES: usize = 256 << 10;

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A directory of it cannot be read.
    #[error("read the spool in {}; its records wait there until it can be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("start the thread that writes the spool")]
    Thread(#[source] io::Error),
}

/// What all sequences share.
struct Common {
    limits: Limits,
    /// Bytes on disk of all sequences.
    disk_bytes: AtomicU64,
    reserve: Mutex<Reserve>,
    writer: mpsc::Sender<Work>,
}

pub(crate) enum Work {
    /// A sequence has something to write or to remove.
    Look(Arc<Sequence>),
    End,
}

/// See the module.
pub(crate) struct Spool {
    ground: Box<dyn Ground>,
    boot: BootId,
    generation: u64,
    common: Arc<Common>,
    sequences: Mutex<Vec<Arc<Sequence>>>,
    level: Mutex<Level>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spool {
    /// Reads what earlier boots left in `directory`, and starts the writer.
    ///
    /// # Errors
    /// A directory cannot be read, or there is no thread.
    pub(crate) fn open(
        directory: PathBuf,
        start: (BootId, u64),
        limits: Limits,
    ) -> Result<Self, SpoolError> {
        let reserve = Reserve::at(directory.join("reserve"), limits.reserve_bytes);
        let unreadable = {
            let path = directory.clone();
            move |source| SpoolError::Unreadable { path, source }
        };
        let ground = Box::new(Directory(directory));
        let (spool, work) = Self::over(ground, reserve, start, limits).map_err(unreadable)?;
        let thread = thread::Builder::new()
            .name("weir-spool".into())
            .stack_size(STACK_BYTES)
            .spawn(move || write_until_the_end(&work))
            .map_err(SpoolError::Thread)?;
        *locked(&spool.thread) = Some(thread);
        Ok(spool)
    }

    /// As [`open`](Self::open), without a thread: what the writer is to do comes out of
    /// the queue that is given with it.
    ///
    /// # Errors
    /// What earlier boots left cannot be read.
    pub(crate) fn over(
        ground: Box<dyn Ground>,
        reserve: Reserve,
        (boot, generation): (BootId, u64),
        limits: Limits,
    ) -> io::Result<(Self, mpsc::Receiver<Work>)> {
        let (writer, work) = mpsc::channel();
        let common = Arc::new(Common {
            limits,
            disk_bytes: AtomicU64::new(0),
            reserve: Mutex::new(reserve),
            writer,
        });
        let spool = Self {
            ground,
            boot,
            generation,
            common,
            sequences: Mutex::default(),
            level: Mutex::new(Level::Room),
            thread: Mutex::new(None),
        };
        spool.take_up()?;
        Ok((spool, work))
    }

    /// Takes up what earlier boots left.
    fn take_up(&self) -> io::Result<()> {
        for found in self.ground.found()? {
            let Found {
                controller,
                boot,
                disk,
            } = found;
            if let Some(sequence) = Sequence::found(&self.common, controller, boot, disk)? {
                locked(&self.sequences).push(Arc::new(sequence));
            }
        }
        for sequence in &*locked(&self.sequences) {
            sequence.look();
        }
        Ok(())
    }

    /// This boot's sequence for a controller.
    pub(crate) fn live(&self, controller: &str) -> Arc<Sequence> {
        let mut sequences = locked(&self.sequences);
        let known = sequences
            .iter()
            .find(|known| known.live && known.controller == controller);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let name = format!("{:08}-{}", self.generation, self.boot);
        let disk = self.ground.make(controller, &name);
        let sequence = Arc::new(Sequence::new(
            &self.common,
            (controller.to_owned(), self.boot),
            Queue::new(self.common.limits),
            disk,
        ));
        sequences.push(Arc::clone(&sequence));
        sequence
    }

    /// What earlier boots have left for a controller, the oldest first.
    pub(crate) fn backlog(&self, controller: &str) -> Vec<Arc<Sequence>> {
        let mut sequences = locked(&self.sequences);
        sequences.retain(|sequence| sequence.live || !sequence.is_empty());
        let of_it = sequences
            .iter()
            .filter(|sequence| !sequence.live && sequence.controller == controller);
        of_it.cloned().collect()
    }

    /// Entries that wait for a controller.
    pub(crate) fn waiting(&self, controller: &str) -> u64 {
        let sequences = locked(&self.sequences);
        let of_it = sequences
            .iter()
            .filter(|sequence| sequence.controller == controller);
        of_it.map(|sequence| sequence.waiting()).sum()
    }

    /// Controllers for which earlier boots have left something, with the bytes.
    pub(crate) fn left(&self) -> Vec<(String, u64)> {
        let sequences = locked(&self.sequences);
        let old = sequences.iter().filter(|sequence| !sequence.live);
        old.map(|sequence| {
            let bytes = locked(&sequence.core).queue.disk_bytes();
            (sequence.controller.clone(), bytes)
        })
        .collect()
    }

    /// Takes an entry. Gives the level when it has risen.
    pub(crate) fn append(&self, sequence: &Arc<Sequence>, entry: Entry) -> Option<Level> {
        let disk_bytes = self.common.disk_bytes.load(Ordering::Relaxed);
        let now = {
            let mut core = locked(&sequence.core);
            let unwritten = core.queue.unwritten_bytes();
            let level = Level::of(&self.common.limits, disk_bytes, unwritten);
            core.append(entry, level >= Level::Coalescing);
            Level::of(
                &self.common.limits,
                disk_bytes,
                core.queue.unwritten_bytes(),
            )
        };
        sequence.look();
        let before = std::mem::replace(&mut *locked(&self.level), now);
        (now > before).then_some(now)
    }

    /// How full it is.
    pub(crate) fn level(&self) -> Level {
        let sequences = locked(&self.sequences);
        let unwritten = sequences
            .iter()
            .map(|sequence| locked(&sequence.core).queue.unwritten_bytes());
        let disk_bytes = self.common.disk_bytes.load(Ordering::Relaxed);
        Level::of(
            &self.common.limits,
            disk_bytes,
            unwritten.max().unwrap_or(0),
        )
    }

    /// Writes and syncs what is left, and ends the writer. Blocks.
    pub(crate) fn close(&self) {
        let Some(thread) = locked(&self.thread).take() else {
            return;
        };
        for sequence in &*locked(&self.sequences) {
            sequence.look();
        }
        // It has ended already if nobody listens.
        self.common.writer.send(Work::End).ok();
        thread.join().ok();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}
