//! What is issued, and what is not.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use rcgen::PKCS_ED25519;
use ring::signature::Ed25519KeyPair;
use weir_runtime::tls::{CertRole, certificate_request, der, peer_name};

use super::request::RequestError;
use super::*;

const NOW: Duration = Duration::from_secs(1_795_491_372);

fn name() -> CertName {
    CertName {
        deployment: "d".into(),
        role: CertRole::Agent,
        name: "150-host_0".parse().unwrap(),
    }
}

fn ed25519() -> Ed25519KeyPair {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap()
}

#[test]
fn the_authority_is_made_once_and_is_private() {
    let data = tempfile::tempdir().unwrap();
    let first = Authority::open(data.path(), NOW).unwrap();
    let mode = |file: &str| {
        let found = fs::metadata(data.path().join(file)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!((mode("ca"), mode("ca/ca.key")), (0o700, 0o600));
    assert_eq!(mode("controller.key"), 0o600);
    let second = Authority::open(data.path(), NOW).unwrap();
    assert_eq!(first.pin(), second.pin());
    assert_eq!(first.deployment(), second.deployment());
    assert!(!format!("{first:?}").contains("KeyPair"), "{first:?}");
}

#[test]
fn a_key_that_others_can_read_or_that_is_gone_is_told() {
    let data = tempfile::tempdir().unwrap();
    Authority::open(data.path(), NOW).unwrap();
    let key = data.path().join("ca/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Authority::open(data.path(), NOW).unwrap_err().to_string();
    assert!(
        error.contains("ca.key") && error.contains("chmod 600"),
        "{error}"
    );
    fs::remove_file(&key).unwrap();
    let error = Authority::open(data.path(), NOW).unwrap_err().to_string();
    assert!(error.contains("ca.key is missing"), "{error}");
}

#[test]
fn the_controller_has_a_new_certificate_at_half_life() {
    let data = tempfile::tempdir().unwrap();
    let authority = Authority::open(data.path(), NOW).unwrap();
    assert!(!authority.renew_controller(NOW).unwrap());
    let half = NOW + CONTROLLER_LIFE / 2;
    assert!(
        !authority
            .renew_controller(half.saturating_sub(EARLY))
            .unwrap()
    );
    assert!(authority.renew_controller(half).unwrap());
    assert!(!authority.renew_controller(half).unwrap());
    // A clock that was set back: a certificate of the future is of no use.
    assert!(
        authority
            .renew_controller(NOW.saturating_sub(EARLY))
            .unwrap()
    );
    // Another authority: its agents would not trust the old certificate.
    fs::remove_dir_all(data.path().join("ca")).unwrap();
    let before = fs::read(data.path().join("controller.crt")).unwrap();
    Authority::open(data.path(), NOW).unwrap();
    assert_ne!(
        fs::read(data.path().join("controller.crt")).unwrap(),
        before
    );
}

/// Its end came between the two files.
#[test]
fn a_key_without_its_certificate_gets_another() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::open(data.path(), NOW).unwrap();
    Authority::open(other.path(), NOW).unwrap();
    fs::copy(
        other.path().join("controller.key"),
        data.path().join("controller.key"),
    )
    .unwrap();
    assert!(authority.renew_controller(NOW).unwrap());
    assert!(!authority.renew_controller(NOW).unwrap());
}

#[test]
fn a_certificate_has_a_name_and_24_hours() {
    let data = tempfile::tempdir().unwrap();
    let authority = Authority::open(data.path(), NOW).unwrap();
    let key = RequestedKey::of_request(&certificate_request(&ed25519())).unwrap();
    let one = authority.issue(&key, &name(), AGENT_LIFE, NOW).unwrap();
    let two = authority.issue(&key, &name(), AGENT_LIFE, NOW).unwrap();
    assert_ne!(one.serial, two.serial);
    let certificate = CertificateDer::from(one.der.clone());
    assert_eq!(peer_name(&certificate).unwrap(), name());
    let (begin, end) = der::validity(&certificate).unwrap();
    assert_eq!((begin, end), (NOW.saturating_sub(EARLY), NOW + AGENT_LIFE));
    assert_eq!(
        (one.not_before_unix_s, one.not_after_unix_s),
        (begin.as_secs(), end.as_secs())
    );
}

/// A request that asks for everything it should not get.
fn greedy(key: &KeyPair) -> Vec<u8> {
    let mut asked = CertificateParams::default();
    asked.distinguished_name = common_name("root of all");
    asked.subject_alt_names = vec![
        SanType::URI("spiffe://d/operator/mallory".try_into().unwrap()),
        SanType::DnsName(SERVER_NAME.try_into().unwrap()),
    ];
    asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    asked.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    asked.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    asked.serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn a_request_gets_nothing_that_it_asks_for() {
    let data = tempfile::tempdir().unwrap();
    let authority = Authority::open(data.path(), NOW).unwrap();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let key = RequestedKey::of_request(&greedy(&pair)).unwrap();
        assert_eq!(key.der_bytes(), pair.public_key_raw());
        let asked = authority.issue(&key, &name(), AGENT_LIFE, NOW).unwrap();
        let certificate = CertificateDer::from(asked.der.clone());
        assert_eq!(peer_name(&certificate).unwrap(), name());
        let (_, end) = der::validity(&certificate).unwrap();
        assert_eq!(end, NOW + AGENT_LIFE);
        // Nothing of it is anywhere in what was issued.
        let holds = |text: &[u8]| asked.der.windows(text.len()).any(|part| part == text);
        assert!(!holds(b"mallory") && !holds(b"root of all") && !holds(SERVER_NAME.as_bytes()));
        // CA:true, then serverAuth and any extended usage (RFC 5280 section 4.2.1).
        assert!(!holds(&[
            0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0xff
        ]));
        assert!(!holds(&[0x2b, 6, 1, 5, 5, 7, 3, 1]) && !holds(&[0x55, 0x1d, 0x25, 0x00]));
        // clientAuth
        assert!(holds(&[0x2b, 6, 1, 5, 5, 7, 3, 2]));
    }
}

#[test]
fn a_request_proves_its_key() {
    let mut request = certificate_request(&ed25519());
    let last = request.len() - 1;
    request[last] ^= 1;
    let refused = RequestedKey::of_request(&request);
    assert_eq!(refused, Err(RequestError::Signature));
    // The key of one, the signature of another.
    let (one, other) = (
        certificate_request(&ed25519()),
        certificate_request(&ed25519()),
    );
    let mixed = [&one[..one.len() - 64], &other[other.len() - 64..]].concat();
    assert_eq!(
        RequestedKey::of_request(&mixed),
        Err(RequestError::Signature)
    );
    let curve = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(
        RequestedKey::of_request(&greedy(&curve)),
        Err(RequestError::Algorithm)
    );
    assert_eq!(
        RequestedKey::of_request(&[0; 5_000]),
        Err(RequestError::Form)
    );
}

proptest! {
    #[test]
    fn a_mutated_request_is_never_taken(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let key = ed25519();
        let mut request = certificate_request(&key);
        let index = at.index(request.len());
        request[index] ^= 1 << bit;
        prop_assert!(RequestedKey::of_request(&request).is_err());
        request.truncate(index);
        prop_assert_eq!(RequestedKey::of_request(&request), Err(RequestError::Form));
    }
}
