//! The deployment's own certificate authority: made by the first `weir serve`,
//! in a directory of its own; it alone is trusted by agents and by the
//! controller.
//!
//! | file of the data directory | holds |
//! |---|---|
//! | `ca/ca.key` | the authority's private key, P-256; whoever has it can be anyone |
//! | `ca/ca.crt` | its certificate, which agents and tools trust |
//! | `controller.crt`, `controller.key` | the controller's own certificate; renewed at half its life |
//!
//! A certificate is always made from a template of ours: of what a peer asks
//! for only its public key is taken ([`request`]), because a request may ask to
//! be an authority, an operator, or valid for ten years.

pub mod request;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::CertificateDer;
use weir_runtime::directory::{DirectoryError, create_private, write_atomic};
use weir_runtime::tls::{
    self, CertName, CredentialFiles, SERVER_NAME, Secret, TlsError, certificate_pem, hex, key_pem,
};

use request::RequestedKey;

/// A certificate is valid from before it was made: clocks differ.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// Life of an agent's certificate.
pub const AGENT_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// Life of the controller's certificate.
const CONTROLLER_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Life of the authority.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Bytes of a serial number (RFC 5280 section 4.1.2.2 allows 20).
const SERIAL_BYTES: usize = 16;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// One of its files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Half of it is gone.
    #[error(
        "{} is missing: put it back, or remove {} to begin with a new authority; every agent has to enrol again then",
        missing.display(), directory.display()
    )]
    Half {
        /// The file that is not there.
        missing: PathBuf,
        /// Where it belongs.
        directory: PathBuf,
    },
    /// A certificate could not be made.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// The system gives no random numbers.
    #[error("no random numbers from the kernel")]
    Random,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// In DER.
    pub der: Vec<u8>,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// First instant of its life, s since the Unix epoch.
    pub not_before_unix_s: u64,
    /// Last instant of its life, s since the Unix epoch.
    pub not_after_unix_s: u64,
}

/// The authority of a deployment.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    deployment: String,
    certificate: CertificateDer<'static>,
    pin: [u8; 32],
    data: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("deployment", &self.deployment)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the authority of a data directory, or makes it if there is none,
    /// with the controller's certificate. `now` is the time since the Unix epoch.
    ///
    /// # Errors
    /// Files that are damaged, half there, or readable by others.
    pub fn open(data: &Path, now: Duration) -> Result<Self, AuthorityError> {
        let directory = data.join("ca");
        create_private(&directory)?;
        let (key_file, certificate_file) = (directory.join("ca.key"), directory.join("ca.crt"));
        match (key_file.exists(), certificate_file.exists()) {
            (true, true) => {}
            // A key without a certificate has issued nothing yet.
            (_, false) => make(&key_file, &certificate_file, now)?,
            (false, true) => {
                return Err(AuthorityError::Half {
                    missing: key_file,
                    directory,
                });
            }
        }
        let key = tls::read_private(&key_file)?;
        let key = KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)?;
        let certificate = tls::first_certificate(&certificate_file)?;
        let deployment = tls::deployment(&certificate)?;
        let authority = Self {
            issuer: Issuer::new(authority_template(&deployment, now), key),
            pin: tls::spki_sha256(&certificate)?,
            deployment,
            certificate,
            data: data.to_owned(),
        };
        authority.renew_controller(now)?;
        Ok(authority)
    }

    /// The deployment's name in certificates.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// SHA-256 of the authority's key: what a token pins.
    pub fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// The authority's certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// File of the authority's certificate.
    pub fn certificate_file(&self) -> PathBuf {
        self.data.join("ca/ca.crt")
    }

    /// Files of the controller's own certificate.
    pub fn controller_files(&self) -> CredentialFiles {
        CredentialFiles {
            certificate: self.data.join("controller.crt"),
            key: self.data.join("controller.key"),
        }
    }

    /// Issues a certificate that names `name`, for a key whose possession was
    /// proven, valid for `life`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn issue(
        &self,
        key: &RequestedKey,
        name: &CertName,
        life: Duration,
        now: Duration,
    ) -> Result<Issued, AuthorityError> {
        let mut template = template(name.name.as_str());
        let uri = name.to_string().try_into()?;
        template.subject_alt_names = vec![SanType::URI(uri)];
        template.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(key, template, now, life)
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        mut template: CertificateParams,
        now: Duration,
        life: Duration,
    ) -> Result<Issued, AuthorityError> {
        let (not_before_unix_s, not_after_unix_s) = live(&mut template, now, life);
        let serial = serial()?;
        template.serial_number = Some(SerialNumber::from_slice(&serial));
        let made = template.signed_by(key, &self.issuer)?;
        Ok(Issued {
            der: made.der().to_vec(),
            serial: hex(&serial),
            not_before_unix_s,
            not_after_unix_s,
        })
    }

    /// Makes the controller's certificate anew if there is none of this
    /// authority or half of its life is over; `true` if it did. Whoever holds
    /// its files reads them again.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn renew_controller(&self, now: Duration) -> Result<bool, AuthorityError> {
        let files = self.controller_files();
        if self.controller_is_fresh(&files, now) {
            return Ok(false);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut template = template(SERVER_NAME);
        template.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        template.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(&key, template, now, CONTROLLER_LIFE)?;
        let secret = Secret::new(key.serialize_der());
        write_atomic(&files.key, key_pem(&secret).expose())?;
        // The authority goes along: who enrols knows only the hash of its key.
        let chain = certificate_pem(&issued.der) + &certificate_pem(&self.certificate);
        write_atomic(&files.certificate, chain.as_bytes())?;
        Ok(true)
    }

    fn controller_is_fresh(&self, files: &CredentialFiles, now: Duration) -> bool {
        let Ok(chain) = fs::read_to_string(&files.certificate) else {
            return false;
        };
        // Another authority was here.
        if !chain.ends_with(&certificate_pem(&self.certificate)) {
            return false;
        }
        let Ok(leaf) = tls::first_certificate(&files.certificate) else {
            return false;
        };
        // The key is of no use, or was written just before the controller ended.
        let key = tls::read_private(&files.key).ok();
        let key =
            key.and_then(|key| KeyPair::from_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).ok());
        let is_certified = key.is_some_and(|key| {
            let public = key.public_key_raw();
            leaf.windows(public.len()).any(|part| part == public)
        });
        let life = tls::der::validity(&leaf);
        is_certified && life.is_some_and(|(begin, end)| (begin..(begin + end) / 2).contains(&now))
    }
}

/// Makes the authority. Its key is on disk before its certificate, which says
/// that it is whole.
fn make(key_file: &Path, certificate_file: &Path, now: Duration) -> Result<(), AuthorityError> {
    let deployment = hex(&random::<16>()?);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut template = authority_template(&deployment, now);
    template.serial_number = Some(SerialNumber::from_slice(&serial()?));
    let made = template.self_signed(&key)?;
    let secret = Secret::new(key.serialize_der());
    write_atomic(key_file, key_pem(&secret).expose())?;
    write_atomic(certificate_file, certificate_pem(made.der()).as_bytes())?;
    Ok(())
}

/// The authority's own template; its name and key usages are those of every
/// issuer made later.
fn authority_template(deployment: &str, now: Duration) -> CertificateParams {
    let mut template = CertificateParams::default();
    let shown = deployment.get(..8).unwrap_or(deployment);
    template.distinguished_name = common_name(&format!("weir {shown}"));
    live(&mut template, now, AUTHORITY_LIFE);
    // It signs the ends itself: nobody below it is an authority.
    template.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    template.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let uri = format!("spiffe://{deployment}").try_into();
    template.subject_alt_names = vec![SanType::URI(uri.expect("letters and digits are ASCII"))];
    template
}

/// What all certificates of ends have in common.
fn template(subject: &str) -> CertificateParams {
    let mut template = CertificateParams::default();
    template.distinguished_name = common_name(subject);
    template.is_ca = IsCa::ExplicitNoCa;
    template.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    template.use_authority_key_identifier_extension = true;
    template
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// Sets the life: from a little before now, in whole seconds.
fn live(template: &mut CertificateParams, now: Duration, life: Duration) -> (u64, u64) {
    let begin = now.saturating_sub(EARLY).as_secs();
    let end = (now + life).as_secs();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    template.not_before = epoch + Duration::from_secs(begin);
    template.not_after = epoch + Duration::from_secs(end);
    (begin, end)
}

/// A random number that is positive and has all its bytes.
fn serial() -> Result<[u8; SERIAL_BYTES], AuthorityError> {
    let mut bytes = random::<SERIAL_BYTES>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(bytes)
}

/// Random bytes of the system.
///
/// # Errors
/// It has none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Random)?;
    Ok(bytes)
}
