//! The writer: writes at once, syncs and removes from time to time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Sequence, Work, locked};

/// Between two syncs of what is not acknowledged: what a loss of power costs.
const SYNC: Duration = Duration::from_secs(1);
/// Bytes after which a sync does not wait for that.
const SYNC_BYTES: u64 = 256 << 10;
/// How long a sequence whose entries are all delivered keeps its file, so that
/// a quiet flow does not make and remove one each second.
const IDLE: Duration = Duration::from_secs(10);
/// A sequence that the writer has to come back to.
struct Kept {
    sequence: Arc<Sequence>,
    unsynced_bytes: u64,
    written: Instant,
}

/// Until the agent ends.
pub(super) fn write_until_the_end(work: &mpsc::Receiver<Work>) {
    let mut writer = Writer::default();
    let mut tick = Instant::now();
    loop {
        let next = if writer.kept.is_empty() {
            work.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            let wait = (tick + SYNC).saturating_duration_since(Instant::now());
            work.recv_timeout(wait)
        };
        match next {
            Ok(Work::Look(sequence)) => writer.look(sequence, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {
                tick = Instant::now();
                writer.tick(tick);
            }
            Ok(Work::End) | Err(RecvTimeoutError::Disconnected) => {
                writer.end(Instant::now());
                return;
            }
        }
    }
}

/// What the writer does; when, is its caller's.
#[derive(Default)]
pub(crate) struct Writer {
    kept: Vec<Kept>,
}

impl Writer {
    /// A sequence has something to write or to remove.
    pub(crate) fn look(&mut self, sequence: Arc<Sequence>, now: Instant) {
        sequence.told.store(false, Ordering::Release);
        let known = self
            .kept
            .iter()
            .position(|kept| Arc::ptr_eq(&kept.sequence, &sequence));
        let at = known.unwrap_or_else(|| {
            self.kept.push(Kept {
                sequence,
                unsynced_bytes: 0,
                written: now,
            });
            self.kept.len() - 1
        });
        self.kept[at].write(now);
        self.kept[at].forget(false);
    }

    /// To be called each second.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.kept.retain_mut(|kept| kept.tick(now));
    }

    /// To be called at the end.
    pub(crate) fn end(&mut self, now: Instant) {
        for kept in &mut self.kept {
            kept.write(now);
            kept.sync();
            kept.forget(true);
        }
    }
}

impl Kept {
    /// Writes all there is.
    fn write(&mut self, now: Instant) {
        let sequence = Arc::clone(&self.sequence);
        let common = &sequence.common;
        loop {
            let Some(write) = locked(&sequence.core).queue.next_write() else {
                break;
            };
            if write.at == 0 {
                // A sync is of the segment that is open: the one before would miss it.
                self.sync();
            }
            if sequence.live {
                locked(&common.reserve).hold();
            }
            let put = || locked(&sequence.disk).write(write.segment, write.at, &write.bytes);
            let mut outcome = put();
            // What was set aside is for the end of a flow, and what came before it.
            let needed = || locked(&sequence.core).queue.manifest_waits();
            if outcome.is_err() && needed() && locked(&common.reserve).release() {
                outcome = put();
            }
            locked(&sequence.core).queue.wrote(&write, outcome.is_ok());
            sequence.grew.notify_one();
            sequence.say(outcome.as_ref().err());
            if outcome.is_err() {
                break;
            }
            let bytes = write.bytes.len() as u64;
            common.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.unsynced_bytes += bytes;
            self.written = now;
            if write.sync || self.unsynced_bytes >= SYNC_BYTES {
                self.sync();
            }
        }
    }

    /// Puts on disk what is not delivered.
    fn sync(&mut self) {
        if std::mem::take(&mut self.unsynced_bytes) == 0 || self.sequence.is_empty() {
            return;
        }
        let outcome = locked(&self.sequence.disk).sync();
        if let Err(error) = outcome {
            let mut core = locked(&self.sequence.core);
            core.queue.seal();
            core.unsynced = true;
            drop(core);
            self.sequence.say(Some(&error));
        }
    }

    /// Removes what is delivered, with `all` the open segment too.
    fn forget(&mut self, all: bool) {
        let sequence = &self.sequence;
        let common = &sequence.common;
        let (forget, bytes, done) = {
            let core = locked(&sequence.core);
            let Some(forget) = core.queue.next_forget(all || !sequence.live) else {
                return;
            };
            let bytes = core.queue.forgettable_bytes(&forget);
            (forget, bytes, core.queue.is_empty() && !sequence.live)
        };
        let outcome = {
            let mut disk = locked(&sequence.disk);
            // Kept before anything goes: what is gone was delivered.
            disk.keep_acked(forget.acked)
                .and_then(|()| {
                    forget
                        .segments
                        .iter()
                        .try_for_each(|first| disk.remove(*first))
                })
                .and_then(|()| if done { disk.clear() } else { Ok(()) })
        };
        if let Err(error) = outcome {
            sequence.say(Some(&error));
            return;
        }
        locked(&sequence.core).queue.forgot(&forget);
        common.disk_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Each second; `false` when there is nothing to come back for.
    fn tick(&mut self, now: Instant) -> bool {
        self.write(now);
        self.sync();
        if self.sequence.live && !locked(&self.sequence.core).queue.is_degraded() {
            locked(&self.sequence.common.reserve).renew();
        }
        self.forget(now.saturating_duration_since(self.written) >= IDLE);
        let core = locked(&self.sequence.core);
        let waits = self.sequence.live && core.queue.disk_bytes() > 0;
        waits || self.unsynced_bytes > 0 || core.queue.is_degraded()
    }
}
