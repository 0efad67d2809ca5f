//! The nft rules of a lab: random loss on links, counters at hosts.

use crate::Loss;

/// Drops what arrives at an interface, before any bridge or routing sees it.
/// ARP passes, so that a lossy link loses packets and not neighbours.
pub(super) fn loss(interface: &str, loss: Loss) -> String {
    let none = no_loss(interface);
    let dropped = match loss.parts() {
        0 => return none,
        // nft refuses a comparison that always holds.
        10_000.. => "drop".to_owned(),
        parts => format!("numgen random mod 10000 < {parts} drop"),
    };
    format!(
        "{none}table netdev loss_{interface} {{\n\
         chain arriving {{\n\
         type filter hook ingress device \"{interface}\" priority 0; policy accept;\n\
         meta protocol {{ ip, ip6 }} {dropped}\n\
         }}\n\
         }}\n"
    )
}

/// Takes the loss of an interface away, whether there is any or not.
pub(super) fn no_loss(interface: &str) -> String {
    format!("table netdev loss_{interface} {{ }}\ndelete table netdev loss_{interface}\n")
}

/// The table of [`COUNT_RULES`].
pub(crate) const COUNT_TABLE: &str = "weir";

/// The counter of packets that found no place in a set of [`COUNT_RULES`].
pub(crate) const MISSED_COUNTER: &str = "missed";

/// Counts per source, destination, protocol and ports: what leaves after the
/// last hook before the link, what arrives before it reaches a socket. A set
/// that is full ends the rule, so the next one counts what was missed.
///
/// Loading it again starts from zero in one transaction.
pub(super) const COUNT_RULES: &str = "\
table inet weir { }
delete table inet weir
table inet weir {
counter missed { }
set output4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service; size 65535; flags dynamic; }
set output6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service; size 65535; flags dynamic; }
set input4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service; size 65535; flags dynamic; }
set input6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service; size 65535; flags dynamic; }
chain leaving {
type filter hook output priority 300; policy accept;
meta l4proto != { tcp, udp } accept
update @output4 { ip saddr . ip daddr . meta l4proto . th sport . th dport counter } accept
update @output6 { ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport counter } accept
counter name missed
}
chain arriving {
type filter hook input priority 300; policy accept;
meta l4proto != { tcp, udp } accept
update @input4 { ip saddr . ip daddr . meta l4proto . th sport . th dport counter } accept
update @input6 { ip6 saddr . ip6 daddr . meta l4proto . th sport . th dport counter } accept
counter name missed
}
}
";
