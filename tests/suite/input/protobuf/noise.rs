//! Bytes that are no message, or too many of them.

use prost::Message;
use tonic::Code;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_tests::Cluster;

use super::{batch, block_on, is_well, opened, row};
use weir_tests::pretender::{Pretender, request};

#[test]
fn five_mebibytes_are_refused() {
    let cluster = Cluster::new();
    block_on(async {
        let me = Pretender::new(&cluster, "liar").await;
        // 5 MiB: beyond what a message may have.
        let (stream, nonce) = me.control().await;
        let mut hello = me.hello(&nonce);
        hello.name = "n".repeat(5 << 20);
        stream.send(&request(Up::Hello(hello)));
        let status = stream.refusal().await;
        assert!(
            matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
            "{status:?}"
        );
        let (_session, epoch) = me.joined().await;
        let stream = opened(&me, epoch).await;
        stream.send_bytes(vec![0x12; 5 << 20]);
        let status = stream.refusal().await;
        assert!(
            matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
            "{status:?}"
        );
    });
    is_well(&cluster);
}

#[test]
fn mutated_bytes_bring_nothing_down() {
    let cluster = Cluster::new();
    block_on(async {
        let me = Pretender::new(&cluster, "liar").await;
        // Single bits and bytes of good messages, and noise; always the same ones.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..150 {
            let (stream, nonce) = me.control().await;
            let mut bytes = request(Up::Hello(me.hello(&nonce))).encode_to_vec();
            mutate(&mut bytes, &mut draw);
            stream.send_bytes(bytes);
            // It is a hello all the same when the change hit nothing that counts.
            drop(stream);
            let (session, epoch) = me.joined().await;
            let stream = opened(&me, epoch).await;
            let entries = vec![row(|_| {}), row(|row| row.k = 1)];
            let mut bytes = if round % 10 == 0 {
                (0..draw() % 200).map(|_| draw() as u8).collect()
            } else {
                batch(1, entries).encode_to_vec()
            };
            mutate(&mut bytes, &mut draw);
            stream.send_bytes(bytes);
            let mut bytes = request(Up::AssignmentStatus(pb::AssignmentStatus {
                run: 1,
                state: 5,
                reason: "x".into(),
                late_by_ns: 1,
            }))
            .encode_to_vec();
            mutate(&mut bytes, &mut draw);
            session.send_bytes(bytes);
            // Something has been answered to it before the next round.
            let (_next, _) = me.joined().await;
        }
    });
    is_well(&cluster);
}

fn mutate(bytes: &mut Vec<u8>, draw: &mut impl FnMut() -> u64) {
    for _ in 0..=draw() % 4 {
        if bytes.is_empty() {
            return;
        }
        let at = (draw() % bytes.len() as u64) as usize;
        match draw() % 4 {
            0 => bytes[at] = draw() as u8,
            1 => bytes[at] ^= 1 << (draw() % 8),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, draw() as u8),
        }
    }
}
