//! Certificates for people at other machines. Whoever may ask is an operator; the
//! key is made by whoever asks, and only its public half comes here.

use std::time::Duration;

use tonic::Status;
use weir_common::id::AgentName;
use weir_proto::controller::v1 as pb;
use weir_runtime::tls::{CertName, CertRole};

use super::status::chain;
use crate::authority::Authority;
use crate::authority::request::RequestedKey;

/// Longest life of a certificate of a person: a year.
const LIFE_MOST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Issues what is asked for; whom it names.
///
/// # Errors
/// A status that names the field.
pub(super) fn issue(
    authority: &Authority,
    request: &pb::IssueCertificateRequest,
    now: Duration,
) -> Result<(CertName, pb::IssueCertificateResponse), Status> {
    let bad = |field: &str, problem: String| {
        Status::invalid_argument(format!("certificate.{field}: {problem}"))
    };
    let role = match request.role.as_str() {
        "operator" => CertRole::Operator,
        "viewer" => CertRole::Viewer,
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(bad(
                "role",
                format!("`{other}` is neither operator nor viewer"),
            ));
        }
    };
    let name: AgentName = request
        .name
        .parse()
        .map_err(|error| bad("name", format!("{error}")))?;
    let life = Duration::from_secs(request.life_s);
    if life.is_zero() || life > LIFE_MOST {
        let problem = format!("{} s is outside 1 s to a year", request.life_s);
        return Err(bad("life_s", problem));
    }
    let key = RequestedKey::of_request(&request.request)
        .map_err(|error| bad("request", error.to_string()))?;
    let name = CertName {
        deployment: authority.deployment().to_owned(),
        role,
        name,
    };
    let issued = authority
        .issue(&key, &name, life, now)
        .map_err(|error| Status::internal(chain(&error)))?;
    let response = pb::IssueCertificateResponse {
        certificate: issued.der,
        authority: authority.certificate().to_vec(),
        serial: issued.serial,
        not_after_unix_s: issued.not_after_unix_s,
    };
    Ok((name, response))
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::Ed25519KeyPair;
    use weir_runtime::tls::{certificate_request, peer_name};

    use super::*;

    fn request() -> pb::IssueCertificateRequest {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        pb::IssueCertificateRequest {
            role: "viewer".to_owned(),
            name: "vera".to_owned(),
            request: certificate_request(&key),
            life_s: 3_600,
        }
    }

    #[test]
    fn a_certificate_names_whom_it_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let now = Duration::from_secs(1_800_000_000);
        let authority = Authority::open(directory.path(), now).unwrap();
        let (name, response) = issue(&authority, &request(), now).unwrap();
        assert!(name.to_string().ends_with("/viewer/vera"), "{name}");
        let certificate = response.certificate.into();
        assert_eq!(peer_name(&certificate).unwrap(), name);
        assert_eq!(response.not_after_unix_s, 1_800_003_600);
    }

    #[test]
    fn each_bad_field_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let now = Duration::from_secs(1_800_000_000);
        let authority = Authority::open(directory.path(), now).unwrap();
        type Case = (&'static str, fn(&mut pb::IssueCertificateRequest));
        let cases: [Case; 5] = [
            ("role", |request| request.role = "agent".to_owned()),
            ("name", |request| request.name = "a/b".to_owned()),
            ("request", |request| request.request.truncate(9)),
            ("life_s", |request| request.life_s = 0),
            ("life_s", |request| request.life_s = u64::MAX),
        ];
        for (field, damage) in cases {
            let mut request = request();
            damage(&mut request);
            let status = issue(&authority, &request, now).unwrap_err();
            let names = format!("certificate.{field}");
            assert!(status.message().starts_with(&names), "{status}");
        }
    }
}
