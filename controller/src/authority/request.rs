//! A certificate request (PKCS #10, RFC 2986), of which only the public key is
//! taken, once its signature has proven that the requester holds the private one.

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use weir_runtime::tls::der::{CONTEXT_0, INTEGER, OBJECT, Reader, SEQUENCE};

/// Largest request, bytes: one that asks for much is a few hundred.
const MOST: usize = 4_096;

/// Contents of object identifiers: RFC 8410 section 3.
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// RFC 5480 section 2.1.1.
const ID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// RFC 5480 section 2.1.1.1.
const ID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// RFC 5758 section 3.2.
const ID_ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not PKCS #10.
    #[error("it is not a certificate request (PKCS #10, DER)")]
    Form,
    /// Another kind of key.
    #[error("its key is neither Ed25519 nor P-256 with SHA-256")]
    Algorithm,
    /// Whoever asks does not have the key.
    #[error("its signature does not prove its key")]
    Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
}

impl Kind {
    fn verifier(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &ED25519,
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
        }
    }
}

/// The public key of a request, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedKey {
    kind: Kind,
    bytes: Vec<u8>,
}

impl RequestedKey {
    /// Takes the key of a request in DER; whatever else it asks for is not read.
    ///
    /// # Errors
    /// It is malformed, of another kind, or signed with another key.
    pub fn of_request(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MOST {
            return Err(RequestError::Form);
        }
        let parts = parts(der).ok_or(RequestError::Form)?;
        let kind = kind(parts.key_algorithm).ok_or(RequestError::Algorithm)?;
        if kind != signed_with(parts.algorithm).ok_or(RequestError::Algorithm)? {
            return Err(RequestError::Algorithm);
        }
        UnparsedPublicKey::new(kind.verifier(), parts.key)
            .verify(parts.signed, parts.signature)
            .map_err(|_| RequestError::Signature)?;
        Ok(Self {
            kind,
            bytes: parts.key.to_vec(),
        })
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.kind {
            Kind::Ed25519 => &PKCS_ED25519,
            Kind::P256 => &PKCS_ECDSA_P256_SHA256,
        }
    }
}

struct Parts<'a> {
    /// What is signed.
    signed: &'a [u8],
    /// Algorithm of the key, with its parameters.
    key_algorithm: &'a [u8],
    key: &'a [u8],
    /// Algorithm of the signature.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn parts(der: &[u8]) -> Option<Parts<'_>> {
    let mut outer = Reader::new(der);
    let mut request = outer.sequence()?;
    let info = request.expect(SEQUENCE)?;
    let algorithm = request.expect(SEQUENCE)?.content;
    let signature = request.bits()?;
    let mut fields = Reader::new(info.content);
    fields
        .expect(INTEGER)
        .filter(|version| version.content == [0])?;
    fields.expect(SEQUENCE)?; // subject
    let mut key = fields.sequence()?;
    let key_algorithm = key.expect(SEQUENCE)?.content;
    let key_bytes = key.bits()?;
    fields.expect(CONTEXT_0)?; // attributes
    let whole = outer.is_empty() && request.is_empty() && fields.is_empty() && key.is_empty();
    whole.then_some(Parts {
        signed: info.whole,
        key_algorithm,
        key: key_bytes,
        algorithm,
        signature,
    })
}

/// The identifiers in an algorithm; nothing else may be there.
fn identifiers(algorithm: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(algorithm);
    let mut found = Vec::new();
    while !reader.is_empty() {
        found.push(reader.expect(OBJECT)?.content);
    }
    Some(found)
}

fn kind(algorithm: &[u8]) -> Option<Kind> {
    match identifiers(algorithm)?.as_slice() {
        [id] if *id == ID_ED25519 => Some(Kind::Ed25519),
        [id, curve] if *id == ID_EC && *curve == ID_P256 => Some(Kind::P256),
        _ => None,
    }
}

fn signed_with(algorithm: &[u8]) -> Option<Kind> {
    match identifiers(algorithm)?.as_slice() {
        [id] if *id == ID_ED25519 => Some(Kind::Ed25519),
        [id] if *id == ID_ECDSA_SHA256 => Some(Kind::P256),
        _ => None,
    }
}
