//! From the traffic of the language to what the engine sends.

use weir_common::assignment::{RampPoint, Rate, SocketTraffic, Transport, bounds};
use weir_common::campaign::FlowSet;
use weir_common::traffic::{self, Law, Per, Trace, TraceOf, Traffic};
use weir_common::unit::Span;

use super::PlanError;
use super::pairs::Link;

/// The traffic of one session of the flow set, all its streams together.
pub(super) fn socket_traffic(set: &FlowSet, traces: &[Trace]) -> Result<SocketTraffic, PlanError> {
    let traffic = &set.traffic;
    let value = |key, problem: String| PlanError::Value {
        set: set.name.clone(),
        key,
        problem,
    };
    traffic
        .check()
        .map_err(|error| value(error.key, error.to_string()))?;
    check_traces(traffic, traces).map_err(|(key, problem)| value(key, problem))?;
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
    let ramp = ramp(traffic, times);
    let ramp =
        ramp.ok_or_else(|| value("ramp", "a rate is outside what a flow may offer".to_owned()))?;
    let means = traffic.means(traces);
    let means = means.map_err(|error| value(error.key, error.problem))?;
    let size = means.bytes.map_or(0, |bytes| bytes.round() as u32);
    Ok(SocketTraffic {
        layer: traffic.layer,
        ramp,
        arrival: traffic.arrival.clone(),
        size_law: traffic.size_law.clone(),
        pacing: traffic.pacing,
        spin_ns: traffic.spin.as_nanos(),
        bytes: whole("bytes", traffic.bytes.map(|bytes| bytes.bytes()))?,
        packets: whole("packets", traffic.packets)?,
        echo: traffic.echo,
        verify: traffic.verify,
        bundles: traffic.gso.unwrap_or_default(),
        on_full: traffic.on_full,
        end: traffic.end,
        congestion_control: traffic.cc.clone(),
        mss: traffic.mss,
        nodelay: traffic.nodelay,
        window: traffic.window.map(|window| window.bytes()),
        marking: traffic.marking,
        log_file: traffic.log_file.clone(),
        ..SocketTraffic::new(traffic.transport, rate, size)
    })
}

/// The points of the ramp, in the unit of the rate.
fn ramp(traffic: &Traffic, times: u64) -> Option<Vec<RampPoint>> {
    let point = |(at, rate): &(Span, traffic::Rate)| {
        let (rate, most) = match rate {
            traffic::Rate::Bits(rate) => (rate.bits_per_second(), bounds::RATE_MAX_BPS),
            traffic::Rate::Packets(rate) => (rate.millis(), bounds::RATE_MAX_MILLI_PPS),
            traffic::Rate::Max | traffic::Rate::Arrival => return None,
        };
        let rate = rate.checked_mul(times).filter(|rate| *rate <= most)?;
        let at_ns = at.as_nanos();
        Some(RampPoint { at_ns, rate })
    };
    traffic.ramp.points().iter().map(point).collect()
}

/// Which of how many equal shares of its set's figures the session of a link has.
pub(super) fn share_of(per: Per, links: &[Link], at: usize) -> (u64, u64) {
    let same = |link: &Link| match per {
        Per::Flow | Per::Stream => false,
        Per::Sender => link.from == links[at].from,
        Per::Set => true,
    };
    let before = links[..at].iter().filter(|link| same(link)).count() as u64;
    let after = links[at + 1..].iter().filter(|link| same(link)).count() as u64;
    (before, before + 1 + after)
}

/// Leaves a session its share: as even as whole numbers are, and the sum is the whole.
///
/// # Errors
/// The key of which there is too little for everyone.
pub(super) fn divide(traffic: &mut SocketTraffic, share: u64, of: u64) -> Result<(), &'static str> {
    let part = |key, whole: &mut u64| {
        *whole = *whole / of + u64::from(share < *whole % of);
        if *whole == 0 { Err(key) } else { Ok(()) }
    };
    match &mut traffic.rate {
        Rate::Max | Rate::Arrival => {}
        Rate::BitsPerSecond(rate) | Rate::MilliPacketsPerSecond(rate) => {
            part(traffic.transport.as_str(), rate)?;
        }
    }
    for point in &mut traffic.ramp {
        part("ramp", &mut point.rate)?;
    }
    traffic
        .bytes
        .as_mut()
        .map_or(Ok(()), |bytes| part("bytes", bytes))?;
    traffic
        .packets
        .as_mut()
        .map_or(Ok(()), |packets| part("packets", packets))
}

/// How often the figures of the language count in a session: once for each stream if they are said of it.
fn share(traffic: &Traffic) -> u64 {
    match traffic.per {
        Per::Flow | Per::Sender | Per::Set => 1,
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
        traffic::Rate::Arrival => Some(Rate::Arrival),
    }
}

/// Every file that a law names must be there, and its values be possible here.
fn check_traces(traffic: &Traffic, traces: &[Trace]) -> Result<(), (&'static str, String)> {
    let size = traffic.size_law.as_ref().and_then(Law::trace);
    let named = [
        (traffic.arrival.trace(), TraceOf::Arrival),
        (size, TraceOf::Size),
    ];
    let values: usize = traces.iter().map(|trace| trace.values.len()).sum();
    for (file, of) in named {
        let Some(file) = file else { continue };
        if values > bounds::TRACE_VALUES {
            let most = bounds::TRACE_VALUES;
            let problem = format!(
                "the campaign's trace files have {values} values together, and an agent takes at most {most}: shorten them"
            );
            return Err((of.key(), problem));
        }
        let found = traces
            .iter()
            .find(|trace| trace.file == file && trace.of == of);
        let trace = found.ok_or_else(|| {
            let problem = format!("trace file `{file}` did not come with the campaign");
            (of.key(), problem)
        })?;
        let least = u64::from(traffic.size_least());
        let short = |at: &usize| of == TraceOf::Size && trace.values[*at] < least;
        if let Some(at) = (0..trace.values.len()).find(short) {
            let problem = format!(
                "trace file `{file}`: value {} is {} B, and packets here have at least {least} B",
                at + 1,
                trace.values[at]
            );
            return Err((of.key(), problem));
        }
    }
    Ok(())
}

/// What a session of `streams` streams offers: payload in bit/s, and for UDP thousandths of a packet per second, rounded; `None` without a
/// schedule. Of laws it is their mean over a long time.
pub(super) fn offered(
    traffic: &SocketTraffic,
    (streams, ipv6): (usize, bool),
    traces: &[Trace],
) -> (Option<u64>, Option<u64>) {
    let streams = streams as u64;
    let plain = (offered_bps(traffic, ipv6), offered_milli_pps(traffic, ipv6));
    let exact = traffic.size_law.is_none() && traffic.arrival.duty() == Ok(1.0);
    if traffic.rate == Rate::Max || (exact && traffic.rate != Rate::Arrival) {
        return plain;
    }
    let means = traffic.means(streams, 0, traces);
    let Ok((bytes, Some(spacing_ns))) = means.map(|means| (means.bytes, means.spacing_ns)) else {
        // Adapted writes of TCP: their rate is known all the same.
        let duty = traffic.arrival.duty().unwrap_or(1.0);
        return (
            plain.0.map(|rate| (rate as f64 * duty).round() as u64),
            None,
        );
    };
    let packets = streams as f64 * 1e9 / spacing_ns;
    let bits = bytes.map(|bytes| (packets * bytes * 8.0).round() as u64);
    let udp = traffic.transport == Transport::Udp;
    (bits, udp.then_some((packets * 1e3).round() as u64))
}

/// Offered payload of a session, bit/s, rounded: the highest of its ramp; `None` for `max`.
fn offered_bps(traffic: &SocketTraffic, ipv6: bool) -> Option<u64> {
    let rate = u128::from(traffic.peak_rate()?);
    let (size, by) = match (traffic.rate, traffic.transport) {
        (Rate::BitsPerSecond(_), Transport::Udp) => {
            let counted = traffic.layer.counted_bytes(traffic.size, ipv6);
            (u128::from(traffic.size), u128::from(counted.max(1)))
        }
        (Rate::BitsPerSecond(_), Transport::Tcp) => (1, 1),
        _ => (u128::from(traffic.size) * 8, 1_000),
    };
    Some(u64::try_from((rate * size + by / 2) / by).unwrap_or(u64::MAX))
}

/// Offered packets of a UDP session, thousandths per second, rounded: the highest of its ramp; `None` for `max`
/// and TCP.
fn offered_milli_pps(traffic: &SocketTraffic, ipv6: bool) -> Option<u64> {
    match (traffic.transport, traffic.rate) {
        (Transport::Tcp, _) | (_, Rate::Max | Rate::Arrival) => None,
        (Transport::Udp, _) => traffic.peak_milli_pps(ipv6, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_flow_offers_is_payload_whatever_its_rate_counts() {
        let mut traffic = SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(1_042_000), 1_000);
        assert_eq!(offered_bps(&traffic, false), Some(1_042_000));
        traffic.layer = weir_common::assignment::Layer::Frame;
        assert_eq!(offered_bps(&traffic, false), Some(1_000_000));
        assert_eq!(offered_milli_pps(&traffic, false), Some(125_000));
        assert_eq!(offered_milli_pps(&traffic, true), Some(122_646));
        let point = |at_ns, rate| RampPoint { at_ns, rate };
        traffic.ramp = vec![point(0, 1_042), point(7, 2_084_000), point(9, 10)];
        assert_eq!(offered_bps(&traffic, false), Some(2_000_000));
        traffic.transport = Transport::Tcp;
        assert_eq!(offered_bps(&traffic, false), Some(2_084_000));
    }

    #[test]
    fn shares_are_even_and_whole() {
        let link = |from, to| Link {
            from,
            to,
            reverse: None,
        };
        let links = [link(0, 1), link(2, 1), link(0, 2)];
        assert_eq!(share_of(Per::Flow, &links, 2), (0, 1));
        assert_eq!(share_of(Per::Sender, &links, 2), (1, 2));
        assert_eq!(share_of(Per::Set, &links, 2), (2, 3));
        let mut whole = SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(10), 100);
        whole.packets = Some(7);
        let mut sum = (0, 0);
        for share in 0..3 {
            let mut part = whole.clone();
            divide(&mut part, share, 3).unwrap();
            let Rate::BitsPerSecond(rate) = part.rate else {
                panic!("the unit changed")
            };
            sum = (sum.0 + rate, sum.1 + part.packets.unwrap());
        }
        assert_eq!(sum, (10, 7));
        assert_eq!(divide(&mut whole, 7, 8), Err("packets"));
    }
}
