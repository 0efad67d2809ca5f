//! The records streams: entries of a sequence up, acknowledgements down, each
//! on a connection of its own.

pub(crate) mod course;
mod window;

use std::sync::Arc;

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
use crate::outbox::Sequence;
use crate::supervisor::Message;
use course::Course;

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
    uplink: mpsc::Sender<pb::RecordsRequest>,
    responses: Streaming<pb::RecordsResponse>,
    course: Course,
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
        let course = Course::begin(sequence, &message(first)?)?;
        shared.outbox_shrank.notify_one();
        Ok(Self {
            shared,
            uplink,
            responses,
            course,
        })
    }

    /// Sends and listens until the stream breaks, or all that an earlier boot
    /// left is delivered.
    async fn run(&mut self) -> Result<(), LinkError> {
        while !self.course.is_over() {
            self.turn().await?;
        }
        Ok(())
    }

    /// One batch, one answer, or one wait.
    async fn turn(&mut self) -> Result<(), LinkError> {
        let step = self.course.step(Instant::now());
        let sequence = Arc::clone(self.course.sequence());
        let uplink = self.uplink.clone();
        tokio::select! {
            permit = uplink.reserve(), if step.room > 0 => {
                let permit = permit.map_err(|_| LinkError::Closed)?;
                let batch = self.batch(step.room).await?;
                permit.send(pb::RecordsRequest { message: Some(Request::Batch(batch)) });
            }
            response = self.responses.message() => {
                self.course.answered(&message(response?)?)?;
                self.shared.outbox_shrank.notify_one();
            }
            () = sequence.grew.notified() => {}
            // The next step finds that it is time.
            () = gather(step.wake) => {}
        }
        Ok(())
    }

    async fn batch(&mut self, room: usize) -> Result<pb::Batch, LinkError> {
        let (next, limit) = self.course.next(room)?;
        let sequence = self.course.sequence();
        let entries = if let Some(entries) = sequence.in_memory(next, limit) {
            entries
        } else {
            let sequence = Arc::clone(sequence);
            let read = move || sequence.on_disk(next, limit);
            let read = tokio::task::spawn_blocking(read).await;
            read.expect("reading neither panics nor is aborted")
        };
        self.course.batch(entries)
    }
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
