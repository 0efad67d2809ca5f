//! Manifests: how a flow ended, and its measured window.

use weir_common::record::{DataPath, DscpSet, Ending, FlowClosed, PeerTotals, Window};

use super::record::{encoded, histogram, part};
use super::{
    ConvertError, clip, count, end, flow, limits, optional_count, owned, required, run,
    take_counts, text,
};
use crate::types::v1 as pb;

owned! {
    pb::FlowClosed => FlowClosed,
}

impl TryFrom<&pb::Window> for Window {
    type Error = ConvertError;

    fn try_from(message: &pb::Window) -> Result<Self, ConvertError> {
        let counters = required("counters", message.counters.as_ref())?;
        let mut window = Self {
            start_ns: count("start_ns", message.start_ns)?,
            length_ns: count("length_ns", message.length_ns)?,
            counters: counters
                .try_into()
                .map_err(|e: ConvertError| e.within("counters"))?,
            delay: histogram("delay_hist", message.delay_hist.as_ref())?,
            rtt: histogram("rtt_hist", message.rtt_hist.as_ref())?,
            lateness: histogram("lateness_hist", message.lateness_hist.as_ref())?,
            ttl: ttl(message.ttl_min, message.ttl_max)?,
            dscp_seen: message.dscp_seen.map(DscpSet::from_bits),
            loss_burst_lengths: part("loss_burst_lengths", message.loss_burst_lengths.as_ref())?,
            loss_burst_distances: part(
                "loss_burst_distances",
                message.loss_burst_distances.as_ref(),
            )?,
            outages: part("outages", message.outages.as_ref())?,
            ..Self::default()
        };
        take_counts!(message => window, [
            delay_bound_ns, jitter_ns, jitter_mean_ns, ipdv_mean_abs_ns, reorder_extent_max,
            lost_head, lost_tail, loss_bursts, loss_burst_max, retransmits, retrans_bytes,
            acked_bytes, busy_us, rwnd_limited_us, sndbuf_limited_us, cpu_us, runq_wait_us,
            frozen_us, ttl_changes, ce, corrupt_packets, echo_packets, clock_step_ns, throttled_us,
            segs_out, segs_in,
        ]);
        Ok(window)
    }
}

fn ttl(least: Option<u32>, most: Option<u32>) -> Result<Option<(u8, u8)>, ConvertError> {
    let byte = |field: &str, value: u32| {
        u8::try_from(value).map_err(|_| ConvertError::new(field, format!("{value} is above 255")))
    };
    match (least, most) {
        (None, None) => Ok(None),
        (Some(least), Some(most)) => Ok(Some((byte("ttl_min", least)?, byte("ttl_max", most)?))),
        (Some(_), None) => Err(ConvertError::new("ttl_max", "is missing beside ttl_min")),
        (None, Some(_)) => Err(ConvertError::new("ttl_min", "is missing beside ttl_max")),
    }
}

impl From<&Window> for pb::Window {
    fn from(value: &Window) -> Self {
        Self {
            start_ns: value.start_ns,
            length_ns: value.length_ns,
            counters: Some((&value.counters).into()),
            delay_hist: encoded(value.delay.as_ref()),
            delay_bound_ns: value.delay_bound_ns,
            rtt_hist: encoded(value.rtt.as_ref()),
            lateness_hist: encoded(value.lateness.as_ref()),
            jitter_ns: value.jitter_ns,
            jitter_mean_ns: value.jitter_mean_ns,
            ipdv_mean_abs_ns: value.ipdv_mean_abs_ns,
            reorder_extent_max: value.reorder_extent_max,
            lost_head: value.lost_head,
            lost_tail: value.lost_tail,
            loss_bursts: value.loss_bursts,
            loss_burst_max: value.loss_burst_max,
            retransmits: value.retransmits,
            retrans_bytes: value.retrans_bytes,
            acked_bytes: value.acked_bytes,
            busy_us: value.busy_us,
            rwnd_limited_us: value.rwnd_limited_us,
            sndbuf_limited_us: value.sndbuf_limited_us,
            cpu_us: value.cpu_us,
            runq_wait_us: value.runq_wait_us,
            frozen_us: value.frozen_us,
            ttl_min: value.ttl.map(|(least, _)| least.into()),
            ttl_max: value.ttl.map(|(_, most)| most.into()),
            ttl_changes: value.ttl_changes,
            dscp_seen: value.dscp_seen.map(DscpSet::bits),
            ce: value.ce,
            corrupt_packets: value.corrupt_packets,
            echo_packets: value.echo_packets,
            loss_burst_lengths: value.loss_burst_lengths.as_ref().map(Into::into),
            loss_burst_distances: value.loss_burst_distances.as_ref().map(Into::into),
            outages: value.outages.as_ref().map(Into::into),
            clock_step_ns: value.clock_step_ns,
            segs_out: value.segs_out,
            segs_in: value.segs_in,
            throttled_us: value.throttled_us,
        }
    }
}

impl TryFrom<&pb::DataPath> for DataPath {
    type Error = ConvertError;

    fn try_from(message: &pb::DataPath) -> Result<Self, ConvertError> {
        let word = |field: &str, value: Option<&String>| {
            value
                .map(|value| text(field, value, limits::WORD))
                .transpose()
        };
        Ok(Self {
            call: text("call", &message.call, limits::WORD)?,
            gso: word("gso", message.gso.as_ref())?,
            pacing: word("pacing", message.pacing.as_ref())?,
            buffer_bytes: optional_count("buffer_bytes", message.buffer_bytes)?,
            buffer_forced: message.buffer_forced,
            cc: word("cc", message.cc.as_ref())?,
            mss: optional_count("mss", message.mss)?,
            setup_us: optional_count("setup_us", message.setup_us)?,
            rng: word("rng", message.rng.as_ref())?,
            thread: word("thread", message.thread.as_ref())?,
            cpus: word("cpus", message.cpus.as_ref())?,
        })
    }
}

impl From<&DataPath> for pb::DataPath {
    fn from(value: &DataPath) -> Self {
        let word = |value: Option<&String>| value.map(|value| clip(value, limits::WORD));
        Self {
            call: clip(&value.call, limits::WORD),
            gso: word(value.gso.as_ref()),
            pacing: word(value.pacing.as_ref()),
            buffer_bytes: value.buffer_bytes,
            buffer_forced: value.buffer_forced,
            cc: word(value.cc.as_ref()),
            mss: value.mss,
            setup_us: value.setup_us,
            rng: word(value.rng.as_ref()),
            thread: word(value.thread.as_ref()),
            cpus: word(value.cpus.as_ref()),
        }
    }
}

impl TryFrom<&pb::Ending> for Ending {
    type Error = ConvertError;

    fn try_from(message: &pb::Ending) -> Result<Self, ConvertError> {
        use pb::ending::How;
        let reason = text("reason", &message.reason, limits::REASON)?;
        match How::try_from(message.how) {
            Ok(How::Completed) => Ok(Self::Completed),
            Ok(How::Stopped) => Ok(Self::Stopped { reason }),
            Ok(How::Failed) => Ok(Self::Failed { reason }),
            Ok(How::Unspecified) | Err(_) => Err(ConvertError::new(
                "how",
                format!(
                    "{} is none of 1 (completed), 2 (stopped), 3 (failed)",
                    message.how
                ),
            )),
        }
    }
}

impl From<&Ending> for pb::Ending {
    fn from(value: &Ending) -> Self {
        use pb::ending::How;
        let (how, reason) = match value {
            Ending::Completed => (How::Completed, String::new()),
            Ending::Stopped { reason } => (How::Stopped, clip(reason, limits::REASON)),
            Ending::Failed { reason } => (How::Failed, clip(reason, limits::REASON)),
        };
        Self {
            how: how.into(),
            reason,
        }
    }
}

impl TryFrom<&pb::FlowClosed> for FlowClosed {
    type Error = ConvertError;

    fn try_from(message: &pb::FlowClosed) -> Result<Self, ConvertError> {
        let within = |field: &'static str| move |error: ConvertError| error.within(field);
        let ending = required("ending", message.ending.as_ref())?;
        let total = required("total", message.total.as_ref())?;
        let window = required("window", message.window.as_ref())?;
        let path = required("path", message.path.as_ref())?;
        let peer = match &message.peer {
            None => None,
            Some(peer) => Some(PeerTotals {
                packets: count("peer.packets", peer.packets)?,
                bytes: count("peer.bytes", peer.bytes)?,
            }),
        };
        Ok(Self {
            run: run(message.run)?,
            flow: flow(message.flow)?,
            end: end(message.end)?,
            rows: message.rows,
            ending: ending.try_into().map_err(within("ending"))?,
            total: total.try_into().map_err(within("total"))?,
            window: window.try_into().map_err(within("window"))?,
            drained_bytes: optional_count("drained_bytes", message.drained_bytes)?,
            unread_bytes: optional_count("unread_bytes", message.unread_bytes)?,
            corrupt_bytes: optional_count("corrupt_bytes", message.corrupt_bytes)?,
            control_packets: optional_count("control_packets", message.control_packets)?,
            tuples: words("tuples", &message.tuples, limits::TUPLES)?,
            first_packet_ns: optional_count("first_packet_ns", message.first_packet_ns)?,
            path: path.try_into().map_err(within("path"))?,
            link: message.link,
            peer,
            warnings: words("warnings", &message.warnings, limits::WARNINGS)?,
        })
    }
}

fn words(field: &str, values: &[String], most: usize) -> Result<Vec<String>, ConvertError> {
    if values.len() > most {
        return Err(ConvertError::new(
            field,
            format!("{} are more than {most}", values.len()),
        ));
    }
    let word = |(i, value): (usize, &String)| text(&format!("{field}[{i}]"), value, limits::WORD);
    values.iter().enumerate().map(word).collect()
}

fn clipped_words(values: &[String], most: usize) -> Vec<String> {
    values
        .iter()
        .take(most)
        .map(|value| clip(value, limits::WORD))
        .collect()
}

impl From<&FlowClosed> for pb::FlowClosed {
    fn from(value: &FlowClosed) -> Self {
        Self {
            run: value.run.0,
            flow: value.flow.0,
            end: pb::End::from(value.end).into(),
            rows: value.rows,
            ending: Some((&value.ending).into()),
            total: Some((&value.total).into()),
            window: Some((&value.window).into()),
            drained_bytes: value.drained_bytes,
            unread_bytes: value.unread_bytes,
            corrupt_bytes: value.corrupt_bytes,
            control_packets: value.control_packets,
            tuples: clipped_words(&value.tuples, limits::TUPLES),
            first_packet_ns: value.first_packet_ns,
            path: Some((&value.path).into()),
            link: value.link,
            peer: value.peer.map(|peer| pb::PeerTotals {
                packets: peer.packets,
                bytes: peer.bytes,
            }),
            warnings: clipped_words(&value.warnings, limits::WARNINGS),
        }
    }
}
