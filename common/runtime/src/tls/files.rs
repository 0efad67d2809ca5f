//! Certificates and keys as PEM files (RFC 7468).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Secret, TlsError};

/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Where a certificate with its chain and its key are. Both may be in one
/// file, which can then be replaced in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The certificate, then those that lead to the authority.
    pub certificate: PathBuf,
    /// Its private key; nobody but the owner may read it.
    pub key: PathBuf,
}

/// What was read of them.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl CredentialFiles {
    /// Both in one file.
    pub fn one(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            certificate: path.clone(),
            key: path,
        }
    }

    pub(super) fn read(&self) -> Result<Credentials, TlsError> {
        Ok(Credentials {
            chain: certificates(&self.certificate)?,
            key: read_private(&self.key)?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let missing = || TlsError::Missing {
        path: path.to_owned(),
        what: "certificate",
    };
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(missing()),
    }
}

/// The first certificate of a file.
///
/// # Errors
/// The file cannot be read or has none.
pub fn first_certificate(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let mut found = certificates(path)?;
    Ok(found.swap_remove(0))
}

/// Reads a private key after [`private`].
///
/// # Errors
/// As [`private`], and a file without a key.
pub fn read_private(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    private(path)?;
    let bytes = Secret::new(read(path)?);
    PrivateKeyDer::from_pem_slice(bytes.expose()).map_err(|_| TlsError::Missing {
        path: path.to_owned(),
        what: "private key",
    })
}

/// Checks that nobody but its owner can read a file that holds a secret. What
/// is no regular file, a pipe for instance, is its owner's business.
///
/// # Errors
/// [`TlsError::Permissions`], or the file is not there.
pub fn private(path: &Path) -> Result<(), TlsError> {
    let found = fs::metadata(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = found.mode() & 0o7777;
    if found.is_file() && mode & OTHERS != 0 {
        return Err(TlsError::Permissions {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// A certificate as PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

/// A private key (PKCS #8) as PEM.
pub fn key_pem(der: &Secret) -> Secret {
    Secret::new(pem("PRIVATE KEY", der.expose()).into_bytes())
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are the 64 digits of a line.
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = group
                .iter()
                .chain([&0, &0])
                .take(3)
                .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            for digit in 0..4 {
                let index = bits >> (18 - 6 * digit) & 63;
                text.push(if digit <= group.len() {
                    char::from(DIGITS[index as usize])
                } else {
                    '='
                });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// What tells one content of a file from the next; `None` for a missing one.
pub(super) type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// The stamp of a file now.
pub(super) fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.mtime().wrapping_mul(1_000_000_000) + found.mtime_nsec(),
        found.ctime().wrapping_mul(1_000_000_000) + found.ctime_nsec(),
        found.len(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(der in prop::collection::vec(any::<u8>(), 1..200)) {
            let text = certificate_pem(&der);
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            prop_assert_eq!(read.as_ref(), &der[..]);
            prop_assert!(text.lines().all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let text = key_pem(&Secret::new(vec![1, 2, 3]));
        fs::write(&path, text.expose()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_private(&path).unwrap_err().to_string();
        assert!(
            error.contains("0640") && error.contains("chmod 600"),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(read_private(&path), Ok(PrivateKeyDer::Pkcs8(_))));
        fs::write(&path, "nothing").unwrap();
        let error = read_private(&path).unwrap_err().to_string();
        assert!(error.contains("holds no private key"), "{error}");
    }
}
