//! One records stream without its connection: what is sent when, and what answers
//! mean. It takes instants and messages and never waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_response::Message as Response;

use super::window::Window;
use crate::link::control::LinkError;
use crate::outbox::{BatchLimit, Entries, Sequence};

/// Largest batch; entries are small, so that a batch stays far below what a
/// message may hold.
const BATCH: BatchLimit = BatchLimit {
    entries: 256,
    bytes: 64 * 1024,
};
/// How long an entry waits for others to share its batch: h2 gives up on peers
/// that send many small frames.
const GATHER: Duration = Duration::from_millis(200);

/// What a stream does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Entries that may be sent now.
    pub(crate) room: usize,
    /// When there is something to do though nothing has happened.
    pub(crate) wake: Option<Instant>,
}

/// See the module.
pub(crate) struct Course {
    sequence: Arc<Sequence>,
    window: Window,
    /// Entries up to here go now; later ones gather first.
    due: u64,
    /// When those that gather become due.
    gathered_at: Option<Instant>,
}

impl Course {
    /// Begins with the controller's first word: how far these records are stored.
    ///
    /// # Errors
    /// It knows more than there is, or says something else.
    pub(crate) fn begin(sequence: Arc<Sequence>, first: &Response) -> Result<Self, LinkError> {
        let Response::Ack(ack) = first else {
            return Err(LinkError::Protocol("a nack before any batch".to_owned()));
        };
        known(&sequence, ack.acked_seq)?;
        let (boot, acked) = (sequence.boot(), sequence.acked());
        if ack.acked_seq < acked {
            tracing::error!(
                %boot,
                stored = ack.acked_seq,
                acknowledged = acked,
                "the controller's database is older than what it acknowledged: what is still on disk is sent again, the rest is a gap"
            );
            sequence.rewind(ack.acked_seq);
        }
        sequence.ack(ack.acked_seq);
        let window = Window::new(ack.acked_seq, ack.credit);
        let due = sequence.ready();
        Ok(Self {
            sequence,
            window,
            due,
            gathered_at: None,
        })
    }

    /// Whose records they are.
    pub(crate) fn sequence(&self) -> &Arc<Sequence> {
        &self.sequence
    }

    /// Whether all is delivered that an earlier boot left: nothing is added to that.
    pub(crate) fn is_over(&self) -> bool {
        self.sequence.is_old() && self.sequence.is_empty()
    }

    /// What to do now.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        let last = self.sequence.ready();
        let next = self.window.next();
        let waiting = (last + 1).saturating_sub(next);
        let gathered = self.gathered_at.is_some_and(|at| at <= now);
        if gathered || waiting >= BATCH.entries as u64 {
            self.due = last;
        }
        if next > self.due && waiting > 0 {
            self.gathered_at.get_or_insert(now + GATHER);
        } else {
            self.gathered_at = None;
        }
        Step {
            room: self.window.room(self.due),
            wake: self.gathered_at,
        }
    }

    /// The first entry of the next batch, and how large it may be.
    ///
    /// # Errors
    /// The controller expects what it has acknowledged in this stream.
    pub(crate) fn next(&self, room: usize) -> Result<(u64, BatchLimit), LinkError> {
        let (next, acked) = (self.window.next(), self.sequence.acked());
        if next <= acked {
            return Err(gone(next, acked + 1));
        }
        let entries = BATCH.entries.min(room);
        Ok((next, BatchLimit { entries, ..BATCH }))
    }

    /// The batch of what was read from [`next`](Self::next) on; it counts as sent.
    ///
    /// # Errors
    /// Nothing was read.
    pub(crate) fn batch(&mut self, entries: Entries) -> Result<pb::Batch, LinkError> {
        let first_seq = self.window.next();
        if entries.is_empty() {
            return Err(LinkError::Protocol(format!(
                "record {first_seq} is neither in memory nor on disk"
            )));
        }
        self.window.sent(entries.len());
        Ok(pb::Batch { first_seq, entries })
    }

    /// Follows an answer to a batch.
    ///
    /// # Errors
    /// It fits nothing that was sent.
    pub(crate) fn answered(&mut self, response: &Response) -> Result<(), LinkError> {
        match response {
            Response::Ack(ack) => {
                known(&self.sequence, ack.acked_seq)?;
                self.sequence.ack(ack.acked_seq);
                self.window.acked(ack.acked_seq, ack.credit);
            }
            Response::Nack(nack) => {
                let (expected, next) = (nack.expected_seq, self.window.next());
                tracing::debug!(expected, next, "going back");
                let acked = self.sequence.acked();
                if expected <= acked || expected > next {
                    return Err(gone(expected, acked + 1));
                }
                self.window.go_back(expected);
                self.due = self.due.max(next - 1);
            }
        }
        Ok(())
    }
}

/// A controller may know no more than was ever sent. Of an earlier boot it
/// may: a loss of power takes what was sent and not synced yet.
fn known(sequence: &Sequence, acked_seq: u64) -> Result<(), LinkError> {
    let last = sequence.last();
    if acked_seq <= last || sequence.is_old() {
        return Ok(());
    }
    Err(LinkError::Protocol(format!(
        "acked_seq: {acked_seq} is beyond {last}, the last there is"
    )))
}

fn gone(expected: u64, first: u64) -> LinkError {
    LinkError::Protocol(format!(
        "records from {expected} on are expected, but those before {first} were acknowledged and are gone"
    ))
}
