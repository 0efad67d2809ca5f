//! A controller whose every word the test chooses.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::agent::v1::control_response::Message as Down;
use weir_proto::agent::v1::records_request::Message as RecordsUp;
use weir_proto::agent::v1::records_response::Message as RecordsDown;
use weir_proto::types::v1 as types;
use weir_proto::types::v1::entry::Item;
use weir_runtime::Endpoint;

/// Nothing the agent has to do takes longer; a step that does has failed.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("the agent did not {what} within a minute"))
}

/// One control stream.
pub(crate) struct Control {
    requests: Streaming<pb::ControlRequest>,
    responses: mpsc::Sender<Result<pb::ControlResponse, Status>>,
}

/// One records stream, opened.
pub(crate) struct Records {
    requests: Streaming<pb::RecordsRequest>,
    responses: mpsc::Sender<Result<pb::RecordsResponse, Status>>,
    /// The agent's first message.
    pub(crate) open: pb::RecordsOpen,
}

type Opened = (
    Streaming<pb::RecordsRequest>,
    mpsc::Sender<Result<pb::RecordsResponse, Status>>,
);

/// The controller's side of the service: hands every stream to the test.
struct Service {
    controls: mpsc::UnboundedSender<Control>,
    records: mpsc::UnboundedSender<Opened>,
}

#[tonic::async_trait]
impl AgentService for Service {
    type ControlStream = ReceiverStream<Result<pb::ControlResponse, Status>>;
    type RecordsStream = ReceiverStream<Result<pb::RecordsResponse, Status>>;

    async fn control(
        &self,
        request: Request<Streaming<pb::ControlRequest>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let control = Control {
            requests: request.into_inner(),
            responses,
        };
        self.controls
            .send(control)
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn records(
        &self,
        request: Request<Streaming<pb::RecordsRequest>>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        let (responses, stream) = mpsc::channel(64);
        let opened = (request.into_inner(), responses);
        self.records
            .send(opened)
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn upload(
        &self,
        _: Request<Streaming<pb::UploadRequest>>,
    ) -> Result<Response<pb::UploadResponse>, Status> {
        Err(Status::unimplemented("no file is wanted here"))
    }

    async fn renew(
        &self,
        _: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        Err(Status::unimplemented("nobody has a certificate here"))
    }
}

/// Serves on a unix socket.
pub(crate) struct FakeController {
    socket: PathBuf,
    controls: mpsc::UnboundedReceiver<Control>,
    records: mpsc::UnboundedReceiver<Opened>,
}

impl FakeController {
    /// Begins to listen in a directory.
    pub(crate) fn start(directory: &Path) -> Self {
        let socket = directory.join("agents.sock");
        let listener = UnixListener::bind(&socket).expect("the socket can be bound");
        let (controls, control_queue) = mpsc::unbounded_channel();
        let (records, records_queue) = mpsc::unbounded_channel();
        let service = AgentServiceServer::new(Service { controls, records });
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self {
            socket,
            controls: control_queue,
            records: records_queue,
        }
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.socket.clone())
    }

    /// The next control stream, before any word.
    pub(crate) async fn control(&mut self) -> Control {
        soon("open a control stream", self.controls.recv())
            .await
            .expect("the server lives")
    }

    /// The next control stream that reaches its welcome: challenge, hello,
    /// welcome in epoch 1. Streams that ended meanwhile are passed over.
    pub(crate) async fn greet(&mut self, acked_seq: u64) -> (Control, Vec<u8>, pb::Hello) {
        self.greet_as("fake", acked_seq).await
    }

    /// As [`greet`](Self::greet), as the controller of this identity.
    pub(crate) async fn greet_as(
        &mut self,
        controller_id: &str,
        acked_seq: u64,
    ) -> (Control, Vec<u8>, pb::Hello) {
        loop {
            let mut control = self.control().await;
            let nonce = vec![42; 32];
            control
                .send(Down::Challenge(pb::Challenge {
                    nonce: nonce.clone(),
                }))
                .await;
            let Some(Up::Hello(hello)) = control.next().await else {
                continue;
            };
            let welcome = pb::HelloAck {
                protocol: 1,
                controller_id: controller_id.into(),
                session_epoch: 1,
                acked_seq,
            };
            control.send(Down::HelloAck(welcome)).await;
            return (control, nonce, hello);
        }
    }

    /// The next records stream, answered with where the controller stands.
    pub(crate) async fn records(&mut self, acked_seq: u64, credit: u32) -> Records {
        loop {
            let opened = soon("open a records stream", self.records.recv()).await;
            let (mut requests, responses) = opened.expect("the server lives");
            let first = soon("open its records", requests.message()).await;
            let Ok(Some(pb::RecordsRequest {
                message: Some(RecordsUp::Open(open)),
            })) = first
            else {
                continue;
            };
            let records = Records {
                requests,
                responses,
                open,
            };
            records.ack(acked_seq, credit).await;
            return records;
        }
    }
}

impl Control {
    async fn send(&self, message: Down) {
        // A stream that the agent has left is noticed by what it does not say.
        let _ = self
            .responses
            .send(Ok(pb::ControlResponse {
                message: Some(message),
            }))
            .await;
    }

    /// Ends the stream with a status.
    pub(crate) async fn fail(self, status: Status) {
        self.responses
            .send(Err(status))
            .await
            .expect("the agent listens");
    }

    /// Sends a snapshot of epoch 1.
    pub(crate) async fn snapshot(&self, version: u64, items: Vec<types::Desired>) {
        self.send(Down::Snapshot(types::Snapshot {
            epoch: 1,
            version,
            items,
        }))
        .await;
    }

    async fn next(&mut self) -> Option<Up> {
        let message = soon("say anything", self.requests.message()).await;
        message.ok().flatten().and_then(|request| request.message)
    }

    /// The first message that `wanted` takes. Heartbeats are answered, all
    /// others passed over.
    pub(crate) async fn until<T>(&mut self, wanted: impl Fn(Up) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the stream lives");
            if let Up::Heartbeat(beat) = &message {
                self.send(Down::HeartbeatAck(pb::HeartbeatAck {
                    mono_ns: beat.mono_ns,
                }))
                .await;
            }
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    /// The answer to a snapshot: the version accepted, or the refusal.
    pub(crate) async fn answer(&mut self) -> Result<u64, pb::SnapshotNack> {
        self.until(|message| match message {
            Up::SnapshotAck(ack) => Some(Ok(ack.version)),
            Up::SnapshotNack(nack) => Some(Err(nack)),
            _ => None,
        })
        .await
    }
}

impl Records {
    async fn send(&self, message: RecordsDown) {
        let response = pb::RecordsResponse {
            message: Some(message),
        };
        self.responses
            .send(Ok(response))
            .await
            .expect("the agent listens");
    }

    /// Says that everything up to `acked_seq` is stored.
    pub(crate) async fn ack(&self, acked_seq: u64, credit: u32) {
        self.send(RecordsDown::Ack(pb::RecordsAck { acked_seq, credit }))
            .await;
    }

    /// Says that a batch did not continue.
    pub(crate) async fn nack(&self, expected_seq: u64) {
        self.send(RecordsDown::Nack(pb::RecordsNack { expected_seq }))
            .await;
    }

    /// The next batch.
    pub(crate) async fn batch(&mut self) -> pb::Batch {
        let request = soon("send records", self.requests.message()).await;
        match request
            .expect("the stream lives")
            .and_then(|request| request.message)
        {
            Some(RecordsUp::Batch(batch)) => batch,
            other => panic!("{other:?} in the place of a batch"),
        }
    }

    /// The next `n` entries, from the sequence that is expected on.
    pub(crate) async fn items(&mut self, mut next: u64, n: usize) -> Vec<Item> {
        let mut items = Vec::new();
        while items.len() < n {
            let batch = self.batch().await;
            assert_eq!(batch.first_seq, next, "without a hole");
            next += batch.entries.len() as u64;
            items.extend(batch.entries.into_iter().filter_map(|entry| entry.item));
        }
        items
    }

    /// The sequences of the next `n` entries.
    pub(crate) async fn entries(&mut self, n: usize) -> Vec<u64> {
        let mut sequences = Vec::new();
        while sequences.len() < n {
            let batch = self.batch().await;
            sequences.extend((batch.first_seq..).take(batch.entries.len()));
        }
        sequences
    }
}
