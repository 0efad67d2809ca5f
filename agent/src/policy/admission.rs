//! Whether a session fits beside what this host does already: sums of what is
//! planned, before anything is sent.

use std::collections::BTreeMap;
use std::fmt::Display;

use weir_common::assignment::{
    Assignment, Kind, Peer, Rate, SessionSpec, SocketTraffic, Transport,
};
use weir_common::record::End;
use weir_common::traffic::Trace;
use weir_common::unit::{BitRate, ByteCount, PacketRate};
use weir_engine::pacer::write_quantum;

use super::{LocalPolicy, Rules};

/// Largest IP packet that leaves in one piece, bytes: what an Ethernet frame holds.
const MTU: f64 = 1_500.0;
/// UDP header, bytes (RFC 768).
const UDP_HEADER: f64 = 8.0;
/// TCP header with time stamps, bytes (RFC 9293, RFC 7323).
const TCP_HEADER: f64 = 32.0;
/// Most changes of load in a run that are told apart; with more, all of its flows
/// count as if they ran at once.
const CHANGES_MOST: usize = 1_024;

/// What flows take of a host; rates with IP headers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Held {
    bits_per_second: f64,
    packets_per_second: f64,
    flows: u64,
    sockets: u64,
}

impl Held {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bits_per_second: self.bits_per_second + other.bits_per_second,
            packets_per_second: self.packets_per_second + other.packets_per_second,
            flows: self.flows.saturating_add(other.flows),
            sockets: self.sockets.saturating_add(other.sockets),
        }
    }

    fn raised(self, to: Self) -> Self {
        Self {
            bits_per_second: self.bits_per_second.max(to.bits_per_second),
            packets_per_second: self.packets_per_second.max(to.packets_per_second),
            flows: self.flows.max(to.flows),
            sockets: self.sockets.max(to.sockets),
        }
    }
}

/// What a session sends while it is active.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sends {
    /// `None` = as much as the host can.
    rate: Option<(f64, f64)>,
    /// Bytes with headers of a byte of payload.
    weight: f64,
}

impl Sends {
    const NOTHING: Self = Self {
        rate: Some((0.0, 0.0)),
        weight: 1.0,
    };

    fn of(session: &SessionSpec, traces: &[Trace]) -> Self {
        let Kind::Socket(traffic) = &session.kind;
        if session.end == End::Rx && !traffic.echo {
            return Self::NOTHING;
        }
        let ipv6 = match &session.peer {
            Peer::Agent { addresses, .. } => addresses.iter().any(|it| it.is_ipv6()),
            Peer::Address { address, .. } => address.is_ipv6(),
        };
        let streams = session.tags.len() as f64;
        let overhead = match traffic.transport {
            Transport::Udp => traffic.layer.counted_bytes(0, ipv6),
            Transport::Tcp => 0,
        };
        let means = traffic.means(session.tags.len() as u64, overhead, traces);
        // What the engine will refuse has no numbers here either.
        let Ok(means) = means else {
            return Self {
                rate: None,
                weight: 1.0,
            };
        };
        let ip = if ipv6 { 40.0 } else { 20.0 };
        let ramp = match (traffic.rate, traffic.peak_rate()) {
            (Rate::BitsPerSecond(rate) | Rate::MilliPacketsPerSecond(rate), Some(peak)) => {
                peak as f64 / rate.max(1) as f64
            }
            _ => 1.0,
        };
        let spaced = means.spacing_ns.map(|ns| streams * 1e9 / ns * ramp);
        match traffic.transport {
            Transport::Udp => {
                let bytes = means.bytes.unwrap_or(f64::from(traffic.size));
                let datagram = bytes + UDP_HEADER;
                let fragments = (datagram / (MTU - ip)).ceil().max(1.0);
                let sent = datagram + fragments * ip;
                Self {
                    rate: spaced.map(|pps| (pps * sent * 8.0, pps * fragments)),
                    weight: sent / bytes.max(1.0),
                }
            }
            Transport::Tcp => Self::of_tcp(traffic, (streams, ip, ramp), (means.bytes, spaced)),
        }
    }

    fn of_tcp(
        traffic: &SocketTraffic,
        (streams, ip, ramp): (f64, f64, f64),
        (write, spaced): (Option<f64>, Option<f64>),
    ) -> Self {
        let headers = ip + TCP_HEADER;
        let segment = traffic.mss.map_or(MTU - headers, f64::from).max(1.0);
        let payload = match traffic.rate {
            Rate::BitsPerSecond(rate) => Some(rate as f64 / 8.0 * ramp),
            _ => spaced.zip(write).map(|(writes, bytes)| writes * bytes),
        };
        let Some(payload) = payload else {
            return Self {
                rate: None,
                weight: (segment + headers) / segment,
            };
        };
        // Each write leaves at once, its last segment as full as it comes.
        let write = write.unwrap_or_else(|| {
            let each = (payload * 8.0 / streams) as u64;
            f64::from(write_quantum(each))
        });
        let packets = payload / write.max(1.0) * (write / segment).ceil();
        let sent = payload + packets * headers;
        Self {
            rate: Some((sent * 8.0, packets)),
            weight: sent / payload.max(1.0),
        }
    }

    /// All that it sends; `None` if nothing ends it.
    fn bytes(self, session: &SessionSpec) -> Option<f64> {
        let Kind::Socket(traffic) = &session.kind;
        let each = |length_ns: u64| {
            let by_time = self
                .rate
                .map(|(bits, _)| bits / 8.0 * length_ns as f64 / 1e9);
            let by_bytes = traffic.bytes.map(|bytes| bytes as f64 * self.weight);
            let packet = f64::from(traffic.size.max(1)) * self.weight;
            let by_packets = traffic.packets.map(|packets| packets as f64 * packet);
            let limits = [by_time, by_bytes, by_packets].into_iter().flatten();
            limits.min_by(f64::total_cmp)
        };
        session.segments.iter().map(|it| each(it.length_ns)).sum()
    }
}

/// What a run holds from each instant on, from T0, ns.
struct Steps(BTreeMap<u64, Held>);

impl Steps {
    /// For the segments of these sessions.
    fn for_run(assignment: &Assignment) -> Self {
        let mut at = BTreeMap::from([(0, Held::default())]);
        for session in &assignment.sessions {
            for segment in &session.segments {
                at.insert(segment.start_ns, Held::default());
                at.insert(segment.end_ns(), Held::default());
            }
            if at.len() > CHANGES_MOST {
                return Self(BTreeMap::from([(0, Held::default())]));
            }
        }
        Self(at)
    }

    /// The keys at which `[start, end)` is covered.
    fn range(&self, start_ns: u64, end_ns: u64) -> Vec<u64> {
        let first = self.0.range(..=start_ns).next_back();
        let rest = self
            .0
            .range(start_ns.saturating_add(1)..end_ns.max(start_ns + 1));
        first.into_iter().chain(rest).map(|(at, _)| *at).collect()
    }

    /// The most that is held in `[start, end)`.
    fn peak(&self, start_ns: u64, end_ns: u64) -> Held {
        let keys = self.range(start_ns, end_ns).into_iter();
        let held = keys.map(|at| self.0[&at]);
        held.fold(Held::default(), Held::raised)
    }

    fn add(&mut self, start_ns: u64, end_ns: u64, more: Held) {
        for at in self.range(start_ns, end_ns) {
            self.0.entry(at).and_modify(|held| *held = held.and(more));
        }
    }

    /// The most that is held at any time.
    fn top(&self) -> Held {
        self.0.values().copied().fold(Held::default(), Held::raised)
    }
}

/// What a policy says of the sessions of one assignment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdicts {
    /// Why a session is refused, in their order.
    pub(crate) refusals: Vec<Option<String>>,
    /// What the others take.
    pub(crate) held: Held,
}

impl LocalPolicy {
    /// Which sessions of an assignment may run beside what `others` of this host hold. Those
    /// that come first are admitted first; `ask` says of each whether it is still to be asked for.
    pub(crate) fn admit(
        &self,
        assignment: &Assignment,
        others: Held,
        ask: impl Fn(&SessionSpec) -> bool,
    ) -> Verdicts {
        let mut steps = Steps::for_run(assignment);
        let mut sockets = 0;
        let mut bytes = 0.0;
        let mut refusals = Vec::with_capacity(assignment.sessions.len());
        for session in &assignment.sessions {
            if !ask(session) {
                refusals.push(None);
                continue;
            }
            let sends = Sends::of(session, &assignment.traces);
            let all = sends.bytes(session);
            let streams = session.tags.len() as u64;
            let refusal = self.session(session).and_then(|()| {
                let taken = (&steps, others, sockets, bytes);
                self.rules.fits(session, sends, all, taken)
            });
            if refusal.is_ok() {
                let (bits, packets) = sends.rate.unwrap_or_default();
                for segment in &session.segments {
                    let more = Held {
                        bits_per_second: bits,
                        packets_per_second: packets,
                        flows: 1,
                        sockets: 0,
                    };
                    steps.add(segment.start_ns, segment.end_ns(), more);
                }
                sockets += streams;
                bytes += all.unwrap_or_default();
            }
            refusals.push(refusal.err());
        }
        let held = Held {
            sockets,
            ..steps.top()
        };
        Verdicts { refusals, held }
    }
}

impl Rules {
    fn fits(
        &self,
        session: &SessionSpec,
        sends: Sends,
        all: Option<f64>,
        (steps, others, sockets, bytes): (&Steps, Held, u64, f64),
    ) -> Result<(), String> {
        let unlimited = |key: &str, most: &dyn Display| {
            format!(
                "an unlimited rate is refused where `{key}` of this host's policy file allows {most}: give the flow a rate"
            )
        };
        let streams = session.tags.len() as u64;
        if let Some(most) = self.max_sockets {
            let taken = others.sockets + sockets;
            if taken.saturating_add(streams) > most {
                return Err(over("max_sockets", &most, &taken, &streams));
            }
        }
        for segment in &session.segments {
            let taken = others.and(steps.peak(segment.start_ns, segment.end_ns()));
            if let Some(most) = self.max_flows
                && taken.flows >= most
            {
                return Err(over("max_flows", &most, &taken.flows, &1));
            }
            if let Some(most) = self.max_rate {
                let (bits, _) = sends.rate.ok_or_else(|| unlimited("max_rate", &most))?;
                if exceeds(taken.bits_per_second + bits, most.bits_per_second() as f64) {
                    let taken = rate(taken.bits_per_second);
                    return Err(over("max_rate", &most, &taken, &rate(bits)));
                }
            }
            if let Some(most) = self.max_packet_rate {
                let key = "max_packet_rate";
                let (_, packets) = sends.rate.ok_or_else(|| unlimited(key, &most))?;
                if exceeds(
                    taken.packets_per_second + packets,
                    most.packets_per_second(),
                ) {
                    let taken = packet_rate(taken.packets_per_second);
                    return Err(over(key, &most, &taken, &packet_rate(packets)));
                }
            }
        }
        if let Some(most) = self.max_bytes {
            let all = all.ok_or_else(|| unlimited("max_bytes", &most))?;
            if exceeds(bytes + all, most.bytes() as f64) {
                let count = |bytes: f64| ByteCount::new(bytes.round() as u64);
                return Err(over("max_bytes", &most, &count(bytes), &count(all)));
            }
        }
        Ok(())
    }
}

/// Sums of decimal rates are not exact in binary: a millionth over is none.
fn exceeds(sum: f64, most: f64) -> bool {
    sum > most * (1.0 + 1e-6)
}

fn over(key: &str, most: &dyn Display, taken: &dyn Display, asked: &dyn Display) -> String {
    format!(
        "`{key}` of this host's policy file allows {most}, headers included: {taken} taken by flows before this one, which asks for {asked}"
    )
}

/// Whole bits a second, as people write them; none as 0.
fn rate(bits_per_second: f64) -> String {
    BitRate::new(bits_per_second.round() as u64).map_or("0".to_owned(), |rate| rate.to_string())
}

fn packet_rate(packets_per_second: f64) -> String {
    let rate = PacketRate::from_millis((packets_per_second * 1e3).round() as u64);
    rate.map_or("0".to_owned(), |rate| rate.to_string())
}

#[cfg(test)]
mod tests;
