//! From readings to rows: what changed between two of them. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use weir_common::id::RunId;
use weir_common::observation::{KernelCounters, KernelRow, LinkRow};
use weir_common::record::Entry;

use crate::inventory::netlink::counters::{Reading, queued};

/// Interfaces of one host in one interval: more than a router has, fewer than the
/// machine below a hundred containers.
const INTERFACES_MOST: usize = 64;

/// A kernel as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KernelReading {
    pub(super) cores: u32,
    pub(super) counters: KernelCounters,
}

/// Everything that is read at one instant; what is not watched is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    pub(super) links: BTreeMap<u32, Reading>,
    pub(super) kernel: Option<KernelReading>,
}

/// Makes the rows of a run.
#[derive(Debug)]
pub(super) struct Rows {
    run: RunId,
    kernel_boot_id: String,
    interval_ns: u64,
    /// Where the next row begins, ns from T0.
    from_ns: u64,
    before: Readings,
    pub(super) links: u32,
    pub(super) kernels: u32,
    /// Most interfaces that one interval had beyond the bound.
    pub(super) left_out: u32,
}

impl Rows {
    /// Begins at an instant (from T0) with what was read then.
    pub(super) fn begin(
        run: RunId,
        kernel_boot_id: String,
        interval_ns: u64,
        from_ns: u64,
        readings: Readings,
    ) -> Self {
        Self {
            run,
            kernel_boot_id,
            interval_ns,
            from_ns,
            before: readings,
            links: 0,
            kernels: 0,
            left_out: 0,
        }
    }

    /// The end of the interval in which the next row begins, from T0.
    pub(super) fn next_cut_ns(&self) -> u64 {
        let passed = self.from_ns / self.interval_ns;
        (passed + 1).saturating_mul(self.interval_ns)
    }

    /// Ends a row at an instant. The row of a reader that came late spans what it
    /// missed, and has the number of the last interval that it reaches into.
    pub(super) fn cut(&mut self, to_ns: u64, now: Readings) -> Vec<Entry> {
        let Some(length_ns) = to_ns.checked_sub(self.from_ns).filter(|ns| *ns > 0) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut self.before, now);
        let start_ns = std::mem::replace(&mut self.from_ns, to_ns);
        let k = u32::try_from((to_ns - 1) / self.interval_ns).unwrap_or(u32::MAX);
        let mut rows: Vec<LinkRow> = Vec::new();
        for (index, reading) in &self.before.links {
            // An interface that has come since then had counted nothing.
            let new = Reading::default();
            let old = before.links.get(index);
            let old = old.filter(|old| old.name == reading.name).unwrap_or(&new);
            let mut counters = reading.counters.since(&old.counters);
            let queue = queued(&old.qdiscs, &reading.qdiscs);
            counters.qdisc_drops = queue.drops;
            if counters.is_zero() && queue.backlog_bytes.unwrap_or(0) == 0 {
                continue;
            }
            rows.push(LinkRow {
                run: self.run,
                interface: reading.name.clone(),
                k,
                start_ns,
                length_ns,
                counters,
                qdisc: queue.kind,
                qdisc_backlog_bytes: queue.backlog_bytes,
            });
        }
        if rows.len() > INTERFACES_MOST {
            let bytes = |row: &LinkRow| row.counters.rx_bytes.max(row.counters.tx_bytes);
            rows.sort_by_key(|row| Reverse((row.counters.lost(), bytes(row))));
            let left_out = (rows.len() - INTERFACES_MOST) as u32;
            self.left_out = self.left_out.max(left_out);
            rows.truncate(INTERFACES_MOST);
        }
        self.links += rows.len() as u32;
        let kernel = self.before.kernel.zip(before.kernel).map(|(now, then)| {
            self.kernels += 1;
            Entry::Kernel(Box::new(KernelRow {
                run: self.run,
                kernel_boot_id: self.kernel_boot_id.clone(),
                k,
                start_ns,
                length_ns,
                cores: now.cores,
                counters: now.counters.since(&then.counters),
            }))
        });
        let links = rows.into_iter().map(|row| Entry::Link(Box::new(row)));
        links.chain(kernel).collect()
    }
}

#[cfg(test)]
mod tests {
    use weir_common::observation::LinkCounters;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn reading(name: &str, tx_bytes: u64) -> Reading {
        Reading {
            name: name.into(),
            counters: LinkCounters {
                tx_bytes: Some(tx_bytes),
                ..LinkCounters::default()
            },
            ..Reading::default()
        }
    }

    fn readings(links: &[(u32, Reading)], cpu_us: Option<u64>) -> Readings {
        Readings {
            links: links.iter().cloned().collect(),
            kernel: cpu_us.map(|cpu_us| KernelReading {
                cores: 2,
                counters: KernelCounters {
                    cpu_us: Some(cpu_us),
                    ..KernelCounters::default()
                },
            }),
        }
    }

    fn begin(readings: Readings) -> Rows {
        Rows::begin(RunId(7), "kernel".into(), SECOND, 0, readings)
    }

    fn links(entries: &[Entry]) -> Vec<(&str, u32, u64, u64, Option<u64>)> {
        let link = |entry: &'_ Entry| matches!(entry, Entry::Link(_));
        entries
            .iter()
            .filter(|entry| link(entry))
            .map(|entry| match entry {
                Entry::Link(row) => (
                    row.interface.as_str(),
                    row.k,
                    row.start_ns,
                    row.length_ns,
                    row.counters.tx_bytes,
                ),
                _ => unreachable!("filtered above"),
            })
            .collect()
    }

    #[test]
    fn rows_follow_each_other_and_silence_has_none() {
        let mut rows = begin(readings(
            &[(1, reading("lo", 5)), (2, reading("eth0", 100))],
            Some(10),
        ));
        assert_eq!(rows.next_cut_ns(), SECOND);
        let first = rows.cut(
            SECOND + 3,
            readings(
                &[(1, reading("lo", 5)), (2, reading("eth0", 160))],
                Some(30),
            ),
        );
        assert_eq!(links(&first), [("eth0", 1, 0, SECOND + 3, Some(60))]);
        let Some(Entry::Kernel(kernel)) = first.last() else {
            panic!("{first:?}");
        };
        assert_eq!((kernel.cores, kernel.counters.cpu_us), (2, Some(20)));
        // Frozen for three intervals: one row for all of them.
        assert_eq!(rows.next_cut_ns(), 2 * SECOND);
        let late = rows.cut(5 * SECOND, readings(&[(2, reading("eth0", 200))], None));
        assert_eq!(
            links(&late),
            [("eth0", 4, SECOND + 3, 4 * SECOND - 3, Some(40))]
        );
        assert_eq!(
            late.len(),
            1,
            "a kernel that cannot be read any more has no row"
        );
        assert_eq!((rows.links, rows.kernels), (2, 1));
        assert!(rows.cut(5 * SECOND, Readings::default()).is_empty());
    }

    #[test]
    fn an_interface_made_anew_begins_at_zero() {
        let mut rows = begin(readings(&[(2, reading("eth0", 900))], None));
        let changed = rows.cut(
            SECOND,
            readings(&[(2, reading("eth1", 40)), (3, reading("eth0", 7))], None),
        );
        let found: Vec<_> = links(&changed)
            .into_iter()
            .map(|row| (row.0, row.4))
            .collect();
        assert_eq!(found, [("eth1", Some(40)), ("eth0", Some(7))]);
    }

    #[test]
    fn the_busiest_of_too_many_are_told() {
        let many = |bytes: u64| {
            let each =
                (1..=100_u32).map(|i| (i, reading(&format!("veth{i}"), bytes * u64::from(i))));
            readings(&each.collect::<Vec<_>>(), None)
        };
        let mut rows = begin(many(1));
        let told = rows.cut(SECOND, many(2));
        assert_eq!((told.len(), rows.left_out), (64, 36));
        assert_eq!(links(&told)[0].0, "veth100");
    }
}
