//! Whom a certificate names: `spiffe://DEPLOYMENT/ROLE/NAME`.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use weir_common::id::AgentName;

use super::TlsError;

const SCHEME: &str = "spiffe://";

/// What the holder of a certificate may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertRole {
    /// The agent of a host.
    Agent,
    /// An experimenter.
    Operator,
    /// Somebody who only reads.
    Viewer,
}

impl fmt::Display for CertRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        })
    }
}

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertName {
    /// Whose authority has issued it: 1 to 64 letters and digits.
    pub deployment: String,
    /// What the holder may be.
    pub role: CertRole,
    /// The holder's name; people follow the rules of agents' names too.
    pub name: AgentName,
}

/// Why a certificate names no one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertNameError {
    /// There is not exactly one URI.
    #[error("the certificate has {0} URI names instead of one: spiffe://DEPLOYMENT/ROLE/NAME")]
    Count(usize),
    /// The URI has another form.
    #[error(
        "`{0}` is not the name of a certificate: spiffe://DEPLOYMENT/ROLE/NAME with agent, operator or viewer as ROLE"
    )]
    Form(String),
}

impl fmt::Display for CertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            deployment,
            role,
            name,
        } = self;
        write!(f, "{SCHEME}{deployment}/{role}/{name}")
    }
}

impl FromStr for CertName {
    type Err = CertNameError;

    fn from_str(text: &str) -> Result<Self, CertNameError> {
        let wrong = || CertNameError::Form(text.chars().take(160).collect());
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(wrong)?.split('/');
        let (Some(deployment), Some(role), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let plain = deployment.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || !(1..=64).contains(&deployment.len()) {
            return Err(wrong());
        }
        let role = match role {
            "agent" => CertRole::Agent,
            "operator" => CertRole::Operator,
            "viewer" => CertRole::Viewer,
            _ => return Err(wrong()),
        };
        Ok(Self {
            deployment: deployment.to_owned(),
            role,
            name: name.parse().map_err(|_| wrong())?,
        })
    }
}

/// The URIs of a certificate.
///
/// # Errors
/// It is not a certificate.
pub(super) fn uris(certificate: &CertificateDer<'_>) -> Result<Vec<String>, TlsError> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| TlsError::Certificate)?;
    Ok(parsed.valid_uri_names().map(str::to_owned).collect())
}

/// Whom a certificate names. That it is valid is for the handshake to find out.
///
/// # Errors
/// It has no URI, several, or one of another form.
pub fn peer_name(certificate: &CertificateDer<'_>) -> Result<CertName, TlsError> {
    let uris = uris(certificate)?;
    match uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        _ => Err(CertNameError::Count(uris.len()).into()),
    }
}

/// The serial number of a certificate, hexadecimal.
///
/// # Errors
/// It is not a certificate.
pub fn serial(certificate: &CertificateDer<'_>) -> Result<String, TlsError> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| TlsError::Certificate)?;
    Ok(super::hex(parsed.serial()))
}

/// The deployment that an authority's certificate stands for: `spiffe://DEPLOYMENT`.
///
/// # Errors
/// It names none.
pub fn deployment(certificate: &CertificateDer<'_>) -> Result<String, TlsError> {
    let uris = uris(certificate)?;
    let [uri] = uris.as_slice() else {
        return Err(CertNameError::Count(uris.len()).into());
    };
    match uri.strip_prefix(SCHEME) {
        Some(name) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Ok(name.to_owned())
        }
        _ => Err(CertNameError::Form(uri.clone()).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_print_as_they_parse() {
        for text in [
            "spiffe://3f0c/agent/150-host_0",
            "spiffe://d/operator/anna",
            "spiffe://d/viewer/b.c",
        ] {
            assert_eq!(text.parse::<CertName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_forms_name_no_one() {
        for text in [
            "",
            "spiffe://d/agent",
            "spiffe://d/agent/a/b",
            "spiffe:///agent/a",
            "spiffe://d e/agent/a",
            "spiffe://d/root/a",
            "spiffe://d/Agent/a",
            "spiffe://d/agent/",
            "spiffe://d/agent/a%20b",
            "spiffe://d/agent/*",
            "https://d/agent/a",
        ] {
            assert!(text.parse::<CertName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(spiffe://|)[\\PC]{0,80}") {
            if let Ok(name) = text.parse::<CertName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
