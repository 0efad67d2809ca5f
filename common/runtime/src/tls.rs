//! TLS between agents, controller and operators' tools: version 1.3 only, two
//! kinds of keys (P-256, Ed25519), HTTP/2 only, and nothing resumed, so that
//! every connection shows a certificate that is valid now.
//!
//! A deployment has one authority, which the controller holds. Whom a
//! certificate names stands in its URI ([`CertName`]); the controller itself
//! is always [`SERVER_NAME`], whatever address it is dialled at, because only
//! the deployment's own authority is trusted.

mod client;
pub mod der;
mod error;
mod files;
mod name;
mod provider;
mod reload;
mod request;
mod secret;
mod server;
mod token;

use std::time::Duration;

use rustls::pki_types::CertificateDer;

pub use client::{ClientTls, PinnedClient};
pub use error::TlsError;
pub use files::{
    CredentialFiles, certificate_pem, first_certificate, key_pem, private, read_private,
};
pub use name::{CertName, CertNameError, CertRole, deployment, peer_name, serial};
pub use request::certificate_request;
pub use secret::Secret;
pub use server::ServerTls;
pub use token::{JoinToken, TOKEN_ID_BYTES, TOKEN_SECRET_BYTES, TokenError};

/// The name in the controller's certificate.
pub const SERVER_NAME: &str = "controller.weir";
/// What is spoken over TLS (RFC 9113 section 3.1); a peer that offers anything
/// else is refused in the handshake.
pub const ALPN: &[u8] = b"h2";
/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// SHA-256 of the key of a certificate (its SubjectPublicKeyInfo): what a
/// token pins.
///
/// # Errors
/// It is not a certificate.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], TlsError> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| TlsError::Certificate)?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &parsed.subject_public_key_info());
    Ok(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(DIGITS[usize::from(half)]));
    digits.collect()
}
