//! A file that a flow wrote, on its way up: over a connection of its own, one at a
//! time, and not while a run is on this host.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_common::record::Artifact;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::agent_service_client::AgentServiceClient;
use weir_proto::agent::v1::upload_request::Message as Part;

use super::control::LinkError;
use crate::agent::Shared;
use crate::artifacts::Key;
use crate::supervisor::chain;

/// Bytes of one part.
const PART_BYTES: usize = 64 << 10;
/// Parts that wait for the connection.
const WAITING: usize = 2;

const BUSY: &str = "a run is on this host, which the transfer would disturb: fetch again after it";

/// Delivers a file, or says why not. What goes wrong with the connection the controller
/// sees too.
pub(super) async fn upload(
    shared: Arc<Shared>,
    controller: String,
    session_epoch: u64,
    wanted: pb::ArtifactWanted,
) {
    // Closed never: the next in turn.
    let _turn = shared.uploading.acquire().await;
    if let Err(error) = deliver(&shared, controller, session_epoch, wanted).await {
        tracing::warn!(reason = chain(&error), "a file could not be delivered");
    }
}

async fn deliver(
    shared: &Arc<Shared>,
    controller: String,
    session_epoch: u64,
    wanted: pb::ArtifactWanted,
) -> Result<(), LinkError> {
    let channel = shared.connect().await?;
    let (parts, requests) = mpsc::channel(WAITING);
    let requests = ReceiverStream::new(requests);
    let open = Part::Open(pb::UploadOpen {
        name: shared.identity.name.to_string(),
        session_epoch,
        ticket: wanted.ticket,
    });
    let reader = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || {
        let send = |part| {
            let message = Some(part);
            parts.blocking_send(pb::UploadRequest { message }).is_ok()
        };
        if send(open)
            && let Err(why) = read(&reader, controller, &wanted, &send)
        {
            send(Part::Refused(why));
        }
    });
    let answer = AgentServiceClient::new(channel).upload(requests).await;
    read.await.expect("reading neither panics nor is aborted");
    answer?;
    Ok(())
}

/// Sends the bytes of a file until its end, or until nobody takes them.
///
/// # Errors
/// A sentence: why it cannot be had now, and what to do.
fn read(
    shared: &Shared,
    controller: String,
    wanted: &pb::ArtifactWanted,
    send: &impl Fn(Part) -> bool,
) -> Result<(), String> {
    let artifact = wanted.artifact.as_ref().ok_or("artifact: not set")?;
    let artifact = Artifact::try_from(artifact).map_err(|error| error.to_string())?;
    let key = Key {
        controller,
        run: artifact.run,
        flow: artifact.flow,
        end: artifact.end,
        name: artifact.name,
    };
    let mut at = wanted.offset_bytes;
    let mut buffer = vec![0; PART_BYTES];
    loop {
        if shared.core().runs.is_busy() {
            return Err(BUSY.to_owned());
        }
        let count = shared.artifacts.read(&key, at, &mut buffer);
        let count = count.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                "the host keeps it no longer: newer files needed the room".to_owned()
            }
            _ => format!("reading it on its host: {error}"),
        })?;
        if count == 0 || !send(Part::Content(buffer[..count].to_vec())) {
            return Ok(());
        }
        at += count as u64;
    }
}
