//! The way to the controller: one connection, and calls whose errors say what was tried.

use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use weir_proto::controller::v1 as api;
use weir_proto::controller::v1::controller_service_client::ControllerServiceClient;
use weir_runtime::Endpoint;
use weir_runtime::directory::default_data_dir;

use crate::failure::{Failure, innermost};
use crate::login::{self, Login};

/// Largest answer, bytes: a result document has about 3 kB a flow, and a run may have 65,536 flows.
const ANSWER_MOST: usize = 512 << 20;

/// A connected controller.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
    service: ControllerServiceClient<Channel>,
}

/// The endpoint given by `source`, else that of `weir login`, else the operators'
/// socket in the default data directory.
pub(crate) fn endpoint(source: &str, given: Option<&str>) -> Result<Endpoint, Failure> {
    if let Some(text) = given {
        return text
            .parse()
            .map_err(|error| Failure::usage(format!("{source}: {error}")));
    }
    if let Some(login) = Login::of_user()
        && let Some(controller) = login.controller()?
    {
        return Ok(controller);
    }
    let directory = default_data_dir().map_err(|error| {
        Failure::usage(format!(
            "{error}, or the controller with --controller ENDPOINT"
        ))
    })?;
    let path = directory.join("operators.sock");
    format!("unix:{}", path.display())
        .parse()
        .map_err(Failure::usage)
}

impl Client {
    /// Connects; one attempt.
    pub(crate) async fn connect(endpoint: Endpoint) -> Result<Self, Failure> {
        let tls = login::certificate(&endpoint)?;
        let channel = endpoint
            .connect_with(tls.map(|tls| tls.current()))
            .await
            .map_err(|error| Failure::unreachable(&endpoint, innermost(&error)))?;
        let service = ControllerServiceClient::new(channel).max_decoding_message_size(ANSWER_MOST);
        Ok(Self { endpoint, service })
    }

    /// Where the controller is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn answer<T>(
        &self,
        operation: &str,
        answer: Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        answer
            .map(Response::into_inner)
            .map_err(|status| Failure::status(operation, &self.endpoint, &status))
    }

    /// Agents that a selector in command-line form matches; empty = all.
    pub(crate) async fn agents(&self, selector: String) -> Result<Vec<api::Agent>, Failure> {
        let request = api::ListAgentsRequest { selector };
        let answer = self.service.clone().list_agents(request).await;
        Ok(self.answer("list agents", answer)?.agents)
    }

    /// The plan document of a campaign.
    pub(crate) async fn plan(&self, campaign: api::CampaignSource) -> Result<String, Failure> {
        let request = api::PlanRequest {
            campaign: Some(campaign),
        };
        let answer = self.service.clone().plan(request).await;
        Ok(self.answer("plan the campaign", answer)?.plan_json)
    }

    /// Starts a run and returns its number.
    pub(crate) async fn run(&self, request: api::RunRequest) -> Result<String, Failure> {
        let answer = self.service.clone().run(request).await;
        Ok(self.answer("start the run", answer)?.run)
    }

    /// The events of a run. The status stays whole: its caller tells a lost controller from an answer.
    pub(crate) async fn watch(&self, run: &str) -> Result<Streaming<api::WatchResponse>, Status> {
        let request = api::WatchRequest {
            run: run.to_owned(),
        };
        let answer = self.service.clone().watch(request).await;
        answer.map(Response::into_inner)
    }

    /// The newest runs.
    pub(crate) async fn runs(&self, limit: u32) -> Result<Vec<api::RunSummary>, Failure> {
        let request = api::ListRunsRequest { limit };
        let answer = self.service.clone().list_runs(request).await;
        Ok(self.answer("list runs", answer)?.runs)
    }

    /// The result document of a run.
    pub(crate) async fn result(&self, run: &str) -> Result<String, Failure> {
        let request = api::GetResultRequest {
            run: run.to_owned(),
        };
        let answer = self.service.clone().get_result(request).await;
        let operation = format!("show run {}", named(run));
        Ok(self.answer(&operation, answer)?.result_json)
    }

    /// The rows of a run.
    pub(crate) async fn records(
        &self,
        request: api::RecordsRequest,
    ) -> Result<Streaming<api::RecordsResponse>, Failure> {
        let operation = format!("read the records of run {}", named(&request.run));
        let answer = self.service.clone().records(request).await;
        self.answer(&operation, answer)
    }

    /// The files that the flows of a run wrote.
    pub(crate) async fn artifacts(&self, run: &str) -> Result<api::ListArtifactsResponse, Failure> {
        let operation = format!("list the files of run {}", named(run));
        let run = run.to_owned();
        let request = api::ListArtifactsRequest { run };
        let answer = self.service.clone().list_artifacts(request).await;
        self.answer(&operation, answer)
    }

    /// The bytes of one of them. The status stays whole: it concerns that file alone.
    pub(crate) async fn fetch(
        &self,
        request: api::FetchArtifactRequest,
    ) -> Result<Streaming<api::FetchArtifactResponse>, Status> {
        let answer = self.service.clone().fetch_artifact(request).await;
        answer.map(Response::into_inner)
    }

    /// Orders a run to stop.
    pub(crate) async fn stop(&self, run: &str, reason: &str) -> Result<api::StopResponse, Failure> {
        let request = api::StopRequest {
            run: run.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.service.clone().stop(request).await;
        self.answer(&format!("stop run {}", named(run)), answer)
    }

    /// Deletes a run.
    pub(crate) async fn delete(&self, run: &str) -> Result<api::DeleteResponse, Failure> {
        let request = api::DeleteRequest {
            run: run.to_owned(),
        };
        let answer = self.service.clone().delete(request).await;
        self.answer(&format!("delete run {run}"), answer)
    }

    /// A certificate for a person at another machine.
    pub(crate) async fn certificate(
        &self,
        request: api::IssueCertificateRequest,
    ) -> Result<api::IssueCertificateResponse, Failure> {
        let answer = self.service.clone().issue_certificate(request).await;
        self.answer("make the credentials", answer)
    }

    /// A token for agents.
    pub(crate) async fn create_token(
        &self,
        request: api::CreateTokenRequest,
    ) -> Result<api::CreateTokenResponse, Failure> {
        let answer = self.service.clone().create_token(request).await;
        self.answer("make the token", answer)
    }

    /// The tokens, without their secrets.
    pub(crate) async fn tokens(&self) -> Result<Vec<api::TokenInfo>, Failure> {
        let request = api::ListTokensRequest {};
        let answer = self.service.clone().list_tokens(request).await;
        Ok(self.answer("list tokens", answer)?.tokens)
    }

    /// Takes a token back; how it was before.
    pub(crate) async fn revoke_token(&self, id: &str) -> Result<api::TokenInfo, Failure> {
        let request = api::RevokeTokenRequest { id: id.to_owned() };
        let answer = self.service.clone().revoke_token(request).await;
        let token = self.answer("revoke the token", answer)?.token;
        Ok(token.unwrap_or_default())
    }

    /// Puts somebody on the deny list.
    pub(crate) async fn deny(&self, who: &str, reason: &str) -> Result<api::DenyResponse, Failure> {
        let request = api::DenyRequest {
            subject: who.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.service.clone().deny(request).await;
        self.answer(&format!("deny {who}"), answer)
    }

    /// Takes somebody off the deny list.
    pub(crate) async fn allow(&self, who: &str) -> Result<api::AllowResponse, Failure> {
        let request = api::AllowRequest {
            subject: who.to_owned(),
        };
        let answer = self.service.clone().allow(request).await;
        self.answer(&format!("allow {who}"), answer)
    }

    /// The deny list.
    pub(crate) async fn denied(&self) -> Result<Vec<api::Denied>, Failure> {
        let request = api::ListDeniedRequest {};
        let answer = self.service.clone().list_denied(request).await;
        Ok(self.answer("list who is denied", answer)?.denied)
    }

    /// Who the controller is and where its data lies.
    pub(crate) async fn info(&self) -> Result<api::GetInfoResponse, Failure> {
        let answer = self.service.clone().get_info(api::GetInfoRequest {}).await;
        self.answer("ask the controller who it is", answer)
    }
}

/// A run as the experimenter named it.
fn named(run: &str) -> &str {
    if run.is_empty() { "last" } else { run }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_endpoint_is_parsed_once() {
        assert_eq!(
            endpoint("--controller", Some("unix:/run/o.sock"))
                .unwrap()
                .to_string(),
            "unix:/run/o.sock"
        );
        let failure = endpoint("--controller", Some("tcp://10.0.0.1")).unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert!(failure.to_string().contains("host and port"), "{failure}");
    }

    #[test]
    fn without_one_it_is_the_operators_socket() {
        let text = endpoint("x", None).unwrap().to_string();
        assert!(
            text.starts_with("unix:/") && text.ends_with("/operators.sock"),
            "{text}"
        );
    }
}
