//! What each listener serves: the service of its role, health and reflection,
//! and nothing of the other role; and the table of methods and roles, over real
//! connections.

use std::future::Future;

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use serde_json::Value;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use weir_runtime::Endpoint;
use weir_tests::pretender::Raw;
use weir_tests::{Cluster, eventually};

use crate::faults::SOON;

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

/// The paths of every method in the committed descriptor set.
fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(weir_proto::FILE_DESCRIPTOR_SET).expect("a set");
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let named = |method: &MethodDescriptorProto| {
                format!("/{}.{}/{}", file.package(), service.name(), method.name())
            };
            paths.extend(service.method.iter().map(named));
        }
    }
    paths
}

/// What a call with an empty message is answered with; an answer is `Ok`.
async fn called(channel: Channel, path: &str) -> Code {
    let mut client = Grpc::new(channel);
    client.ready().await.expect("the controller listens");
    let request = Request::new(tokio_stream::once(Vec::new()));
    let path = path.parse().expect("a path");
    let answer = async {
        let mut answers = client.streaming(request, path, Raw).await?.into_inner();
        answers.message().await
    };
    let answer = tokio::time::timeout(SOON, answer).await.expect("in time");
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[test]
fn a_role_may_call_its_own_methods_only() {
    let cluster = Cluster::new();
    let methods = methods();
    assert!(methods.len() >= 12, "{methods:?}");
    block_on(async {
        for (endpoint, own) in [
            (cluster.join_endpoint(), AGENTS),
            (cluster.operator_endpoint(), OPERATORS),
        ] {
            let channel = channel(&endpoint).await;
            for path in &methods {
                let code = called(channel.clone(), path).await;
                let denied = code == Code::PermissionDenied;
                let is_own = path.starts_with(&format!("/{own}/"));
                assert_eq!(denied, !is_own, "{own}: {path}: {code:?}");
                assert_ne!(code, Code::Unimplemented, "{own}: {path}");
            }
            let none = format!("/{own}/Shell");
            assert_eq!(called(channel, &none).await, Code::Unimplemented);
        }
    });
    let stop = "/weir.controller.v1.ControllerService/Stop";
    eventually("the refusal in the audit log", SOON, || {
        let log = cluster.weir(&["audit", "--limit", "1000", "--json"]).json();
        let found = |entry: &Value| entry["method"] == stop && entry["role"] == "agent";
        log["last"].as_array()?.iter().any(found).then_some(())
    });
}
