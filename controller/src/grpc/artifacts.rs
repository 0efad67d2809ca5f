//! The operators' side of files that flows wrote: what there is, and their bytes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use weir_common::id::RunId;
use weir_proto::agent::v1::ArtifactWanted;
use weir_proto::controller::v1 as pb;

use super::controller_service::OperatorGateway;
use crate::registry::Liveness;
use crate::store::ArtifactRow;
use crate::uploads::Awaited;

/// How long an agent has to begin, and to go on.
const PART_WAIT: Duration = Duration::from_secs(30);
/// Parts that wait for a slow reader.
const WAITING: usize = 2;

pub(super) type Parts = ReceiverStream<Result<pb::FetchArtifactResponse, Status>>;

impl OperatorGateway {
    /// The files of a run.
    pub(super) async fn artifacts(&self, run: RunId) -> Result<Vec<pb::ArtifactInfo>, Status> {
        let rows = self.store(move |store| store.artifacts(run)).await?;
        let agents = self.registry.view(self.clock.now_ns());
        let here = |row: &ArtifactRow| {
            let mut known = agents.iter().filter(|agent| agent.row.name == row.agent);
            known.any(|agent| agent.liveness == Liveness::Alive)
        };
        let told = rows.into_iter().map(|row| pb::ArtifactInfo {
            reachable: here(&row),
            agent: row.agent.to_string(),
            flow: row.artifact.flow.0,
            end: row.artifact.end.as_str().to_owned(),
            name: row.artifact.name.to_string(),
            size_bytes: row.artifact.size_bytes,
            sha256: row.artifact.sha256.to_vec(),
        });
        Ok(told.collect())
    }

    /// Asks the agent of a file for its bytes, and passes them on. Answers once the
    /// agent has begun, or has said why it does not.
    pub(super) async fn fetch(&self, wanted: pb::FetchArtifactRequest) -> Result<Parts, Status> {
        let run = RunId(wanted.run);
        let rows = self.store(move |store| store.artifacts(run)).await?;
        let found = rows.into_iter().find(|row| {
            let artifact = &row.artifact;
            (artifact.flow.0, artifact.end.as_str()) == (wanted.flow, wanted.end.as_str())
                && artifact.name.as_str() == wanted.name
        });
        let Some(ArtifactRow { agent, artifact }) = found else {
            return Err(Status::not_found(format!(
                "{run} has no such file: weir logs {run} lists what there is"
            )));
        };
        let mut awaited = self.uploads.expect(agent.clone());
        let wish = ArtifactWanted {
            ticket: awaited.ticket,
            artifact: Some((&artifact).into()),
            offset_bytes: wanted.offset_bytes,
        };
        if !self.registry.wish(&agent, wish) {
            return Err(Status::failed_precondition(format!(
                "{agent} is not connected, or has many files to deliver: fetch again later"
            )));
        }
        let first = next(&mut awaited).await?;
        let (sender, parts) = mpsc::channel(WAITING);
        let token = self.shutdown.token();
        self.shutdown.spawn(async move {
            tokio::select! {
                () = pass_on(awaited, first, sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(ReceiverStream::new(parts))
    }
}

/// The next bytes; `None` at the end.
async fn next(awaited: &mut Awaited) -> Result<Option<Vec<u8>>, Status> {
    match tokio::time::timeout(PART_WAIT, awaited.parts.recv()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(why))) => Err(Status::failed_precondition(why)),
        Err(_) => Err(Status::failed_precondition(
            "its agent does not deliver: no part came for 30 s; fetch again later",
        )),
    }
}

async fn pass_on(
    mut awaited: Awaited,
    first: Option<Vec<u8>>,
    sender: mpsc::Sender<Result<pb::FetchArtifactResponse, Status>>,
) {
    let mut part = Ok(first);
    loop {
        let message = match part {
            Ok(None) => return,
            Ok(Some(content)) => Ok(pb::FetchArtifactResponse { content }),
            Err(status) => Err(status),
        };
        let failed = message.is_err();
        if sender.send(message).await.is_err() || failed {
            return;
        }
        part = next(&mut awaited).await;
    }
}
