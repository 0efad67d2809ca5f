//! The controller's end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};

use super::files::first_certificate;
use super::provider::provider;
use super::reload::Reloading;
use super::{ALPN, CredentialFiles, TlsError};

/// The controller's certificate and whom it lets in, of files that are read
/// again when they change.
#[derive(Debug)]
pub struct ServerTls(Reloading<ServerConfig>);

impl ServerTls {
    /// Only peers with a certificate of this authority get through the handshake.
    ///
    /// # Errors
    /// A file is missing, readable by others, or of no use.
    pub fn mutual(files: CredentialFiles, authority: PathBuf) -> Result<Self, TlsError> {
        let read = vec![
            files.certificate.clone(),
            files.key.clone(),
            authority.clone(),
        ];
        let make = move || config(&files, Some(&authority));
        Ok(Self(Reloading::new(read, make)?))
    }

    /// Peers show no certificate: for those who come to get one.
    ///
    /// # Errors
    /// As [`mutual`](Self::mutual).
    pub fn open_to_all(files: CredentialFiles) -> Result<Self, TlsError> {
        let read = vec![files.certificate.clone(), files.key.clone()];
        let make = move || config(&files, None);
        Ok(Self(Reloading::new(read, make)?))
    }

    /// The configuration for the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.current()
    }
}

/// Who is trusted: this authority alone.
pub(super) fn roots(authority: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(first_certificate(authority)?)
        .map_err(TlsError::Authority)?;
    Ok(roots)
}

fn config(files: &CredentialFiles, clients: Option<&Path>) -> Result<ServerConfig, TlsError> {
    let credentials = files.read()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .expect("the provider has suites of TLS 1.3");
    let builder = match clients {
        Some(authority) => {
            let roots = Arc::new(roots(authority)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| TlsError::Verifier(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(credentials.chain, credentials.key)
        .map_err(|source| TlsError::Credentials {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would outlive its certificate.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
