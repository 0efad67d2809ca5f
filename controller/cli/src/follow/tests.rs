//! A controller in this process, on a unix socket, that tells what a test wants.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{UnboundedReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response};
use weir_proto::controller::v1 as api;
use weir_proto::controller::v1::controller_service_server::{
    ControllerService, ControllerServiceServer,
};
use weir_runtime::Endpoint;

use super::*;
use crate::command::run::{Report, execute};
use crate::failure::Exit;
use crate::output::screen::Mode;
use crate::output::screen::tests::Shared;

const RESULT: &str = "{\"schema\":\"weir.result/1\",\"exit\":1}";

type Told = Result<WatchResponse, Status>;

/// What was asked of the controller, and what it is to answer.
#[derive(Debug, Default)]
struct State {
    asked: Vec<String>,
    /// One list of events for each watcher, in turn. A list that does not end the run leaves its stream open.
    scripts: Vec<Vec<Told>>,
    watchers: Vec<mpsc::UnboundedSender<Told>>,
    refuse_run: Option<Status>,
}

#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<State>>);

fn event(event: Event) -> WatchResponse {
    WatchResponse {
        run: "r-0001".to_owned(),
        event: Some(event),
    }
}

fn state(name: &str) -> WatchResponse {
    let state = api::RunState {
        state: name.to_owned(),
        flows: 1,
        ..api::RunState::default()
    };
    event(Event::State(state))
}

fn closed() -> WatchResponse {
    let result_json = RESULT.to_owned();
    event(Event::Closed(api::RunClosed { result_json }))
}

/// A controller that goes down.
fn gone() -> Told {
    Err(Status::unavailable("going down"))
}

impl Fake {
    fn with(scripts: Vec<Vec<Told>>) -> Self {
        let fake = Self::default();
        fake.0.lock().unwrap().scripts = scripts;
        fake
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }

    fn ask(&self, what: impl Into<String>) {
        self.0.lock().unwrap().asked.push(what.into());
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ControllerService for Fake {
    type WatchStream = Pin<Box<dyn Stream<Item = Told> + Send>>;
    type RecordsStream = Pin<Box<dyn Stream<Item = Result<api::RecordsResponse, Status>> + Send>>;
    type FetchArtifactStream =
        Pin<Box<dyn Stream<Item = Result<api::FetchArtifactResponse, Status>> + Send>>;

    async fn run(&self, request: Request<api::RunRequest>) -> Answer<api::RunResponse> {
        self.ask(format!(
            "run {}",
            request.get_ref().campaign.as_ref().unwrap().file
        ));
        match self.0.lock().unwrap().refuse_run.clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(api::RunResponse {
                run: "r-0001".to_owned(),
            })),
        }
    }

    async fn watch(&self, request: Request<api::WatchRequest>) -> Answer<Self::WatchStream> {
        self.ask(format!("watch {}", request.get_ref().run));
        let mut state = self.0.lock().unwrap();
        if state.scripts.is_empty() {
            return Err(Status::not_found("no run is called `x`; there are r-0001"));
        }
        let script = state.scripts.remove(0);
        let (tell, told) = mpsc::unbounded_channel();
        let ends = script.iter().any(|told| told.is_err())
            || script.last().is_some_and(|told| {
                matches!(
                    told,
                    Ok(WatchResponse {
                        event: Some(Event::Closed(_)),
                        ..
                    })
                )
            });
        for told in script {
            tell.send(told).unwrap();
        }
        if !ends {
            state.watchers.push(tell);
        }
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(told))))
    }

    async fn stop(&self, request: Request<api::StopRequest>) -> Answer<api::StopResponse> {
        let request = request.into_inner();
        self.ask(format!("stop {} ({})", request.run, request.reason));
        for watcher in self.0.lock().unwrap().watchers.drain(..) {
            // A watcher that has left needs no end.
            let _left = watcher.send(Ok(closed())).is_err();
        }
        Ok(Response::new(api::StopResponse {
            run: request.run,
            stopped: true,
        }))
    }

    async fn list_agents(
        &self,
        _: Request<api::ListAgentsRequest>,
    ) -> Answer<api::ListAgentsResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn plan(&self, _: Request<api::PlanRequest>) -> Answer<api::PlanResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_runs(&self, _: Request<api::ListRunsRequest>) -> Answer<api::ListRunsResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn get_result(
        &self,
        _: Request<api::GetResultRequest>,
    ) -> Answer<api::GetResultResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn records(&self, _: Request<api::RecordsRequest>) -> Answer<Self::RecordsStream> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn delete(&self, _: Request<api::DeleteRequest>) -> Answer<api::DeleteResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_artifacts(
        &self,
        _: Request<api::ListArtifactsRequest>,
    ) -> Answer<api::ListArtifactsResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn fetch_artifact(
        &self,
        _: Request<api::FetchArtifactRequest>,
    ) -> Answer<Self::FetchArtifactStream> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn get_info(&self, _: Request<api::GetInfoRequest>) -> Answer<api::GetInfoResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn create_token(
        &self,
        _: Request<api::CreateTokenRequest>,
    ) -> Answer<api::CreateTokenResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_tokens(
        &self,
        _: Request<api::ListTokensRequest>,
    ) -> Answer<api::ListTokensResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn revoke_token(
        &self,
        _: Request<api::RevokeTokenRequest>,
    ) -> Answer<api::RevokeTokenResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn deny(&self, _: Request<api::DenyRequest>) -> Answer<api::DenyResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn allow(&self, _: Request<api::AllowRequest>) -> Answer<api::AllowResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_denied(
        &self,
        _: Request<api::ListDeniedRequest>,
    ) -> Answer<api::ListDeniedResponse> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn issue_certificate(
        &self,
        _: Request<api::IssueCertificateRequest>,
    ) -> Answer<api::IssueCertificateResponse> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// Everything that a test of one run looks at.
struct World {
    directory: tempfile::TempDir,
    fake: Fake,
    told: Shared,
    printed: Vec<u8>,
    interrupts: Interrupts,
    press: mpsc::UnboundedSender<()>,
}

impl World {
    fn new(scripts: Vec<Vec<Told>>) -> Self {
        let (press, interrupts) = Interrupts::channel();
        Self {
            directory: tempfile::tempdir().unwrap(),
            fake: Fake::with(scripts),
            told: Shared::default(),
            printed: Vec::new(),
            interrupts,
            press,
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.directory.path().join("o.sock"))
    }

    /// Serves until the guard is dropped.
    fn serve(&self) -> tokio::task::JoinHandle<()> {
        let Endpoint::Unix(path) = self.endpoint() else {
            panic!()
        };
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        let listener = UnixListener::bind(path).unwrap();
        let service = ControllerServiceServer::new(self.fake.clone());
        tokio::spawn(async move {
            let server = Server::builder().add_service(service);
            server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        })
    }

    async fn run(&mut self) -> Result<Exit, Failure> {
        let client = Client::connect(self.endpoint()).await?;
        let source = api::CampaignSource {
            file: "c.toml".to_owned(),
            ..api::CampaignSource::default()
        };
        let request = api::RunRequest {
            campaign: Some(source),
            queue: true,
            share: false,
        };
        let mut screen = Screen::new(Mode::Lines, Box::new(self.told.clone()));
        let report = Report {
            json: true,
            flows: false,
            next: false,
        };
        execute(
            client,
            request,
            report,
            &mut screen,
            &mut self.interrupts,
            &mut self.printed,
        )
        .await
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn a_run_prints_one_document_and_exits_with_its_verdict() {
    block_on(async {
        let script = vec![Ok(state("preparing")), Ok(state("running")), Ok(closed())];
        let mut world = World::new(vec![script]);
        let _server = world.serve();
        let exit = world.run().await.unwrap();
        assert_eq!(exit.code(), 1);
        let document: serde_json::Value = serde_json::from_slice(&world.printed).unwrap();
        assert_eq!(
            document,
            serde_json::from_str::<serde_json::Value>(RESULT).unwrap()
        );
        assert_eq!(world.fake.asked(), ["run c.toml", "watch r-0001"]);
        assert!(
            world
                .told
                .text()
                .starts_with("r-0001: preparing 1 flow\nr-0001: running"),
            "{}",
            world.told.text()
        );
    });
}

#[test]
fn ctrl_c_stops_the_run_and_waits_for_its_result() {
    block_on(async {
        // The run ends only because it is stopped.
        let mut world = World::new(vec![vec![Ok(state("running"))]]);
        let _server = world.serve();
        world.press.send(()).unwrap();
        let exit = world.run().await.unwrap();
        assert_eq!(exit, Exit::Interrupted);
        assert_eq!(exit.code(), 130);
        assert!(
            world
                .fake
                .asked()
                .contains(&"stop r-0001 (interrupted)".to_owned())
        );
        assert!(!world.printed.is_empty());
        assert!(
            world.told.text().contains("stopping r-0001"),
            "{}",
            world.told.text()
        );
    });
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    block_on(async {
        let mut world = World::new(vec![vec![Ok(state("running"))]]);
        let _server = world.serve();
        world.press.send(()).unwrap();
        world.press.send(()).unwrap();
        let failure = world.run().await.unwrap_err();
        assert_eq!(failure.exit().code(), 130);
        assert!(world.printed.is_empty());
    });
}

#[test]
fn who_watches_leaves_the_run_alone() {
    block_on(async {
        let mut world = World::new(vec![vec![Ok(state("running"))]]);
        let _server = world.serve();
        let client = Client::connect(world.endpoint()).await.unwrap();
        let mut screen = Screen::new(Mode::Lines, Box::new(world.told.clone()));
        world.press.send(()).unwrap();
        let follow = Follow::new(
            client,
            "",
            Policy::Leave,
            &mut screen,
            &mut world.interrupts,
        );
        let failure = follow.until_closed().await.unwrap_err();
        assert_eq!(failure.exit().code(), 130);
        assert_eq!(world.fake.asked(), ["watch "]);
    });
}

#[test]
fn a_controller_that_comes_back_is_followed_again_and_told_once() {
    block_on(async {
        let first = vec![Ok(state("preparing")), Ok(state("running")), gone()];
        let second = vec![Ok(state("preparing")), Ok(state("running")), Ok(closed())];
        let mut world = World::new(vec![first, second]);
        let _server = world.serve();
        assert_eq!(world.run().await.unwrap().code(), 1);
        assert_eq!(
            world.fake.asked(),
            ["run c.toml", "watch r-0001", "watch r-0001"]
        );
        let told = world.told.text();
        assert_eq!(told.matches("running").count(), 1, "{told}");
        assert!(
            told.contains("is gone") && told.contains("is back"),
            "{told}"
        );
    });
}

#[test]
fn ctrl_c_without_a_controller_leaves() {
    block_on(async {
        let mut world = World::new(vec![vec![Ok(state("running")), gone()]]);
        let server = world.serve();
        let path = world.directory.path().join("o.sock");
        let (press, told) = (world.press.clone(), world.told.clone());
        let run = world.run();
        let leave = async {
            // The socket goes away before the first attempt to come back.
            while !told.text().contains("is gone") {
                tokio::task::yield_now().await;
            }
            std::fs::remove_file(path).unwrap();
            press.send(()).unwrap();
        };
        let (ended, ()) = tokio::join!(run, leave);
        assert_eq!(ended.unwrap_err().exit().code(), 130);
        assert!(
            !world
                .fake
                .asked()
                .iter()
                .any(|asked| asked.starts_with("stop"))
        );
        server.abort();
    });
}

#[test]
fn without_a_controller_the_endpoint_and_the_fix_are_named() {
    block_on(async {
        let mut world = World::new(Vec::new());
        let failure = world.run().await.unwrap_err();
        assert_eq!(failure.exit().code(), 3);
        let text = failure.to_string();
        assert!(
            text.contains("o.sock") && text.contains("is `weir serve` running?"),
            "{text}"
        );
    });
}

#[test]
fn refusals_keep_their_sentence_and_their_code() {
    block_on(async {
        let table = [
            (Status::invalid_argument("c.toml:3: unknown key"), 2),
            (
                Status::failed_precondition(
                    "r-0006 uses the same kernel: --queue waits, --share runs beside it",
                ),
                3,
            ),
        ];
        for (status, code) in table {
            let mut world = World::new(Vec::new());
            world.fake.0.lock().unwrap().refuse_run = Some(status.clone());
            let _server = world.serve();
            let failure = world.run().await.unwrap_err();
            assert_eq!(failure.exit().code(), code);
            assert!(failure.to_string().ends_with(status.message()), "{failure}");
        }
        let mut world = World::new(Vec::new());
        let _server = world.serve();
        let failure = world.run().await.unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert_eq!(
            failure.to_string(),
            "no run is called `x`; there are r-0001"
        );
    });
}
