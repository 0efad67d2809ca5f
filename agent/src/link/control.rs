//! The control stream: who we are, what we are to do, how it stands.
//!
//! ```text
//!  controller: Challenge            HelloAck  Snapshot ...  HeartbeatAck ...
//!  agent:                 Hello               Ack|Nack ...  Heartbeat ... Status ...
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::agent_service_client::AgentServiceClient;
use weir_proto::agent::v1::control_request::Message as Request;
use weir_proto::agent::v1::control_response::Message as Response;
use weir_proto::types::v1::Interface;
use weir_runtime::Endpoint;
use weir_runtime::endpoint::SNAPSHOT_MESSAGE_BYTES;

use super::backoff::Backoff;
use super::upload;
use crate::agent::{Session, Shared};
use crate::credentials::EnrolError;
use crate::inventory;
use crate::supervisor::{Message, chain};

/// The protocol that this agent speaks.
const PROTOCOL: u32 = 1;
/// How long each step of the greeting may take.
const STEP: Duration = Duration::from_secs(5);
/// Time between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Time between looks at the interfaces, whose queues people change under a running
/// agent; a look is some 100 us of system calls.
const LOOK: Duration = Duration::from_secs(10);
/// A controller that has not answered a heartbeat for so long is lost.
const LOST: Duration = Duration::from_secs(15);
/// Files that may be wanted at once; they go up one after the other.
const UPLOADS: usize = 64;
/// How long an ending session waits for the controller to take its last reports.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Connect(#[from] EnrolError),
    /// The controller has ended it with a reason.
    #[error("{:?}: {}", .0.code(), .0.message())]
    Status(Status),
    #[error("the controller has closed the stream")]
    Closed,
    #[error("the controller did not answer {0}")]
    Silent(&'static str),
    #[error("the controller broke the protocol: {0}")]
    Protocol(String),
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl LinkError {
    /// Whether the controller has refused this agent, which trying again soon
    /// does not change: the one place that decides which codes are final.
    fn is_final(&self) -> bool {
        let status = match self {
            Self::Status(status) => status,
            Self::Connect(error) => return error.is_final(),
            _ => return false,
        };
        matches!(
            status.code(),
            Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::InvalidArgument
                | Code::Unimplemented
        )
    }
}

/// Keeps a kind of stream up until `end`: runs `stream` again and again.
pub(crate) async fn keep_up<F: Future<Output = Result<(), LinkError>>>(
    what: &'static str,
    shared: &Shared,
    end: &CancellationToken,
    stream: impl Fn() -> F,
) {
    let agent = &shared.identity.name;
    let mut backoff = Backoff::new(matches!(shared.controller, Endpoint::Unix(_)));
    // The same trouble is told once, not at each attempt.
    let mut told = String::new();
    while !end.is_cancelled() {
        let began = Instant::now();
        let Err(error) = Box::pin(stream()).await else {
            continue;
        };
        backoff.session_ended(began.elapsed());
        let reason = chain(&error);
        if error.is_final() {
            backoff.refused();
            if reason != told {
                tracing::error!(%agent, what, reason, "refused by the controller; trying again at times");
            }
        } else if reason != told {
            tracing::warn!(%agent, what, reason, "no link; trying again");
        } else {
            tracing::debug!(%agent, what, reason, "no link");
        }
        told = reason;
        let wait = backoff.wait(shared.is_busy(), random());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = end.cancelled() => {}
        }
    }
}

pub(crate) fn random() -> u64 {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    // Without random numbers the waits lose their jitter, nothing else.
    let _none = SystemRandom::new().fill(&mut bytes).is_err();
    u64::from_ne_bytes(bytes)
}

/// Waits for one step of a greeting.
pub(crate) async fn step<T>(
    what: &'static str,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(STEP, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LinkError::Silent(what)),
    }
}

/// Keeps the control stream up until `end`.
pub(crate) async fn keep(shared: &Arc<Shared>, end: &CancellationToken) {
    keep_up("control", shared, end, || async {
        let result = session(shared, end).await;
        shared.core().uplink = None;
        shared.session.send_replace(None);
        result
    })
    .await;
}

/// One session, from connecting to its end.
async fn session(shared: &Arc<Shared>, end: &CancellationToken) -> Result<(), LinkError> {
    let channel = tokio::select! {
        channel = shared.connect() => channel?,
        () = end.cancelled() => return Ok(()),
    };
    let mut client = AgentServiceClient::new(channel)
        .max_decoding_message_size(SNAPSHOT_MESSAGE_BYTES)
        .max_encoding_message_size(SNAPSHOT_MESSAGE_BYTES);
    let (uplink, requests) = mpsc::unbounded_channel();
    let requests = UnboundedReceiverStream::new(requests);
    let mut responses = step("the call", client.control(requests))
        .await?
        .into_inner();
    let (welcome, interfaces) = greet(shared, &uplink, &mut responses).await?;
    let epoch = welcome.session_epoch;
    tracing::info!(
        agent = %shared.identity.name,
        controller = welcome.controller_id,
        epoch,
        "joined"
    );
    let sequence = shared.spool.live(&welcome.controller_id);
    shared.acknowledged(&sequence, welcome.acked_seq);
    {
        let mut core = shared.core();
        core.uplink = Some(uplink.clone());
        for report in core.runs.replay() {
            core.send(report);
        }
    }
    shared.session.send_replace(Some(Session {
        controller: welcome.controller_id.clone(),
        epoch,
    }));
    converse(shared, end, &welcome, interfaces, &uplink, &mut responses).await?;
    // The agent ends: what is queued still goes up, then the stream closes.
    shared.core().uplink = None;
    drop(uplink);
    let closed = async { while let Ok(Some(_)) = responses.message().await {} };
    let _closed_or_late = tokio::time::timeout(FAREWELL, closed).await.is_ok();
    Ok(())
}

/// Challenge, Hello, HelloAck; with the interfaces that were told.
async fn greet(
    shared: &Arc<Shared>,
    uplink: &mpsc::UnboundedSender<pb::ControlRequest>,
    responses: &mut Streaming<pb::ControlResponse>,
) -> Result<(pb::HelloAck, Vec<Interface>), LinkError> {
    let nonce = match next(step("with a challenge", responses.message()).await?)? {
        Response::Challenge(challenge) => challenge.nonce,
        other => return Err(unexpected("a challenge", &other)),
    };
    if nonce.len() != 32 {
        let problem = format!("challenge.nonce: {} bytes, not 32", nonce.len());
        return Err(LinkError::Protocol(problem));
    }
    let host = tokio::task::spawn_blocking(inventory::read).await;
    let mut host = host.expect("reading the host neither panics nor is aborted");
    if let Some(cpus) = &shared.cpus {
        host.inventory.stream_cpus = cpus.to_string();
    }
    let interfaces = host.inventory.interfaces.clone();
    shared.policy.set_connected(host.connected);
    let labels = shared
        .labels
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let identity = &shared.identity;
    let hello = {
        let core = shared.core();
        pb::Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            name: identity.name.to_string(),
            labels: labels.collect(),
            boot_id: identity.boot.0.to_vec(),
            generation: identity.generation,
            public_key: identity.public_key(),
            signature: identity.sign(&nonce),
            inventory: Some(host.inventory),
            controller_id: core.accepted.controller_id.clone(),
            accepted_version: core.accepted.version,
            assignments: core.runs.statuses(),
        }
    };
    let hello = pb::ControlRequest {
        message: Some(Request::Hello(hello)),
    };
    uplink.send(hello).map_err(|_| LinkError::Closed)?;
    let welcome = match next(step("the hello", responses.message()).await?)? {
        Response::HelloAck(welcome) => welcome,
        other => return Err(unexpected("a welcome", &other)),
    };
    if welcome.protocol != PROTOCOL {
        let problem = format!("hello_ack.protocol: {} is not {PROTOCOL}", welcome.protocol);
        return Err(LinkError::Protocol(problem));
    }
    let id = &welcome.controller_id;
    // It names a directory of the spool.
    if !(1..=64).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let problem = format!("hello_ack.controller_id: {id:?} is not 1 to 64 letters and digits");
        return Err(LinkError::Protocol(problem));
    }
    Ok((welcome, interfaces))
}

/// Everything after the greeting; `Ok` when the agent ends.
async fn converse(
    shared: &Arc<Shared>,
    end: &CancellationToken,
    welcome: &pb::HelloAck,
    mut interfaces: Vec<Interface>,
    uplink: &mpsc::UnboundedSender<pb::ControlRequest>,
    responses: &mut Streaming<pb::ControlResponse>,
) -> Result<(), LinkError> {
    let epoch = welcome.session_epoch;
    let mut heartbeats = tokio::time::interval(HEARTBEAT);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = Instant::now();
    let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looking = JoinSet::new();
    let mut uploads = JoinSet::new();
    shared.tell(Message::ControllerSeen {
        sent_ns: shared.clock.now_ns(),
    });
    loop {
        tokio::select! {
            response = responses.message() => match next(response?)? {
                Response::Snapshot(snapshot) => {
                    // A run may be prepared: what it is measured over should be known.
                    look.reset_immediately();
                    let controller_id = welcome.controller_id.clone();
                    shared.tell(Message::Snapshot { snapshot, epoch, controller_id });
                }
                Response::HeartbeatAck(ack) => {
                    answered = Instant::now();
                    // Never later than now, whatever the controller echoes.
                    let sent_ns = ack.mono_ns.min(shared.clock.now_ns());
                    shared.tell(Message::ControllerSeen { sent_ns });
                }
                Response::ArtifactWanted(wanted) if uploads.len() < UPLOADS => {
                    let (shared, controller) = (Arc::clone(shared), welcome.controller_id.clone());
                    uploads.spawn(upload::upload(shared, controller, epoch, wanted));
                }
                Response::ArtifactWanted(_) => {
                    let problem = format!("more than {UPLOADS} files wanted at once");
                    return Err(LinkError::Protocol(problem));
                }
                other @ (Response::Challenge(_) | Response::HelloAck(_)) => {
                    return Err(unexpected("a snapshot", &other));
                }
            },
            _ = heartbeats.tick() => {
                if answered.elapsed() >= LOST {
                    return Err(LinkError::Silent("heartbeats"));
                }
                beat(shared, epoch, Vec::new(), uplink)?;
            }
            _ = look.tick(), if looking.is_empty() => {
                looking.spawn_blocking(inventory::interfaces);
            }
            Some(read) = looking.join_next() => {
                // What could not be read stays as it was told.
                if let Ok(Ok((now, connected))) = read && now != interfaces {
                    shared.policy.set_connected(connected);
                    beat(shared, epoch, now.clone(), uplink)?;
                    interfaces = now;
                }
            }
            Some(_ended) = uploads.join_next() => {}
            () = end.cancelled() => return Ok(()),
        }
    }
}

/// Sends a heartbeat.
fn beat(
    shared: &Shared,
    session_epoch: u64,
    interfaces: Vec<Interface>,
    uplink: &mpsc::UnboundedSender<pb::ControlRequest>,
) -> Result<(), LinkError> {
    let beat = pb::Heartbeat {
        session_epoch,
        mono_ns: shared.clock.now_ns(),
        interfaces,
    };
    let message = Some(Request::Heartbeat(beat));
    let request = pb::ControlRequest { message };
    uplink.send(request).map_err(|_| LinkError::Closed)
}

fn next(response: Option<pb::ControlResponse>) -> Result<Response, LinkError> {
    let response = response.ok_or(LinkError::Closed)?;
    let unknown = || LinkError::Protocol("a message of an unknown kind".to_owned());
    response.message.ok_or_else(unknown)
}

fn unexpected(wanted: &str, got: &Response) -> LinkError {
    let got = match got {
        Response::Challenge(_) => "a challenge",
        Response::HelloAck(_) => "a welcome",
        Response::HeartbeatAck(_) => "a heartbeat's answer",
        Response::Snapshot(_) => "a snapshot",
        Response::ArtifactWanted(_) => "a wish for a file",
    };
    LinkError::Protocol(format!("{got} in the place of {wanted}"))
}
