//! From the traffic of the language to what the engine sends.

use weir_common::assignment::{Arrival, Rate, SocketTraffic, Transport, bounds};
use weir_common::campaign::FlowSet;
use weir_common::traffic::{self, Law, Per, Traffic};

use super::PlanError;

/// The traffic of one session of the flow set, all its streams together.
pub(super) fn socket_traffic(set: &FlowSet) -> Result<SocketTraffic, PlanError> {
    let traffic = &set.traffic;
    let value = |key, problem: String| PlanError::Value {
        set: set.name.clone(),
        key,
        problem,
    };
    traffic
        .check()
        .map_err(|error| value(error.key, error.to_string()))?;
    let key = traffic.transport.as_str();
    let rate = rate(traffic).ok_or_else(|| {
        let most = "at most 10 Tbit/s or 1000 Mpkt/s, at least 1 bit/s or 0.001 pkt/s";
        value(
            key,
            format!(
                "all {} streams together are outside what a flow may offer: {most}",
                traffic.streams
            ),
        )
    })?;
    let times = share(traffic);
    let whole = |key, count: Option<u64>| match count.map(|count| count.checked_mul(times)) {
        None => Ok(None),
        Some(Some(count)) => Ok(Some(count)),
        Some(None) => Err(value(key, "too many for all streams together".to_owned())),
    };
    Ok(SocketTraffic {
        transport: traffic.transport,
        rate,
        arrival: match traffic.arrival {
            Law::Constant => Arrival::Constant,
            Law::Exponential { .. } => Arrival::Exponential,
        },
        size: traffic.packet_size().unwrap_or(0),
        bytes: whole("bytes", traffic.bytes.map(|bytes| bytes.bytes()))?,
        packets: whole("packets", traffic.packets)?,
        congestion_control: traffic.cc.clone(),
    })
}

/// How often the figures of the language count in a session: once for each stream if they are said of it.
fn share(traffic: &Traffic) -> u64 {
    match traffic.per {
        Per::Flow => 1,
        Per::Stream => u64::from(traffic.streams),
    }
}

fn rate(traffic: &Traffic) -> Option<Rate> {
    let times = share(traffic);
    let within = |value: Option<u64>, most: u64| value.filter(|value| (1..=most).contains(value));
    match traffic.rate {
        traffic::Rate::Max => Some(Rate::Max),
        traffic::Rate::Bits(rate) => {
            let bits = rate.bits_per_second().checked_mul(times);
            within(bits, bounds::RATE_MAX_BPS).map(Rate::BitsPerSecond)
        }
        traffic::Rate::Packets(rate) => {
            let packets = rate.millis().checked_mul(times);
            within(packets, bounds::RATE_MAX_MILLI_PPS).map(Rate::MilliPacketsPerSecond)
        }
        traffic::Rate::Arrival => {
            let mean = u128::from(traffic.arrival.mean()?.as_nanos()).max(1);
            let packets = (MILLI_PER_NANO * u128::from(times) + mean / 2) / mean;
            within(u64::try_from(packets).ok(), bounds::RATE_MAX_MILLI_PPS)
                .map(Rate::MilliPacketsPerSecond)
        }
    }
}

/// Thousandths of a packet per second of a spacing of 1 ns.
const MILLI_PER_NANO: u128 = 1_000_000_000_000;

/// Offered payload of a session, bit/s, rounded; `None` for `max`.
pub(super) fn offered_bps(traffic: &SocketTraffic) -> Option<u64> {
    match traffic.rate {
        Rate::Max => None,
        Rate::BitsPerSecond(rate) => Some(rate),
        Rate::MilliPacketsPerSecond(rate) => {
            let bits = u128::from(rate) * u128::from(traffic.size) * 8;
            Some(u64::try_from((bits + 500) / 1_000).unwrap_or(u64::MAX))
        }
    }
}

/// Offered packets of a UDP session, thousandths per second, rounded; `None` for `max` and TCP.
pub(super) fn offered_milli_pps(traffic: &SocketTraffic) -> Option<u64> {
    match (traffic.transport, traffic.rate) {
        (Transport::Tcp, _) | (_, Rate::Max) => None,
        (Transport::Udp, Rate::MilliPacketsPerSecond(rate)) => Some(rate),
        (Transport::Udp, Rate::BitsPerSecond(rate)) => {
            let bits = u128::from(traffic.size.max(1)) * 8;
            u64::try_from((u128::from(rate) * 1_000 + bits / 2) / bits).ok()
        }
    }
}
