//! What an agent saw of its host and its kernel beside the flows: rows by
//! interval, and the manifest that ends them. Columns and definitions are those
//! of `docs/records.md`.
//!
//! `None` means not known; it is never a stand-in for 0.

use serde::{Deserialize, Serialize};

use crate::id::RunId;
use crate::record::add_counts;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters of an interface, each the change within the row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct LinkCounters {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )+
        }

        impl LinkCounters {
            /// Adds another row's counters to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = add_counts(self.$name, other.$name);)+
            }

            /// The change from an earlier reading to this one; a counter that
            /// went back (a new interface of the old name) counts from 0.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self {
                    $($name: match (self.$name, earlier.$name) {
                        (Some(now), Some(then)) => Some(now.checked_sub(then).unwrap_or(now)),
                        (now, _) => now,
                    },)+
                }
            }

            /// Names and values in the order of the columns.
            pub fn columns(&self) -> Vec<(&'static str, Option<u64>)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counters! {
    /// Bytes received, with link-layer headers as the driver counts them.
    rx_bytes,
    /// Packets received.
    rx_packets,
    /// Packets received and dropped by the interface.
    rx_drops,
    /// Receive errors.
    rx_errors,
    /// Bytes sent.
    tx_bytes,
    /// Packets sent.
    tx_packets,
    /// Packets that the interface dropped instead of sending.
    tx_drops,
    /// Transmit errors.
    tx_errors,
    /// Packets dropped by the queueing discipline.
    qdisc_drops,
}

impl LinkCounters {
    /// Whether nothing happened.
    pub fn is_zero(&self) -> bool {
        self.columns()
            .iter()
            .all(|(_, value)| value.unwrap_or(0) == 0)
    }

    /// Everything that was dropped or broken on its way through the interface.
    pub fn lost(&self) -> u64 {
        [
            self.rx_drops,
            self.rx_errors,
            self.tx_drops,
            self.tx_errors,
            self.qdisc_drops,
        ]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add)
    }
}

/// One interface of an agent's host in one interval. An interface at which
/// nothing passed and nothing is queued has no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// The run.
    pub run: RunId,
    /// Interface name.
    pub interface: String,
    /// Number of the interval from T0, from 0.
    pub k: u32,
    /// Start from T0 by the agent's monotonic clock, ns.
    pub start_ns: u64,
    /// Real length, ns.
    pub length_ns: u64,
    /// Its counters.
    pub counters: LinkCounters,
    /// Kind of the queueing discipline that dropped, else of the root one.
    pub qdisc: Option<String>,
    /// Bytes queued at the end of the row.
    pub qdisc_backlog_bytes: Option<u64>,
}

/// One kernel in one interval; one agent of each kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRow {
    /// The run.
    pub run: RunId,
    /// Boot id of the kernel.
    pub kernel_boot_id: String,
    /// Number of the interval from T0, from 0.
    pub k: u32,
    /// Start from T0 by the agent's monotonic clock, ns.
    pub start_ns: u64,
    /// Real length, ns.
    pub length_ns: u64,
    /// Cores.
    pub cores: u32,
    /// What happened in it.
    pub counters: KernelCounters,
}

/// Counters of a kernel, all cores and namespaces together; each is the change within the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelCounters {
    /// CPU time spent busy, us.
    pub cpu_us: Option<u64>,
    /// CPU time that the hypervisor gave to others, us.
    pub steal_us: Option<u64>,
    /// Packets taken in by the network stack.
    pub softnet_processed: Option<u64>,
    /// Packets dropped before it because its backlog was full.
    pub softnet_dropped: Option<u64>,
    /// How often it had to stop with packets left.
    pub softnet_squeezed: Option<u64>,
    /// Time in which some task waited for a CPU (pressure stall information), us.
    pub psi_cpu_some_us: Option<u64>,
}

impl KernelCounters {
    /// Adds another row's counters to these.
    pub fn add(&mut self, other: &Self) {
        self.cpu_us = add_counts(self.cpu_us, other.cpu_us);
        self.steal_us = add_counts(self.steal_us, other.steal_us);
        self.softnet_processed = add_counts(self.softnet_processed, other.softnet_processed);
        self.softnet_dropped = add_counts(self.softnet_dropped, other.softnet_dropped);
        self.softnet_squeezed = add_counts(self.softnet_squeezed, other.softnet_squeezed);
        self.psi_cpu_some_us = add_counts(self.psi_cpu_some_us, other.psi_cpu_some_us);
    }

    /// The change from an earlier reading to this one. The kernel lets some of
    /// them (idle time's complement) step back by a tick: then nothing happened.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let change = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            cpu_us: change(self.cpu_us, earlier.cpu_us),
            steal_us: change(self.steal_us, earlier.steal_us),
            softnet_processed: change(self.softnet_processed, earlier.softnet_processed),
            softnet_dropped: change(self.softnet_dropped, earlier.softnet_dropped),
            softnet_squeezed: change(self.softnet_squeezed, earlier.softnet_squeezed),
            psi_cpu_some_us: change(self.psi_cpu_some_us, earlier.psi_cpu_some_us),
        }
    }

    /// Names and values in the order of the columns.
    pub fn columns(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("cpu_us", self.cpu_us),
            ("steal_us", self.steal_us),
            ("softnet_processed", self.softnet_processed),
            ("softnet_dropped", self.softnet_dropped),
            ("softnet_squeezed", self.softnet_squeezed),
            ("psi_cpu_some_us", self.psi_cpu_some_us),
        ]
    }
}

/// Somebody who captured packets while a run went on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Observer {
    /// The program, such as `tcpdump`; `packet socket` when nobody could be named.
    pub who: String,
    /// Its process, as the agent sees it.
    pub pid: Option<u32>,
    /// The interface it listens at; `None` = all of them, or not known.
    pub interface: Option<String>,
    /// Whether it listens in the agent's own network namespace; otherwise
    /// somewhere else on the agent's kernel.
    pub here: bool,
}

/// The route to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The target.
    pub target: String,
    /// At T0, such as `via 10.150.0.254 dev net0 src 10.150.0.71`; `None` = there was none.
    pub at_start: Option<String>,
    /// At the end.
    pub at_end: Option<String>,
}

/// The manifest that ends the observation of a run by an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The run.
    pub run: RunId,
    /// Rows of interfaces.
    pub links: u32,
    /// Rows of the kernel.
    pub kernels: u32,
    /// Interfaces left out because there are too many.
    pub interfaces_left_out: u32,
    /// Largest load average over one minute, thousandths.
    pub load_milli: Option<u64>,
    /// Who captured packets.
    pub observers: Vec<Observer>,
    /// Routes to the peers of the agent's sessions.
    pub routes: Vec<Route>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_change_and_add_up() {
        let reading = |n| LinkCounters {
            rx_bytes: Some(n),
            qdisc_drops: Some(2 * n),
            ..LinkCounters::default()
        };
        let mut change = reading(70).since(&reading(50));
        assert_eq!((change.rx_bytes, change.qdisc_drops), (Some(20), Some(40)));
        assert_eq!(change.tx_bytes, None, "not known stays not known");
        assert_eq!(change.lost(), 40);
        assert!(!change.is_zero() && reading(50).since(&reading(50)).is_zero());
        change.add(&reading(1));
        assert_eq!(change.rx_bytes, Some(21));
        assert_eq!(
            reading(3).since(&reading(50)).rx_bytes,
            Some(3),
            "an interface that was made anew begins at 0"
        );
    }

    #[test]
    fn kernels_never_go_back() {
        let reading = |cpu_us| KernelCounters {
            cpu_us: Some(cpu_us),
            ..KernelCounters::default()
        };
        assert_eq!(reading(5).since(&reading(9)).cpu_us, Some(0));
        assert_eq!(reading(9).since(&reading(5)).steal_us, None);
    }
}
