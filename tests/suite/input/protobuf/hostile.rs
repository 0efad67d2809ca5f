//! Few bytes that would like to be much memory, and messages made of noise for
//! every method there is.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tonic::client::Grpc;
use tonic::{Code, Request};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::types::v1 as types;
use weir_runtime::Endpoint;
use weir_tests::flood::wire::{Wire, flag, headers, kind};
use weir_tests::mutants::{Descriptors, Dice, is_read};
use weir_tests::pretender::{Pretender, Raw, request};
use weir_tests::{Cluster, Usage, eventually};

use super::{batch, block_on, is_well, opened};
use crate::faults::SOON;

/// Most growth of the controller's memory, KiB.
const GROWTH_KIB: u64 = 32 * 1024;

/// Runs something that must not cost much memory; looked at all the while.
fn bounded(cluster: &Cluster, what: &str, hostile: impl FnOnce()) {
    let pid = cluster.controller().id();
    let kib = move || Usage::of(pid).map_or(0, |usage| usage.anonymous_kib);
    let before = kib();
    let peak = std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let watch = scope.spawn(move || {
            let mut peak = kib();
            let wait = Duration::from_millis(5);
            // Also a panic beside it ends it.
            while is_done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(kib());
            }
            peak
        });
        hostile();
        done.send(()).expect("the watch waits");
        watch.join().expect("the watch counts")
    });
    let grown = peak.saturating_sub(before);
    assert!(grown <= GROWTH_KIB, "{what}: {grown} KiB");
}

#[test]
fn a_prefix_of_a_gibibyte_reserves_nothing() {
    let cluster = Cluster::new();
    let endpoint: Endpoint = cluster.join_endpoint().parse().expect("an endpoint");
    bounded(&cluster, "prefixes", || {
        for path in ["Control", "Records"] {
            let path = format!("/weir.agent.v1.AgentService/{path}");
            let wires: Vec<Wire> = (0..64)
                .map(|_| {
                    let mut wire = Wire::connect(&endpoint, &[]).expect("a connection");
                    let block = headers(Some(&path));
                    wire.frame(kind::HEADERS, flag::END_HEADERS, 1, &block);
                    // Not compressed, 1 GiB, and the first bytes of it.
                    wire.frame(kind::DATA, 0, 1, &[0, 0x40, 0, 0, 0, 1, 2, 3]);
                    wire.flush().expect("it reads");
                    wire
                })
                .collect();
            // Each is answered, with a status in its trailers.
            eventually("answers", SOON, || {
                let answered = |wire: &Wire| wire.seen().frames.contains_key(&kind::HEADERS);
                wires.iter().all(answered).then_some(())
            });
        }
    });
    is_well(&cluster);
}

#[test]
fn nested_and_empty_messages_are_refused_and_cost_little() {
    let cluster = Cluster::new();
    bounded(&cluster, "nested and empty messages", || {
        block_on(async {
            let me = Pretender::new(&cluster, "liar").await;
            // Groups in groups of a field that nobody knows.
            for deep in [200, 250_000] {
                let (stream, _) = me.control().await;
                stream.send_bytes(vec![0x7b; deep]);
                let status = stream.refusal().await;
                assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            }
            let (_session, epoch) = me.joined().await;
            let stream = opened(&me, epoch).await;
            stream.send(&batch(1, vec![types::Entry::default(); 131_000]));
            let status = stream.refusal().await;
            assert!(status.message().contains("batch.entries"), "{status:?}");
            let (stream, nonce) = me.control().await;
            let mut hello = me.hello(&nonce);
            hello.assignments = vec![pb::AssignmentStatus::default(); 125_000];
            stream.send(&request(Up::Hello(hello)));
            let status = stream.refusal().await;
            assert!(status.message().contains("hello.assignments"), "{status:?}");
        });
    });
    is_well(&cluster);
}

#[test]
fn every_method_has_messages_that_are_noise() {
    let descriptors = Descriptors::read();
    let mut dice = Dice::new(1);
    for method in descriptors.methods() {
        for message in [&method.request, &method.response] {
            let (mut read, mut refused) = (0, 0);
            for _ in 0..20_000 {
                let bytes = descriptors.mutant(message, &mut dice);
                match is_read(message, &bytes) {
                    Some(true) => read += 1,
                    Some(false) => refused += 1,
                    None => panic!("{message} of {} is read by nobody here", method.path),
                }
            }
            // Both happen, or the noise is none.
            let is_noise = refused > 0 || descriptors.is_empty(message);
            assert!(read > 0 && is_noise, "{message}: {read} {refused}");
        }
    }
}

#[test]
fn noise_over_every_method_brings_nothing_down() {
    let cluster = Cluster::new();
    let descriptors = Descriptors::read();
    bounded(&cluster, "noise", || {
        block_on(async {
            let mut dice = Dice::new(2);
            for method in descriptors.methods() {
                let endpoint = if method.path.starts_with("/weir.agent.") {
                    cluster.join_endpoint()
                } else {
                    cluster.operator_endpoint()
                };
                let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
                let channel = endpoint.connect().await.expect("a connection");
                let mut client = Grpc::new(channel);
                for _ in 0..300 {
                    let bytes = descriptors.mutant(&method.request, &mut dice);
                    client.ready().await.expect("the connection lives");
                    let path = method.path.parse().expect("a path");
                    let noise = Request::new(tokio_stream::once(bytes));
                    let answer = client.streaming(noise, path, Raw).await;
                    if let Ok(answer) = answer {
                        let mut answers = answer.into_inner();
                        while let Ok(Some(_)) = answers.message().await {}
                    }
                }
            }
        });
    });
    is_well(&cluster);
    // A whole message of noise says nothing that a person could be fooled by.
    let log = cluster.controller().output();
    let harmless = |c: char| c == '\n' || !c.is_control();
    assert!(log.chars().all(harmless), "control bytes in the log");
}
