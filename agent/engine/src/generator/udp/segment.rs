//! The account of one segment under way.

use weir_common::assignment::{Segment, Transport};
use weir_wire::link::CohortSpan;

use super::replies::Returned;
use crate::generator::share;
use crate::meter::sending::{Fate, SendMeter};
use crate::pacer::Limits;
use crate::session::StreamContext;
use crate::socket::Refusal;

/// One segment under way.
pub(super) struct Sending {
    pub(super) meter: SendMeter,
    /// Warm-up and measured window.
    pub(super) cohorts: [CohortSpan; 2],
    pub(super) limits: Limits,
    /// End of the current row; `u64::MAX` in the last one, which ends the segment.
    pub(super) cut_ns: u64,
    pub(super) egress_packets: u64,
    pub(super) blocked: bool,
    pub(super) refusal: Option<Refusal>,
    /// Datagrams left in bundles.
    pub(super) bundled: bool,
    /// Replies that came back so far, of an echo flow.
    pub(super) returned: Returned,
    offered: (u64, u64),
}

impl Sending {
    /// Segment `at` of a stream, whose next packet has number `sequence`;
    /// `control` packets were sent before it.
    pub(super) fn new(
        context: &StreamContext,
        sequence: u64,
        at: usize,
        segment: Segment,
        control: u64,
    ) -> Self {
        let traffic = context.session.traffic();
        let mut meter = SendMeter::new(Transport::Udp, segment, context.run.assignment.interval_ns);
        meter.control(control);
        if traffic.echo {
            meter.expect_replies();
        }
        let cohort = |measured: u8| CohortSpan {
            cohort: (at as u8) << 1 | measured,
            first_seq: sequence,
            packets: 0,
            bytes: 0,
        };
        let limits = Limits {
            start_ns: context.host_ns(segment.start_ns),
            duration_ns: Some(segment.length_ns),
            packets: share(traffic.packets, context.stream, context.streams()),
            bytes: share(traffic.bytes, context.stream, context.streams()),
        };
        let mut sending = Self {
            meter,
            cohorts: [cohort(0), cohort(1)],
            limits,
            cut_ns: 0,
            egress_packets: 0,
            blocked: false,
            refusal: None,
            bundled: false,
            returned: Returned::default(),
            offered: (0, 0),
        };
        sending.set_cut();
        sending
    }

    /// The current row ended.
    pub(super) fn set_cut(&mut self) {
        self.cut_ns = if self.meter.is_last_row() {
            u64::MAX
        } else {
            self.meter.next_cut_ns()
        };
    }

    /// Whether the segment's own number of packets or bytes was offered.
    pub(super) fn is_used_up(&self) -> bool {
        let (packets, bytes) = self.offered;
        self.limits.packets.is_some_and(|most| packets >= most)
            || self.limits.bytes.is_some_and(|most| bytes >= most)
    }

    /// Which cohort packets of the warm-up or of the measured window are of.
    #[inline]
    pub(super) fn cohort(&self, measured: bool) -> u8 {
        self.cohorts[usize::from(measured)].cohort
    }

    /// Counts packets that met their fate.
    #[inline]
    pub(super) fn count(&mut self, fate: Fate, packets: u64, bytes: u64, measured: bool) {
        self.offered.0 += packets;
        self.offered.1 += bytes;
        self.meter.count(fate, packets, bytes, measured);
        if matches!(fate, Fate::Sent | Fate::Egress) {
            let cohort = &mut self.cohorts[usize::from(measured)];
            cohort.packets += packets;
            cohort.bytes += bytes;
            if !measured {
                self.cohorts[1].first_seq += packets;
            }
        }
        match fate {
            Fate::Egress => self.egress_packets += packets,
            Fate::Blocked => self.blocked = true,
            _ => {}
        }
    }
}
