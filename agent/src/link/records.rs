//! The records stream: the outbox's entries up, acknowledgements down, on a
//! connection of its own.

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
use crate::agent::Shared;
use crate::outbox::BatchLimit;
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

/// Keeps the records stream up until `end`, while there is a control session.
pub(crate) async fn keep(shared: &Arc<Shared>, end: &CancellationToken) {
    keep_up("records", shared, end, || stream(shared, end)).await;
}

/// One stream, from its control session to its end.
async fn stream(shared: &Arc<Shared>, end: &CancellationToken) -> Result<(), LinkError> {
    let mut session = shared.session.subscribe();
    let epoch = tokio::select! {
        epoch = session.wait_for(Option::is_some) => match epoch {
            Ok(epoch) => epoch.unwrap_or_default(),
            // The sender lives in `shared`.
            Err(_) => return Ok(()),
        },
        () = end.cancelled() => return Ok(()),
    };
    let mut pump = Pump::open(shared, epoch).await?;
    tokio::select! {
        error = pump.run() => Err(error),
        () = end.cancelled() => Ok(()),
    }
}

/// An open stream.
struct Pump<'a> {
    shared: &'a Shared,
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
    async fn open(shared: &'a Shared, epoch: u64) -> Result<Self, LinkError> {
        let channel = shared.controller.connect().await?;
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(RECORDS_MESSAGE_BYTES)
            .max_encoding_message_size(RECORDS_MESSAGE_BYTES);
        let (uplink, requests) = mpsc::channel(QUEUE);
        let open = pb::RecordsOpen {
            name: shared.identity.name.to_string(),
            boot_id: shared.identity.boot.0.to_vec(),
            session_epoch: epoch,
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
        known(shared, ack.acked_seq)?;
        shared.acknowledged(ack.acked_seq);
        let window = Window::new(ack.acked_seq, ack.credit);
        let due = shared.outbox().last_seq();
        Ok(Self {
            shared,
            uplink,
            responses,
            window,
            due,
            gathered_at: None,
        })
    }

    /// Sends and listens until the stream breaks.
    async fn run(&mut self) -> LinkError {
        loop {
            if let Err(error) = self.turn().await {
                return error;
            }
        }
    }

    /// One batch, one answer, or one wait.
    async fn turn(&mut self) -> Result<(), LinkError> {
        let last = self.shared.outbox().last_seq();
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
                let batch = self.batch(room)?;
                permit.send(pb::RecordsRequest { message: Some(Request::Batch(batch)) });
            }
            response = self.responses.message() => self.answered(message(response?)?)?,
            () = self.shared.outbox_grew.notified() => {}
            () = gather(self.gathered_at) => self.due = last,
        }
        Ok(())
    }

    fn batch(&mut self, room: usize) -> Result<pb::Batch, LinkError> {
        let next = self.window.next();
        let limit = BatchLimit {
            entries: BATCH.entries.min(room),
            ..BATCH
        };
        let batch = self.shared.outbox().unacked_from(next, limit);
        if batch.first_seq != next || batch.entries.is_empty() {
            return Err(gone(next, batch.first_seq));
        }
        self.window.sent(batch.entries.len());
        Ok(pb::Batch {
            first_seq: next,
            entries: batch.entries,
        })
    }

    fn answered(&mut self, response: Response) -> Result<(), LinkError> {
        match response {
            Response::Ack(ack) => {
                known(self.shared, ack.acked_seq)?;
                self.shared.acknowledged(ack.acked_seq);
                self.window.acked(ack.acked_seq, ack.credit);
            }
            Response::Nack(nack) => {
                let (expected, next) = (nack.expected_seq, self.window.next());
                tracing::debug!(expected, next, "going back");
                let acked = self.shared.outbox().acked_seq();
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

/// A controller may know no more than was ever sent.
fn known(shared: &Shared, acked_seq: u64) -> Result<(), LinkError> {
    let last = shared.outbox().last_seq();
    if acked_seq <= last {
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
