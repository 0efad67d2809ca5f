//! What a flow carries: transport, rate, sizes, spacing, and when it ends.
//!
//! [`Traffic`] is valid once made through [`Traffic::check`], which the campaign parsers call.

mod law;
mod rate;

pub use crate::assignment::Transport;
pub use law::{Law, LawError};
pub use rate::{Rate, RateError};

use crate::unit::ByteCount;
use std::net::IpAddr;

/// Smallest UDP payload in bytes: tag and sequence number of the probe header.
pub const UDP_SIZE_LEAST: u32 = 12;
/// Largest UDP payload in bytes: an IPv4 datagram less its headers (RFC 768, RFC 791).
pub const UDP_SIZE_MOST: u32 = 65_507;
/// UDP payload in bytes if the campaign does not say: fits an Ethernet frame with room for tunnels.
pub const UDP_SIZE: u32 = 1_400;
/// Largest TCP write in bytes.
pub const TCP_SIZE_MOST: u32 = 1 << 20;
/// Most streams of one flow.
pub const STREAMS_MOST: u32 = 128;

/// What happens when the schedule could not be kept for a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pacing {
    /// Catch up in a bounded burst, so that the mean rate holds.
    #[default]
    KeepMean,
}

/// What the rate of a flow is said of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// The flow: its streams share the rate.
    #[default]
    Flow,
    /// Each stream.
    Stream,
}

/// The traffic of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// UDP or TCP.
    pub transport: Transport,
    /// How much, or as much as possible.
    pub rate: Rate,
    /// Payload of a UDP packet, or of one TCP write, in bytes. `None`: [`UDP_SIZE`], or writes adapted to the rate.
    pub size: Option<u32>,
    /// Spacing of departures.
    pub arrival: Law,
    /// What happens after a delay.
    pub pacing: Pacing,
    /// What the rate, `bytes` and `packets` are said of.
    pub per: Per,
    /// Connections or 5-tuples of the flow, 1 to [`STREAMS_MOST`].
    pub streams: u32,
    /// The flow ends when so many payload bytes were sent (and at the end of its phase at the latest).
    pub bytes: Option<ByteCount>,
    /// The flow ends when so many packets were sent. UDP only.
    pub packets: Option<u64>,
    /// TCP congestion control; `None`: the host's.
    pub cc: Option<String>,
    /// Source address; `None`: the route's.
    pub bind: Option<IpAddr>,
    /// The receiver's port; `None`: the planner's choice.
    pub port: Option<u16>,
}

/// Why a combination of traffic keys is not possible; `key` is the one to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TrafficError {
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl Traffic {
    /// Traffic of a transport and rate, everything else as it is by default.
    pub const fn new(transport: Transport, rate: Rate) -> Traffic {
        Traffic {
            transport,
            rate,
            size: None,
            arrival: Law::Constant,
            pacing: Pacing::KeepMean,
            per: Per::Flow,
            streams: 1,
            bytes: None,
            packets: None,
            cc: None,
            bind: None,
            port: None,
        }
    }

    /// Payload of a packet in bytes; `None` for TCP with adapted writes.
    pub fn packet_size(&self) -> Option<u32> {
        match self.transport {
            Transport::Udp => Some(self.size.unwrap_or(UDP_SIZE)),
            Transport::Tcp => self.size,
        }
    }

    /// Mean payload rate offered by the whole flow, all streams, in bit/s; `None` for `max`.
    pub fn mean_bits_per_second(&self) -> Option<f64> {
        let bits_of_packet = f64::from(self.packet_size().unwrap_or(0)) * 8.0;
        let one = match self.rate {
            Rate::Max => return None,
            Rate::Bits(rate) => rate.bits_per_second() as f64,
            Rate::Packets(rate) => rate.packets_per_second() * bits_of_packet,
            Rate::Arrival => bits_of_packet / self.arrival.mean()?.as_secs_f64(),
        };
        Some(match self.per {
            Per::Flow => one,
            Per::Stream => one * f64::from(self.streams),
        })
    }

    /// Checks what concerns several keys at once.
    pub fn check(&self) -> Result<(), TrafficError> {
        let fail = |key, problem: String| Err(TrafficError { key, problem });
        let (least, most) = match self.transport {
            Transport::Udp => (UDP_SIZE_LEAST, UDP_SIZE_MOST),
            Transport::Tcp => (1, TCP_SIZE_MOST),
        };
        match self.size {
            Some(size) if !(least..=most).contains(&size) => {
                let why = if size < least && self.transport == Transport::Udp {
                    " (the probe header)"
                } else {
                    ""
                };
                return fail(
                    "size",
                    format!(
                        "`size = {size}` is outside {least}{why} to {most} bytes for {}",
                        self.transport
                    ),
                );
            }
            _ => {}
        }
        if !(1..=STREAMS_MOST).contains(&self.streams) {
            return fail(
                "streams",
                format!(
                    "`streams = {}` is outside 1 to {STREAMS_MOST}",
                    self.streams
                ),
            );
        }
        if self.bytes.is_some_and(|bytes| bytes.bytes() == 0) {
            return fail("bytes", "`bytes = 0` sends nothing".to_owned());
        }
        if self.packets == Some(0) {
            return fail("packets", "`packets = 0` sends nothing".to_owned());
        }
        if self.bytes.is_some() && self.packets.is_some() {
            return fail(
                "packets",
                "`bytes` and `packets` exclude each other: keep one".to_owned(),
            );
        }
        if self.port == Some(0) {
            return fail(
                "port",
                "`port = 0` is no port: leave it out for any free one".to_owned(),
            );
        }
        match self.transport {
            Transport::Udp if self.cc.is_some() => fail(
                "cc",
                "`cc` is a congestion control, which only tcp has".to_owned(),
            ),
            Transport::Tcp if self.packets.is_some() => fail(
                "packets",
                "`packets` is for udp: tcp has no packets of its own, use `bytes`".to_owned(),
            ),
            Transport::Tcp if matches!(self.rate, Rate::Packets(_) | Rate::Arrival) => fail(
                "tcp",
                "a packet rate is for udp: tcp has no packets of its own, give bit/s or `max`"
                    .to_owned(),
            ),
            _ => self.check_arrival(),
        }
    }

    fn check_arrival(&self) -> Result<(), TrafficError> {
        let fail = |problem: String| {
            Err(TrafficError {
                key: "arrival",
                problem,
            })
        };
        let key = self.transport.as_str();
        match (self.rate, self.arrival) {
            (Rate::Max, Law::Exponential { .. }) => fail(format!(
                "`{key} = \"max\"` leaves no spacing to a law: give a rate, or leave `arrival` out"
            )),
            (Rate::Bits(_) | Rate::Packets(_), Law::Exponential { mean: Some(_) }) => {
                fail(format!(
                    "the rate already gives the mean: write `exponential`, or `{key} = \"arrival\"` and the mean"
                ))
            }
            (Rate::Arrival, Law::Constant | Law::Exponential { mean: None }) => fail(format!(
                "`{key} = \"arrival\"` takes the rate from the law: give one with a mean, such as `exponential(mean = 1 ms)`"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
