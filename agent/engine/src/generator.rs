//! Generators: one file per transport, with the same parts in the same order:
//! the stream, its segments, the hot loop, what became of a send, the end of a
//! segment.

pub(crate) mod tcp;
pub(crate) mod udp;

use weir_common::assignment::{Pacing, Rate, SocketTraffic, Transport};
use weir_common::record::{DataPath, Ending};
use weir_wire::link::{CohortSpan, LinkMessage, SegmentFinal};

use crate::arrival::{Draws, RNG_NAME};
use crate::meter::flow::StreamClosed;
use crate::meter::sending::SendMeter;
use crate::session::StreamContext;

/// A stream's share of a limit of the whole session: as even as whole numbers are.
fn share(limit: Option<u64>, stream: u16, streams: u64) -> Option<u64> {
    limit.map(|limit| limit / streams + u64::from(u64::from(stream) < limit % streams))
}

/// How one segment of a stream ended.
#[derive(Debug)]
struct SegmentEnd {
    /// From T0, ns.
    ended_ns: u64,
    ending: Ending,
    /// Packets dropped by the host's own queue.
    egress_packets: u64,
    warnings: Vec<&'static str>,
    frozen_ns: u64,
    /// Replies of the measured window that came back, of an echo flow.
    echo_packets: Option<u64>,
}

/// Says over the link what was sent, and closes the segment of this stream.
fn close_segment(
    context: &StreamContext,
    at: usize,
    meter: &SendMeter,
    end: SegmentEnd,
    cohorts: [CohortSpan; 2],
    path: DataPath,
    control_packets: Option<u64>,
) {
    say_final(context, at, &end, cohorts);
    close_said_segment(context, at, meter, end, path, control_packets);
}

/// Says over the link what was sent in a segment of this stream.
fn say_final(context: &StreamContext, at: usize, end: &SegmentEnd, cohorts: [CohortSpan; 2]) {
    if let Some(link) = context.session.link() {
        link.send(&LinkMessage::Final(SegmentFinal {
            session: context.session.spec.session.0,
            segment: at as u8,
            stream: context.stream,
            ended_ns: end.ended_ns,
            egress_packets: end.egress_packets,
            cohorts: cohorts.to_vec(),
        }));
    }
}

/// Closes a segment of this stream whose final count was said.
fn close_said_segment(
    context: &StreamContext,
    at: usize,
    meter: &SendMeter,
    end: SegmentEnd,
    path: DataPath,
    control_packets: Option<u64>,
) {
    let window_start_ns = meter.window_start_ns();
    let window_length_ns = end.ended_ns.saturating_sub(window_start_ns);
    let mut closed = StreamClosed::new(end.ending, window_start_ns, window_length_ns);
    closed.window = meter.window();
    closed.first_packet_ns = meter.first_packet_ns();
    closed.frozen_ns = end.frozen_ns;
    closed.warnings = end.warnings;
    closed.control_packets = control_packets;
    closed.echo_packets = end.echo_packets;
    closed.path = path;
    context.close(at, closed);
}

/// The pacing policy's name, as the record shows it.
fn pacing_name(traffic: &SocketTraffic) -> &'static str {
    match (traffic.rate, traffic.transport, traffic.pacing) {
        (Rate::Max, ..) => "none",
        // A stream has no packets to keep apart.
        (_, Transport::Tcp, _) | (_, _, Pacing::KeepMean) => "keep-mean",
        (_, Transport::Udp, Pacing::KeepGap) => "keep-gap",
    }
}

/// The random generator's name, where the schedule is drawn.
fn rng_name(context: &StreamContext) -> Option<String> {
    let traffic = context.session.traffic();
    let drawn =
        traffic.arrival.is_random() || traffic.size_law.as_ref().is_some_and(|law| law.is_random());
    drawn.then(|| RNG_NAME.to_owned())
}

/// Whose draws a stream's are.
fn draws(context: &StreamContext, segment: usize) -> Draws {
    Draws {
        seed: context.run.assignment.seed,
        session: context.session.spec.session.0,
        segment,
        stream: context.stream,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_add_up(limit: u64, streams in 1_u16..128) {
            let shares = (0..streams).filter_map(|stream| share(Some(limit), stream, u64::from(streams)));
            prop_assert_eq!(shares.map(u128::from).sum::<u128>(), u128::from(limit));
        }
    }
}
