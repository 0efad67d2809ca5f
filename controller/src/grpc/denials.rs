//! The deny list as operators change and read it.

use tonic::{Request, Response, Status};
use weir_proto::controller::v1 as pb;

use super::access::who;
use super::controller_service::OperatorGateway;
use crate::audit::{Entry, Event, Who};
use crate::registry::AgentView;
use crate::store::{Denial, Store, StoreError, Subject};

/// Most characters of a reason.
const REASON: usize = 200;

impl OperatorGateway {
    pub(super) async fn deny_peer(
        &self,
        request: Request<pb::DenyRequest>,
    ) -> Result<Response<pb::DenyResponse>, Status> {
        let who = who(&request);
        let request = request.into_inner();
        let answer = self.put(&who, &request).await;
        let entry = Entry::new(Event::Denied, who).by("ControllerService/Deny");
        let entry = entry.to(&request.subject).because(&request.reason);
        self.told(entry, answer)
    }

    async fn put(&self, who: &Who, request: &pb::DenyRequest) -> Result<pb::DenyResponse, Status> {
        let subject = subject(&request.subject)?;
        let denial = Denial {
            subject: subject.clone(),
            reason: request.reason.trim().chars().take(REASON).collect(),
            by: described(who),
            since_unix_ns: self.clock.unix_ns(),
        };
        let stored = denial.clone();
        let known = self
            .store(move |store| {
                // On disk first: what was cut stays out, whatever happens next.
                store.deny(&stored)?;
                is_known(store, &stored.subject)
            })
            .await?;
        let ended = self.deny.deny(&denial);
        tracing::info!(subject = %subject, connections = ended, "put on the deny list");
        Ok(pb::DenyResponse {
            subject: subject.to_string(),
            connections: u32::try_from(ended).unwrap_or(u32::MAX),
            known,
        })
    }

    pub(super) async fn allow_peer(
        &self,
        request: Request<pb::AllowRequest>,
    ) -> Result<Response<pb::AllowResponse>, Status> {
        let who = who(&request);
        let text = request.into_inner().subject;
        let answer = self.remove(&text).await;
        let entry = Entry::new(Event::Allowed, who).by("ControllerService/Allow");
        self.told(entry.to(&text), answer)
    }

    async fn remove(&self, text: &str) -> Result<pb::AllowResponse, Status> {
        let subject = subject(text)?;
        let gone = subject.clone();
        let was_denied = self.store(move |store| store.allow(&gone)).await?;
        self.deny.allow(&subject);
        Ok(pb::AllowResponse {
            subject: subject.to_string(),
            was_denied,
        })
    }

    /// How an agent is, in one word.
    pub(super) fn state(&self, agent: &AgentView) -> &'static str {
        match self.deny.find(&Subject::Agent(agent.row.name.clone())) {
            Some(_) => "denied",
            None => agent.liveness.as_str(),
        }
    }

    pub(super) async fn denials(&self) -> Result<Response<pb::ListDeniedResponse>, Status> {
        let denied = self.store(|store| store.denials()).await?;
        let denied = denied.into_iter().map(|denial| pb::Denied {
            subject: denial.subject.to_string(),
            reason: denial.reason,
            by: denial.by,
            since_unix_ns: denial.since_unix_ns,
        });
        Ok(Response::new(pb::ListDeniedResponse {
            denied: denied.collect(),
        }))
    }
}

fn subject(text: &str) -> Result<Subject, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("subject: {error}")))
}

/// Whether anybody here has that name or certificate. Of people no list is kept.
fn is_known(store: &dyn Store, subject: &Subject) -> Result<bool, StoreError> {
    Ok(match subject {
        Subject::Agent(name) => store.agent(name)?.is_some(),
        Subject::Serial(serial) => store
            .certificates()?
            .iter()
            .any(|certificate| certificate.serial == *serial),
        Subject::Operator(_) | Subject::Viewer(_) => true,
    })
}

/// Who asks, in a few words.
fn described(who: &Who) -> String {
    match (&who.name, who.uid) {
        (Some(name), _) => format!("{} {name}", who.role),
        (None, Some(uid)) => format!("uid {uid}"),
        (None, None) => who.role.to_owned(),
    }
}
