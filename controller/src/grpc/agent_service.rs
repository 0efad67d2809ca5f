//! `weir.agent.v1.AgentService`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_proto::agent::v1::agent_service_server::AgentService;
use weir_proto::agent::v1::{
    ControlRequest, ControlResponse, RecordsRequest, RecordsResponse, UploadRequest, UploadResponse,
};
use weir_runtime::{HostClock, Shutdown};

use super::access::who;
use super::control::Control;
use super::records::Records;
use super::upload::Upload;
use crate::audit::Audit;
use crate::ingest::Ingest;
use crate::registry::Registry;
use crate::run::Runs;
use crate::store::Store;
use crate::uploads::Uploads;

/// Messages towards one agent that wait for its connection.
const OUTBOUND: usize = 64;

/// The agents' side of the controller.
#[derive(Debug, Clone)]
pub struct AgentGateway {
    control: Control,
    records: Records,
    upload: Upload,
    shutdown: Shutdown,
}

impl AgentGateway {
    /// A gateway to these parts.
    pub fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        runs: Runs,
        ingest: Ingest,
        uploads: Uploads,
        audit: Audit,
        shutdown: Shutdown,
    ) -> Self {
        let control = Control {
            store,
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
        let who = who(&request);
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let (control, token) = (self.control.clone(), self.shutdown.token());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = control.serve(who, request.into_inner(), sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn records(
        &self,
        request: Request<Streaming<RecordsRequest>>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        let who = who(&request);
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let (records, token) = (self.records.clone(), self.shutdown.token());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = records.serve(who, request.into_inner(), sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let token = self.shutdown.token();
        tokio::select! {
            served = self.upload.serve(request.into_inner()) => served?,
            () = token.cancelled() => return Err(Status::unavailable("the controller ends")),
        }
        Ok(Response::new(UploadResponse {}))
    }
}
