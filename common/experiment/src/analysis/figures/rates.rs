//! Rates at each layer.

use weir_common::traffic::Transport;

use super::rate;
use crate::analysis::document::{Amount, LayeredRate, Rates};
use crate::analysis::evidence::FlowEvidence;

/// IPv4 and UDP headers, bytes.
const IPV4_UDP_HEADERS: u64 = 28;

/// IPv6 and UDP headers, bytes.
const IPV6_UDP_HEADERS: u64 = 48;

/// IPv4 and TCP headers with timestamps (RFC 7323), bytes.
const IPV4_TCP_HEADERS: u64 = 52;

/// IPv6 and TCP headers with timestamps, bytes.
const IPV6_TCP_HEADERS: u64 = 72;

/// Ethernet header without FCS, bytes: what tcpdump and /proc/net/dev count.
const ETHERNET_HEADER: u64 = 14;

/// The packets that carried an amount.
#[derive(Debug, Clone, Copy)]
struct Packets {
    count: Option<u64>,
    /// IP and transport headers of each, bytes.
    headers: u64,
    /// Payload that went more than once, bytes.
    again: u64,
    /// The kernel's count rather than ours.
    estimated: bool,
}

fn layered(amount: Amount, seconds: f64, packets: Packets) -> Option<LayeredRate> {
    let payload = rate(amount.bytes, seconds)?;
    let with = |per_packet: u64| {
        let headers = packets.count?.saturating_mul(per_packet);
        let bytes = amount.bytes?.saturating_add(packets.again);
        rate(Some(bytes.saturating_add(headers)), seconds)
    };
    let ip = with(packets.headers);
    Some(LayeredRate {
        payload,
        ip,
        frame: with(packets.headers + ETHERNET_HEADER),
        estimated: packets.estimated && ip.is_some(),
    })
}

/// What rates are made of.
#[derive(Debug, Clone, Copy)]
pub(in crate::analysis) struct Moved<'a> {
    pub(in crate::analysis) offered: Option<Amount>,
    pub(in crate::analysis) sent: Option<Amount>,
    pub(in crate::analysis) received: Option<Amount>,
    /// Length of the window as far as the generator, and the receiver, told of it.
    pub(in crate::analysis) seconds: (f64, f64),
    pub(in crate::analysis) transport: Transport,
    pub(in crate::analysis) tuples: &'a [String],
    pub(in crate::analysis) segments: Segments,
}

/// What the kernels counted of a TCP flow.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::analysis) struct Segments {
    sent: Option<u64>,
    resent_bytes: u64,
    received: Option<u64>,
}

pub(in crate::analysis) fn segments(evidence: &FlowEvidence) -> Segments {
    let tx = evidence.tx.closed.as_ref().map(|tx| &tx.window);
    let rx = evidence.rx.closed.as_ref().map(|rx| &rx.window);
    Segments {
        sent: tx.and_then(|tx| tx.segs_out),
        resent_bytes: tx.and_then(|tx| tx.retrans_bytes).unwrap_or(0),
        received: rx.and_then(|rx| rx.segs_in),
    }
}

/// Rates at three layers. IP and frame rates of UDP are exact; those of TCP are
/// estimates: payload, retransmissions if they left this host, and the headers of as
/// many segments as the kernel counted, each with the usual 12 bytes of options.
pub(in crate::analysis) fn rates(moved: Moved<'_>) -> Rates {
    let Moved {
        offered,
        sent,
        received,
        seconds: (tx, rx),
        transport,
        tuples,
        segments,
    } = moved;
    let ipv6 = tuples.first().is_some_and(|tuple| tuple.starts_with('['));
    let tcp = transport == Transport::Tcp;
    let headers = match (tcp, ipv6) {
        (false, false) => IPV4_UDP_HEADERS,
        (false, true) => IPV6_UDP_HEADERS,
        (true, false) => IPV4_TCP_HEADERS,
        (true, true) => IPV6_TCP_HEADERS,
    };
    let packets = |amount: Amount, counted: Option<u64>, again: u64| Packets {
        count: if tcp { counted } else { amount.packets },
        headers,
        again: if tcp { again } else { 0 },
        estimated: tcp,
    };
    Rates {
        offered: offered.and_then(|offered| rate(offered.bytes, tx)),
        sent: sent.and_then(|sent| {
            layered(
                sent,
                tx,
                packets(sent, segments.sent, segments.resent_bytes),
            )
        }),
        received: received
            .and_then(|received| layered(received, rx, packets(received, segments.received, 0))),
    }
}
