//! The outbox against a model: a list of all entries and a watermark.

use proptest::prelude::*;
use weir_common::id::{FlowId, RunId};
use weir_common::record::{Counters, End, Entry, Flags, Record, Source};
use weir_proto::types::v1 as pb;

use super::{BatchLimit, MemoryOutbox, Outbox};

fn entry(k: u32) -> Entry {
    Entry::Record(Box::new(Record {
        run: RunId(1),
        flow: FlowId(1),
        stream: None,
        end: End::Tx,
        k,
        source: Source::Measured,
        start_ns: 0,
        length_ns: 1,
        flags: Flags::default(),
        counters: Counters::default(),
        delay: None,
        tcp: None,
        more: None,
    }))
}

#[derive(Debug, Clone)]
enum Step {
    Append,
    Ack(u64),
    Read(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Append),
        1 => (0u64..80).prop_map(Step::Ack),
        1 => (0u64..80, 1usize..10).prop_map(|(seq, n)| Step::Read(seq, n)),
    ]
}

proptest! {
    #[test]
    fn behaves_as_a_list_with_a_watermark(steps in prop::collection::vec(step(), 0..200)) {
        let mut outbox = MemoryOutbox::default();
        let mut model: Vec<Entry> = Vec::new();
        let mut acked = 0u64;
        for step in steps {
            match step {
                Step::Append => {
                    let next = entry(model.len() as u32);
                    model.push(next.clone());
                    prop_assert_eq!(outbox.append(&next), model.len() as u64);
                }
                Step::Ack(seq) => {
                    acked = acked.max(seq.min(model.len() as u64));
                    outbox.ack(seq);
                }
                Step::Read(seq, entries) => {
                    let batch = outbox.unacked_from(seq, BatchLimit { entries, bytes: usize::MAX });
                    let first = seq.max(acked + 1);
                    let skip = usize::try_from(first - 1).unwrap();
                    let expected: Vec<pb::Entry> =
                        model.iter().skip(skip).take(entries).map(pb::Entry::from).collect();
                    prop_assert_eq!(batch.first_seq, first);
                    prop_assert_eq!(batch.entries, expected);
                }
            }
            prop_assert_eq!(outbox.last_seq(), model.len() as u64);
            prop_assert_eq!(outbox.acked_seq(), acked);
            prop_assert_eq!(outbox.is_empty(), acked == model.len() as u64);
            prop_assert_eq!(outbox.bytes() == 0, outbox.is_empty());
        }
    }
}

#[test]
fn a_full_outbox_still_takes_entries() {
    let mut outbox = MemoryOutbox::new(10);
    assert!(!outbox.is_full());
    outbox.append(&entry(0));
    assert!(outbox.is_full());
    assert_eq!(outbox.append(&entry(1)), 2);
    outbox.ack(2);
    assert!(!outbox.is_full());
}

#[test]
fn batches_are_bounded_in_bytes_and_never_empty_while_there_is_something() {
    let mut outbox = MemoryOutbox::default();
    for k in 0..10 {
        outbox.append(&entry(k));
    }
    let one = outbox.bytes() / 10;
    let batch = |bytes| {
        outbox
            .unacked_from(
                1,
                BatchLimit {
                    entries: 256,
                    bytes,
                },
            )
            .entries
            .len()
    };
    assert_eq!(batch(1), 1);
    assert_eq!(batch(3 * one + 3), 3);
    assert_eq!(batch(1 << 20), 10);
}
