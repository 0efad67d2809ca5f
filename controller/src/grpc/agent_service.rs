//! `weir.agent.v1.AgentService`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_proto::agent::v1::agent_service_server::AgentService;
use weir_proto::agent::v1::{
    ControlRequest, ControlResponse, RecordsRequest, RecordsResponse, RenewRequest, RenewResponse,
    UploadRequest, UploadResponse,
};
use weir_runtime::{HostClock, Shutdown};

use super::access::{standing, who};
use super::control::Control;
use super::enrol::EnrolGateway;
use super::records::Records;
use super::status::denied;
use super::upload::Upload;
use crate::ingest::Ingest;
use crate::registry::Registry;
use crate::run::Runs;
use crate::uploads::Uploads;

/// Messages towards one agent that wait for its connection.
const OUTBOUND: usize = 64;

/// The agents' side of the controller.
#[derive(Debug, Clone)]
pub struct AgentGateway {
    control: Control,
    records: Records,
    upload: Upload,
    enrol: EnrolGateway,
    shutdown: Shutdown,
}

impl AgentGateway {
    /// A gateway to these parts.
    pub fn new(
        registry: Arc<Registry>,
        runs: Runs,
        ingest: Ingest,
        uploads: Uploads,
        enrol: EnrolGateway,
        shutdown: Shutdown,
    ) -> Self {
        let audit = enrol.audit.clone();
        let control = Control {
            store: Arc::clone(&enrol.store),
            registry: Arc::clone(&registry),
            runs: runs.clone(),
            audit: audit.clone(),
            clock: HostClock::from_host(),
        };
        let upload = Upload {
            registry: Arc::clone(&registry),
            uploads,
        };
        Self {
            control,
            upload,
            enrol,
            records: Records {
                ingest,
                registry,
                runs,
                audit,
            },
            shutdown,
        }
    }
}

#[tonic::async_trait]
impl AgentService for AgentGateway {
    type ControlStream = ReceiverStream<Result<ControlResponse, Status>>;
    type RecordsStream = ReceiverStream<Result<RecordsResponse, Status>>;

    async fn control(
        &self,
        request: Request<Streaming<ControlRequest>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let (who, standing) = (who(&request), standing(&request));
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let (control, token) = (self.control.clone(), self.shutdown.token());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = control.serve(who, standing, request.into_inner(), sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn records(
        &self,
        request: Request<Streaming<RecordsRequest>>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        let (who, standing) = (who(&request), standing(&request));
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let (records, token) = (self.records.clone(), self.shutdown.token());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = records.serve(who, standing, request.into_inner(), sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let (who, standing) = (who(&request), standing(&request));
        let token = self.shutdown.token();
        tokio::select! {
            served = self.upload.serve(&who, &standing, request.into_inner()) => served?,
            denial = standing.until_denied() => return Err(denied(&denial)),
            () = token.cancelled() => return Err(Status::unavailable("the controller ends")),
        }
        Ok(Response::new(UploadResponse {}))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        self.enrol.renew(request).await
    }
}
