//! What a token gives, and what not.

use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tonic::Code;
use weir_runtime::tls::{certificate_request, peer_name};

use super::*;
use crate::listener::{Peer, Role, Transport};
use crate::store::SqliteStore;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn gateway(data: &Path) -> EnrolGateway {
    let store = SqliteStore::open(&data.join("weir.db")).unwrap();
    let now = Duration::from_nanos(HostClock::from_host().unix_ns().unsigned_abs());
    let authority = Authority::open(data, now).unwrap();
    let audit = Audit::open(data).unwrap();
    EnrolGateway::new(Arc::new(store), Arc::new(authority), audit, Arc::default())
}

fn request() -> Vec<u8> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    certificate_request(&Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
}

fn ask() -> pb::CreateTokenRequest {
    pb::CreateTokenRequest {
        uses: 1,
        ttl_s: 600,
        name_pattern: String::new(),
    }
}

fn token(gateway: &EnrolGateway, ask: &pb::CreateTokenRequest) -> JoinToken {
    let (row, response) = draw(&gateway.authority, ask, gateway.now()).unwrap();
    gateway.store.create_token(&row).unwrap();
    let token: JoinToken = response.token.parse().unwrap();
    assert!(!format!("{row:?} {response:?}").contains(&hex(token.secret.expose())));
    token
}

/// What an agent with this key asks.
fn enrolment_of(token: &JoinToken, name: &str, key: &Ed25519KeyPair) -> EnrolRequest {
    let request = request();
    let signed = [
        CONTEXT,
        &sha256(&request),
        &sha256(token.id.as_bytes()),
        name.as_bytes(),
    ];
    EnrolRequest {
        token_id: token.id.clone(),
        secret: token.secret.expose().to_vec(),
        name: name.to_owned(),
        public_key: key.public_key().as_ref().to_vec(),
        signature: key.sign(&signed.concat()).as_ref().to_vec(),
        request,
    }
}

fn key() -> Ed25519KeyPair {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap()
}

fn enrolment(token: &JoinToken, name: &str) -> Request<EnrolRequest> {
    Request::new(enrolment_of(token, name, &key()))
}

#[test]
fn a_token_is_a_certificate_once() {
    let data = tempfile::tempdir().unwrap();
    let gateway = gateway(data.path());
    let token = token(&gateway, &ask());
    assert_eq!(token.pin, gateway.authority.pin());
    block_on(async {
        let enrol = |name| EnrolService::enrol(&gateway, enrolment(&token, name));
        // What is refused before the store leaves the token alone.
        let status = enrol("a/b").await.unwrap_err();
        assert!(status.message().starts_with("name:"), "{status}");
        let given = enrol("a1").await.unwrap().into_inner();
        let name = peer_name(&given.certificate.into()).unwrap().to_string();
        assert!(name.ends_with("/agent/a1"), "{name}");
        let status = enrol("a2").await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("weir token create"), "{status}");
    });
    gateway.audit.flush();
    let log = std::fs::read_to_string(data.path().join(crate::audit::FILE)).unwrap();
    assert!(log.contains("used up") && log.contains("serial"), "{log}");
    assert!(!log.contains(&hex(token.secret.expose())));
}

#[test]
fn an_enrolment_is_of_the_key_that_it_proves() {
    let data = tempfile::tempdir().unwrap();
    let gateway = gateway(data.path());
    let token = token(&gateway, &ask());
    let (own, other) = (key(), key());
    block_on(async {
        let enrol = |request| EnrolService::enrol(&gateway, Request::new(request));
        type Damage = fn(&mut EnrolRequest);
        let damages: [(Code, Damage); 5] = [
            (Code::InvalidArgument, |asked| asked.public_key.clear()),
            (Code::Unauthenticated, |asked| asked.public_key[0] ^= 1),
            (Code::Unauthenticated, |asked| asked.signature[0] ^= 1),
            (Code::Unauthenticated, |asked| asked.name = "a2".to_owned()),
            (Code::Unauthenticated, |asked| asked.request = request()),
        ];
        for (code, damage) in damages {
            let mut asked = enrolment_of(&token, "a1", &own);
            damage(&mut asked);
            assert_eq!(enrol(asked).await.unwrap_err().code(), code);
        }
        // The answer is lost, twice: the one use is still its own.
        let mut serials = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let given = enrol(enrolment_of(&token, "a1", &own)).await.unwrap();
            let certificate = given.into_inner().certificate.into();
            serials.insert(weir_runtime::tls::serial(&certificate).unwrap());
        }
        assert_eq!(serials.len(), 3);
        let status = enrol(enrolment_of(&token, "a1", &other)).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
        assert!(status.message().contains("another --name"), "{status}");
        let status = enrol(enrolment_of(&token, "a2", &own)).await.unwrap_err();
        assert!(status.message().contains("used up"), "{status}");
    });
    gateway.audit.flush();
    let log = std::fs::read_to_string(data.path().join(crate::audit::FILE)).unwrap();
    assert!(log.contains("name-key"), "{log}");
}

#[test]
fn a_certificate_is_renewed_for_whom_it_names() {
    let data = tempfile::tempdir().unwrap();
    let gateway = gateway(data.path());
    block_on(async {
        let renewal = |name: Option<&str>| {
            let request = request();
            let mut request = Request::new(RenewRequest { request });
            request.extensions_mut().insert(Peer {
                role: Role::Agent,
                name: name.map(|name| name.parse().unwrap()),
                transport: Transport::Tcp,
            });
            gateway.renew(request)
        };
        let given = renewal(Some("a1")).await.unwrap().into_inner();
        let name = peer_name(&given.certificate.into()).unwrap().to_string();
        assert!(name.ends_with("/agent/a1"), "{name}");
        let status = renewal(None).await.unwrap_err();
        assert!(status.message().contains("no certificate"), "{status}");
    });
    let kept = gateway.store.certificates().unwrap();
    assert_eq!(kept.len(), 1);
}

#[test]
fn each_bad_field_is_named() {
    let data = tempfile::tempdir().unwrap();
    let gateway = gateway(data.path());
    type Case = (&'static str, fn(&mut pb::CreateTokenRequest));
    let cases: [Case; 5] = [
        ("uses", |ask| ask.uses = 0),
        ("uses", |ask| ask.uses = u32::MAX),
        ("ttl", |ask| ask.ttl_s = 0),
        ("ttl", |ask| ask.ttl_s = u64::MAX),
        ("name_pattern", |ask| ask.name_pattern = "a b".to_owned()),
    ];
    for (field, damage) in cases {
        let mut ask = ask();
        damage(&mut ask);
        let status = draw(&gateway.authority, &ask, gateway.now()).unwrap_err();
        let names = format!("token.{field}");
        assert!(status.message().starts_with(&names), "{status}");
    }
}
