use crate::traffic::{Rate, Traffic, Transport};

/// A figure of a flow that an expectation can be about. Definitions: docs/records.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Share of sent packets that the network lost.
    Loss,
    /// Share of sent packets dropped by the sender's own queue (part of `loss`).
    LossEgress,
    /// Share of sent packets dropped by the receiver's socket.
    LossReceiver,
    /// Received payload in the measured window, bit/s.
    Rate,
    /// Sent packets (TCP: bytes) of those offered.
    SentRatio,
    /// One-way delay, 99th percentile.
    DelayP99,
    /// Delay above its minimum, 99th percentile (RFC 5481).
    PdvP99,
    /// RFC 3550 interarrival jitter, last value.
    Jitter,
    /// Round trip, 99th percentile.
    RttP99,
    /// Retransmitted segments.
    Retransmits,
    /// Time to open a connection, 95th percentile.
    SetupP95,
    /// The longest outage; 0 without one.
    OutageMax,
    /// All outages together.
    OutageSum,
    /// Departure after its scheduled instant, 99th percentile.
    LatenessP99,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// 0 to 1.
    Share,
    /// bit/s.
    Rate,
    /// Seconds.
    Time,
    /// A count.
    Count,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Metric; 14] = [
        Metric::Loss,
        Metric::LossEgress,
        Metric::LossReceiver,
        Metric::Rate,
        Metric::SentRatio,
        Metric::DelayP99,
        Metric::PdvP99,
        Metric::Jitter,
        Metric::RttP99,
        Metric::Retransmits,
        Metric::SetupP95,
        Metric::OutageMax,
        Metric::OutageSum,
        Metric::LatenessP99,
    ];

    /// Metrics of the language that this version does not compute.
    pub(super) const LATER: [&'static str; 1] = ["fairness"];

    /// As the language writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Metric::Loss => "loss",
            Metric::LossEgress => "loss.egress",
            Metric::LossReceiver => "loss.receiver",
            Metric::Rate => "rate",
            Metric::SentRatio => "sent_ratio",
            Metric::DelayP99 => "delay.p99",
            Metric::PdvP99 => "pdv.p99",
            Metric::Jitter => "jitter",
            Metric::RttP99 => "rtt.p99",
            Metric::Retransmits => "retransmits",
            Metric::SetupP95 => "setup.p95",
            Metric::OutageMax => "outage.max",
            Metric::OutageSum => "outage.sum",
            Metric::LatenessP99 => "lateness.p99",
        }
    }

    /// The metric of that name.
    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL
            .into_iter()
            .find(|metric| metric.as_str() == name)
    }

    /// Its unit.
    pub const fn measure(self) -> Measure {
        match self {
            Metric::Loss | Metric::LossEgress | Metric::LossReceiver | Metric::SentRatio => {
                Measure::Share
            }
            Metric::Rate => Measure::Rate,
            Metric::DelayP99
            | Metric::PdvP99
            | Metric::Jitter
            | Metric::RttP99
            | Metric::SetupP95
            | Metric::OutageMax
            | Metric::OutageSum
            | Metric::LatenessP99 => Measure::Time,
            Metric::Retransmits => Measure::Count,
        }
    }

    /// True if flows of this traffic have the metric: only UDP can count packets, only TCP has connections,
    /// what is sent as fast as possible has no schedule to fall short of, and UDP round trips need echo.
    pub fn applies_to(self, traffic: &Traffic) -> bool {
        match self {
            Metric::Loss
            | Metric::LossEgress
            | Metric::LossReceiver
            | Metric::DelayP99
            | Metric::PdvP99
            | Metric::Jitter
            | Metric::OutageMax
            | Metric::OutageSum => traffic.transport == Transport::Udp,
            Metric::Retransmits | Metric::SetupP95 => traffic.transport == Transport::Tcp,
            Metric::RttP99 => traffic.transport == Transport::Tcp || traffic.echo,
            Metric::SentRatio | Metric::LatenessP99 => traffic.rate != Rate::Max,
            Metric::Rate => true,
        }
    }
}
