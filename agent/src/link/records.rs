//! The records streams: entries of a sequence up, acknowledgements down, each
//! on a connection of its own.

mod window;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::agent_service_client::AgentServiceClient;
use weir_proto::agent::v1::records_request::Message as Request;
use weir_proto::agent::v1::records_response::Message as Response;
use weir_runtime::endpoint::RECORDS_MESSAGE_BYTES;

use super::control::{LinkError, keep_up, step};
use crate::agent::{Session, Shared};
use crate::outbox::{BatchLimit, Sequence};
use crate::supervisor::Message;
use window::Window;

/// Largest batch; entries are small, so that a batch stays far below what a
/// message may hold.
const BATCH: BatchLimit = BatchLimit {
    entries: 256,
    bytes: 64 * 1024,
};
/// How long an entry waits for others to share its batch: h2 gives up on peers
/// that send many small frames.
const GATHER: Duration = Duration::from_millis(200);
/// Batches between this task and the connection.
const QUEUE: usize = 4;

/// Keeps the records stream of this boot up until `end`, while there is a
/// control session.
pub(crate) async fn keep(shared: &Arc<Shared>, end: &CancellationToken) {
    keep_up("records", shared, end, || stream(shared, end)).await;
}

/// Delivers what earlier boots have left, beside the stream of this boot so
/// that neither waits for the other.
pub(crate) async fn keep_backlog(shared: &Arc<Shared>, end: &CancellationToken) {
    keep_up("backlog", shared, end, || backlog(shared, end)).await;
}

/// One stream, from its control session to its end.
async fn stream(shared: &Arc<Shared>, end: &CancellationToken) -> Result<(), LinkError> {
    let Some(session) = session(shared, end).await else {
        return Ok(());
    };
    let sequence = shared.spool.live(&session.controller);
    let mut pump = Pump::open(shared, sequence, session.epoch).await?;
    tokio::select! {
        ended = pump.run() => ended,
        () = end.cancelled() => Ok(()),
    }
}

/// All that earlier boots have left for the controller of this session.
async fn backlog(shared: &Arc<Shared>, end: &CancellationToken) -> Result<(), LinkError> {
    let mut sessions = shared.session.subscribe();
    let Some(session) = session(shared, end).await else {
        return Ok(());
    };
    for sequence in shared.spool.backlog(&session.controller) {
        let boot = sequence.boot();
        let entries = sequence.last() - sequence.acked();
        tracing::info!(%boot, entries, "delivering the records of an earlier start");
        let mut pump = Pump::open(shared, Arc::clone(&sequence), session.epoch).await?;
        tokio::select! {
            delivered = pump.run() => delivered?,
            () = end.cancelled() => return Ok(()),
        }
    }
    let controller_id = session.controller.clone();
    shared.tell(Message::BacklogDelivered { controller_id });
    // Nothing is added to it: only another controller has another one.
    tokio::select! {
        // The sender lives in `shared`.
        _ = sessions.wait_for(|now| now.as_ref().is_some_and(|now| now.controller != session.controller)) => {}
        () = end.cancelled() => {}
    }
    Ok(())
}

/// The control session, when there is one; `None` at the end.
async fn session(shared: &Shared, end: &CancellationToken) -> Option<Session> {
    let mut session = shared.session.subscribe();
    tokio::select! {
        session = session.wait_for(Option::is_some) => session.ok()?.clone(),
        () = end.cancelled() => None,
    }
}

/// An open stream.
struct Pump<'a> {
    shared: &'a Shared,
    sequence: Arc<Sequence>,
    uplink: mpsc::Sender<pb::RecordsRequest>,
    responses: Streaming<pb::RecordsResponse>,
    window: Window,
    /// Entries up to here go now; later ones gather first.
    due: u64,
    /// When those that gather become due.
    gathered_at: Option<Instant>,
}

impl<'a> Pump<'a> {
    /// Connects, says whose records follow, and learns how far they are stored.
    async fn open(
        shared: &'a Shared,
        sequence: Arc<Sequence>,
        epoch: u64,
    ) -> Result<Self, LinkError> {
        let channel = shared.connect().await?;
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(RECORDS_MESSAGE_BYTES)
            .max_encoding_message_size(RECORDS_MESSAGE_BYTES);
        let (uplink, requests) = mpsc::channel(QUEUE);
        let open = pb::RecordsOpen {
            name: shared.identity.name.to_string(),
            boot_id: sequence.boot().0.to_vec(),
            session_epoch: epoch,
            last_run: sequence.last_run().map_or(0, |run| run.0),
        };
        let open = pb::RecordsRequest {
            message: Some(Request::Open(open)),
        };
        uplink.try_send(open).map_err(|_| LinkError::Closed)?;
        let call = client.records(ReceiverStream::new(requests));
        let mut responses = step("the call", call).await?.into_inner();
        let first = step("the records' begin", responses.message()).await?;
        let Response::Ack(ack) = message(first)? else {
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
        shared.acknowledged(&sequence, ack.acked_seq);
        let window = Window::new(ack.acked_seq, ack.credit);
        let due = sequence.ready();
        Ok(Self {
            shared,
            sequence,
            uplink,
            responses,
            window,
            due,
            gathered_at: None,
        })
    }

    /// Sends and listens until the stream breaks, or all that an earlier boot
    /// left is delivered.
    async fn run(&mut self) -> Result<(), LinkError> {
        while !(self.sequence.is_old() && self.sequence.is_empty()) {
            self.turn().await?;
        }
        Ok(())
    }

    /// One batch, one answer, or one wait.
    async fn turn(&mut self) -> Result<(), LinkError> {
        let last = self.sequence.ready();
        let waiting = (last + 1).saturating_sub(self.window.next());
        if waiting >= BATCH.entries as u64 {
            self.due = last;
        }
        if self.window.next() > self.due && waiting > 0 {
            self.gathered_at
                .get_or_insert_with(|| Instant::now() + GATHER);
        } else {
            self.gathered_at = None;
        }
        let room = self.window.room(self.due);
        let uplink = self.uplink.clone();
        tokio::select! {
            permit = uplink.reserve(), if room > 0 => {
                let permit = permit.map_err(|_| LinkError::Closed)?;
                let batch = self.batch(room).await?;
                permit.send(pb::RecordsRequest { message: Some(Request::Batch(batch)) });
            }
            response = self.responses.message() => self.answered(message(response?)?)?,
            () = self.sequence.grew.notified() => {}
            () = gather(self.gathered_at) => self.due = last,
        }
        Ok(())
    }

    async fn batch(&mut self, room: usize) -> Result<pb::Batch, LinkError> {
        let next = self.window.next();
        let limit = BatchLimit {
            entries: BATCH.entries.min(room),
            ..BATCH
        };
        let acked = self.sequence.acked();
        if next <= acked {
            return Err(gone(next, acked + 1));
        }
        let entries = if let Some(entries) = self.sequence.in_memory(next, limit) {
            entries
        } else {
            let sequence = Arc::clone(&self.sequence);
            let read = move || sequence.on_disk(next, limit);
            let read = tokio::task::spawn_blocking(read).await;
            read.expect("reading neither panics nor is aborted")
        };
        if entries.is_empty() {
            return Err(LinkError::Protocol(format!(
                "record {next} is neither in memory nor on disk"
            )));
        }
        self.window.sent(entries.len());
        Ok(pb::Batch {
            first_seq: next,
            entries,
        })
    }

    fn answered(&mut self, response: Response) -> Result<(), LinkError> {
        match response {
            Response::Ack(ack) => {
                known(&self.sequence, ack.acked_seq)?;
                self.shared.acknowledged(&self.sequence, ack.acked_seq);
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

async fn gather(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn message(response: Option<pb::RecordsResponse>) -> Result<Response, LinkError> {
    let unknown = || LinkError::Protocol("a message of an unknown kind".to_owned());
    response
        .ok_or(LinkError::Closed)?
        .message
        .ok_or_else(unknown)
}
