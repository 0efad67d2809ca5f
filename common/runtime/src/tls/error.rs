//! What can be wrong with certificates and keys.

use std::io;
use std::path::PathBuf;

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that holds a secret can be read by others.
    #[error("{} can be read by others (mode {mode:04o}): chmod 600 {}", path.display(), path.display())]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A PEM file lacks what it should hold.
    #[error("{} holds no {what} in PEM form", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What is not there.
        what: &'static str,
    },
    /// A certificate and a key do not make a configuration.
    #[error("{} and {} are of no use together", certificate.display(), key.display())]
    Credentials {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Bytes that are no X.509 certificate.
    #[error("not an X.509 certificate")]
    Certificate,
    /// A certificate that names no one.
    #[error(transparent)]
    Name(#[from] super::CertNameError),
    /// An authority that cannot be trusted.
    #[error("the authority's certificate is of no use")]
    Authority(#[source] rustls::Error),
    /// A verifier could not be built.
    #[error("the authority's certificate is of no use: {0}")]
    Verifier(String),
}
