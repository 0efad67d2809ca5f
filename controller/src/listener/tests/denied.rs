//! Connections of who is let in no more.

use std::io::ErrorKind;

use super::deployment::{Deployment, Gate};
use super::*;
use crate::store::Denial;

fn denial(subject: &str) -> Denial {
    Denial {
        subject: subject.parse().unwrap(),
        reason: "host stolen".to_owned(),
        by: "uid 0".to_owned(),
        since_unix_ns: 0,
    }
}

#[test]
fn an_open_connection_ends_and_others_go_on() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let mut pair = async |name: &str| {
            let certificate = deployment.sign(&deployment.template("agent", name));
            let client = gate.knock(deployment.client(Some(certificate)));
            let client = client.await.unwrap();
            (client, gate.accepted.next().await.unwrap().unwrap())
        };
        let (mut denied_client, mut denied) = pair("a1").await;
        let (mut client, mut other) = pair("a2").await;
        assert_eq!(gate.deny.deny(&denial("a1")), 1);
        let error = denied.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        let error = denied.write_u8(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        drop(denied);
        // An end or a reset: there is nothing more.
        assert_ne!(denied_client.read(&mut [0]).await.ok(), Some(1));
        client.write_u8(7).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(other.read_u8().await.unwrap(), 7);
    });
}

#[test]
fn who_takes_no_answers_is_cut_as_well() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let certificate = deployment.sign(&deployment.template("agent", "a1"));
        let _client = gate.knock(deployment.client(Some(certificate))).await;
        let mut connection = gate.accepted.next().await.unwrap().unwrap();
        let flood = async {
            // Far more than any buffer: it waits for a client that never reads.
            let bytes = vec![0; 64 << 20];
            connection.write_all(&bytes).await
        };
        let deny = async {
            // The flood has begun by now.
            tokio::task::yield_now().await;
            gate.deny.deny(&denial("a1"))
        };
        let (written, connections) = tokio::join!(flood, deny);
        assert_eq!(connections, 1);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    });
}

#[test]
fn who_comes_back_is_told_and_audited_and_cut() {
    block_on(async {
        let deployment = Deployment::new();
        let mut gate = Gate::new(Role::Agent, deployment.tls()).await;
        let certificate = deployment.sign(&deployment.template("agent", "a1"));
        let serial = weir_runtime::tls::serial(&certificate.0).unwrap();
        let subject = format!("serial:{serial}");
        assert_eq!(gate.deny.deny(&denial(&subject)), 0);
        let client = gate.knock(deployment.client(Some(certificate)));
        let _client = client.await.unwrap();
        let mut connection = gate.accepted.next().await.unwrap().unwrap();
        let standing = connection.connect_info().standing;
        let told = standing.denied().expect("it is denied").to_string();
        assert!(told.contains(&format!("weir allow {subject}")), "{told}");
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        let log = deployment.log();
        assert!(
            log.contains("host stolen") && log.contains(&serial),
            "{log}"
        );
    });
}
