//! The agent's certificate, for a controller beyond this host: got once for a
//! token, then renewed over the agent's own connection.

mod enrol;
mod renew;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use tonic::transport::Channel;
use weir_runtime::directory::{DirectoryError, write_atomic};
use weir_runtime::tls::{
    self, ClientTls, CredentialFiles, Secret, TlsError, certificate_pem, certificate_request,
    key_pem,
};
use weir_runtime::{ConnectError, Endpoint};

use crate::state::{Identity, State};

pub(crate) use enrol::EnrolError;
pub use enrol::{EnrolConfig, TokenSource};
pub(crate) use renew::keep;

/// Certificate and key in one file, so that it is replaced in one step.
const TLS: &str = "tls.pem";
/// The authority that is trusted.
const AUTHORITY: &str = "authority.crt";

/// Why an agent has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Its files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// They cannot be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is none, and nothing to get one with.
    #[error(
        "{controller} asks for a certificate, and there is no {}: make a token on the controller's \
         machine with `weir token create`, and give it here in WEIR_TOKEN or --token-file, with --enrol ENDPOINT",
        file.display()
    )]
    None {
        /// Where the controller is.
        controller: Endpoint,
        /// Where it would be.
        file: PathBuf,
    },
    /// It is too old, and there is nothing to get another with.
    #[error(
        "the certificate {} expired {} min ago: make a token on the controller's machine with \
         `weir token create`, and give it here in WEIR_TOKEN or --token-file, with --enrol ENDPOINT",
        file.display(), ago.as_secs() / 60
    )]
    Expired {
        /// Which file.
        file: PathBuf,
        /// How long ago.
        ago: Duration,
    },
    /// The token cannot be had.
    #[error(transparent)]
    Token(#[from] enrol::TokenSourceError),
    /// The kernel gives no random numbers.
    #[error("draw a key: no random numbers from the kernel")]
    Random,
}

/// A fresh key that waits for its certificate.
struct Fresh {
    secret: Secret,
    request: Vec<u8>,
}

impl Fresh {
    fn draw() -> Result<Self, CredentialsError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| CredentialsError::Random)?;
        let secret = Secret::new(document.as_ref().to_vec());
        let key =
            Ed25519KeyPair::from_pkcs8(secret.expose()).map_err(|_| CredentialsError::Random)?;
        let request = certificate_request(&key);
        Ok(Self { secret, request })
    }
}

/// The certificate, if there is one, or what to get one with.
#[derive(Debug)]
pub(crate) struct Credentials {
    file: PathBuf,
    authority: PathBuf,
    tls: Mutex<Option<Arc<ClientTls>>>,
    /// Locked while it is used, so that a token is shown once.
    enrolment: tokio::sync::Mutex<Option<enrol::Enrolment>>,
}

impl Credentials {
    /// Reads what the data directory has. The token is read only if it is needed.
    ///
    /// # Errors
    /// Its files are damaged, others can read the key, or there is neither a
    /// certificate nor a token though the controller asks for one.
    pub(crate) fn open(
        state: &State,
        controller: &Endpoint,
        config: Option<EnrolConfig>,
        now: Duration,
    ) -> Result<Self, CredentialsError> {
        let mut credentials = Self {
            file: state.file(TLS),
            authority: state.file(AUTHORITY),
            tls: Mutex::new(None),
            enrolment: tokio::sync::Mutex::new(None),
        };
        if controller.is_plain() {
            return Ok(credentials);
        }
        let missing = if credentials.file.exists() {
            credentials.take_up()?;
            credentials.expired(now)
        } else {
            Some(CredentialsError::None {
                controller: controller.clone(),
                file: credentials.file.clone(),
            })
        };
        let Some(missing) = missing else {
            return Ok(credentials);
        };
        let config = config.ok_or(missing)?;
        let enrolment = enrol::Enrolment::new(config)?;
        credentials.enrolment = tokio::sync::Mutex::new(Some(enrolment));
        Ok(credentials)
    }

    /// Why the certificate can be used no more.
    fn expired(&self, now: Duration) -> Option<CredentialsError> {
        let (_, end) = self.life()?;
        let ago = now.checked_sub(end).filter(|ago| !ago.is_zero())?;
        Some(CredentialsError::Expired {
            file: self.file.clone(),
            ago,
        })
    }

    /// From when to when the certificate on disk is valid, since the Unix epoch.
    fn life(&self) -> Option<(Duration, Duration)> {
        let certificate = tls::first_certificate(&self.file).ok()?;
        tls::der::validity(&certificate)
    }

    /// Replaces certificate and key on disk, both or neither.
    fn store(&self, certificate: &[u8], key: &Secret) -> Result<(), CredentialsError> {
        // Who sends something else sends nothing of use.
        tls::peer_name(&certificate.to_vec().into())?;
        let mut both = certificate_pem(certificate).into_bytes();
        both.extend_from_slice(key_pem(key).expose());
        let both = Secret::new(both);
        write_atomic(&self.file, both.expose())?;
        Ok(())
    }

    /// Uses what is on disk from now on.
    fn take_up(&self) -> Result<(), TlsError> {
        let files = CredentialFiles::one(&self.file);
        let tls = ClientTls::new(files, self.authority.clone())?;
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tls));
        Ok(())
    }

    /// Opens a connection to the controller, with a certificate that is got
    /// before if there is none.
    ///
    /// # Errors
    /// As [`Endpoint::connect_with`], and enrolment failed or was refused.
    pub(crate) async fn connect(
        &self,
        controller: &Endpoint,
        identity: &Identity,
    ) -> Result<Channel, EnrolError> {
        let mut waiting = self.enrolment.lock().await;
        if let Some(enrolment) = waiting.as_ref() {
            enrolment.carry_out(self, identity).await?;
            *waiting = None;
        }
        drop(waiting);
        let tls = self
            .tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let connected = controller.connect_with(tls.map(|tls| tls.current())).await;
        connected.map_err(|error: ConnectError| match self.expired(unix_now()) {
            Some(expired) if !controller.is_plain() => expired.into(),
            _ => error.into(),
        })
    }
}

/// Time since the Unix epoch.
pub(crate) fn unix_now() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}
