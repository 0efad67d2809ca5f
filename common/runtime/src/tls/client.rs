//! The dialling end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme, version,
};

use super::provider::{provider, signatures};
use super::reload::Reloading;
use super::server::roots;
use super::{ALPN, CredentialFiles, TlsError, spki_sha256};

/// A certificate of one's own and the authority that is trusted, of files that
/// are read again when they change.
#[derive(Debug)]
pub struct ClientTls(Reloading<ClientConfig>);

impl ClientTls {
    /// Reads them.
    ///
    /// # Errors
    /// A file is missing, readable by others, or of no use.
    pub fn new(files: CredentialFiles, authority: PathBuf) -> Result<Self, TlsError> {
        let read = vec![
            files.certificate.clone(),
            files.key.clone(),
            authority.clone(),
        ];
        let make = move || {
            let credentials = files.read()?;
            let builder = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&version::TLS13])
                .expect("the provider has suites of TLS 1.3")
                .with_root_certificates(roots(&authority)?);
            let config = builder
                .with_client_auth_cert(credentials.chain, credentials.key)
                .map_err(|source| TlsError::Credentials {
                    certificate: files.certificate.clone(),
                    key: files.key.clone(),
                    source,
                })?;
            Ok(settled(config))
        };
        Ok(Self(Reloading::new(read, make)?))
    }

    /// The configuration for the next connection.
    pub fn current(&self) -> Arc<ClientConfig> {
        self.0.current()
    }
}

fn settled(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// One that has no certificate yet and trusts whoever has the authority whose
/// key a token names. The handshake fails before anything is sent if the peer
/// is another.
#[derive(Debug)]
pub struct PinnedClient {
    config: Arc<ClientConfig>,
    verifier: Arc<PinVerifier>,
}

impl PinnedClient {
    /// Pins the SHA-256 of the key of an authority ([`spki_sha256`]).
    pub fn new(pin: [u8; 32]) -> Self {
        let verifier = Arc::new(PinVerifier {
            pin,
            authority: Mutex::new(None),
            refused: AtomicBool::new(false),
        });
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider has suites of TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Self {
            config: Arc::new(settled(config)),
            verifier,
        }
    }

    /// The configuration to connect with.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whether a peer was refused for having another authority.
    pub fn has_refused(&self) -> bool {
        self.verifier.refused.load(Ordering::Relaxed)
    }

    /// The authority's certificate, once a handshake has shown it.
    pub fn authority(&self) -> Option<CertificateDer<'static>> {
        let found = &self.verifier.authority;
        found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Finds the pinned authority in the chain, then verifies as usual with it
/// alone as the root.
#[derive(Debug)]
struct PinVerifier {
    pin: [u8; 32],
    authority: Mutex<Option<CertificateDer<'static>>>,
    refused: AtomicBool,
}

/// Why a peer is not the controller that a token speaks of.
#[derive(Debug, thiserror::Error)]
#[error(
    "the peer is not the controller that made the token: its authority has another key; \
     check the address, and that the token was made by this controller"
)]
struct OtherAuthority;

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates
            .iter()
            .find(|certificate| spki_sha256(certificate).is_ok_and(|spki| spki == self.pin))
            .ok_or_else(|| {
                self.refused.store(true, Ordering::Relaxed);
                let why: Arc<dyn std::error::Error + Send + Sync> = Arc::new(OtherAuthority);
                Error::InvalidCertificate(CertificateError::Other(OtherError(why)))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified =
            usual.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        let mut authority = self
            .authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *authority = Some(pinned.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, signatures())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures().supported_schemes()
    }
}
