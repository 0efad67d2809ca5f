//! What each listener serves: the service of its role, health and reflection,
//! and nothing of the other role.

use std::future::Future;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use weir_proto::agent::v1::agent_service_client::AgentServiceClient;
use weir_proto::controller::v1::ListRunsRequest;
use weir_proto::controller::v1::controller_service_client::ControllerServiceClient;
use weir_runtime::Endpoint;
use weir_tests::Cluster;

const AGENTS: &str = "weir.agent.v1.AgentService";
const OPERATORS: &str = "weir.controller.v1.ControllerService";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

async fn channel(endpoint: &str) -> Channel {
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    endpoint.connect().await.expect("the controller listens")
}

async fn health(channel: Channel, service: &str) -> Result<i32, Status> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await?;
    Ok(answer.into_inner().status)
}

async fn reflected(channel: Channel) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .expect("reflection is served")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one");
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_listeners_tell_their_health_and_their_services() {
    let cluster = Cluster::new();
    block_on(async {
        for (endpoint, own, other) in [
            (cluster.join_endpoint(), AGENTS, OPERATORS),
            (cluster.operator_endpoint(), OPERATORS, AGENTS),
        ] {
            let channel = channel(&endpoint).await;
            let serving = Ok(ServingStatus::Serving as i32);
            let status = health(channel.clone(), own).await;
            assert_eq!(status.map_err(|status| status.code()), serving, "{own}");
            let stranger = health(channel.clone(), other).await;
            assert_eq!(
                stranger.map_err(|status| status.code()),
                Err(Code::NotFound)
            );
            let services = reflected(channel).await;
            assert!(
                services.iter().any(|service| service == own),
                "{services:?}"
            );
        }
    });
}

#[test]
fn a_listener_serves_its_own_role_only() {
    let cluster = Cluster::new();
    block_on(async {
        let agents = channel(&cluster.join_endpoint()).await;
        let refused = ControllerServiceClient::new(agents)
            .list_runs(ListRunsRequest { limit: 1 })
            .await;
        assert_eq!(
            refused.map_err(|status| status.code()).err(),
            Some(Code::Unimplemented)
        );
        let operators = channel(&cluster.operator_endpoint()).await;
        let refused = AgentServiceClient::new(operators)
            .control(tokio_stream::empty())
            .await;
        assert_eq!(
            refused.map_err(|status| status.code()).err(),
            Some(Code::Unimplemented)
        );
    });
}
