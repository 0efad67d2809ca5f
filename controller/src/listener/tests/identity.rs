//! Who gets through a TLS listener, and who does not.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use tokio::net::TcpStream;
use weir_runtime::tls;

use super::deployment::{Certificate, Deployment, Gate, HOUR, live, now, private, uri_name};
use super::*;

#[test]
fn a_valid_certificate_brings_its_name() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let certificate = deployment.sign(&deployment.template("agent", "150-host_0"));
        let serial = tls::serial(&certificate.0).unwrap();
        let client = gate
            .knock(deployment.client(Some(certificate)))
            .await
            .unwrap();
        let peer = gate.next().await;
        assert_eq!(peer.role, Role::Agent);
        assert_eq!(peer.name.unwrap().as_str(), "150-host_0");
        let address = client.get_ref().0.local_addr().unwrap();
        assert_eq!(peer.transport, Transport::Tls { address, serial });
        let spoken = client.get_ref().1;
        assert_eq!(
            spoken.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
    });
}

#[test]
fn every_other_certificate_is_refused_before_any_service() {
    block_on(async {
        let (deployment, other) = (Deployment::new(), Deployment::new());
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let good = || deployment.template("agent", "a");
        let changed = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = good();
            change(&mut params);
            deployment.sign(&params)
        };
        let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let self_signed = good().self_signed(&own).unwrap();
        let day = 24 * HOUR;
        let prefix = format!("spiffe://{}", deployment.authority.deployment());
        let cases: Vec<(&str, Option<Certificate>, &str)> = vec![
            ("none", None, "CertificateRequired"),
            ("wrong authority", Some(other.sign(&good())), "UnknownCA"),
            (
                "self-signed",
                Some((self_signed.der().clone(), private(&own))),
                "UnknownCA",
            ),
            (
                "expired",
                Some(changed(&|params| {
                    let ago = |span| now().saturating_sub(span);
                    live(params, ago(2 * day), ago(day));
                })),
                "CertificateExpired",
            ),
            (
                "not yet valid",
                Some(changed(&|params| live(params, now() + HOUR, now() + day))),
                // TLS has no word of its own for the future.
                "CertificateExpired",
            ),
            (
                "for servers",
                Some(changed(&|params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                })),
                "UnsupportedCertificate",
            ),
            (
                "an authority",
                Some(changed(&|params| {
                    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                })),
                "",
            ),
            (
                "operator",
                Some(deployment.sign(&deployment.template("operator", "a"))),
                "",
            ),
            (
                "viewer",
                Some(deployment.sign(&deployment.template("viewer", "a"))),
                "",
            ),
            (
                "another deployment",
                Some(changed(&|params| {
                    params.subject_alt_names = vec![uri_name("spiffe://other/agent/a")];
                })),
                "",
            ),
            (
                "two names",
                Some(changed(&|params| {
                    let second = uri_name(&format!("{prefix}/agent/b"));
                    params.subject_alt_names.push(second);
                })),
                "",
            ),
            (
                "any name",
                Some(changed(&|params| {
                    params.subject_alt_names = vec![uri_name(&format!("{prefix}/agent/*"))];
                })),
                "",
            ),
            (
                "no URI",
                Some(changed(&|params| {
                    params.subject_alt_names = vec![SanType::DnsName("a".try_into().unwrap())];
                })),
                "",
            ),
        ];
        for (what, certificate, alert) in cases {
            let answer = gate.refused(deployment.client(certificate)).await;
            assert!(answer.contains(alert), "{what}: {answer}");
        }
        // None of them came through: the next that does is the good one.
        let last = deployment.sign(&deployment.template("agent", "last"));
        let _client = gate.knock(deployment.client(Some(last))).await.unwrap();
        assert_eq!(gate.next().await.name.unwrap().as_str(), "last");
        let log = deployment.log();
        // A peer has a purse: later refusals are counted, not written one by one.
        for reason in ["no certificates", "UnknownIssuer", "expired"] {
            assert!(log.contains(reason), "{reason}: {log}");
        }
    });
}

#[test]
fn an_operators_listener_takes_operators_and_viewers() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Operator, deployment.tls()).await;
        let agent = deployment.sign(&deployment.template("agent", "a"));
        gate.refused(deployment.client(Some(agent))).await;
        for (role, taken) in [("operator", Role::Operator), ("viewer", Role::Viewer)] {
            let certificate = deployment.sign(&deployment.template(role, "anna"));
            let _client = gate
                .knock(deployment.client(Some(certificate)))
                .await
                .unwrap();
            assert_eq!(gate.next().await.role, taken);
        }
    });
}

#[test]
fn plain_text_http_1_and_other_protocols_are_refused() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        for text in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(gate.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A reset says no as well as an end.
            stream.read_to_end(&mut answer).await.ok();
            let alert_or_nothing = answer.is_empty() || answer[0] == 21;
            assert!(alert_or_nothing, "{answer:?}");
        }
        let certificate = || deployment.sign(&deployment.template("agent", "a"));
        let mut http_1 = deployment.client(Some(certificate()));
        http_1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let answer = gate.refused(http_1).await;
        assert!(answer.contains("NoApplicationProtocol"), "{answer}");
        let mut none = deployment.client(Some(certificate()));
        none.alpn_protocols.clear();
        gate.refused(none).await;
        let last = deployment.sign(&deployment.template("agent", "last"));
        let _client = gate.knock(deployment.client(Some(last))).await.unwrap();
        assert_eq!(gate.next().await.name.unwrap().as_str(), "last");
    });
}

/// The longest ClientHello that TLS would wait for: 63 KiB kept of each stranger.
#[test]
fn who_says_too_much_before_it_is_known_is_refused() {
    const HELLO: usize = 0xfc00;
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let mut hello = vec![1, 0, (HELLO >> 8) as u8, HELLO as u8];
        hello.resize(HELLO, 0);
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        for part in hello.chunks(0x4000) {
            let head = [22, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
            // It may be closed meanwhile.
            stream.write_all(&[&head, part].concat()).await.ok();
        }
        // A reset says no as well as an end.
        stream.read_to_end(&mut Vec::new()).await.ok();
        assert!(
            deployment
                .log()
                .contains("more than 16384 bytes before its end"),
            "{}",
            deployment.log()
        );
        let good = deployment.sign(&deployment.template("agent", "good"));
        let _client = gate.knock(deployment.client(Some(good))).await.unwrap();
        assert_eq!(gate.next().await.name.unwrap().as_str(), "good");
    });
}

#[test]
fn nothing_is_resumed() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let certificate = deployment.sign(&deployment.template("agent", "a"));
        // This client would resume if it could.
        let config = deployment.client(Some(certificate));
        for _ in 0..2 {
            let mut client = gate.knock(config.clone()).await.unwrap();
            let mut connection = gate.accepted.next().await.unwrap().unwrap();
            connection.write_all(b"x").await.unwrap();
            connection.flush().await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
            let kind = client.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        }
    });
}

#[test]
fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let certificate = deployment.sign(&deployment.template("agent", "a"));
        let shown = async |gate: &mut Gate| {
            let (certificate, key) = &certificate;
            let certificate = (certificate.clone(), key.clone_key());
            let client = gate
                .knock(deployment.client(Some(certificate)))
                .await
                .unwrap();
            gate.next().await;
            client.get_ref().1.peer_certificates().unwrap()[0].clone()
        };
        let first = shown(&mut gate).await;
        let file = deployment.data.path().join("controller.crt");
        let whole = fs::read_to_string(&file).unwrap();
        fs::write(&file, "not a certificate").unwrap();
        assert_eq!(shown(&mut gate).await, first);
        fs::write(&file, whole).unwrap();
        assert_eq!(shown(&mut gate).await, first);
        let later = now() + Duration::from_secs(20 * 24 * 3_600);
        // As a controller does after 15 days; its certificate begins in the future here.
        assert!(deployment.authority.renew_controller(later).unwrap());
        let client = deployment.client(Some(deployment.sign(&deployment.template("agent", "b"))));
        let error = gate.refused(client).await;
        assert!(error.contains("not valid yet"), "{error}");
    });
}

#[test]
fn plain_and_tls_listeners_keep_to_their_endpoints() {
    block_on(async {
        let deployment = Deployment::new();
        for text in ["tcp://192.0.2.1:0", "tls://127.0.0.1:0", "gateway:1"] {
            let endpoint: Endpoint = text.parse().unwrap();
            let error = Listener::bind(&endpoint, Role::Agent, 0o600)
                .await
                .unwrap_err();
            assert!(!matches!(error, ListenError::Io { .. }), "{error}");
        }
        for text in ["tcp://127.0.0.1:0", "unix:/tmp/none", "gateway:1"] {
            let endpoint: Endpoint = text.parse().unwrap();
            let bound = Listener::bind_tls(&endpoint, Role::Agent, deployment.tls()).await;
            assert!(
                !matches!(bound.unwrap_err(), ListenError::Io { .. }),
                "{text}"
            );
        }
    });
}
