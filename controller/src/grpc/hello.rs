//! Hello: checked field by field, and the agent's proof that it holds its key.

use std::collections::BTreeMap;

use prost::Message as _;
use ring::signature::{ED25519, UnparsedPublicKey};
use tonic::Status;
use weir_common::id::{AgentName, BootId};
use weir_common::label::Labels;
use weir_proto::agent::v1::Hello;
use weir_proto::types::v1::Interface;

use crate::store::AgentHello;

/// The protocol spoken here.
pub(super) const PROTOCOL: u32 = 1;
/// Context of the signature, so that it can be used for nothing else.
const CONTEXT: &[u8] = b"weir-hello-1";
/// Most labels of an agent.
const LABELS: usize = 64;
/// Largest inventory, bytes.
const INVENTORY_BYTES: usize = 64 * 1024;

/// Highest version of a snapshot; no controller draws so many.
const VERSION: u64 = 1 << 48;
/// Most assignments that an agent still has.
const ASSIGNMENTS: usize = 1_024;

/// Checks a Hello against the challenge it answers.
///
/// # Errors
/// A status that names the field.
pub(super) fn check(hello: &Hello, nonce: &[u8], seen_unix_ns: i64) -> Result<AgentHello, Status> {
    let bad = |field: &str, problem: String| {
        Status::invalid_argument(format!("hello.{field}: {problem}"))
    };
    if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
        let (low, high) = (hello.protocol_min, hello.protocol_max);
        return Err(bad(
            "protocol_min",
            format!("{low} to {high} does not include {PROTOCOL}, the protocol of this controller"),
        ));
    }
    let name: AgentName = hello
        .name
        .parse()
        .map_err(|error| bad("name", format!("{error}")))?;
    let boot: [u8; 16] = hello.boot_id.as_slice().try_into().map_err(|_| {
        bad(
            "boot_id",
            format!("{} bytes instead of 16", hello.boot_id.len()),
        )
    })?;
    if hello.generation == 0 || hello.generation > i64::MAX as u64 {
        return Err(bad(
            "generation",
            format!("{} is outside 1 to 2^63-1", hello.generation),
        ));
    }
    let labels = labels(hello).map_err(|problem| bad("labels", problem))?;
    let inventory = hello.inventory.clone().unwrap_or_default().encode_to_vec();
    if inventory.len() > INVENTORY_BYTES {
        return Err(bad(
            "inventory",
            format!("{} bytes, at most 65536", inventory.len()),
        ));
    }
    if hello.assignments.len() > ASSIGNMENTS {
        let problem = format!("{}, at most {ASSIGNMENTS}", hello.assignments.len());
        return Err(bad("assignments", problem));
    }
    if hello.accepted_version > VERSION {
        let problem = format!("{}, at most {VERSION}", hello.accepted_version);
        return Err(bad("accepted_version", problem));
    }
    if hello.public_key.len() != 32 {
        let problem = format!("{} bytes instead of 32", hello.public_key.len());
        return Err(bad("public_key", problem));
    }
    let signed = [CONTEXT, nonce, hello.name.as_bytes(), &hello.boot_id].concat();
    UnparsedPublicKey::new(&ED25519, &hello.public_key)
        .verify(&signed, &hello.signature)
        .map_err(|_| {
            Status::unauthenticated("hello.signature: does not prove the public key for this name")
        })?;
    Ok(AgentHello {
        name,
        labels,
        public_key: hello.public_key.clone(),
        generation: hello.generation,
        boot: BootId(boot),
        inventory,
        seen_unix_ns,
    })
}

/// Checks the interfaces that a heartbeat tells.
///
/// # Errors
/// A status that names the field.
pub(super) fn check_interfaces(interfaces: &[Interface]) -> Result<(), Status> {
    let bytes: usize = interfaces.iter().map(Interface::encoded_len).sum();
    if bytes > INVENTORY_BYTES {
        let problem = format!("heartbeat.interfaces: {bytes} bytes, at most {INVENTORY_BYTES}");
        return Err(Status::invalid_argument(problem));
    }
    Ok(())
}

fn labels(hello: &Hello) -> Result<BTreeMap<String, String>, String> {
    if hello.labels.len() > LABELS {
        return Err(format!("{} labels, at most {LABELS}", hello.labels.len()));
    }
    // A map's order is not part of the message; errors should not depend on it.
    let given: BTreeMap<&String, &String> = hello.labels.iter().collect();
    let mut labels = Labels::new();
    for (key, value) in given {
        labels
            .insert(key, value)
            .map_err(|error| error.to_string())?;
    }
    Ok(labels
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn signed(name: &str, nonce: &[u8]) -> Hello {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        let boot_id = vec![7; 16];
        let text = [CONTEXT, nonce, name.as_bytes(), &boot_id].concat();
        Hello {
            protocol_min: 1,
            protocol_max: 1,
            name: name.into(),
            labels: [("asn".to_owned(), "150".to_owned())].into(),
            boot_id,
            generation: 1,
            public_key: key.public_key().as_ref().to_vec(),
            signature: key.sign(&text).as_ref().to_vec(),
            ..Hello::default()
        }
    }

    #[test]
    fn a_proven_hello_is_accepted() {
        let hello = check(&signed("150-host_0", b"nonce"), b"nonce", 5).unwrap();
        assert_eq!(hello.name.as_str(), "150-host_0");
        assert_eq!(hello.labels["asn"], "150");
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = || signed("a", b"n");
        let cases: [(&str, Hello); 8] = [
            (
                "accepted_version",
                Hello {
                    accepted_version: u64::MAX,
                    ..good()
                },
            ),
            (
                "protocol_min",
                Hello {
                    protocol_min: 2,
                    protocol_max: 3,
                    ..good()
                },
            ),
            (
                "name",
                Hello {
                    name: "a b".into(),
                    ..good()
                },
            ),
            (
                "boot_id",
                Hello {
                    boot_id: vec![1; 15],
                    ..good()
                },
            ),
            (
                "generation",
                Hello {
                    generation: 0,
                    ..good()
                },
            ),
            (
                "labels",
                Hello {
                    labels: [("a b!".to_owned(), "x".to_owned())].into(),
                    ..good()
                },
            ),
            (
                "public_key",
                Hello {
                    public_key: vec![],
                    ..good()
                },
            ),
            (
                "signature",
                Hello {
                    signature: vec![0; 64],
                    ..good()
                },
            ),
        ];
        for (field, hello) in cases {
            let status = check(&hello, b"n", 0).unwrap_err();
            assert!(
                status.message().starts_with(&format!("hello.{field}")),
                "{status}"
            );
        }
    }

    #[test]
    fn a_signature_answers_one_challenge_only() {
        assert!(check(&signed("a", b"one"), b"two", 0).is_err());
    }
}
