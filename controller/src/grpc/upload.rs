//! One upload: the parts of a file from its agent, passed on to whoever waits for it.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Status, Streaming};
use weir_common::id::AgentName;
use weir_proto::agent::v1::{self as pb, UploadRequest, upload_request};
use weir_proto::convert::{clip, limits};

use super::access::vouched;
use super::status::denied;
use crate::audit::Who;
use crate::deny::Standing;
use crate::registry::Registry;
use crate::store::Subject;
use crate::uploads::Uploads;

/// Largest part, bytes.
const PART_BYTES: usize = 64 << 10;
/// How long a part may be under way.
const PART_WAIT: Duration = Duration::from_secs(30);

/// What an upload works with.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) registry: Arc<Registry>,
    pub(super) uploads: Uploads,
}

impl Upload {
    /// Serves one stream to its end, or until nobody takes its parts.
    pub(super) async fn serve(
        &self,
        who: &Who,
        standing: &Standing,
        mut inbound: Streaming<UploadRequest>,
    ) -> Result<(), Status> {
        let Some(upload_request::Message::Open(open)) = next(&mut inbound).await? else {
            return Err(Status::failed_precondition(
                "upload: open must be the first message",
            ));
        };
        vouched(who, &open.name)?;
        let name = self.check(&open)?;
        let _claim = standing
            .claim(Subject::Agent(name.clone()))
            .map_err(|denial| denied(&denial))?;
        let parts = self.uploads.begin(open.ticket, &name).ok_or_else(|| {
            Status::failed_precondition("open.ticket: nobody waits for it any more")
        })?;
        while let Some(message) = next(&mut inbound).await? {
            let part = match message {
                upload_request::Message::Open(_) => {
                    return Err(Status::failed_precondition("open: only once per stream"));
                }
                upload_request::Message::Content(bytes) if bytes.len() > PART_BYTES => {
                    let problem = format!("content: {} bytes, at most {PART_BYTES}", bytes.len());
                    return Err(Status::invalid_argument(problem));
                }
                upload_request::Message::Content(bytes) => Ok(bytes),
                upload_request::Message::Refused(why) => Err(clip(&why, limits::REASON)),
            };
            if parts.send(part).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn check(&self, open: &pb::UploadOpen) -> Result<AgentName, Status> {
        let name: AgentName = open
            .name
            .parse()
            .map_err(|error| Status::invalid_argument(format!("open.name: {error}")))?;
        if self.registry.is_current(&name, open.session_epoch) {
            Ok(name)
        } else {
            Err(Status::failed_precondition(
                "open.session_epoch: not the agent's control session; open that first",
            ))
        }
    }
}

async fn next(
    inbound: &mut Streaming<UploadRequest>,
) -> Result<Option<upload_request::Message>, Status> {
    let message = tokio::time::timeout(PART_WAIT, inbound.message()).await;
    let message =
        message.map_err(|_| Status::deadline_exceeded("upload: no part came for 30 s"))??;
    Ok(message.and_then(|message| message.message))
}
