//! What a generator over plain sockets sends.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bounds;
use crate::traffic::law::{Conditioned, LawError};
use crate::traffic::{Law, LogFile, Means, Offered, SizeLaw, Trace, TraceOf, means, size_least};

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A byte stream.
    Tcp,
    /// User datagrams, each with a probe header.
    Udp,
}

impl Transport {
    /// `tcp` or `udp`, as key, flag and column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How much a session offers, all its streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// As fast as the host can.
    Max,
    /// Payload bits per second.
    BitsPerSecond(u64),
    /// Thousandths of a packet per second (UDP).
    MilliPacketsPerSecond(u64),
    /// What the law of arrival says by itself (UDP); said of each stream.
    Arrival,
}

/// What happens when the schedule could not be kept for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// Catch up in a bounded burst, so that the mean rate holds.
    #[default]
    KeepMean,
    /// Never closer than asked: a delay shifts all that follows.
    KeepGap,
}

/// What of a packet a bit rate counts (UDP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The payload of the transport.
    #[default]
    Payload,
    /// From the IP header on.
    Ip,
    /// The Ethernet frame without its checksum, as tc, tcpdump and /proc/net/dev count it.
    Frame,
    /// The frame with checksum, preamble and the gap between frames (IEEE 802.3).
    Wire,
}

/// A point of a ramp: the rate is this one at this time, and linear in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RampPoint {
    /// Time from the start of the segment, ns; equal times make a step.
    pub at_ns: u64,
    /// Rate of the session there, in the unit of [`SocketTraffic::rate`]: bit/s or thousandths of a packet per second.
    pub rate: u64,
}

/// Whether datagrams leave in bundles (generic segmentation offload).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bundles {
    /// Singly up to this rate of one session, in thousandths of a packet per second, and
    /// in bundles above it and for [`Rate::Max`].
    Auto {
        /// The session's share of what its kernel sends singly.
        single_below_milli_pps: u64,
    },
    /// Always, as far as the schedule allows: a bundle holds at most 100 us of it.
    On,
    /// Never.
    Off,
}

impl Bundles {
    /// Packets a second that the flows of one kernel may send singly together, where no check measured more.
    pub const SINGLE_PPS: u64 = 100_000;
}

impl Default for Bundles {
    fn default() -> Self {
        Self::Auto {
            single_below_milli_pps: Self::SINGLE_PPS * 1_000,
        }
    }
}

/// What a UDP generator does when its socket is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// The packet is given up and counted as blocked: open loop.
    #[default]
    Drop,
    /// Waits for room: the link sets the pace.
    Wait,
}

/// How a TCP generator ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamEnd {
    /// What was written is delivered, for at most so long, ns; then the connection is reset.
    Drain(u64),
    /// The connection is reset at once.
    Abort,
}

impl Default for StreamEnd {
    fn default() -> Self {
        Self::Drain(10_000_000_000)
    }
}

/// How packets are marked; `None` = as the host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Marking {
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: Option<u8>,
    /// ECN field, 0 to 3 (RFC 3168); UDP only.
    pub ecn: Option<u8>,
    /// TTL or hop limit, 1 to 255.
    pub ttl: Option<u8>,
    /// IPv6 flow label, 20 bit (RFC 6437).
    pub flow_label: Option<u32>,
}

/// What a generator over plain sockets sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketTraffic {
    /// TCP or UDP.
    pub transport: Transport,
    /// Offered rate of the session.
    pub rate: Rate,
    /// What a bit rate counts.
    pub layer: Layer,
    /// Rates over the segment: `rate` holds until the first point, the last point's rate to the end.
    pub ramp: Vec<RampPoint>,
    /// Spacing of departures.
    pub arrival: Law,
    /// What happens after a delay.
    pub pacing: Pacing,
    /// Spinning instead of sleeping for so long before each departure, ns.
    pub spin_ns: u64,
    /// UDP payload size in bytes, 12 to 65507; for TCP the write size, 0 = adaptive. With a law of sizes their mean, rounded.
    pub size: u32,
    /// Sizes drawn from a law instead.
    #[serde(default)]
    pub size_law: Option<SizeLaw>,
    /// Exact number of payload bytes to send in each segment; `None` = by time.
    pub bytes: Option<u64>,
    /// Exact number of packets to send in each segment (UDP); `None` = by time.
    pub packets: Option<u64>,
    /// The receiver sends every packet back, for round-trip times (UDP).
    pub echo: bool,
    /// The receiver reads and compares the payload.
    pub verify: bool,
    /// Bundles of datagrams (UDP).
    pub bundles: Bundles,
    /// When the socket is full (UDP).
    pub on_full: OnFull,
    /// When the time is over (TCP).
    pub end: StreamEnd,
    /// TCP congestion control; `None` = the host's default.
    pub congestion_control: Option<String>,
    /// TCP maximum segment size, bytes; `None` = by the path.
    pub mss: Option<u32>,
    /// TCP without Nagle's algorithm.
    pub nodelay: bool,
    /// Socket buffer at both ends, bytes: bounds the window; `None` = the host's own tuning (TCP), or large (UDP).
    pub window: Option<u64>,
    /// Marks on the packets.
    pub marking: Marking,
    /// The file into which each end writes its rows; `None` = none.
    #[serde(default)]
    pub log_file: Option<LogFile>,
}

impl SocketTraffic {
    /// Traffic of that transport, rate and size; everything else as it is by default.
    pub fn new(transport: Transport, rate: Rate, size: u32) -> Self {
        Self {
            transport,
            rate,
            layer: Layer::default(),
            ramp: Vec::new(),
            arrival: Law::default(),
            pacing: Pacing::default(),
            spin_ns: 0,
            size,
            size_law: None,
            bytes: None,
            packets: None,
            echo: false,
            verify: false,
            bundles: Bundles::default(),
            on_full: OnFull::default(),
            end: StreamEnd::default(),
            congestion_control: None,
            mss: None,
            nodelay: false,
            window: None,
            marking: Marking::default(),
            log_file: None,
        }
    }
}

impl SocketTraffic {
    /// How long after its end a stream may deliver what was written, ns.
    pub const fn drain_ns(&self) -> u64 {
        match self.end {
            StreamEnd::Drain(ns) => ns,
            StreamEnd::Abort => 0,
        }
    }

    /// Every bound and combination; the field at fault and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let fail = |field, problem: &str| Err((field, problem.to_owned()));
        let most = match self.rate {
            Rate::Max | Rate::Arrival => None,
            Rate::BitsPerSecond(value) => Some((bounds::RATE_MAX_BPS, value)),
            Rate::MilliPacketsPerSecond(value) => Some((bounds::RATE_MAX_MILLI_PPS, value)),
        };
        if let Some((most, value)) = most.filter(|(most, value)| !(1..=*most).contains(value)) {
            return Err(("rate", format!("{value} is outside 1 to {most}")));
        }
        self.check_schedule(most.map_or(0, |(most, _)| most))?;
        self.check_laws()?;
        match self.transport {
            Transport::Udp
                if !(bounds::UDP_SIZE_MIN..=bounds::UDP_SIZE_MAX).contains(&self.size) =>
            {
                Err((
                    "size",
                    format!("{} is outside 12 to 65507 bytes", self.size),
                ))
            }
            Transport::Tcp if matches!(self.rate, Rate::MilliPacketsPerSecond(_)) => {
                fail("rate", "TCP has no packet rate; give bit/s or max")
            }
            Transport::Tcp if self.rate == Rate::Arrival && self.size == 0 => {
                fail("size", "a law of arrival needs the size of its writes")
            }
            Transport::Tcp if self.packets.is_some() => {
                fail("packets", "TCP has no packets; give bytes")
            }
            Transport::Tcp if self.echo => fail("echo", "is for UDP"),
            _ if self.bytes == Some(0) => fail("bytes", "0 sends nothing"),
            _ if self.packets == Some(0) => fail("packets", "0 sends nothing"),
            _ if self.mss.is_some_and(|mss| !(88..=65_495).contains(&mss)) => {
                fail("mss", "is outside 88 to 65495 bytes")
            }
            _ if self
                .window
                .is_some_and(|window| !(2_048..=1 << 30).contains(&window)) =>
            {
                fail("window", "is outside 2 KiB to 1 GiB")
            }
            _ => self.marking.check(),
        }
    }

    fn check_laws(&self) -> Result<(), (&'static str, String)> {
        let fail = |field, problem: &str| Err((field, problem.to_owned()));
        let of = |field| move |error: LawError| (field, error.to_string());
        self.arrival.check().map_err(of("arrival"))?;
        match self.rate {
            Rate::Max if self.size_law.is_some() => {
                return fail("size_law", "needs a schedule, not max");
            }
            Rate::Max if self.arrival != Law::Constant => {
                return fail("arrival", "needs a schedule, not max");
            }
            Rate::Arrival if self.arrival.is_open() => {
                return fail("arrival", "leaves its mean to a rate, and there is none");
            }
            Rate::BitsPerSecond(_) | Rate::MilliPacketsPerSecond(_) if !self.arrival.is_open() => {
                return fail("arrival", "has its own mean beside the rate");
            }
            _ => {}
        }
        match &self.size_law {
            None => Ok(()),
            Some(law) => law.check().map_err(of("size_law")),
        }
    }

    /// Whether one of the laws names this file for what its values are.
    pub fn names(&self, trace: &Trace) -> bool {
        let file = match trace.of {
            TraceOf::Arrival => self.arrival.trace(),
            TraceOf::Size => self.size_law.as_ref().and_then(Law::trace),
        };
        file == Some(trace.file.as_str())
    }

    /// The least size that is drawn from a law, in bytes: what its headers need.
    pub fn size_least(&self) -> u32 {
        size_least(self.transport, self.echo)
    }

    /// The law of sizes on what a packet can have; `None` for fixed sizes and traces.
    pub fn drawn_size(&self) -> Result<Option<Conditioned>, LawError> {
        match &self.size_law {
            None | Some(Law::Trace { .. }) => Ok(None),
            Some(law) => law.conditioned(self.size_least()).map(Some),
        }
    }

    /// Mean spacing and size of each of the session's `streams`; `overhead_bytes` is what a bit rate counts of a packet besides its
    /// payload. The key at fault is `arrival` or `size`.
    pub fn means(
        &self,
        streams: u64,
        overhead_bytes: u32,
        traces: &[Trace],
    ) -> Result<Means, (&'static str, LawError)> {
        let streams = streams as f64;
        let offered = match self.rate {
            Rate::Max => Offered::Unlimited,
            Rate::Arrival => Offered::ByLaw,
            Rate::BitsPerSecond(rate) => Offered::Bits(rate as f64 / streams),
            Rate::MilliPacketsPerSecond(rate) => Offered::Packets(rate as f64 / 1e3 / streams),
        };
        let fixed = (self.size > 0).then(|| f64::from(self.size));
        let laws = (&self.arrival, self.size_law.as_ref());
        means(
            laws,
            (fixed, self.size_least(), overhead_bytes),
            offered,
            traces,
        )
    }

    fn check_schedule(&self, most: u64) -> Result<(), (&'static str, String)> {
        if self.spin_ns > bounds::SPIN_MAX_NS {
            let problem = format!("{} is above {}", self.spin_ns, bounds::SPIN_MAX_NS);
            return Err(("spin_ns", problem));
        }
        if matches!(self.end, StreamEnd::Drain(ns) if ns > bounds::DRAIN_MAX_NS) {
            return Err(("end", format!("is above {} ns", bounds::DRAIN_MAX_NS)));
        }
        if self.ramp.len() > bounds::RAMP_POINTS {
            let problem = format!("{} is above {}", self.ramp.len(), bounds::RAMP_POINTS);
            return Err(("ramp", problem));
        }
        let mut earliest = 0;
        for (i, point) in self.ramp.iter().enumerate() {
            if point.at_ns < earliest || point.at_ns > bounds::END_MAX_NS {
                return Err(("ramp", format!("point {i}: times must rise, up to a week")));
            }
            if !(1..=most).contains(&point.rate) {
                return Err((
                    "ramp",
                    format!("point {i}: {} is outside 1 to {most}", point.rate),
                ));
            }
            earliest = point.at_ns;
        }
        Ok(())
    }
}

impl Marking {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = [
            ("dscp", self.dscp.is_some_and(|code| code > 63), "0 to 63"),
            ("ecn", self.ecn.is_some_and(|bits| bits > 3), "0 to 3"),
            ("ttl", self.ttl == Some(0), "1 to 255"),
            (
                "flow_label",
                self.flow_label.is_some_and(|label| label > 0xf_ffff),
                "0 to 1048575",
            ),
        ];
        match wrong.into_iter().find(|(_, holds, _)| *holds) {
            Some((field, _, range)) => Err((field, format!("is outside {range}"))),
            None => Ok(()),
        }
    }
}
