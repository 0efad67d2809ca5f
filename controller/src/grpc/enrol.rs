//! Agents' certificates: tokens for them, what is given for a token, and what
//! is given before a certificate expires.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use tonic::{Code, Request, Response, Status};
use weir_common::id::AgentName;
use weir_common::selector::Glob;
use weir_proto::agent::v1::{RenewRequest, RenewResponse};
use weir_proto::controller::v1 as pb;
use weir_proto::enrol::v1::enrol_service_server::EnrolService;
use weir_proto::enrol::v1::{EnrolRequest, EnrolResponse};
use weir_runtime::HostClock;
use weir_runtime::tls::{
    CertName, CertRole, JoinToken, Secret, TOKEN_ID_BYTES, TOKEN_SECRET_BYTES, hex,
};

use super::access::{standing, who};
use super::status::{chain, denied, of_store};
use crate::audit::{Audit, Entry, Event, Who};
use crate::authority::request::RequestedKey;
use crate::authority::{AGENT_LIFE, Authority, AuthorityError, Issued, random};
use crate::deny::DenyList;
use crate::store::{CertificateRow, Enrolment, Store, StoreError, Subject, TokenRow};

/// Largest request of a newcomer, bytes.
pub const ENROL_MESSAGE_BYTES: usize = 8 * 1024;
/// Context of the signature, so that it can be used for nothing else.
const CONTEXT: &[u8] = b"weir-enrol-1";
/// Most agents of one token.
const USES: u32 = 10_000;
/// Longest life of a token.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What gives agents their certificates.
#[derive(Debug, Clone)]
pub struct EnrolGateway {
    pub(super) store: Arc<dyn Store>,
    pub(super) authority: Arc<Authority>,
    pub(super) audit: Audit,
    pub(super) deny: Arc<DenyList>,
    clock: HostClock,
}

impl EnrolGateway {
    /// A gateway to these parts.
    pub fn new(
        store: Arc<dyn Store>,
        authority: Arc<Authority>,
        audit: Audit,
        deny: Arc<DenyList>,
    ) -> Self {
        Self {
            store,
            authority,
            audit,
            deny,
            clock: HostClock::from_host(),
        }
    }

    /// Time since the Unix epoch.
    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.unix_ns().unsigned_abs())
    }

    /// Calls the store off the async threads.
    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(store.as_ref()))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| of_store(&error))
    }

    /// A certificate for a key that is proven, given out by nobody yet.
    fn certify(
        &self,
        request: &[u8],
        name: AgentName,
        now: Duration,
    ) -> Result<(Issued, CertificateRow), Status> {
        let key = RequestedKey::of_request(request)
            .map_err(|error| Status::invalid_argument(format!("request: {error}")))?;
        let named = CertName {
            deployment: self.authority.deployment().to_owned(),
            role: CertRole::Agent,
            name: name.clone(),
        };
        let issued = self
            .authority
            .issue(&key, &named, AGENT_LIFE, now)
            .map_err(|error| Status::internal(chain(&error)))?;
        let row = CertificateRow {
            serial: issued.serial.clone(),
            name,
            not_after_unix_s: issued.not_after_unix_s,
        };
        Ok((issued, row))
    }

    async fn enrol(&self, request: &EnrolRequest) -> Result<Issued, Status> {
        let name: AgentName = request
            .name
            .parse()
            .map_err(|error| Status::invalid_argument(format!("name: {error}")))?;
        if let Some(denial) = self.deny.find(&Subject::Agent(name.clone())) {
            return Err(denied(&denial));
        }
        let token_id: String = request.token_id.chars().take(2 * TOKEN_ID_BYTES).collect();
        prove(request)?;
        let now = self.now();
        let (issued, certificate) = self.certify(&request.request, name, now)?;
        let enrolment = Enrolment {
            token: token_id,
            public_key: request.public_key.clone(),
            secret_sha256: sha256(&request.secret),
            now_unix_s: now.as_secs(),
            certificate,
        };
        self.store(move |store| store.enrol(&enrolment)).await?;
        Ok(issued)
    }

    /// A new certificate for whom the connection's certificate names.
    pub(super) async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let (who, standing) = (who(&request), standing(&request));
        let issued = self.try_renew(&who, &request.into_inner().request).await;
        // Denied meanwhile: nothing more is given out.
        let issued = match standing.denied() {
            Some(denial) => Err(denied(denial)),
            None => issued,
        };
        let entry = Entry::new(Event::Renewal, who).by("AgentService/Renew");
        self.told(entry, &issued);
        let issued = issued?;
        Ok(Response::new(RenewResponse {
            certificate: issued.der,
            not_after_unix_s: issued.not_after_unix_s,
        }))
    }

    async fn try_renew(&self, who: &Who, request: &[u8]) -> Result<Issued, Status> {
        // Only a certificate makes a name known before Hello.
        let name = who.name.as_deref().ok_or_else(|| {
            Status::failed_precondition("this connection has no certificate that could be renewed")
        })?;
        let name: AgentName = name
            .parse()
            .map_err(|error| Status::internal(format!("the certificate's name: {error}")))?;
        let (issued, row) = self.certify(request, name, self.now())?;
        self.store(move |store| store.record_certificate(&row))
            .await?;
        Ok(issued)
    }

    fn told(&self, entry: Entry, issued: &Result<Issued, Status>) {
        self.audit.tell(match issued {
            Ok(issued) => entry.because(format!("serial {}", issued.serial)),
            Err(status) => entry.refused(status.message()),
        });
    }
}

#[tonic::async_trait]
impl EnrolService for EnrolGateway {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let who = who(&request);
        let request = request.into_inner();
        let issued = self.enrol(&request).await;
        let event = match &issued {
            Err(status) if status.code() == Code::AlreadyExists => Event::NameKey,
            _ => Event::Enrolment,
        };
        let entry = Entry::new(event, who).by("EnrolService/Enrol");
        self.told(entry.to(format!("agent {}", request.name)), &issued);
        let issued = issued?;
        Ok(Response::new(EnrolResponse {
            certificate: issued.der,
            not_after_unix_s: issued.not_after_unix_s,
        }))
    }
}

/// Checks that whoever asks has the key that it names.
fn prove(request: &EnrolRequest) -> Result<(), Status> {
    let key = &request.public_key;
    if key.len() != 32 {
        let problem = format!(
            "public_key: {} bytes instead of 32: is the agent of another version?",
            key.len()
        );
        return Err(Status::invalid_argument(problem));
    }
    let signed = [
        CONTEXT,
        &sha256(&request.request),
        &sha256(request.token_id.as_bytes()),
        request.name.as_bytes(),
    ];
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&signed.concat(), &request.signature)
        .map_err(|_| {
            Status::unauthenticated("signature: does not prove the public key for this request")
        })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Draws a token: what is kept of it, and its text.
///
/// # Errors
/// A status that names the field.
pub(super) fn draw(
    authority: &Authority,
    request: &pb::CreateTokenRequest,
    now: Duration,
) -> Result<(TokenRow, pb::CreateTokenResponse), Status> {
    let bad = |field: &str, problem: String| {
        Status::invalid_argument(format!("token.{field}: {problem}"))
    };
    if !(1..=USES).contains(&request.uses) {
        let problem = format!("{} is outside 1 to {USES}", request.uses);
        return Err(bad("uses", problem));
    }
    let life = Duration::from_secs(request.ttl_s);
    if life.is_zero() || life > TOKEN_LIFE {
        let problem = format!("{} s is outside 1 s to 30 days", request.ttl_s);
        return Err(bad("ttl", problem));
    }
    let pattern = &request.name_pattern;
    if !pattern.is_empty() && Glob::new(pattern).is_none() {
        let problem = "not a pattern of a name: letters, digits, `*` and `?`".to_owned();
        return Err(bad("name_pattern", problem));
    }
    let failed = |error: AuthorityError| Status::internal(chain(&error));
    let id = hex(&random::<TOKEN_ID_BYTES>().map_err(failed)?);
    let secret = random::<TOKEN_SECRET_BYTES>().map_err(failed)?;
    let row = TokenRow {
        id: id.clone(),
        secret_sha256: sha256(&secret),
        uses_left: request.uses,
        expires_unix_s: (now + life).as_secs(),
        name_pattern: pattern.clone(),
        revoked_unix_s: None,
    };
    let token = JoinToken {
        pin: authority.pin(),
        id,
        secret: Secret::new(secret.to_vec()),
    };
    let response = pb::CreateTokenResponse {
        token: String::from_utf8_lossy(token.reveal().expose()).into_owned(),
        expires_unix_s: row.expires_unix_s,
    };
    Ok((row, response))
}
