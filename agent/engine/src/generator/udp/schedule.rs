//! What a segment of a stream is to send, and when.

use weir_common::assignment::{Bundles, Pacing, Rate, SocketTraffic};
use weir_common::traffic::{Law, Trace};
use weir_wire::probe_header::{LENGTH, SHORT_LENGTH};

use crate::arrival::{self, ArrivalError, Departures, Draws, Packet};
use crate::generator::share;
use crate::pacer::{AllOut, Limits, Pacer, PacketSize, Policy, Ramp, RampClock};
use crate::socket::max_bundle;

/// What is left of a segment.
pub(super) enum Schedule {
    Paced(Box<Pacer<Timed>>),
    AllOut(AllOut),
    /// Nothing more to send, or nothing at all for a reason: rows go on to the end.
    Rest(Option<String>),
}

/// Departures where the ramp wants them.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    departures: Departures,
    clock: Option<RampClock>,
}

impl Iterator for Timed {
    type Item = arrival::Departure;

    #[inline]
    fn next(&mut self) -> Option<arrival::Departure> {
        let mut next = self.departures.next()?;
        if let Some(clock) = &mut self.clock {
            next.offset_ns = clock.due_ns(next.offset_ns);
        }
        Some(next)
    }
}

/// A session's streams, and which of them this one is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    pub(super) count: u64,
    pub(super) ipv6: bool,
}

impl Schedule {
    /// The schedule of a stream in a segment. `most` packets may leave together.
    pub(super) fn new(
        traffic: &SocketTraffic,
        streams: Streams,
        draws: Draws,
        (limits, most): (Limits, u32),
        traces: &[Trace],
    ) -> Self {
        let floor = if traffic.size as usize >= LENGTH && traffic.size_law.is_none() {
            LENGTH as u32
        } else {
            traffic.size_least().max(SHORT_LENGTH as u32)
        };
        match departures(traffic, streams, draws, traces) {
            Ok(Some(timed)) => {
                let planned = planned(traffic, streams, draws, limits);
                let limits = Limits {
                    packets: match (limits.packets, planned) {
                        (Some(asked), Some(planned)) => Some(asked.min(planned)),
                        (asked, planned) => asked.or(planned),
                    },
                    ..limits
                };
                let policy = Policy::of(traffic.pacing);
                let pacer = Pacer::with_bundles(timed, floor, limits, policy, most);
                Self::Paced(Box::new(pacer))
            }
            Ok(None) => {
                let size = PacketSize::new(traffic.size, floor);
                Self::AllOut(AllOut::new(size, limits))
            }
            Err(error) => Self::Rest(Some(format!("pace packets: {error}"))),
        }
    }
}

/// The departures of a stream; `None` without a schedule.
fn departures(
    traffic: &SocketTraffic,
    streams: Streams,
    draws: Draws,
    traces: &[Trace],
) -> Result<Option<Timed>, ArrivalError> {
    let packet = Packet {
        bytes: traffic.size,
        overhead_bytes: counted_bytes(traffic, streams) - traffic.size,
    };
    let Some(ramp) = ramp(traffic) else {
        let departures = arrival::schedule(traffic, packet, streams.count, draws, traces)?;
        return Ok(departures.map(|departures| Timed {
            departures,
            clock: None,
        }));
    };
    // The schedule at the ramp's highest rate, whose time is then stretched.
    let steady = SocketTraffic {
        rate: match traffic.rate {
            Rate::BitsPerSecond(_) => Rate::BitsPerSecond(ramp.top()),
            _ => Rate::MilliPacketsPerSecond(ramp.top()),
        },
        ramp: Vec::new(),
        ..traffic.clone()
    };
    let departures = arrival::schedule(&steady, packet, streams.count, draws, traces)?;
    Ok(departures.map(|departures| Timed {
        departures,
        clock: Some(RampClock::new(ramp)),
    }))
}

/// The ramp, where there is one.
fn ramp(traffic: &SocketTraffic) -> Option<Ramp> {
    let (Rate::BitsPerSecond(rate) | Rate::MilliPacketsPerSecond(rate)) = traffic.rate else {
        return None;
    };
    (!traffic.ramp.is_empty()).then(|| Ramp::new(rate, &traffic.ramp))
}

fn counted_bytes(traffic: &SocketTraffic, streams: Streams) -> u32 {
    traffic.layer.counted_bytes(traffic.size, streams.ipv6)
}

/// The stream's part of the session's planned total, round(rate x time), where the
/// law plans one. Streams take turns, the first one first.
fn planned(traffic: &SocketTraffic, streams: Streams, draws: Draws, limits: Limits) -> Option<u64> {
    let (rate, unit) = match traffic.rate {
        Rate::Max | Rate::Arrival => return None,
        // So many bits are so many packets only where each has the same size.
        Rate::BitsPerSecond(_) if traffic.size_law.is_some() => return None,
        Rate::BitsPerSecond(rate) => {
            let counted = u64::from(counted_bytes(traffic, streams));
            (rate, counted * 8_000_000_000)
        }
        Rate::MilliPacketsPerSecond(rate) => (rate, 1_000_000_000_000),
    };
    if traffic.arrival != Law::Constant {
        return None;
    }
    let packets = Ramp::new(rate, &traffic.ramp).planned(limits.duration_ns?, unit);
    share(Some(packets), draws.stream, streams.count)
}

/// How many datagrams may leave together: 1 where they leave one by one.
pub(super) fn bundle_most(traffic: &SocketTraffic, streams: Streams) -> u32 {
    let most = max_bundle(traffic.size);
    let paced = traffic.rate != Rate::Max;
    match traffic.bundles {
        // Packets that leave together are closer than any gap.
        _ if paced && traffic.pacing == Pacing::KeepGap => 1,
        // A bundle holds packets of one size.
        _ if traffic.size_law.is_some() => 1,
        Bundles::Off => 1,
        Bundles::On => most,
        Bundles::Auto {
            single_below_milli_pps,
        } => match traffic.peak_milli_pps(streams.ipv6, streams.count) {
            Some(peak) if peak <= single_below_milli_pps => 1,
            _ => most,
        },
    }
}

#[cfg(test)]
mod tests {
    use weir_common::assignment::{Layer, RampPoint, Transport};

    use super::*;
    use crate::pacer::Action;

    const SECOND: u64 = 1_000_000_000;

    fn streams(count: u64) -> Streams {
        Streams { count, ipv6: false }
    }

    /// Sent in a time by all streams together, on a clock that is never late.
    fn sent(traffic: &SocketTraffic, count: u64, duration_ns: u64) -> u64 {
        let limits = Limits {
            start_ns: 7,
            duration_ns: Some(duration_ns),
            packets: None,
            bytes: None,
        };
        let of_stream = |stream| {
            let draws = Draws {
                seed: 1,
                session: 1,
                segment: 0,
                stream,
            };
            let schedule = Schedule::new(traffic, streams(count), draws, (limits, 1), &[]);
            let Schedule::Paced(mut pacer) = schedule else {
                panic!("a schedule")
            };
            let (mut now, mut sent) = (0, 0);
            loop {
                match pacer.next(now) {
                    Action::Send => {
                        sent += pacer.due().len() as u64;
                        pacer.handled(pacer.due().len(), now);
                    }
                    Action::WaitUntil(due_ns) => now = due_ns,
                    Action::Done => return sent,
                    Action::Behind(late) => panic!("{late:?}"),
                }
            }
        };
        (0..count as u16).map(of_stream).sum()
    }

    #[test]
    fn the_planned_total_is_met_by_all_streams_together() {
        let mbit = SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(10_000_000), 1_400);
        // 892.857 packets a second.
        for (count, seconds, packets) in [(1, 1, 893), (3, 1, 893), (4, 2, 1_786), (7, 5, 4_464)] {
            assert_eq!(
                sent(&mbit, count, seconds * SECOND),
                packets,
                "{count} streams"
            );
        }
        let slow = SocketTraffic::new(Transport::Udp, Rate::MilliPacketsPerSecond(10_000), 64);
        assert_eq!(sent(&slow, 1, 130_000_000), 1, "1.3 packets");
        assert_eq!(sent(&slow, 1, 150_000_000), 2, "1.5 packets");
    }

    #[test]
    fn a_bit_rate_counts_the_headers_of_its_layer() {
        let mut traffic = SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(1_000_000), 100);
        for (layer, ipv6, bytes) in [
            (Layer::Payload, false, 100.0),
            (Layer::Ip, false, 128.0),
            (Layer::Ip, true, 148.0),
            (Layer::Frame, false, 142.0),
            (Layer::Wire, true, 186.0),
        ] {
            traffic.layer = layer;
            let session = Streams { count: 1, ipv6 };
            let draws = Draws {
                seed: 1,
                session: 1,
                segment: 0,
                stream: 0,
            };
            let mut timed = departures(&traffic, session, draws, &[]).unwrap().unwrap();
            let tenth = timed.nth(10).unwrap().offset_ns as f64 / 10.0;
            assert!(
                (tenth - bytes * 8_000.0).abs() < 1.0,
                "{layer:?}: {tenth} ns"
            );
        }
    }

    #[test]
    fn a_ramp_is_sent_in_full_by_all_streams_together() {
        let mut traffic = SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(800_000), 1_000);
        let point = |at_ns, rate| RampPoint { at_ns, rate };
        traffic.ramp = vec![
            point(SECOND, 800_000),
            point(3 * SECOND, 8_000_000),
            point(3 * SECOND, 80_000),
        ];
        // 100 a second, then 100 rising to 1000 in 2 s, then 10 a second.
        for count in [1, 3] {
            assert_eq!(sent(&traffic, count, 5 * SECOND), 100 + 1_100 + 20);
        }
    }

    #[test]
    fn bundles_where_they_are_asked_for_or_needed() {
        let traffic = |rate, bundles| SocketTraffic {
            bundles,
            ..SocketTraffic::new(Transport::Udp, rate, 1_000)
        };
        let auto = Bundles::Auto {
            single_below_milli_pps: 50_000_000,
        };
        let (slow, fast) = (
            Rate::MilliPacketsPerSecond(50_000_000),
            Rate::MilliPacketsPerSecond(50_000_001),
        );
        for (rate, bundles, most) in [
            (slow, auto, 1),
            (fast, auto, 64),
            (Rate::Max, auto, 64),
            (slow, Bundles::On, 64),
            (Rate::Max, Bundles::Off, 1),
        ] {
            let traffic = traffic(rate, bundles);
            assert_eq!(
                bundle_most(&traffic, streams(1)),
                most,
                "{rate:?} {bundles:?}"
            );
        }
        let mut gap = traffic(slow, Bundles::On);
        gap.pacing = Pacing::KeepGap;
        assert_eq!(bundle_most(&gap, streams(1)), 1);
    }
}
