//! Counters of interfaces and of their queueing disciplines, and what happened
//! between two readings of them.

use std::collections::BTreeMap;
use std::io;

use weir_common::observation::LinkCounters;

use super::bucket::{Bucket, bucket};
use super::message::{Extent, ask, attributes, c_text, u32_at, u64_at};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const IFINFOMSG_LEN: usize = 16;
const TCMSG_LEN: usize = 20;
const IFF_LOOPBACK: u32 = 1 << 3;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS64: u16 = 23;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;
/// Parent of the qdisc that an interface sends by.
const TC_H_ROOT: u32 = 0xffff_ffff;
/// Parent of the one that it receives by (ingress, clsact).
const TC_H_INGRESS: u32 = 0xffff_fff1;

/// One interface as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Name.
    pub name: String,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// What the interface counts.
    pub counters: LinkCounters,
    /// Its queueing disciplines, the root first.
    pub qdiscs: Vec<Qdisc>,
}

/// One queueing discipline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Qdisc {
    /// Kind, such as `tbf`.
    pub kind: String,
    /// Handle: major number in the upper 16 bits.
    pub handle: u32,
    /// Where it is attached.
    pub parent: u32,
    /// Packets dropped, modulo 2^32; a parent counts those of its children too.
    pub drops: u32,
    /// Bytes queued.
    pub backlog_bytes: u32,
    /// Of a tbf: what it lets through.
    pub bucket: Option<Bucket>,
}

impl Qdisc {
    fn is_root(&self) -> bool {
        self.parent == TC_H_ROOT
    }

    /// As tc(8) prints it: `netem 10: parent 1:1`, a tbf with its parameters.
    pub fn describe(&self) -> String {
        let Self { kind, .. } = self;
        let parameters = self.bucket.map_or_else(String::new, |bucket| {
            format!(
                " rate {}bit burst {}b limit {}b",
                bucket.rate_bytes.saturating_mul(8),
                bucket.burst_bytes,
                bucket.limit_bytes
            )
        });
        format!("{kind} {}{parameters}", self.place())
    }

    /// Its handle and where it is attached: `1: root`, `10: parent 1:1`.
    pub fn place(&self) -> String {
        let handle = format!("{:x}:", self.handle >> 16);
        match self.parent {
            TC_H_ROOT => format!("{handle} root"),
            TC_H_INGRESS => format!("{handle} ingress"),
            parent => {
                let (major, minor) = (parent >> 16, parent & 0xffff);
                format!("{handle} parent {major:x}:{minor:x}")
            }
        }
    }
}

/// What queueing disciplines did between two readings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queued {
    /// Packets dropped on their way out.
    pub drops: Option<u64>,
    /// Kind of the one that dropped most by itself, else of the root.
    pub kind: Option<String>,
    /// Bytes queued now.
    pub backlog_bytes: Option<u64>,
}

/// Reads all interfaces of this network namespace, by index.
///
/// # Errors
/// The kernel refuses the socket or the question, or does not answer.
pub fn read() -> io::Result<BTreeMap<u32, Reading>> {
    let mut readings = BTreeMap::new();
    ask(
        None,
        RTM_GETLINK,
        Extent::All,
        &[0; IFINFOMSG_LEN],
        &mut |kind, body| {
            if kind == RTM_NEWLINK {
                readings.extend(link(body));
            }
        },
    )?;
    for (index, qdiscs) in qdiscs()? {
        if let Some(reading) = readings.get_mut(&index) {
            reading.qdiscs = qdiscs;
        }
    }
    Ok(readings)
}

/// Queueing disciplines by the index of their interface, the root first.
pub(super) fn qdiscs() -> io::Result<BTreeMap<u32, Vec<Qdisc>>> {
    let mut found: BTreeMap<u32, Vec<Qdisc>> = BTreeMap::new();
    ask(
        None,
        RTM_GETQDISC,
        Extent::All,
        &[0; TCMSG_LEN],
        &mut |kind, body| {
            if kind == RTM_NEWQDISC
                && let Some((index, qdisc)) = qdisc(body)
            {
                found.entry(index).or_default().push(qdisc);
            }
        },
    )?;
    for qdiscs in found.values_mut() {
        qdiscs.sort_by_key(|qdisc| (!qdisc.is_root(), qdisc.handle));
    }
    Ok(found)
}

/// An interface out of `struct ifinfomsg` and its attributes.
fn link(body: &[u8]) -> Option<(u32, Reading)> {
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let mut reading = Reading {
        loopback: flags & IFF_LOOPBACK != 0,
        ..Reading::default()
    };
    for (kind, value) in attributes(body.get(IFINFOMSG_LEN..)?) {
        match kind {
            IFLA_IFNAME => reading.name = c_text(value),
            IFLA_STATS64 => reading.counters = stats(value),
            _ => {}
        }
    }
    Some((index, reading))
}

/// `struct rtnl_link_stats64`.
fn stats(value: &[u8]) -> LinkCounters {
    let at = |place: usize| u64_at(value, place * 8);
    // A packet missed for want of a receive buffer is dropped all the same.
    let missed = at(15).unwrap_or(0);
    LinkCounters {
        rx_packets: at(0),
        tx_packets: at(1),
        rx_bytes: at(2),
        tx_bytes: at(3),
        rx_errors: at(4),
        tx_errors: at(5),
        rx_drops: at(6).map(|dropped| dropped.saturating_add(missed)),
        tx_drops: at(7),
        qdisc_drops: None,
    }
}

/// A queueing discipline out of `struct tcmsg` and its attributes.
fn qdisc(body: &[u8]) -> Option<(u32, Qdisc)> {
    let mut qdisc = Qdisc {
        handle: u32_at(body, 8)?,
        parent: u32_at(body, 12)?,
        ..Qdisc::default()
    };
    let mut options: &[u8] = &[];
    for (kind, value) in attributes(body.get(TCMSG_LEN..)?) {
        match kind {
            TCA_KIND => qdisc.kind = c_text(value),
            TCA_OPTIONS => options = value,
            TCA_STATS2 => {
                let mut stats = attributes(value);
                // `struct gnet_stats_queue`: qlen, backlog, drops, ...
                if let Some((_, queue)) = stats.find(|(kind, _)| *kind == TCA_STATS_QUEUE) {
                    qdisc.backlog_bytes = u32_at(queue, 4).unwrap_or(0);
                    qdisc.drops = u32_at(queue, 8).unwrap_or(0);
                }
            }
            _ => {}
        }
    }
    if qdisc.kind == "tbf" {
        qdisc.bucket = bucket(options);
    }
    Some((u32_at(body, 4)?, qdisc))
}

/// What happened between two readings of an interface's queueing disciplines.
///
/// The root counts what its children drop; for a name, what children dropped is
/// taken out of their parent, since they are what an experimenter has set up.
pub fn queued(before: &[Qdisc], now: &[Qdisc]) -> Queued {
    let dropped = |qdisc: &Qdisc| {
        let same = |old: &&Qdisc| old.handle == qdisc.handle && old.kind == qdisc.kind;
        rise(before.iter().find(same).map(|old| old.drops), qdisc.drops)
    };
    let Some(root) = now.iter().find(|qdisc| qdisc.is_root()) else {
        return Queued::default();
    };
    let own = |qdisc: &Qdisc| {
        let children = now
            .iter()
            .filter(|child| child.parent >> 16 == qdisc.handle >> 16 && !child.is_root());
        let theirs = children.map(dropped).fold(0, u64::saturating_add);
        dropped(qdisc).saturating_sub(theirs)
    };
    let outbound = now.iter().filter(|qdisc| qdisc.parent != TC_H_INGRESS);
    let worst = outbound
        .map(|qdisc| (own(qdisc), qdisc))
        .filter(|(own, _)| *own > 0)
        .max_by_key(|(own, _)| *own);
    let named = worst.map_or(root, |(_, qdisc)| qdisc);
    Queued {
        drops: Some(dropped(root)),
        kind: (!named.kind.is_empty()).then(|| named.kind.clone()),
        backlog_bytes: Some(root.backlog_bytes.into()),
    }
}

/// The rise of a counter of 32 bits. One that went back a little way has passed
/// 2^32; one that fell from the lower half was made anew.
fn rise(before: Option<u32>, now: u32) -> u64 {
    match before {
        Some(before) if now >= before || before > u32::MAX / 2 => now.wrapping_sub(before).into(),
        _ => now.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::attribute;
    use super::*;

    fn a_qdisc(kind: &str, handle: u32, parent: u32, drops: u32) -> Qdisc {
        Qdisc {
            kind: kind.into(),
            handle: handle << 16,
            parent,
            drops,
            backlog_bytes: 0,
            bucket: None,
        }
    }

    /// A tbf with a netem below it, as SEED shapes its links.
    fn shaped(tbf: u32, netem: u32) -> Vec<Qdisc> {
        vec![
            a_qdisc("tbf", 1, TC_H_ROOT, tbf),
            a_qdisc("netem", 10, 1 << 16 | 1, netem),
        ]
    }

    #[test]
    fn the_root_counts_and_the_one_that_dropped_is_named() {
        let cases = [
            (shaped(0, 0), shaped(40, 0), 40, "tbf"),
            (shaped(40, 0), shaped(50, 9), 10, "netem"),
            (shaped(50, 9), shaped(80, 10), 30, "tbf"),
            (shaped(80, 10), shaped(80, 10), 0, "tbf"),
            // Made anew, and past 2^32.
            (shaped(80, 10), shaped(7, 0), 7, "tbf"),
            (shaped(u32::MAX - 1, 0), shaped(3, 0), 5, "tbf"),
            (Vec::new(), shaped(5, 0), 5, "tbf"),
        ];
        for (before, now, drops, kind) in cases {
            let queued = queued(&before, &now);
            assert_eq!(
                (queued.drops, queued.kind.as_deref()),
                (Some(drops), Some(kind)),
                "{before:?} {now:?}"
            );
        }
        assert_eq!(queued(&[], &[]), Queued::default());
    }

    #[test]
    fn qdiscs_are_told_as_tc_does() {
        let told: Vec<String> = shaped(0, 0).iter().map(Qdisc::describe).collect();
        assert_eq!(
            told,
            ["tbf 1: root", "netem 10: parent 1:1"].map(|t| t.replace("10:", "a:"))
        );
        let ingress = a_qdisc("clsact", 0xffff, TC_H_INGRESS, 0);
        assert_eq!(ingress.describe(), "clsact ffff: ingress");
        let bucket = Bucket {
            rate_bytes: 1_250_000,
            burst_bytes: 1_600,
            limit_bytes: 3_000,
        };
        let tbf = Qdisc {
            bucket: Some(bucket),
            ..a_qdisc("tbf", 1, TC_H_ROOT, 0)
        };
        let told = "tbf 1: root rate 10000000bit burst 1600b limit 3000b";
        assert_eq!(tbf.describe(), told);
    }

    fn messages() -> (Vec<u8>, Vec<u8>) {
        let mut link = vec![0; IFINFOMSG_LEN];
        link[4..8].copy_from_slice(&2u32.to_ne_bytes());
        link.extend(attribute(IFLA_IFNAME, b"eth0\0"));
        let stats: Vec<u8> = (1..=24u64).flat_map(u64::to_ne_bytes).collect();
        link.extend(attribute(IFLA_STATS64, &stats));
        let mut qdisc = vec![0; TCMSG_LEN];
        qdisc[4..8].copy_from_slice(&2u32.to_ne_bytes());
        qdisc[8..12].copy_from_slice(&(1u32 << 16).to_ne_bytes());
        qdisc[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
        qdisc.extend(attribute(TCA_KIND, b"tbf\0"));
        let queue: Vec<u8> = [3u32, 4_500, 77, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let stats = attribute(TCA_STATS_QUEUE, &queue);
        qdisc.extend(attribute(TCA_STATS2, &stats));
        (link, qdisc)
    }

    #[test]
    fn answers_as_the_kernel_gives_them() {
        let (link_body, qdisc_body) = messages();
        let (index, reading) = link(&link_body).unwrap();
        assert_eq!((index, reading.name.as_str()), (2, "eth0"));
        let counters = reading.counters;
        assert_eq!(
            (counters.rx_packets, counters.tx_bytes, counters.tx_drops),
            (Some(1), Some(4), Some(8))
        );
        assert_eq!(counters.rx_drops, Some(7 + 16), "dropped and missed");
        let (index, qdisc) = qdisc(&qdisc_body).unwrap();
        let expected = Qdisc {
            backlog_bytes: 4_500,
            ..a_qdisc("tbf", 1, TC_H_ROOT, 77)
        };
        assert_eq!((index, qdisc), (2, expected));
    }

    #[test]
    fn this_host_can_be_read() {
        let readings = read().unwrap();
        let loopback = readings.values().find(|reading| reading.loopback);
        assert!(
            loopback.is_some_and(|lo| lo.name == "lo" && lo.counters.rx_bytes.is_some()),
            "{readings:?}"
        );
    }

    proptest! {
        #[test]
        fn damaged_answers_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let (link_body, qdisc_body) = messages();
            for mut bytes in [link_body, qdisc_body] {
                let place = at.index(bytes.len());
                bytes[place] = byte;
                bytes.truncate(cut.index(bytes.len() + 1));
                link(&bytes);
                qdisc(&bytes);
            }
        }
    }
}
