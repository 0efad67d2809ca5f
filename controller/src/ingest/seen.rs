//! What the newest sequences of a boot said, so that another content under a number
//! that is known is found out: a copy of a running agent, or a liar. Pure.

use std::collections::{BTreeMap, VecDeque};

use weir_common::id::{AgentName, BootId};
use weir_common::record::{End, Entry, Record};

/// Sequences remembered of each boot: as many as an honest agent sends twice at most.
const NEWEST: usize = super::CREDIT as usize;
/// Boots remembered: 16 KiB each.
const BOOTS: usize = 1_024;

/// All boots that have sent something since the controller started.
#[derive(Debug, Default)]
pub(super) struct Seen {
    boots: BTreeMap<(AgentName, BootId), Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    /// Sequence of the first print.
    first: u64,
    prints: VecDeque<Option<u32>>,
}

impl Seen {
    /// Notes a batch by its [`prints`]. Gives the first and the last sequence that said
    /// something else before, if there are any; what was said first stays.
    pub(super) fn put(
        &mut self,
        agent: &AgentName,
        boot: BootId,
        first_seq: u64,
        prints: &[Option<u32>],
    ) -> Option<(u64, u64)> {
        let key = (agent.clone(), boot);
        if self.boots.len() >= BOOTS && !self.boots.contains_key(&key) {
            self.boots.pop_first();
        }
        let newest = self.boots.entry(key).or_default();
        if newest.prints.is_empty() {
            newest.first = first_seq;
        }
        let mut others = None;
        for (at, print) in (0..).zip(prints) {
            let next = newest.first.checked_add(newest.prints.len() as u64);
            let Some((seq, next)) = first_seq.checked_add(at).zip(next) else {
                break;
            };
            if seq > next {
                // A hole: the store refuses it.
                break;
            }
            if seq == next {
                newest.prints.push_back(*print);
                if newest.prints.len() > NEWEST {
                    newest.prints.pop_front();
                    newest.first += 1;
                }
                continue;
            }
            let before = seq.checked_sub(newest.first);
            let before = before.and_then(|at| *newest.prints.get(usize::try_from(at).ok()?)?);
            if before.zip(*print).is_some_and(|(one, other)| one != other) {
                others = Some((others.map_or(seq, |(first, _)| first), seq));
            }
        }
        others
    }
}

/// What tells entries apart; `None` for those that are not compared. Gaps are not: a
/// record that was readable once may be damaged the next time.
pub(super) fn prints(entries: &[Entry]) -> Vec<Option<u32>> {
    let print = |entry: &Entry| match entry {
        Entry::Record(record) => Some(of_record(record)),
        Entry::Closed(closed) => Some(of_bytes(format!("{closed:?}").as_bytes())),
        _ => None,
    };
    entries.iter().map(print).collect()
}

/// Place and counts of a row. Not for enemies: who wants two rows to look the same can
/// send the same row.
fn of_record(record: &Record) -> u32 {
    let counters = &record.counters;
    let place = u64::from(record.flow.0) << 32 | u64::from(record.k);
    let which = u64::from(record.run.0) << 32
        | record.stream.map_or(0, |stream| u64::from(stream) + 1) << 8
        | u64::from(record.end == End::Rx);
    let counts = [
        counters.tx_packets,
        counters.tx_bytes,
        counters.rx_packets,
        counters.rx_bytes,
        counters.lost_packets,
    ];
    let hash = [place, which, record.start_ns, record.length_ns]
        .into_iter()
        .fold(0, mix);
    fold(
        counts
            .into_iter()
            .fold(hash, |hash, count| mix(hash, count.unwrap_or(u64::MAX))),
    )
}

fn of_bytes(bytes: &[u8]) -> u32 {
    fold(
        bytes
            .iter()
            .fold(0, |hash, byte| mix(hash, u64::from(*byte))),
    )
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fold(hash: u64) -> u32 {
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use weir_common::id::RunId;

    use super::*;
    use crate::store::samples::{boot, entries, manifest, name, row};

    fn say(seen: &mut Seen, first_seq: u64, prints: &[u32]) -> Option<(u64, u64)> {
        let prints: Vec<_> = prints.iter().copied().map(Some).collect();
        seen.put(&name("a"), boot(1), first_seq, &prints)
    }

    #[test]
    fn the_same_again_is_no_conflict_and_another_is() {
        let mut seen = Seen::default();
        assert_eq!(say(&mut seen, 11, &[1, 2, 3]), None);
        assert_eq!(say(&mut seen, 12, &[2, 3, 4]), None);
        assert_eq!(say(&mut seen, 11, &[1, 9, 8, 4, 5]), Some((12, 13)));
        // The first stays, and what was new with the others counts.
        assert_eq!(say(&mut seen, 11, &[1, 2, 3, 4, 5]), None);
        // Before what is remembered, and behind a hole.
        assert_eq!(say(&mut seen, 1, &[7, 7]), None);
        assert_eq!(say(&mut seen, 90, &[7, 7]), None);
        assert_eq!(say(&mut seen, 16, &[6]), None);
        assert_eq!(seen.put(&name("a"), boot(2), 11, &[Some(7)]), None);
        assert_eq!(seen.put(&name("b"), boot(1), 11, &[Some(7)]), None);
        assert_eq!(seen.put(&name("a"), boot(1), 11, &[None]), None);
        for first_seq in [0, u64::MAX - 1, u64::MAX] {
            assert_eq!(
                seen.put(&name("a"), boot(1), first_seq, &[Some(7); 3]),
                None
            );
            assert_eq!(
                seen.put(&name("c"), boot(1), first_seq, &[Some(7); 3]),
                None
            );
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seen = Seen::default();
        for seq in 1..20_000 {
            assert_eq!(say(&mut seen, seq, &[seq as u32]), None);
        }
        let newest = seen.boots.values().next().unwrap();
        assert_eq!(newest.prints.len(), NEWEST);
        assert_eq!(say(&mut seen, 19_990, &[0]), Some((19_990, 19_990)));
        for index in 0..3_000 {
            seen.put(&name(&format!("a{index}")), boot(1), 1, &[Some(1)]);
        }
        assert_eq!(seen.boots.len(), BOOTS);
    }

    #[test]
    fn each_figure_makes_another_print() {
        let one = row(RunId(1), 1, End::Tx, 5);
        let mut others = vec![one.clone(); 8];
        others[0].k += 1;
        others[1].end = End::Rx;
        others[2].stream = Some(0);
        others[3].start_ns += 1;
        others[4].length_ns += 1;
        others[5].counters.tx_packets = Some(1);
        others[6].counters.tx_bytes = None;
        others[7].run = RunId(2);
        let print = of_record(&one);
        assert_eq!(print, of_record(&one.clone()));
        assert!(others.iter().all(|other| of_record(other) != print));
        let closed = [8, 9].map(|rows| {
            let closed = manifest(RunId(1), 1, End::Tx, rows);
            prints(&[Entry::Closed(Box::new(closed))])[0].unwrap()
        });
        assert_ne!(closed[0], closed[1]);
        assert_eq!(prints(&entries([one])), [Some(print)]);
    }
}
