//! Parsers of what the kernel tells of itself. Odd text gives nothing, never a
//! panic.

use std::collections::BTreeSet;

/// Length of a tick of /proc/stat, us: USER_HZ is 100 on every architecture that
/// Linux runs on today, whatever its own timer does.
const TICK_US: u64 = 10_000;

/// ETH_P_ALL: a packet socket that sees every packet.
const ALL_PROTOCOLS: &str = "0003";

/// CPU time since boot, all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CpuTime {
    pub(crate) cores: u32,
    /// Neither idle nor waiting for a disk nor taken by the hypervisor, us.
    pub(crate) busy_us: u64,
    /// Taken by the hypervisor, us.
    pub(crate) steal_us: u64,
}

/// Reads /proc/stat (proc(5)): `cpu user nice system idle iowait irq softirq steal ...`.
/// Time of guests is part of user and nice.
pub(crate) fn cpu_time(stat: &str) -> Option<CpuTime> {
    let mut sum = None;
    let mut cores = 0;
    for line in stat.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            break;
        };
        if rest.starts_with(' ') {
            sum = Some(rest);
        } else {
            cores += 1;
        }
    }
    let mut ticks = [0_u64; 8];
    let mut words = sum?.split_ascii_whitespace();
    for tick in &mut ticks {
        *tick = words.next()?.parse().ok()?;
    }
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = ticks;
    let busy = [user, nice, system, irq, softirq];
    let us = |ticks: u64| ticks.saturating_mul(TICK_US);
    Some(CpuTime {
        cores,
        busy_us: us(busy.into_iter().fold(0, u64::saturating_add)),
        steal_us: us(steal),
    })
}

/// What the receive path of the stack did since boot, all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Softnet {
    /// Packets taken in.
    pub(crate) processed: u64,
    /// Packets dropped because a backlog was full.
    pub(crate) dropped: u64,
    /// Rounds that ended with packets left.
    pub(crate) squeezed: u64,
}

/// Reads /proc/net/softnet_stat: a line for each core of hexadecimal numbers of 32
/// bits, of which the first three are these.
pub(crate) fn softnet(text: &str) -> Option<Softnet> {
    let mut sum = None;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let mut next = || u64::from_str_radix(words.next()?, 16).ok();
        let (processed, dropped, squeezed) = (next()?, next()?, next()?);
        let sum: &mut Softnet = sum.get_or_insert_default();
        sum.processed = sum.processed.saturating_add(processed);
        sum.dropped = sum.dropped.saturating_add(dropped);
        sum.squeezed = sum.squeezed.saturating_add(squeezed);
    }
    sum
}

/// Reads the `some` line of /proc/pressure/cpu: time in which some task waited for
/// a CPU, us since boot.
pub(crate) fn pressure_some_us(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("total="));
    total?.parse().ok()
}

/// Reads /proc/loadavg: the load over one minute, thousandths.
pub(crate) fn load_milli(text: &str) -> Option<u64> {
    let (whole, part) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let (whole, part): (u64, u64) = (
        whole.parse().ok()?,
        format!("{part:0<3}").get(..3)?.parse().ok()?,
    );
    whole.checked_mul(1_000)?.checked_add(part)
}

/// A packet socket that sees every packet: somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PacketSocket {
    pub(crate) inode: u64,
    /// Index of the one interface it is bound to; `None` = all.
    pub(crate) interface: Option<u32>,
}

/// Reads /proc/net/packet: `sk RefCnt Type Proto Iface R Rmem User Inode`. Sockets
/// for single protocols, such as those of address clients, are left out.
pub(crate) fn packet_sockets(text: &str) -> BTreeSet<PacketSocket> {
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, _, _, protocol, interface, _, _, _, inode] = words[..] else {
            return None;
        };
        let interface: u32 = interface.parse().ok()?;
        (protocol == ALL_PROTOCOLS).then_some(PacketSocket {
            inode: inode.parse().ok()?,
            interface: (interface != 0).then_some(interface),
        })
    };
    text.lines().filter_map(socket).collect()
}

/// The inode of a socket out of the target of a link in /proc/PID/fd:
/// `socket:[12345]`.
pub(crate) fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &str = "\
cpu  1172016 54638 164453 1229881 6509 7 42654 1045 100 0
cpu0 582705 26441 78330 624736 2018 0 20409 517 0 0
cpu1 589310 28197 86122 605145 4491 0 22245 527 0 0
intr 86364 38 9
ctxt 1990473
";

    #[test]
    fn cpu_time_as_the_kernel_writes_it() {
        let time = cpu_time(STAT).unwrap();
        assert_eq!(time.cores, 2);
        assert_eq!(
            time.busy_us,
            (1172016 + 54638 + 164453 + 7 + 42654) * 10_000
        );
        assert_eq!(time.steal_us, 10_450_000);
        assert_eq!(cpu_time("cpu 1 2 3\n"), None, "a kernel before 2.6.11");
        assert_eq!(cpu_time(""), None);
    }

    #[test]
    fn softnet_as_the_kernel_writes_it() {
        let text = "03fd26f1 00000002 00000007 00000000 00000000 00000000\n\
                    0464c9e4 0000000a 00000015 00000000 00000000 00000000\n";
        let expected = Softnet {
            processed: 0x03fd_26f1 + 0x0464_c9e4,
            dropped: 12,
            squeezed: 0x1c,
        };
        assert_eq!(softnet(text), Some(expected));
        assert_eq!(softnet(""), None);
    }

    #[test]
    fn pressure_and_load() {
        let text = "some avg10=0.00 avg60=0.20 avg300=2.25 total=4002059010\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        assert_eq!(pressure_some_us(text), Some(4_002_059_010));
        assert_eq!(pressure_some_us("full total=3\n"), None);
        assert_eq!(load_milli("7.13 7.34 4.79 6/116 29097\n"), Some(7_130));
        assert_eq!(load_milli("x"), None);
    }

    #[test]
    fn only_sockets_that_see_everything_are_captures() {
        let text = "\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   2     1 0      0      41220
0000000000000000 3      3    0003   0     1 0      0      41221
0000000000000000 3      2    0800   2     1 0      101    18002
0000000000000000 3      3    88cc   2     1 0      101    18003
";
        let found: Vec<_> = packet_sockets(text).into_iter().collect();
        let expected = [(41_220, Some(2)), (41_221, None)];
        let expected = expected.map(|(inode, interface)| PacketSocket { inode, interface });
        assert_eq!(found, expected);
        assert_eq!(socket_inode("socket:[41220]"), Some(41_220));
        assert_eq!(socket_inode("pipe:[41220]"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let text = |path: &str| std::fs::read_to_string(path).unwrap();
        assert!(cpu_time(&text("/proc/stat")).unwrap().cores > 0);
        assert!(softnet(&text("/proc/net/softnet_stat")).is_some());
        assert!(load_milli(&text("/proc/loadavg")).is_some());
    }

    proptest! {
        #[test]
        fn odd_text_never_panics(text in "(cpu |some |00ff )?\\PC{0,80}\\n?\\PC{0,40}") {
            cpu_time(&text);
            softnet(&text);
            pressure_some_us(&text);
            load_milli(&text);
            packet_sockets(&text);
            socket_inode(&text);
        }
    }
}
