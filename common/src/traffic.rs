//! What a flow carries: transport, rate, sizes, spacing, and when it ends.
//!
//! [`Traffic`] is valid once made through [`Traffic::check`], which the campaign parsers call.

mod bind;
pub mod law;
mod laws;
mod log_file;
mod profile;
mod ramp;
mod rate;
mod trace;

pub use crate::assignment::{
    Bundles, Layer, Marking, OnFull, Pacing, RampPoint, StreamEnd, Transport,
};
pub use bind::{Bind, BindError};
pub use law::{Law, LawError, SizeLaw};
pub use laws::{Means, Offered};
pub(crate) use laws::{means, size_least};
pub use log_file::{LogFile, LogFileError};
pub use profile::{Codec, Profile, ProfileError};
pub use ramp::{Ramp, RampError};
pub use rate::{Rate, RateError};
pub use trace::{TRACE_BYTES_MOST, TRACE_LINES_MOST, Trace, TraceError, TraceOf};

use crate::unit::{ByteCount, Span};

/// Smallest UDP payload in bytes: tag and sequence number of the probe header.
pub const UDP_SIZE_LEAST: u32 = 12;
/// Largest UDP payload in bytes: an IPv4 datagram less its headers (RFC 768, RFC 791).
pub const UDP_SIZE_MOST: u32 = 65_507;
/// UDP payload in bytes if the campaign does not say: fits an Ethernet frame with room for tunnels.
pub const UDP_SIZE: u32 = 1_400;
/// Smallest UDP payload in bytes that carries its time of sending.
pub const UDP_STAMPED_LEAST: u32 = 20;
/// Longest spinning before a departure.
pub const SPIN_MOST: Span = Span::from_millis(10);
/// Largest TCP write in bytes.
pub const TCP_SIZE_MOST: u32 = 1 << 20;
/// Most streams of one flow.
pub const STREAMS_MOST: u32 = 128;

/// What the rate of a flow is said of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// The flow: its streams share the rate.
    #[default]
    Flow,
    /// Each stream.
    Stream,
    /// All flows of the flow set with the same sender.
    Sender,
    /// All flows of the flow set.
    Set,
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
    /// Sizes drawn from a law instead.
    pub size_law: Option<SizeLaw>,
    /// Where `arrival` and `size_law` come from, if a profile gave them.
    pub profile: Option<Profile>,
    /// What a bit rate counts.
    pub layer: Layer,
    /// Rates over the phase.
    pub ramp: Ramp,
    /// Spacing of departures.
    pub arrival: Law,
    /// What happens after a delay.
    pub pacing: Pacing,
    /// Spinning before each departure; 0 = sleeping to its time.
    pub spin: Span,
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
    /// TCP maximum segment size in bytes; `None`: the path's.
    pub mss: Option<u32>,
    /// TCP without Nagle's algorithm.
    pub nodelay: bool,
    /// Socket buffers at both ends; `None`: the host's own tuning (TCP), large (UDP).
    pub window: Option<ByteCount>,
    /// Marks on the packets.
    pub marking: Marking,
    /// The receiver sends every packet back. UDP only.
    pub echo: bool,
    /// The receiver reads and compares the payload.
    pub verify: bool,
    /// Bundles of datagrams; `None`: as [`Bundles::Auto`] with what is known of the kernel. UDP only.
    pub gso: Option<Bundles>,
    /// When the socket is full. UDP only.
    pub on_full: OnFull,
    /// When the time is over. TCP only.
    pub end: StreamEnd,
    /// Where packets leave from; `None`: the route's.
    pub bind: Option<Bind>,
    /// The receiver's port; `None`: the planner's choice.
    pub port: Option<u16>,
    /// The file into which each end writes its rows; `None`: none.
    pub log_file: Option<LogFile>,
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
    pub fn new(transport: Transport, rate: Rate) -> Traffic {
        Traffic {
            transport,
            rate,
            size: None,
            size_law: None,
            profile: None,
            layer: Layer::default(),
            ramp: Ramp::default(),
            arrival: Law::Constant,
            pacing: Pacing::KeepMean,
            spin: Span::from_nanos(0),
            per: Per::Flow,
            streams: 1,
            bytes: None,
            packets: None,
            cc: None,
            mss: None,
            nodelay: false,
            window: None,
            marking: Marking::default(),
            echo: false,
            verify: false,
            gso: None,
            on_full: OnFull::default(),
            end: StreamEnd::default(),
            bind: None,
            port: None,
            log_file: None,
        }
    }

    /// Payload of a packet in bytes where it is fixed; `None` for TCP with adapted writes.
    pub fn packet_size(&self) -> Option<u32> {
        match self.transport {
            Transport::Udp => Some(self.size.unwrap_or(UDP_SIZE)),
            Transport::Tcp => self.size,
        }
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
        self.check_size_law()?;
        self.check_sockets()?;
        match self.transport {
            Transport::Tcp if matches!(self.rate, Rate::Packets(_)) => fail(
                "tcp",
                "a packet rate is for udp: tcp has no packets of its own, give bit/s or `max`"
                    .to_owned(),
            ),
            _ => {
                self.check_schedule()?;
                self.check_arrival()
            }
        }
    }

    /// Options that only one transport has, and their bounds.
    fn check_sockets(&self) -> Result<(), TrafficError> {
        let fail = |key, problem: String| Err(TrafficError { key, problem });
        let misplaced = match self.transport {
            Transport::Udp => self.only_tcp(),
            Transport::Tcp => self.only_udp(),
        };
        if let Some((key, problem)) = misplaced {
            return fail(key, format!("`{key}` {problem}"));
        }
        self.check_echo()?;
        if self.gso == Some(Bundles::On) && self.pacing == Pacing::KeepGap {
            return fail(
                "gso",
                "`gso = \"on\"` sends packets together, `pacing = \"keep-gap\"` never closer than asked: leave one of them out".to_owned(),
            );
        }
        if self.mss.is_some_and(|mss| !(88..=65_495).contains(&mss)) {
            return fail("mss", "`mss` is 88 to 65495 bytes".to_owned());
        }
        if self
            .window
            .is_some_and(|window| !(2_048..=1 << 30).contains(&window.bytes()))
        {
            return fail("window", "`window` is 2 KiB to 1 GiB".to_owned());
        }
        Ok(())
    }

    /// The first key that only TCP has, and why.
    fn only_tcp(&self) -> Option<(&'static str, &'static str)> {
        let keys = [
            (
                self.cc.is_some(),
                "cc",
                "is a congestion control, which only tcp has",
            ),
            (
                self.mss.is_some(),
                "mss",
                "is for tcp: the packets of udp have `size`",
            ),
            (
                self.nodelay,
                "nodelay",
                "is for tcp: udp never waits to fill a packet",
            ),
            (
                self.end != StreamEnd::default(),
                "end",
                "is for tcp: udp has nothing to drain",
            ),
        ];
        let found = keys.into_iter().find(|(given, ..)| *given);
        found.map(|(_, key, problem)| (key, problem))
    }

    /// The first key that only UDP has, and why.
    fn only_udp(&self) -> Option<(&'static str, &'static str)> {
        let keys = [
            (
                self.pacing != Pacing::default(),
                "pacing",
                "is for udp: tcp always catches up, within a second",
            ),
            (
                !self.spin.is_zero(),
                "spin",
                "is for udp: writes of tcp leave when its windows let them",
            ),
            (
                self.packets.is_some(),
                "packets",
                "is for udp: tcp has no packets of its own, use `bytes`",
            ),
            (
                self.echo,
                "echo",
                "is for udp: tcp measures round-trip times by itself",
            ),
            (
                self.gso.is_some(),
                "gso",
                "is for udp: tcp segments by itself",
            ),
            (
                self.on_full != OnFull::default(),
                "on_full",
                "is for udp: tcp always waits for room",
            ),
            (
                self.layer != Layer::Payload,
                "layer",
                "is for udp: tcp makes its packets by itself",
            ),
            (
                self.marking.ecn.is_some(),
                "ecn",
                "is for udp: tcp negotiates ECN by itself (sysctl net.ipv4.tcp_ecn)",
            ),
        ];
        let found = keys.into_iter().find(|(given, ..)| *given);
        found.map(|(_, key, problem)| (key, problem))
    }

    /// Echo needs a rate and room for the time of sending.
    fn check_echo(&self) -> Result<(), TrafficError> {
        let fail = |key, problem: String| Err(TrafficError { key, problem });
        if self.echo && self.rate == Rate::Max {
            return fail(
                "echo",
                "`echo` needs a rate: unlimited traffic both ways measures its own queue"
                    .to_owned(),
            );
        }
        if self.echo && self.size.is_some_and(|size| size < UDP_STAMPED_LEAST) {
            return fail(
                "echo",
                format!(
                    "`echo` needs a time in each packet: `size` of at least {UDP_STAMPED_LEAST}"
                ),
            );
        }
        Ok(())
    }

    /// The schedule: ramp, spin and policy need a rate.
    fn check_schedule(&self) -> Result<(), TrafficError> {
        let fail = |key, problem: &str| {
            Err(TrafficError {
                key,
                problem: problem.to_owned(),
            })
        };
        if self.rate == Rate::Max {
            if !self.ramp.is_empty() {
                return fail("ramp", "`ramp` needs a rate to begin with, not `max`");
            }
            if !self.spin.is_zero() {
                return fail("spin", "`spin` needs a schedule: give a rate, not `max`");
            }
            if self.pacing != Pacing::default() {
                return fail(
                    "pacing",
                    "`pacing` needs a schedule: give a rate, not `max`",
                );
            }
        }
        if self.spin > SPIN_MOST {
            return fail(
                "spin",
                "`spin` is at most 10 ms: it keeps a core busy for so long before every packet",
            );
        }
        if self.layer != Layer::Payload && !matches!(self.rate, Rate::Bits(_)) {
            return fail("layer", "`layer` says what a bit rate counts: give bit/s");
        }
        match (&self.ramp, self.rate) {
            (ramp, Rate::Bits(_)) if ramp.is_packets() => fail(
                "ramp",
                "`ramp` and the rate must both be bit/s or both pkt/s",
            ),
            (ramp, Rate::Packets(_)) if ramp.is_bits() => fail(
                "ramp",
                "`ramp` and the rate must both be bit/s or both pkt/s",
            ),
            (ramp, Rate::Arrival) if !ramp.is_empty() => {
                fail("ramp", "`ramp` needs a rate, not a law that has its own")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
