//! Rows, and what the record sequence is made of.

use weir_common::observation::{KernelRow, LinkRow, Observed};
use weir_common::record::{
    Artifact, Counters, DelayColumns, DscpSet, Entry, Flags, FlowClosed, Gap, GapCause,
    MoreColumns, Record, Source, TcpColumns,
};
use weir_common::stats::Histogram;
use weir_common::traffic::LogFile;

use super::{
    ConvertError, count, end, flow, limits, optional_count, owned, required, run, take_counts,
};
use crate::types::v1 as pb;

owned! {
    pb::Record => Record,
    pb::Entry => Entry,
}

pub(super) fn histogram(
    field: &str,
    bytes: Option<&Vec<u8>>,
) -> Result<Option<Histogram>, ConvertError> {
    bytes
        .map(|bytes| Histogram::decode(bytes))
        .transpose()
        .map_err(|error| ConvertError::new(field, error.to_string()))
}

pub(super) fn encoded(histogram: Option<&Histogram>) -> Option<Vec<u8>> {
    histogram.map(Histogram::encode)
}

/// Both directions for a message whose fields are all optional counts of the
/// same names; a field that only one side has does not compile.
macro_rules! counts {
    ($proto:path, $common:path, [$($name:ident),+ $(,)?]) => {
        impl TryFrom<&$proto> for $common {
            type Error = ConvertError;

            fn try_from(message: &$proto) -> Result<Self, ConvertError> {
                let $proto { $($name),+ } = *message;
                Ok(Self { $($name: optional_count(stringify!($name), $name)?),+ })
            }
        }

        impl From<&$common> for $proto {
            fn from(value: &$common) -> Self {
                let $common { $($name),+ } = *value;
                Self { $($name: $name.map(|n| n.min(limits::COUNT))),+ }
            }
        }
    };
}

counts!(
    pb::Counters,
    Counters,
    [
        offered_packets,
        offered_bytes,
        tx_packets,
        tx_bytes,
        rx_packets,
        rx_bytes,
        behind_packets,
        blocked_packets,
        refused_packets,
        egress_packets,
        rx_of_tx_packets,
        lost_packets,
        socket_drops,
        late,
        duplicate,
        reordered,
    ]
);

counts!(
    pb::TcpColumns,
    TcpColumns,
    [
        acked_bytes,
        retransmits,
        retrans_bytes,
        cwnd_bytes,
        srtt_us,
        min_rtt_us,
        rttvar_us,
        delivery_bps,
        busy_us,
        rwnd_limited_us,
        sndbuf_limited_us,
        unacked_bytes,
        segs_out,
    ]
);

impl TryFrom<&pb::DelayColumns> for DelayColumns {
    type Error = ConvertError;

    fn try_from(message: &pb::DelayColumns) -> Result<Self, ConvertError> {
        Ok(Self {
            delay: histogram("delay_hist", message.delay_hist.as_ref())?,
            delay_bound_ns: optional_count("delay_bound_ns", message.delay_bound_ns)?,
            rtt: histogram("rtt_hist", message.rtt_hist.as_ref())?,
        })
    }
}

impl From<&DelayColumns> for pb::DelayColumns {
    fn from(value: &DelayColumns) -> Self {
        Self {
            delay_hist: encoded(value.delay.as_ref()),
            delay_bound_ns: value.delay_bound_ns,
            rtt_hist: encoded(value.rtt.as_ref()),
        }
    }
}

impl TryFrom<&pb::MoreColumns> for MoreColumns {
    type Error = ConvertError;

    fn try_from(message: &pb::MoreColumns) -> Result<Self, ConvertError> {
        let mut more = Self {
            lateness: histogram("lateness_hist", message.lateness_hist.as_ref())?,
            dscp_seen: message.dscp_seen.map(DscpSet::from_bits),
            ..Self::default()
        };
        take_counts!(message => more, [
            blocked_us, control_packets, sndbuf_bytes, rcvbuf_bytes, reorder_extent_max, jitter_ns,
            ttl_min, ttl_max, ttl_changes, ce, corrupt_packets, echo_packets, cpu_us, runq_wait_us,
            throttled_us,
        ]);
        Ok(more)
    }
}

impl From<&MoreColumns> for pb::MoreColumns {
    fn from(value: &MoreColumns) -> Self {
        Self {
            lateness_hist: encoded(value.lateness.as_ref()),
            blocked_us: value.blocked_us,
            control_packets: value.control_packets,
            sndbuf_bytes: value.sndbuf_bytes,
            rcvbuf_bytes: value.rcvbuf_bytes,
            reorder_extent_max: value.reorder_extent_max,
            jitter_ns: value.jitter_ns,
            ttl_min: value.ttl_min,
            ttl_max: value.ttl_max,
            ttl_changes: value.ttl_changes,
            dscp_seen: value.dscp_seen.map(DscpSet::bits),
            corrupt_packets: value.corrupt_packets,
            echo_packets: value.echo_packets,
            ce: value.ce,
            cpu_us: value.cpu_us,
            runq_wait_us: value.runq_wait_us,
            throttled_us: value.throttled_us,
        }
    }
}

impl TryFrom<&pb::Record> for Record {
    type Error = ConvertError;

    fn try_from(message: &pb::Record) -> Result<Self, ConvertError> {
        let stream = message
            .stream
            .map(u16::try_from)
            .transpose()
            .map_err(|_| ConvertError::new("stream", "is above 65535"))?;
        let counters = required("counters", message.counters.as_ref())?;
        Ok(Self {
            run: run(message.run)?,
            flow: flow(message.flow)?,
            stream,
            end: end(message.end)?,
            k: message.k,
            source: source(message.source)?,
            start_ns: count("start_ns", message.start_ns)?,
            length_ns: count("length_ns", message.length_ns)?,
            flags: Flags(message.flags),
            counters: counters
                .try_into()
                .map_err(|e: ConvertError| e.within("counters"))?,
            delay: part("delay", message.delay.as_ref())?,
            tcp: part("tcp", message.tcp.as_ref())?,
            more: part("more", message.more.as_ref())?,
        })
    }
}

/// An optional part of a message.
pub(super) fn part<'a, P, C>(field: &str, message: Option<&'a P>) -> Result<Option<C>, ConvertError>
where
    C: TryFrom<&'a P, Error = ConvertError>,
{
    message
        .map(C::try_from)
        .transpose()
        .map_err(|error| error.within(field))
}

fn source(value: i32) -> Result<Source, ConvertError> {
    match pb::Source::try_from(value) {
        Ok(pb::Source::Measured) => Ok(Source::Measured),
        Ok(pb::Source::Reported) => Ok(Source::Reported),
        Ok(pb::Source::Unspecified) | Err(_) => Err(ConvertError::new(
            "source",
            format!("{value} is neither 1 (measured) nor 2 (reported)"),
        )),
    }
}

impl From<&Record> for pb::Record {
    fn from(value: &Record) -> Self {
        Self {
            run: value.run.0,
            flow: value.flow.0,
            stream: value.stream.map(u32::from),
            end: pb::End::from(value.end).into(),
            k: value.k,
            source: match value.source {
                Source::Measured => pb::Source::Measured,
                Source::Reported => pb::Source::Reported,
            }
            .into(),
            start_ns: value.start_ns,
            length_ns: value.length_ns,
            flags: value.flags.0,
            counters: Some((&value.counters).into()),
            delay: value.delay.as_ref().map(Into::into),
            tcp: value.tcp.as_ref().map(Into::into),
            more: value.more.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&pb::Gap> for Gap {
    type Error = ConvertError;

    fn try_from(message: &pb::Gap) -> Result<Self, ConvertError> {
        let of_flow = match message.flow {
            Some(number) => Some((flow(number)?, end(message.end)?)),
            None => None,
        };
        Ok(Self {
            run: run(message.run)?,
            flow: of_flow,
            from_ns: optional_count("from_ns", message.from_ns)?,
            to_ns: optional_count("to_ns", message.to_ns)?,
            cause: match message.cause() {
                pb::gap::Cause::Damaged => GapCause::Damaged,
                pb::gap::Cause::Ended => GapCause::Ended,
                pb::gap::Cause::Forgotten => GapCause::Forgotten,
                pb::gap::Cause::Unspecified => {
                    let value = message.cause;
                    return Err(ConvertError::new(
                        "cause",
                        format!("{value} is neither 1 (damaged) nor 2 (ended)"),
                    ));
                }
            },
        })
    }
}

impl From<&Gap> for pb::Gap {
    fn from(value: &Gap) -> Self {
        Self {
            run: value.run.0,
            flow: value.flow.map(|(flow, _)| flow.0),
            end: value
                .flow
                .map_or(pb::End::Unspecified, |(_, end)| end.into())
                .into(),
            from_ns: value.from_ns,
            to_ns: value.to_ns,
            cause: match value.cause {
                GapCause::Damaged => pb::gap::Cause::Damaged,
                GapCause::Ended => pb::gap::Cause::Ended,
                GapCause::Forgotten => pb::gap::Cause::Forgotten,
            }
            .into(),
        }
    }
}

impl TryFrom<&pb::Artifact> for Artifact {
    type Error = ConvertError;

    fn try_from(message: &pb::Artifact) -> Result<Self, ConvertError> {
        let name = message.name.parse::<LogFile>();
        let length = message.sha256.len();
        Ok(Self {
            run: run(message.run)?,
            flow: flow(message.flow)?,
            end: end(message.end)?,
            name: name.map_err(|error| ConvertError::new("name", error.to_string()))?,
            size_bytes: message.size_bytes,
            sha256: message
                .sha256
                .as_slice()
                .try_into()
                .map_err(|_| ConvertError::new("sha256", format!("{length} bytes, not 32")))?,
        })
    }
}

impl From<&Artifact> for pb::Artifact {
    fn from(value: &Artifact) -> Self {
        Self {
            run: value.run.0,
            flow: value.flow.0,
            end: pb::End::from(value.end).into(),
            name: value.name.to_string(),
            size_bytes: value.size_bytes,
            sha256: value.sha256.to_vec(),
        }
    }
}

impl TryFrom<&pb::Entry> for Entry {
    type Error = ConvertError;

    fn try_from(message: &pb::Entry) -> Result<Self, ConvertError> {
        match required("item", message.item.as_ref())? {
            pb::entry::Item::Record(record) => Record::try_from(record)
                .map(|record| Self::Record(Box::new(record)))
                .map_err(|error| error.within("record")),
            pb::entry::Item::Closed(closed) => FlowClosed::try_from(closed)
                .map(|closed| Self::Closed(Box::new(closed)))
                .map_err(|error| error.within("closed")),
            pb::entry::Item::Link(row) => LinkRow::try_from(row)
                .map(|row| Self::Link(Box::new(row)))
                .map_err(|error| error.within("link")),
            pb::entry::Item::Kernel(row) => KernelRow::try_from(row)
                .map(|row| Self::Kernel(Box::new(row)))
                .map_err(|error| error.within("kernel")),
            pb::entry::Item::Observed(observed) => Observed::try_from(observed)
                .map(|observed| Self::Observed(Box::new(observed)))
                .map_err(|error| error.within("observed")),
            pb::entry::Item::Gap(gap) => Gap::try_from(gap)
                .map(|gap| Self::Gap(Box::new(gap)))
                .map_err(|error| error.within("gap")),
            pb::entry::Item::Artifact(artifact) => Artifact::try_from(artifact)
                .map(|artifact| Self::Artifact(Box::new(artifact)))
                .map_err(|error| error.within("artifact")),
        }
    }
}

impl From<&Entry> for pb::Entry {
    fn from(value: &Entry) -> Self {
        let item = match value {
            Entry::Record(record) => pb::entry::Item::Record(record.as_ref().into()),
            Entry::Closed(closed) => pb::entry::Item::Closed(closed.as_ref().into()),
            Entry::Link(row) => pb::entry::Item::Link(row.as_ref().into()),
            Entry::Kernel(row) => pb::entry::Item::Kernel(row.as_ref().into()),
            Entry::Observed(observed) => pb::entry::Item::Observed(observed.as_ref().into()),
            Entry::Gap(gap) => pb::entry::Item::Gap(gap.as_ref().into()),
            Entry::Artifact(artifact) => pb::entry::Item::Artifact(artifact.as_ref().into()),
        };
        Self { item: Some(item) }
    }
}
