//! A token becomes a certificate, once. Nothing of the token is sent before
//! the peer has shown the authority whose key the token names.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use tonic::{Code, Status};
use weir_proto::enrol::v1::EnrolRequest;
use weir_proto::enrol::v1::enrol_service_client::EnrolServiceClient;
use weir_runtime::directory::write_atomic;
use weir_runtime::tls::{
    JoinToken, PinnedClient, Secret, TlsError, TokenError, certificate_pem, private,
};
use weir_runtime::{ConnectError, Endpoint};

use super::{Credentials, CredentialsError, Fresh};
use crate::state::Identity;

/// How long the controller may take to answer.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);
/// Largest file of a token, bytes.
const MOST: u64 = 1_024;

/// Where a token is.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// In the environment, read already.
    Text(Secret),
    /// In a file that nobody else can read.
    File(PathBuf),
}

/// How an agent gets its certificate.
#[derive(Debug, Clone)]
pub struct EnrolConfig {
    /// Where the controller listens for newcomers.
    pub endpoint: Endpoint,
    /// What to show there.
    pub token: TokenSource,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenSourceError {
    /// The file of the token cannot be used.
    #[error(transparent)]
    File(#[from] TlsError),
    /// What was given is no token.
    #[error("the token of {origin}")]
    Form {
        /// Where it comes from.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: TokenError,
    },
}

impl TokenSource {
    fn read(&self) -> Result<JoinToken, TokenSourceError> {
        let (origin, text) = match self {
            Self::Text(text) => ("WEIR_TOKEN".to_owned(), text.clone()),
            Self::File(path) => {
                private(path)?;
                let mut bytes = Vec::new();
                fs::File::open(path)
                    .and_then(|file| file.take(MOST).read_to_end(&mut bytes))
                    .map_err(|source| TlsError::Read {
                        path: path.clone(),
                        source,
                    })?;
                (path.display().to_string(), Secret::new(bytes))
            }
        };
        let text = std::str::from_utf8(text.expose()).unwrap_or_default();
        text.parse()
            .map_err(|source| TokenSourceError::Form { origin, source })
    }
}

/// Why there is no certificate, or no connection with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The handshake was ended before anything of the token was sent.
    #[error(
        "enrol: {0} is not the controller that made the token: its authority has another key; \
         check the address, and that the token was made by this controller"
    )]
    Stranger(Endpoint),
    #[error("enrol")]
    Reach(#[source] ConnectError),
    #[error("enrolment is refused: {}", .0.message())]
    Refused(Status),
    #[error("enrol: no answer within {} s", ANSWER.as_secs())]
    Late,
    #[error("enrol: the handshake has shown no authority")]
    NoAuthority,
}

impl EnrolError {
    /// Whether trying again soon changes nothing.
    pub(crate) fn is_final(&self) -> bool {
        let Self::Refused(status) = self else {
            return matches!(self, Self::Credentials(_));
        };
        matches!(
            status.code(),
            Code::PermissionDenied
                | Code::AlreadyExists
                | Code::Unauthenticated
                | Code::InvalidArgument
                | Code::Unimplemented
        )
    }
}

/// An enrolment that is still to be done.
#[derive(Debug)]
pub(super) struct Enrolment {
    endpoint: Endpoint,
    token: JoinToken,
}

impl Enrolment {
    pub(super) fn new(config: EnrolConfig) -> Result<Self, TokenSourceError> {
        Ok(Self {
            endpoint: config.endpoint,
            token: config.token.read()?,
        })
    }

    /// Gets a certificate and stores it.
    pub(super) async fn carry_out(
        &self,
        credentials: &Credentials,
        identity: &Identity,
    ) -> Result<(), EnrolError> {
        let pinned = PinnedClient::new(self.token.pin);
        let channel = self
            .endpoint
            .connect_with(Some(pinned.config()))
            .await
            .map_err(|error| {
                if pinned.has_refused() {
                    EnrolError::Stranger(self.endpoint.clone())
                } else {
                    EnrolError::Reach(error)
                }
            })?;
        let authority = pinned.authority().ok_or(EnrolError::NoAuthority)?;
        let fresh = Fresh::draw()?;
        let request = EnrolRequest {
            token_id: self.token.id.clone(),
            secret: self.token.secret.expose().to_vec(),
            name: identity.name.to_string(),
            request: fresh.request.clone(),
            public_key: identity.public_key(),
            signature: identity.sign_enrolment(&fresh.request, &self.token.id),
        };
        let mut client = EnrolServiceClient::new(channel);
        let answer = tokio::time::timeout(ANSWER, client.enrol(request)).await;
        let answer = answer
            .map_err(|_| EnrolError::Late)?
            .map_err(EnrolError::Refused)?
            .into_inner();
        let pem = certificate_pem(&authority);
        // First, so that there is never a certificate without it.
        write_atomic(&credentials.authority, pem.as_bytes()).map_err(CredentialsError::from)?;
        credentials.store(&answer.certificate, &fresh.secret)?;
        credentials.take_up().map_err(CredentialsError::from)?;
        tracing::info!(agent = %identity.name, endpoint = %self.endpoint, "enrolled: this agent has a certificate");
        Ok(())
    }
}
