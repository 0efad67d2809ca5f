//! Records that no honest agent sends.

use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_response::Message as Acks;
use weir_proto::types::v1 as types;
use weir_tests::Cluster;

use super::{COUNT_MOST, batch, block_on, is_well, names, open, opened, row};
use weir_tests::pretender::Pretender;

/// What has to be named, and what is sent after the begin of a stream.
type Case = (&'static str, pb::RecordsRequest);

/// Messages of a wrong shape.
fn shapes() -> Vec<Case> {
    vec![
        ("batch.entries", batch(1, Vec::new())),
        ("batch.entries", batch(1, vec![row(|_| {}); 257])),
        (
            "batch.entries[1].item",
            batch(1, vec![row(|_| {}), types::Entry { item: None }]),
        ),
        ("run", batch(1, vec![row(|row| row.run = 0)])),
        ("run", batch(1, vec![row(|row| row.run = u32::MAX)])),
        (
            "batch.entries[0]",
            batch(
                1,
                vec![types::Entry {
                    item: Some(types::entry::Item::Closed(types::FlowClosed::default())),
                }],
            ),
        ),
        ("only batches", open(pb::RecordsOpen::default())),
        ("only batches", pb::RecordsRequest { message: None }),
    ]
}

/// Figures that no column can hold.
fn figures() -> Vec<Case> {
    let counters = |tx_bytes| {
        Some(types::Counters {
            tx_bytes,
            ..Default::default()
        })
    };
    vec![
        ("batch.entries[0]", batch(1, vec![row(|row| row.end = 0)])),
        ("source", batch(1, vec![row(|row| row.source = 9)])),
        (
            "start_ns",
            batch(1, vec![row(|row| row.start_ns = u64::MAX)]),
        ),
        (
            "length_ns",
            batch(1, vec![row(|row| row.length_ns = u64::MAX)]),
        ),
        (
            "end of the row",
            batch(
                1,
                vec![row(|row| {
                    (row.start_ns, row.length_ns) = (COUNT_MOST, COUNT_MOST);
                })],
            ),
        ),
        (
            "stream",
            batch(1, vec![row(|row| row.stream = Some(u32::MAX))]),
        ),
        (
            "counters.tx_bytes",
            batch(1, vec![row(|row| row.counters = counters(Some(u64::MAX)))]),
        ),
        (
            "delay_hist",
            batch(
                1,
                vec![row(|row| {
                    row.delay = Some(types::DelayColumns {
                        delay_hist: Some(vec![0xff; 4096]),
                        ..Default::default()
                    });
                })],
            ),
        ),
    ]
}

/// First messages that open nothing.
fn opens(me: &Pretender, epoch: u64) -> Vec<Case> {
    vec![
        ("open must be the first", batch(1, vec![row(|_| {})])),
        ("open.session_epoch", open(me.records_open(epoch + 1))),
        ("open.session_epoch", open(me.records_open(u64::MAX))),
        (
            "open.session_epoch",
            open(pb::RecordsOpen {
                name: "other".into(),
                ..me.records_open(epoch)
            }),
        ),
        (
            "open.name",
            open(pb::RecordsOpen {
                name: "a b".into(),
                ..me.records_open(epoch)
            }),
        ),
        (
            "open.boot_id",
            open(pb::RecordsOpen {
                boot_id: vec![0; 17],
                ..me.records_open(epoch)
            }),
        ),
    ]
}

#[test]
fn records_are_refused_with_their_field() {
    let cluster = Cluster::new();
    block_on(async {
        let me = Pretender::new(&cluster, "liar").await;
        let (_session, epoch) = me.joined().await;
        for (field, message) in shapes().into_iter().chain(figures()) {
            let stream = opened(&me, epoch).await;
            stream.send(&message);
            names(&stream.refusal().await, field);
        }
        for (field, message) in opens(&me, epoch) {
            let stream = me.records().await;
            stream.send(&message);
            names(&stream.refusal().await, field);
        }
        // A hole in the sequence is told, not an end.
        let mut stream = opened(&me, epoch).await;
        for first_seq in [0, 2, 5, COUNT_MOST, u64::MAX - 1, u64::MAX] {
            stream.send(&batch(first_seq, vec![row(|_| {}); 2]));
            let answer: pb::RecordsResponse = stream.answer().await.expect("it goes on");
            let Some(Acks::Nack(nack)) = answer.message else {
                panic!("{first_seq}: {answer:?}")
            };
            assert_eq!(nack.expected_seq, 1, "{first_seq}");
        }
    });
    is_well(&cluster);
}
