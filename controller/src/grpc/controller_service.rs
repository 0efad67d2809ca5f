//! `weir.controller.v1.ControllerService`.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use weir_common::id::RunId;
use weir_common::label::Labels;
use weir_common::selector::{Selector, Subject};
use weir_proto::controller::v1::controller_service_server::ControllerService;
use weir_proto::controller::v1::{self as pb, watch_response};
use weir_runtime::{HostClock, Shutdown};

use super::access::who;
use super::artifacts::Parts;
use super::enrol::EnrolGateway;
use super::issue::issue;
use super::status::{of_run, of_store};
use crate::audit::{Audit, Entry, Event};
use crate::authority::Authority;
use crate::deny::DenyList;
use crate::export::{self, Table, What};
use crate::registry::{AgentView, Registry};
use crate::run::{Runs, Sharing, Watch};
use crate::store::{CampaignText, RunRef, Store, StoreError};
use crate::uploads::Uploads;

/// Largest campaign text, bytes.
const CAMPAIGN_BYTES: usize = 1 << 20;
/// Runs listed when nobody says how many.
const RUNS_LISTED: usize = 50;
/// Messages of rows that wait for a slow reader.
const ROWS_WAITING: usize = 8;

/// Where the controller is, for [`pb::GetInfoResponse`].
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// Path of the database.
    pub database: String,
    /// Endpoints of the agents' listeners.
    pub agents: Vec<String>,
}

/// The experimenters' side of the controller.
#[derive(Debug, Clone)]
pub struct OperatorGateway {
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Arc<Registry>,
    pub(super) uploads: Uploads,
    runs: Runs,
    info: Info,
    pub(super) authority: Arc<Authority>,
    audit: Audit,
    pub(super) deny: Arc<DenyList>,
    pub(super) clock: HostClock,
    pub(super) shutdown: Shutdown,
}

impl OperatorGateway {
    /// A gateway to these parts.
    pub fn new(
        certificates: &EnrolGateway,
        registry: Arc<Registry>,
        uploads: Uploads,
        runs: Runs,
        info: Info,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            store: Arc::clone(&certificates.store),
            registry,
            uploads,
            runs,
            info,
            authority: Arc::clone(&certificates.authority),
            audit: certificates.audit.clone(),
            deny: Arc::clone(&certificates.deny),
            clock: HostClock::from_host(),
            shutdown,
        }
    }

    /// Calls the store off the async threads.
    pub(super) async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(store.as_ref()))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| of_store(&error))
    }

    /// Tells the audit log what came of a call that changes something.
    pub(super) fn told<T>(
        &self,
        entry: Entry,
        answer: Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        self.audit.tell(match &answer {
            Ok(_) => entry,
            Err(status) => entry.refused(status.message()),
        });
        answer.map(Response::new)
    }

    async fn start(&self, request: pb::RunRequest) -> Result<pb::RunResponse, Status> {
        let sharing = match (request.queue, request.share) {
            (_, true) => Sharing::Share,
            (true, false) => Sharing::Queue,
            (false, false) => Sharing::Refuse,
        };
        let source = source(request.campaign)?;
        let run = self
            .runs
            .run(source, sharing)
            .await
            .map_err(|error| of_run(&error))?;
        Ok(pb::RunResponse {
            run: run.to_string(),
        })
    }

    async fn end(&self, run: RunId, reason: &str) -> Result<pb::StopResponse, Status> {
        let reason = match reason.trim() {
            "" => "stopped by an operator".to_owned(),
            reason => reason.chars().take(200).collect(),
        };
        let stopped = self
            .runs
            .stop(run, reason)
            .await
            .map_err(|error| of_run(&error))?;
        Ok(pb::StopResponse {
            run: run.to_string(),
            stopped,
        })
    }

    async fn find(&self, reference: &str) -> Result<RunId, Status> {
        let reference: RunRef = reference
            .parse()
            .map_err(|error| Status::invalid_argument(format!("run: {error}")))?;
        self.store(move |store| store.find_run(&reference)).await
    }
}

fn source(campaign: Option<pb::CampaignSource>) -> Result<CampaignText, Status> {
    let campaign = campaign.ok_or_else(|| Status::invalid_argument("campaign: not set"))?;
    if campaign.toml.len() > CAMPAIGN_BYTES {
        let n = campaign.toml.len();
        return Err(Status::invalid_argument(format!(
            "campaign.toml: {n} bytes, at most {CAMPAIGN_BYTES}"
        )));
    }
    Ok(CampaignText {
        toml: campaign.toml,
        file: campaign.file,
        argv: campaign.argv,
        files: campaign
            .files
            .into_iter()
            .map(|file| (file.name, file.text))
            .collect(),
    })
}

fn json<T: serde::Serialize>(document: &T) -> Result<String, Status> {
    serde_json::to_string(document)
        .map_err(|error| Status::internal(format!("writing the document: {error}")))
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ControllerService for OperatorGateway {
    type WatchStream = WatchStream;
    type RecordsStream = ReceiverStream<Result<pb::RecordsResponse, Status>>;
    type FetchArtifactStream = Parts;

    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        let text = request.into_inner().selector;
        let selector: Option<Selector> = match text.trim() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|error| Status::invalid_argument(format!("selector: {error}")))?,
            ),
        };
        let busy = self.runs.busy().await;
        let agents = self
            .registry
            .view(self.clock.now_ns())
            .into_iter()
            .filter(|agent| {
                selector
                    .as_ref()
                    .is_none_or(|selector| matches(selector, agent))
            })
            .map(|agent| {
                let runs = busy
                    .get(&agent.row.name)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let state = self.state(&agent);
                describe(agent, state, runs)
            })
            .collect();
        Ok(Response::new(pb::ListAgentsResponse { agents }))
    }

    async fn plan(
        &self,
        request: Request<pb::PlanRequest>,
    ) -> Result<Response<pb::PlanResponse>, Status> {
        let source = source(request.into_inner().campaign)?;
        let plan = self
            .runs
            .plan(source)
            .await
            .map_err(|error| of_run(&error))?;
        Ok(Response::new(pb::PlanResponse {
            plan_json: json(&plan.document())?,
        }))
    }

    async fn run(
        &self,
        request: Request<pb::RunRequest>,
    ) -> Result<Response<pb::RunResponse>, Status> {
        let who = who(&request);
        let answer = self.start(request.into_inner()).await;
        let entry = Entry::new(Event::RunStarted, who).by("ControllerService/Run");
        let entry = match &answer {
            Ok(answer) => entry.to(&answer.run),
            Err(_) => entry,
        };
        self.told(entry, answer)
    }

    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let run = self.find(&request.into_inner().run).await?;
        if let Some(watch) = self.runs.watch(run).await {
            return Ok(Response::new(follow(watch, &self.shutdown)));
        }
        // Closed: its only news is the result.
        let result = self
            .runs
            .result(run)
            .await
            .map_err(|error| of_run(&error))?;
        let closed = pb::RunClosed {
            result_json: json(&result)?,
        };
        let message = pb::WatchResponse {
            run: run.to_string(),
            event: Some(watch_response::Event::Closed(closed)),
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(message)))))
    }

    async fn list_runs(
        &self,
        request: Request<pb::ListRunsRequest>,
    ) -> Result<Response<pb::ListRunsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => RUNS_LISTED,
            limit => limit as usize,
        };
        let runs = self.store(move |store| store.runs(limit)).await?;
        let runs = runs
            .into_iter()
            .map(|run| pb::RunSummary {
                run: run.run.to_string(),
                campaign: run.campaign,
                state: run.verdict.unwrap_or_else(|| run.state.as_str().to_owned()),
                created_unix_ns: run.created_unix_ns,
                flows: run.flows,
                records: run.records,
                duration_ns: run.t0_unix_ns.map_or(0, |_| run.end_ns),
            })
            .collect();
        Ok(Response::new(pb::ListRunsResponse { runs }))
    }

    async fn get_result(
        &self,
        request: Request<pb::GetResultRequest>,
    ) -> Result<Response<pb::GetResultResponse>, Status> {
        let run = self.find(&request.into_inner().run).await?;
        let result = self
            .runs
            .result(run)
            .await
            .map_err(|error| of_run(&error))?;
        Ok(Response::new(pb::GetResultResponse {
            result_json: json(&result)?,
        }))
    }

    async fn records(
        &self,
        request: Request<pb::RecordsRequest>,
    ) -> Result<Response<Self::RecordsStream>, Status> {
        let request = request.into_inner();
        let what = rows_of(&request)?;
        let run = self.find(&request.run).await?;
        let (sender, receiver) = mpsc::channel(ROWS_WAITING);
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || {
            let sent = export::rows(store.as_ref(), run, what, &mut |columns, rows_json| {
                let message = pb::RecordsResponse { columns, rows_json };
                match sender.blocking_send(Ok(message)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            if let Err(error) = sent {
                sender.blocking_send(Err(of_store(&error))).ok();
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn stop(
        &self,
        request: Request<pb::StopRequest>,
    ) -> Result<Response<pb::StopResponse>, Status> {
        let who = who(&request);
        let request = request.into_inner();
        let run = self.find(&request.run).await?;
        let answer = self.end(run, &request.reason).await;
        let entry = Entry::new(Event::RunStopped, who).by("ControllerService/Stop");
        self.told(entry.to(run).because(&request.reason), answer)
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let who = who(&request);
        let reference = request.into_inner().run;
        if reference.is_empty() {
            return Err(Status::invalid_argument("run: name the run to delete"));
        }
        let run = self.find(&reference).await?;
        let rows = self.store(move |store| store.delete_run(run)).await;
        let answer = rows.map(|rows| pb::DeleteResponse {
            run: run.to_string(),
            rows,
        });
        let entry = Entry::new(Event::RunDeleted, who).by("ControllerService/Delete");
        self.told(entry.to(run), answer)
    }

    async fn list_artifacts(
        &self,
        request: Request<pb::ListArtifactsRequest>,
    ) -> Result<Response<pb::ListArtifactsResponse>, Status> {
        let run = self.find(&request.into_inner().run).await?;
        Ok(Response::new(pb::ListArtifactsResponse {
            run: run.0,
            artifacts: self.artifacts(run).await?,
        }))
    }

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Parts>, Status> {
        self.fetch(request.into_inner()).await.map(Response::new)
    }

    async fn issue_certificate(
        &self,
        request: Request<pb::IssueCertificateRequest>,
    ) -> Result<Response<pb::IssueCertificateResponse>, Status> {
        let who = who(&request);
        let request = request.into_inner();
        let now = Duration::from_nanos(self.clock.unix_ns().unsigned_abs());
        let issued = issue(&self.authority, &request, now);
        let entry = Entry::new(Event::Enrolment, who).by("ControllerService/IssueCertificate");
        let entry = match &issued {
            Ok((name, answer)) => entry
                .to(format!("{} {}", name.role, name.name))
                .because(format!("serial {}", answer.serial)),
            Err(_) => entry.to(format!("{} {}", request.role, request.name)),
        };
        self.told(entry, issued.map(|(_, answer)| answer))
    }

    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        self.make_token(request).await
    }

    async fn list_tokens(
        &self,
        _request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        self.tokens().await
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        self.take_token_back(request).await
    }

    async fn deny(
        &self,
        request: Request<pb::DenyRequest>,
    ) -> Result<Response<pb::DenyResponse>, Status> {
        self.deny_peer(request).await
    }

    async fn allow(
        &self,
        request: Request<pb::AllowRequest>,
    ) -> Result<Response<pb::AllowResponse>, Status> {
        self.allow_peer(request).await
    }

    async fn list_denied(
        &self,
        _request: Request<pb::ListDeniedRequest>,
    ) -> Result<Response<pb::ListDeniedResponse>, Status> {
        self.denials().await
    }

    async fn get_info(
        &self,
        _request: Request<pb::GetInfoRequest>,
    ) -> Result<Response<pb::GetInfoResponse>, Status> {
        Ok(Response::new(pb::GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: self.info.database.clone(),
            agents: self.info.agents.clone(),
            pid: std::process::id(),
        }))
    }
}

/// The past, then what comes; ends with the run. A watcher that fell behind
/// misses progress: a change of state that it missed is in its next message.
fn follow(watch: Watch, shutdown: &Shutdown) -> WatchStream {
    let past = tokio_stream::iter(watch.past.into_iter().map(Ok));
    let Some(receiver) = watch.live else {
        return Box::pin(past);
    };
    let (sender, live) = mpsc::channel(64);
    let token = shutdown.token();
    shutdown.spawn(async move {
        tokio::select! {
            () = forward(receiver, sender) => {}
            () = token.cancelled() => {}
        }
    });
    Box::pin(past.chain(ReceiverStream::new(live)))
}

async fn forward(
    mut receiver: broadcast::Receiver<pb::WatchResponse>,
    sender: mpsc::Sender<Result<pb::WatchResponse, Status>>,
) {
    loop {
        match receiver.recv().await {
            Ok(message) => {
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "a watcher is slow");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Which rows a request means.
fn rows_of(request: &pb::RecordsRequest) -> Result<What, Status> {
    match request.table.as_str() {
        "" | "records" => Ok(What::Records(Table {
            joined: request.joined,
            streams: request.streams,
        })),
        "links" => Ok(What::Links),
        "kernels" => Ok(What::Kernels),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(Status::invalid_argument(format!(
                "records.table: `{other}` is none of records, links, kernels"
            )))
        }
    }
}

fn matches(selector: &Selector, agent: &AgentView) -> bool {
    let mut labels = Labels::new();
    for (key, value) in &agent.row.labels {
        // They were checked when the agent registered.
        labels.insert(key, value).ok();
    }
    let addresses: Vec<std::net::IpAddr> = agent
        .inventory
        .interfaces
        .iter()
        .flat_map(|interface| &interface.addresses)
        .filter_map(|address| address.split('/').next()?.parse().ok())
        .collect();
    selector.matches(&Subject {
        name: agent.row.name.as_str(),
        labels: &labels,
        addresses: &addresses,
    })
}

fn describe(agent: AgentView, state: &str, runs: &[RunId]) -> pb::Agent {
    pb::Agent {
        name: agent.row.name.to_string(),
        labels: agent.row.labels.into_iter().collect(),
        state: state.to_owned(),
        silent_ms: agent.silent_ns / 1_000_000,
        generation: agent.row.generation,
        inventory: Some(agent.inventory),
        runs: runs.iter().map(ToString::to_string).collect(),
    }
}
