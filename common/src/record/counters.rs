//! The counters of a row's narrow core.

use serde::{Deserialize, Serialize};

/// Adds two optional counts; `None` only when both are.
pub fn add_counts(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, None) => a,
        (None, b) => b,
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The counters of the narrow core, each the change within the row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counters {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )+
        }

        impl Counters {
            /// Adds another row's counters to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = add_counts(self.$name, other.$name);)+
            }

            /// Names and values in the order of the columns.
            pub fn columns(&self) -> Vec<(&'static str, Option<u64>)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counters! {
    /// Packets that the schedule asked for (UDP).
    offered_packets,
    /// Payload bytes that the schedule asked for.
    offered_bytes,
    /// Packets that reached IP: send ok or ENOBUFS (UDP).
    tx_packets,
    /// Payload bytes that reached IP (UDP) or were written (TCP).
    tx_bytes,
    /// Unique packets that arrived before their loss was declared (UDP).
    rx_packets,
    /// Payload bytes of `rx_packets` (UDP), or bytes read (TCP).
    rx_bytes,
    /// Packets given up because the CPU was late.
    behind_packets,
    /// Packets refused by a full socket buffer (EAGAIN).
    blocked_packets,
    /// Packets refused by the host: EPERM, EMSGSIZE, unreachable.
    refused_packets,
    /// Packets dropped by the host's own queue (ENOBUFS); part of `tx_packets`.
    egress_packets,
    /// Arrivals by the interval in which they were sent.
    rx_of_tx_packets,
    /// Packets whose loss was declared in this row.
    lost_packets,
    /// Packets dropped at the receiver's own socket.
    socket_drops,
    /// Packets that came after their loss had been declared; they stay lost.
    late,
    /// Copies of packets that had already arrived; outside `rx_packets`.
    duplicate,
    /// RFC 4737 reordered singletons.
    reordered,
}

impl Counters {
    /// Packets lost at the sender: behind + blocked + refused.
    pub fn lost_sender(&self) -> u64 {
        [
            self.behind_packets,
            self.blocked_packets,
            self.refused_packets,
        ]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add)
    }
}
