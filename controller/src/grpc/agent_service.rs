//! `weir.agent.v1.AgentService`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_proto::agent::v1::agent_service_server::AgentService;
use weir_proto::agent::v1::{ControlRequest, ControlResponse, RecordsRequest, RecordsResponse};
use weir_runtime::{HostClock, Shutdown};

use super::control::Control;
use super::records::Records;
use crate::ingest::Ingest;
use crate::listener::{Peer, Role};
use crate::registry::Registry;
use crate::run::Runs;
use crate::store::Store;

/// Messages towards one agent that wait for its connection.
const OUTBOUND: usize = 64;

/// The agents' side of the controller.
#[derive(Debug, Clone)]
pub struct AgentGateway {
    control: Control,
    records: Records,
    shutdown: Shutdown,
}

impl AgentGateway {
    /// A gateway to these parts.
    pub fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        runs: Runs,
        ingest: Ingest,
        shutdown: Shutdown,
    ) -> Self {
        let control = Control {
            store,
            registry: Arc::clone(&registry),
            runs: runs.clone(),
            clock: HostClock::from_host(),
        };
        Self {
            control,
            records: Records {
                ingest,
                registry,
                runs,
            },
            shutdown,
        }
    }
}

/// Only the agents' listener serves this service; a mistake there must not open it.
fn require_agent<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer {
            role: Role::Agent, ..
        }) => Ok(()),
        _ => Err(Status::permission_denied("this method is for agents")),
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
        require_agent(&request)?;
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let (control, token) = (self.control.clone(), self.shutdown.token());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = control.serve(request.into_inner(), sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn records(
        &self,
        request: Request<Streaming<RecordsRequest>>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        require_agent(&request)?;
        let (sender, receiver) = mpsc::channel(OUTBOUND);
        let (records, token) = (self.records.clone(), self.shutdown.token());
        self.shutdown.spawn(async move {
            tokio::select! {
                () = records.serve(request.into_inner(), sender) => {}
                () = token.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
