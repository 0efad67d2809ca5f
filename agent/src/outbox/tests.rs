//! The pure parts against models: a list of all entries, and a disk that fails,
//! tears and rots.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;
use weir_common::id::{FlowId, RunId};
use weir_common::record::{
    Counters, End, Ending, Entry, Flags, FlowClosed, Gap, GapCause, Record, Source,
};
use weir_proto::types::v1 as pb;

use super::coalesce::Coalescer;
use super::queue::Queue;
use super::recover::{Found, Loaded, Recovery};
use super::{BatchLimit, Level, Limits};

const ALL: BatchLimit = BatchLimit {
    entries: usize::MAX,
    bytes: usize::MAX,
};
/// Small, so that a few entries fill it.
const SMALL: Limits = Limits {
    memory_bytes: 1 << 10,
    disk_bytes: 1 << 20,
    segment_bytes: 512,
    reserve_bytes: 0,
};

pub(super) fn row(flow: u32, k: u32) -> Entry {
    Entry::Record(Box::new(Record {
        run: RunId(1),
        flow: FlowId(flow),
        stream: None,
        end: End::Tx,
        k,
        source: Source::Measured,
        start_ns: u64::from(k) * 1_000,
        length_ns: 1_000,
        flags: Flags::default(),
        counters: Counters {
            tx_packets: Some(u64::from(k) + 1),
            ..Counters::default()
        },
        delay: None,
        tcp: None,
        more: None,
    }))
}

pub(super) fn manifest(flow: u32, rows: u32) -> Entry {
    Entry::Closed(Box::new(FlowClosed {
        run: RunId(1),
        flow: FlowId(flow),
        end: End::Tx,
        rows,
        ending: Ending::Completed,
        total: Counters::default(),
        window: weir_common::record::Window::default(),
        drained_bytes: None,
        unread_bytes: None,
        corrupt_bytes: None,
        control_packets: None,
        tuples: Vec::new(),
        first_packet_ns: None,
        path: weir_common::record::DataPath::default(),
        link: true,
        peer: None,
        warnings: Vec::new(),
    }))
}

fn damaged() -> pb::Entry {
    pb::Entry::from(&Entry::Gap(Box::new(Gap {
        run: RunId(1),
        flow: None,
        from_ns: None,
        to_ns: None,
        cause: GapCause::Damaged,
    })))
}

/// Segments in memory, as a disk would hold them.
#[derive(Debug, Clone, Default)]
struct Rig {
    segments: BTreeMap<u64, Vec<u8>>,
    acked: u64,
}

impl Rig {
    /// Writes what is to be written next; of a torn one only the first bytes.
    fn write(&mut self, queue: &mut Queue, torn: Option<usize>) -> bool {
        let Some(write) = queue.next_write() else {
            return false;
        };
        let segment = self.segments.entry(write.segment).or_default();
        segment.truncate(write.at as usize);
        let bytes = torn.map_or(write.bytes.len(), |torn| torn % write.bytes.len());
        segment.extend(&write.bytes[..bytes]);
        queue.wrote(&write, torn.is_none());
        true
    }

    fn write_all(&mut self, queue: &mut Queue) {
        while self.write(queue, None) {}
    }

    fn forget(&mut self, queue: &mut Queue, all: bool) {
        if let Some(forget) = queue.next_forget(all) {
            self.acked = forget.acked;
            for segment in &forget.segments {
                self.segments.remove(segment);
            }
            queue.forgot(&forget);
        }
    }

    fn recover(&mut self) -> Found {
        let mut recovery = Recovery::new(self.acked);
        for (first, bytes) in &self.segments {
            recovery.segment(*first, bytes);
        }
        let found = recovery.finish();
        if let Some((segment, bytes)) = found.torn {
            let segment = self.segments.get_mut(&segment).expect("it was found");
            segment.truncate(bytes as usize);
        }
        found
    }

    /// Everything from `seq` on that may be sent.
    fn read(&self, queue: &Queue, mut seq: u64, run: Option<RunId>) -> Vec<pb::Entry> {
        let mut all = Vec::new();
        while seq <= queue.ready() {
            let entries: Vec<pb::Entry> = if let Some(held) = queue.held(seq) {
                held.map(|entry| pb::Entry::decode(entry).unwrap())
                    .collect()
            } else {
                let segment = queue.segment(seq).expect("a segment for what is not held");
                let bytes = self.segments.get(&segment.first).cloned();
                Loaded::new(segment, bytes.unwrap_or_default()).entries(seq, ALL, run)
            };
            assert!(!entries.is_empty(), "nothing at {seq}");
            seq += entries.len() as u64;
            all.extend(entries);
        }
        all
    }
}

fn put(queue: &mut Queue, entry: &Entry) {
    queue.append(pb::Entry::from(entry).encode_to_vec(), false);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Write,
    Torn(usize),
    Ack(u64),
    Forget(bool),
    Restart(Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..20).prop_map(Step::Append),
        4 => Just(Step::Write),
        1 => any::<usize>().prop_map(Step::Torn),
        2 => (0u64..30).prop_map(Step::Ack),
        2 => any::<bool>().prop_map(Step::Forget),
        1 => prop::option::of(any::<usize>()).prop_map(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens, every entry that is not acknowledged is there, once and
    /// in order; only what no write has finished goes with the process.
    #[test]
    fn behaves_as_a_list_with_a_watermark(steps in prop::collection::vec(step(), 0..120)) {
        let mut rig = Rig::default();
        let mut queue = Queue::new(SMALL);
        let mut model: Vec<pb::Entry> = Vec::new();
        let mut acked = 0;
        let mut written = 0;
        for step in steps {
            match step {
                Step::Append(n) => for _ in 0..n {
                    let entry = row(1, model.len() as u32);
                    put(&mut queue, &entry);
                    model.push(pb::Entry::from(&entry));
                }
                Step::Write => { rig.write(&mut queue, None); }
                Step::Torn(bytes) => { rig.write(&mut queue, Some(bytes)); }
                Step::Ack(ahead) => {
                    acked = queue.ready().min(acked + ahead);
                    queue.ack(acked);
                }
                Step::Forget(all) => rig.forget(&mut queue, all),
                Step::Restart(torn) => {
                    if torn.is_some() {
                        rig.write(&mut queue, torn);
                    }
                    let found = rig.recover();
                    prop_assert!(found.last <= model.len() as u64);
                    prop_assert!(found.last.max(acked) >= written);
                    // What a torn frame held it tells, as missing; what no frame
                    // tells of never had a number.
                    model.truncate(found.last as usize);
                    let first = rig.acked;
                    queue = Queue::found(SMALL, rig.acked, found.last, found.segments);
                    let read = rig.read(&queue, first + 1, Some(RunId(1)));
                    for (seq, entry) in (first + 1..).zip(read) {
                        let at = seq as usize - 1;
                        if seq > written && seq > acked && entry == damaged() {
                            model[at] = damaged();
                        }
                        // Delivered before it was written: the controller has it.
                        prop_assert!(seq <= acked || entry == model[at], "{seq}");
                    }
                    // The controller says how far it is.
                    acked = acked.min(queue.last());
                    queue.ack(acked);
                    written = queue.last();
                }
            }
            if !queue.is_degraded() {
                written = queue.ready();
            }
            prop_assert_eq!(queue.last(), model.len() as u64);
            prop_assert_eq!(queue.is_empty(), acked == queue.last());
            let read = rig.read(&queue, acked + 1, Some(RunId(1)));
            prop_assert_eq!(&read[..], &model[acked as usize..][..read.len()]);
            prop_assert_eq!(acked + read.len() as u64, queue.ready());
        }
        rig.write_all(&mut queue);
        prop_assert_eq!(queue.ready(), queue.last());
        prop_assert_eq!(queue.unwritten_bytes(), 0);
        queue.ack(queue.last());
        rig.forget(&mut queue, true);
        prop_assert_eq!((queue.disk_bytes(), queue.held_bytes()), (0, 0));
    }
}

/// A small spool of several segments with two flows, one of them closed, and
/// its entries.
fn small_spool() -> (Rig, Vec<pb::Entry>) {
    let mut rig = Rig::default();
    let mut queue = Queue::new(Limits {
        segment_bytes: 300,
        ..SMALL
    });
    let mut entries = Vec::new();
    for k in 0..4 {
        for flow in 1..=2 {
            let entry = row(flow, k);
            put(&mut queue, &entry);
            entries.push(pb::Entry::from(&entry));
        }
        rig.write_all(&mut queue);
    }
    put(&mut queue, &manifest(1, 4));
    entries.push(pb::Entry::from(&manifest(1, 4)));
    rig.write_all(&mut queue);
    assert!(rig.segments.len() > 1, "{} segment", rig.segments.len());
    (rig, entries)
}

/// All that can be read of a damaged spool: each entry as it was or a gap. Gives
/// the sequences that are gaps.
fn gaps(rig: &mut Rig, entries: &[pb::Entry]) -> Vec<u64> {
    let found = rig.recover();
    let (last, lost) = (found.last, found.lost);
    let queue = Queue::found(SMALL, 0, last, found.segments);
    let read = rig.read(&queue, 1, found.run);
    assert_eq!(read.len() as u64, last);
    let mut gaps = Vec::new();
    for (seq, entry) in (1..).zip(&read) {
        if *entry == damaged() {
            gaps.push(seq);
        } else {
            assert_eq!(*entry, entries[seq as usize - 1], "{seq}");
        }
    }
    assert_eq!(gaps.len() as u64, lost);
    gaps
}

#[test]
fn a_spool_is_read_past_a_flip_of_any_bit() {
    let (whole, entries) = small_spool();
    assert!(gaps(&mut whole.clone(), &entries).is_empty());
    for (segment, bytes) in &whole.segments {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut rig = whole.clone();
                rig.segments.get_mut(segment).unwrap()[at] ^= 1 << bit;
                let gaps = gaps(&mut rig, &entries);
                // One write of two rows, or the manifest: that and no more.
                assert!(gaps.len() <= 2, "bit {bit} of {at} in {segment}: {gaps:?}");
                assert!(gaps.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            }
        }
    }
}

#[test]
fn a_spool_is_read_up_to_a_cut_at_any_byte() {
    let (whole, entries) = small_spool();
    let (last, bytes) = whole.segments.last_key_value().unwrap();
    for cut in 0..bytes.len() {
        let mut rig = whole.clone();
        rig.segments.get_mut(last).unwrap().truncate(cut);
        let torn = gaps(&mut rig, &entries);
        assert!(torn.len() <= 2, "cut at {cut}: {torn:?}");
        // The tail is cut off once: the next start finds the same.
        assert_eq!(rig.recover().torn, None);
        assert_eq!(gaps(&mut rig, &entries), torn);
    }
}

#[test]
fn a_segment_that_is_gone_is_a_gap_of_its_sequences() {
    let (whole, entries) = small_spool();
    let firsts: Vec<u64> = whole.segments.keys().copied().collect();
    for pair in firsts.windows(2) {
        let mut rig = whole.clone();
        rig.segments.remove(&pair[0]);
        let expected: Vec<u64> = (pair[0]..pair[1]).collect();
        assert_eq!(gaps(&mut rig, &entries), expected);
    }
}

#[test]
fn the_interval_under_way_is_told_for_flows_that_did_not_close() {
    let (mut rig, _) = small_spool();
    let found = rig.recover();
    let [gap] = &found.under_way[..] else {
        panic!("{found:?}");
    };
    assert_eq!(gap.flow, Some((FlowId(2), End::Tx)));
    assert_eq!((gap.from_ns, gap.to_ns), (Some(4_000), Some(5_000)));
    assert_eq!(gap.cause, GapCause::Ended);
    // Once it is told, the next start has nothing to add.
    let mut queue = Queue::found(SMALL, 0, found.last, found.segments.clone());
    put(&mut queue, &Entry::Gap(Box::new(gap.clone())));
    rig.write_all(&mut queue);
    let again = rig.recover();
    assert_eq!((again.last, again.under_way), (found.last + 1, Vec::new()));
}

#[test]
fn memory_holds_no_more_than_its_limit_of_what_is_on_disk() {
    let mut rig = Rig::default();
    let mut queue = Queue::new(SMALL);
    for k in 0..1_000 {
        put(&mut queue, &row(1, k));
        rig.write_all(&mut queue);
        assert!(queue.held_bytes() <= SMALL.memory_bytes);
    }
    assert_eq!(rig.read(&queue, 1, None).len(), 1_000);
}

#[test]
fn without_a_disk_memory_fills_up_and_nothing_is_lost() {
    let mut rig = Rig::default();
    let mut queue = Queue::new(SMALL);
    let level = |queue: &Queue| Level::of(&SMALL, queue.disk_bytes(), queue.unwritten_bytes());
    let mut k = 0;
    while level(&queue) < Level::Full {
        put(&mut queue, &row(1, k));
        rig.write(&mut queue, Some(7));
        k += 1;
    }
    assert!(
        queue.held_bytes() <= SMALL.memory_bytes + 128,
        "one entry more"
    );
    assert!(queue.is_degraded());
    // Still taken, and delivered from memory.
    put(&mut queue, &manifest(1, k));
    assert_eq!(rig.read(&queue, 1, None).len(), k as usize + 1);
    queue.ack(2);
    // There is space again.
    rig.write_all(&mut queue);
    assert!(!queue.is_degraded());
    assert_eq!(queue.unwritten_bytes(), 0);
    assert_eq!(rig.read(&queue, 3, None).len(), k as usize - 1);
}

#[test]
fn levels_follow_the_fuller_of_disk_and_memory() {
    let limits = Limits {
        memory_bytes: 100,
        disk_bytes: 1_100,
        segment_bytes: 100,
        reserve_bytes: 100,
    };
    for (disk, memory, level) in [
        (0, 0, Level::Room),
        (799, 79, Level::Room),
        (800, 0, Level::High),
        (0, 80, Level::High),
        (950, 0, Level::Coalescing),
        (0, 95, Level::Coalescing),
        (1_000, 0, Level::Full),
        (0, 100, Level::Full),
    ] {
        assert_eq!(Level::of(&limits, disk, memory), level, "{disk} {memory}");
    }
}

proptest! {
    /// However often merging goes on and off: what is kept has the counts of
    /// what was given, and the manifest names the rows that are kept.
    #[test]
    fn coalescing_keeps_every_count(
        given in prop::collection::vec((1u32..4, any::<bool>(), any::<bool>()), 0..200)
    ) {
        let mut coalescer = Coalescer::default();
        let mut kept = Vec::new();
        let (mut next, mut sums) = ([0; 4], [0; 4]);
        for (flow, on, warm) in given {
            let Entry::Record(mut record) = row(flow, next[flow as usize]) else { unreachable!() };
            if warm {
                record.flags.insert(Flags::WARMUP);
            }
            next[flow as usize] += 1;
            sums[flow as usize] += record.counters.tx_packets.unwrap();
            kept.extend(coalescer.take(Entry::Record(record), on));
        }
        for flow in 1..4 {
            kept.extend(coalescer.take(manifest(flow, next[flow as usize]), true));
        }
        for flow in 1..4u32 {
            let rows: Vec<&Record> = kept.iter().filter_map(|entry| match entry {
                Entry::Record(row) if row.flow.0 == flow => Some(&**row),
                _ => None,
            }).collect();
            let sum: u64 = rows.iter().filter_map(|row| row.counters.tx_packets).sum();
            prop_assert_eq!(sum, sums[flow as usize]);
            // One after the other, without a hole.
            let mut at = 0;
            for row in &rows {
                prop_assert_eq!(row.start_ns, at);
                at += row.length_ns;
                prop_assert_eq!(row.length_ns > 1_000, row.flags.contains(Flags::COALESCED));
                prop_assert!(row.length_ns <= 10_000);
            }
            prop_assert_eq!(at, u64::from(next[flow as usize]) * 1_000);
            let closed = kept.iter().find_map(|entry| match entry {
                Entry::Closed(closed) if closed.flow.0 == flow => Some(closed),
                _ => None,
            });
            prop_assert_eq!(closed.unwrap().rows as usize, rows.len());
        }
    }
}
