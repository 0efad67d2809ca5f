//! The end of a session's flows.
//!
//! A flow ends in two steps: its manifest is complete when its streams have ended, and
//! goes out when what it waits for has come over the link, or will not come any more.
//! A generator waits for the receiver's totals. A receiver waits for a second estimate
//! of the peer's clock, if delays went by a first one; its totals go out with its
//! manifest, since a generator that has them may end the link.

use weir_common::assignment::Transport;
use weir_common::record::{End, Ending, FlowClosed, PeerTotals};
use weir_wire::link::{LinkMessage, SegmentTotals};

use super::{STOP_DRAIN_NS, Session, State};
use crate::engine::Event;
use crate::link::{Finding, Inquiry};
use crate::meter::flow::StreamClosed;
use crate::offset::SURVEY_MAX_NS;
use crate::run::Run;

/// How much longer than the linger a generator waits for the receiver's totals:
/// what the receiver waits for the final count, what it takes to ask our clock, and the
/// way back.
const TOTALS_GRACE_NS: u64 = 7_000_000_000;

/// Where the manifest of one segment stands.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Complete, waiting until this instant (host monotonic ns).
    waiting: Option<(Box<FlowClosed>, u64)>,
    /// What a generator waits for.
    totals: Option<PeerTotals>,
    /// What a receiver waits for.
    inquiry: Option<Inquiry>,
    done: bool,
}

impl Session {
    /// A stream of this end has ended in a segment. With the last of them the flow
    /// is closed, as soon as it has all of its manifest.
    pub(crate) fn close_stream(
        &self,
        run: &Run,
        segment: usize,
        stream: u16,
        closed: StreamClosed,
    ) {
        let Some(mut manifest) = self.flows[segment].close_stream(stream, closed) else {
            return;
        };
        let mut state = self.lock();
        manifest.tuples.clone_from(&state.tuples);
        manifest.link = state.link.is_some();
        let until_ns = match self.spec.end {
            End::Tx => self.totals_due_ns(run, segment),
            End::Rx => run.config.clock.now_ns() + SURVEY_MAX_NS,
        };
        if self.spec.end == End::Rx {
            let end_ns = self.spec.segments[segment].end_ns();
            let inquiry = Self::ask_again(run, &state, end_ns, &manifest);
            state.closings[segment].inquiry = inquiry;
        }
        state.closings[segment].waiting = Some((Box::new(manifest), until_ns));
        self.settle_in(run, &mut state);
        drop(state);
        self.notify();
    }

    /// Until when a generator waits for the receiver's totals of a segment that is
    /// closed now: a TCP receiver reads on while the segment drains.
    fn totals_due_ns(&self, run: &Run, segment: usize) -> u64 {
        let end_ns = self.spec.segments[segment].end_ns();
        let drained_ns = match self.traffic().transport {
            Transport::Udp => 0,
            Transport::Tcp => run.t0_ns().unwrap_or(0) + end_ns + self.traffic().drain_ns(),
        };
        drained_ns.max(run.config.clock.now_ns()) + run.assignment.linger_ns + TOTALS_GRACE_NS
    }

    fn totals(&self, segment: usize, manifest: &FlowClosed) -> SegmentTotals {
        let total = &manifest.total;
        SegmentTotals {
            session: self.spec.session.0,
            segment: segment as u8,
            rx_packets: total.rx_packets.unwrap_or(0),
            rx_bytes: total.rx_bytes.unwrap_or(0),
            lost_packets: total.lost_packets.unwrap_or(0),
            late: total.late.unwrap_or(0),
            duplicate: total.duplicate.unwrap_or(0),
            reordered: total.reordered.unwrap_or(0),
            socket_drops: total.socket_drops.unwrap_or(0),
            drained_bytes: manifest.drained_bytes.unwrap_or(0),
            unread_bytes: manifest.unread_bytes.unwrap_or(0),
        }
    }

    /// The receiver's totals have come.
    pub(crate) fn totals_arrived(&self, run: &Run, totals: &SegmentTotals) {
        let segment = usize::from(totals.segment);
        if self.spec.end != End::Tx || segment >= self.flows.len() {
            return;
        }
        let peer = PeerTotals {
            packets: totals.rx_packets,
            bytes: totals.rx_bytes.saturating_add(totals.drained_bytes),
        };
        let mut state = self.lock();
        let closing = &mut state.closings[segment];
        if closing.done {
            let key = self.flows[segment].key();
            let event = Event::PeerClosed {
                flow: key.flow,
                end: key.end,
                totals: peer,
            };
            run.sink.event(key.run, event);
            return;
        }
        closing.totals = Some(peer);
        self.settle_in(run, &mut state);
        drop(state);
        self.notify();
    }

    /// Closes what a stream left unclosed that broke off.
    pub(super) fn close_unclosed(&self, run: &Run) {
        for (at, (flow, segment)) in self.flows.iter().zip(&self.spec.segments).enumerate() {
            for stream in flow.unclosed() {
                let reason = "the agent's own error: see its log".to_owned();
                let start_ns = segment.start_ns + segment.warmup_ns;
                let closed = StreamClosed::new(Ending::Failed { reason }, start_ns, 0);
                self.close_stream(run, at, stream, closed);
            }
        }
    }

    /// Sends the manifests for which what they wait for has come or will not come. Until
    /// when others wait at most; `None` when all have gone out.
    pub(super) fn settle(&self, run: &Run) -> Option<u64> {
        self.settle_in(run, &mut self.lock())
    }

    fn settle_in(&self, run: &Run, state: &mut State) -> Option<u64> {
        let now_ns = run.config.clock.now_ns();
        // After a stop a generator waits longer than its receiver does.
        let (end, patience_ns) = match self.spec.end {
            End::Tx => (End::Tx, STOP_DRAIN_NS / 4),
            End::Rx => (End::Rx, STOP_DRAIN_NS / 8),
        };
        let stopped_ns = run
            .stopped_ns()
            .map(|at_ns| at_ns + STOP_DRAIN_NS + patience_ns);
        let link = state.link.clone().filter(|link| !link.is_broken());
        let mut wake_ns = None;
        for (segment, flow) in self.flows.iter().enumerate() {
            let closing = &mut state.closings[segment];
            let Some((_, until_ns)) = &closing.waiting else {
                if !closing.done {
                    wake_ns = wake_ns.or(Some(u64::MAX));
                }
                continue;
            };
            let deadline_ns = stopped_ns.map_or(*until_ns, |stop_ns| stop_ns.min(*until_ns));
            let waits = link.as_ref().is_some_and(|link| match end {
                End::Tx => closing.totals.is_none(),
                End::Rx => closing
                    .inquiry
                    .is_some_and(|inquiry| link.finding(inquiry) == Finding::Waits),
            });
            if waits && now_ns < deadline_ns {
                wake_ns = Some(wake_ns.map_or(deadline_ns, |ns: u64| ns.min(deadline_ns)));
                continue;
            }
            closing.done = true;
            let (inquiry, totals) = (closing.inquiry, closing.totals);
            let Some((mut manifest, _)) = closing.waiting.take() else {
                continue;
            };
            match (end, &link) {
                (End::Tx, _) => manifest.peer = totals,
                (End::Rx, Some(link)) => {
                    Self::bound_delay(state, inquiry, &mut manifest);
                    link.send(&LinkMessage::Totals(self.totals(segment, &manifest)));
                }
                (End::Rx, None) => {}
            }
            flow.emit_closed(*manifest);
        }
        wake_ns
    }
}
