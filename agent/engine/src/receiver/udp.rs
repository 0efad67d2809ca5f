//! UDP: one connected socket of its own, many datagrams a call, kernel stamps
//! brought to the host's monotonic clock.
//!
//! Metrics: received, lost, late, duplicate, reordered, outages, socket drops, delay,
//! jitter, TTL, DSCP, CE, corrupt packets. Sends packets back, if asked to.

use std::os::fd::{AsFd, BorrowedFd};

use weir_common::record::{DataPath, Ending, Flags};
use weir_wire::probe_header::{ProbeHeader, ProbeKind};

use super::{Finals, LOOK_EVERY_NS, LOOK_SOON_NS, give_out};
use crate::drive::{self, Next, Scratch};
use crate::meter::datagrams::{Asked, DatagramMeter, DatagramSetup, Packet};
use crate::meter::host::HostMeter;
use crate::payload::{is_intact, pattern};
use crate::session::{STOP_DRAIN_NS, StreamContext};
use crate::socket::{Datagram, MAX_SEGMENTS, ReceiveBatch, SendOutcome, UdpSocket};
use crate::stamps::Stamps;
use crate::wait::realtime_offset;

/// How much longer than the linger a receiver waits for the final count while the
/// link is up: it may stand in the same queue as the flow, which at a slow link
/// holds seconds, and without it the losses at the tail are not known.
const FINAL_GRACE_NS: u64 = 3_000_000_000;

/// A stream on its way through all its segments.
pub(crate) struct Receiver {
    context: StreamContext,
    socket: UdpSocket,
    gro: bool,
    meter: DatagramMeter,
    finals: Finals,
    host: HostMeter,
    stamps: Stamps,
    asked: Asked,
    /// What a packet holds, if it is to be compared or sent back.
    pattern: Vec<u8>,
    bundles: Bundles,
    drops: Option<u32>,
    rcvbuf_bytes: Option<u64>,
    control_packets: u64,
    path: DataPath,
    /// Segments closed so far.
    closed: usize,
    /// When the stream is to be woken if nothing comes.
    wake_ns: Option<u64>,
}

impl Receiver {
    /// A stream with its connected socket; `control_packets` came before T0.
    pub(crate) fn new(
        context: StreamContext,
        socket: UdpSocket,
        (control_packets, buffer, gro): (u64, Option<(u64, bool)>, bool),
        setup_us: Option<u64>,
    ) -> Self {
        let traffic = context.session.traffic();
        let asked = Asked {
            verify: traffic.verify,
            echo: traffic.echo,
        };
        let size = if asked.verify || asked.echo {
            MAX_PAYLOAD
        } else {
            0
        };
        let setup = DatagramSetup {
            segments: context.segments().to_vec(),
            interval_ns: context.run.assignment.interval_ns,
            linger_ns: context.run.assignment.linger_ns,
            t0_ns: context.t0_ns,
            clock: context.session.sender_clock(),
            asked,
        };
        let mut meter = DatagramMeter::new(setup);
        meter.control(control_packets);
        let path = DataPath {
            call: if gro { "gro" } else { "recvmmsg" }.to_owned(),
            buffer_bytes: buffer.map(|(bytes, _)| bytes),
            buffer_forced: buffer.map(|(_, forced)| forced),
            setup_us,
            ..DataPath::default()
        };
        Self {
            gro,
            meter,
            finals: Finals::default(),
            host: context.host_meter(),
            stamps: Stamps::new(realtime_offset(context.clock()), context.clock().now_ns()),
            asked,
            pattern: pattern(size),
            bundles: Bundles::default(),
            drops: socket.drops().ok(),
            rcvbuf_bytes: buffer.map(|(bytes, _)| bytes),
            control_packets,
            path,
            closed: 0,
            wake_ns: None,
            context,
            socket,
        }
    }
}

impl drive::Stream for Receiver {
    /// Takes in what is there, cuts rows, closes segments, says what it waits for.
    fn step(&mut self, now_ns: u64, scratch: &mut Scratch) -> Next {
        if let Some(wake_ns) = self.wake_ns.take() {
            self.host.woke(wake_ns, now_ns);
        }
        let segments = self.context.segments().len();
        if self.closed >= segments {
            return Next::Done;
        }
        let full = match self.take_in(scratch) {
            Ok(full) => full,
            Err(reason) => {
                self.give_up(&reason);
                return Next::Done;
            }
        };
        let now_ns = self.context.now_ns();
        if now_ns >= self.meter.next_cut_ns() {
            self.advance(now_ns);
        }
        let deadline_ns = loop {
            match self.look_at_front(now_ns) {
                Front::Close => self.closed += 1,
                Front::Wait(deadline_ns) => break deadline_ns,
                Front::Stop => {
                    self.flush();
                    let ending = self.context.ending();
                    self.context.close_rest(self.closed, &ending);
                    return Next::Done;
                }
            }
        };
        self.flush();
        if full || self.closed == segments {
            return Next::Again; // there may be more
        }
        let host_ns = self
            .context
            .host_ns(deadline_ns.min(self.meter.next_cut_ns()));
        self.wake_ns = Some(host_ns);
        Next::Readable(host_ns)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn host(&mut self) -> &mut HostMeter {
        &mut self.host
    }
}

impl Receiver {
    /// One call's worth of datagrams; whether there may be more.
    fn take_in(&mut self, scratch: &mut Scratch) -> Result<bool, String> {
        // What is compared has to be read whole, as bundles are.
        let (batch, slots) = scratch.batch(self.gro || self.asked.verify);
        let count = batch
            .receive(&self.socket)
            .map_err(|error| crate::session::describe(&error))?;
        if count > 0 {
            self.count_all(batch);
        }
        Ok(count == slots)
    }

    fn count_all(&mut self, batch: &ReceiveBatch) {
        let clock = self.context.clock();
        let (now_ns, offset) = (clock.now_ns(), realtime_offset(clock));
        if self.stamps.read(offset, now_ns) {
            self.meter.mark(Flags::CLOCK_STEP);
        }
        for datagram in batch.datagrams() {
            self.count(&datagram);
        }
    }

    #[inline]
    fn count(&mut self, datagram: &Datagram<'_>) {
        let context = &self.context;
        let Ok(header) = ProbeHeader::decode(datagram.payload) else {
            return;
        };
        if header.tag != context.tag() {
            return; // queued before the socket was connected, or a stranger's
        }
        let cohort = match header.kind {
            ProbeKind::Data { cohort } => cohort,
            ProbeKind::Hello | ProbeKind::HelloAck => {
                self.control_packets += 1;
                self.meter.control(1);
                return;
            }
            ProbeKind::Echo => return, // none of ours is answered by a receiver
        };
        let arrival_ns = self.stamps.arrival_ns(datagram.realtime_ns);
        let at_ns = arrival_ns.saturating_sub(context.t0_ns);
        if at_ns >= self.meter.next_cut_ns() {
            self.advance(at_ns);
        }
        if self.gro {
            self.bundles.seen(datagram.bundle);
        }
        if self.asked.verify && !is_intact(datagram.payload, &self.pattern) {
            self.meter.corrupt(cohort);
            return;
        }
        let received = self.meter.arrival(&Packet {
            sequence: header.sequence,
            cohort,
            bytes: datagram.length as u64,
            at_ns,
            arrival_ns,
            send_ns: header.send_ns,
            ttl: datagram.ttl,
            tos: datagram.tos,
        });
        if received && self.asked.echo {
            self.send_back(&header, datagram.length, cohort);
        }
    }

    /// Answers a packet that counts as received, with as many bytes. The socket is
    /// connected: an answer goes to the generator and to nobody else.
    #[inline]
    fn send_back(&mut self, header: &ProbeHeader, bytes: usize, cohort: u8) {
        let reply = ProbeHeader {
            kind: ProbeKind::Echo,
            ..*header
        };
        let Some(packet) = self.pattern.get_mut(..bytes) else {
            return;
        };
        let sent = reply.encode(packet).is_ok()
            && matches!(
                self.socket.send(packet),
                SendOutcome::Sent | SendOutcome::NoBufs
            );
        if sent {
            self.meter.echoed(cohort);
        }
    }

    /// Cuts the rows that are due, with what the host says of them.
    fn advance(&mut self, now_ns: u64) {
        self.sample();
        self.meter.advance(now_ns);
    }

    fn sample(&mut self) {
        let drops = self.socket.drops().ok();
        let mut dropped = match (drops, self.drops) {
            (Some(now), Some(then)) => Some(u64::from(now.wrapping_sub(then))),
            _ => None,
        };
        if self.gro {
            dropped = dropped.map(|bundles| self.bundles.datagrams(bundles));
        }
        self.drops = drops;
        let sample = self.host.sample();
        self.meter.host(&sample, dropped, self.rcvbuf_bytes);
        if self.gro {
            // One stamp a bundle, and drops are counted in bundles.
            self.meter.mark(Flags::ESTIMATED);
        }
    }

    /// What to do about the segment that is open longest.
    ///
    /// 1. Everything sent has arrived: close it.
    /// 2. The final count is known: wait until the linger is over.
    /// 3. It is not known: wait longer, if a link may still bring it.
    /// 4. The run was stopped: at most [`STOP_DRAIN_NS`] more.
    fn look_at_front(&mut self, now_ns: u64) -> Front {
        let context = &self.context;
        let stopped_ns = context
            .run
            .stopped_ns()
            .map(|at_ns| at_ns.saturating_sub(context.t0_ns));
        let Some(front) = self.meter.front() else {
            return if stopped_ns.is_some() {
                Front::Stop
            } else {
                Front::Wait(self.meter.next_cut_ns())
            };
        };
        let end_ns = context.segments()[front].end_ns();
        let linger_ns = context.run.assignment.linger_ns;
        let last = self.finals.of(context, front);
        let mut deadline_ns = match last {
            Some(last) if self.meter.has_all(last) => now_ns,
            Some(last) => last.ended_ns.min(end_ns).saturating_add(linger_ns),
            None if context.session.link().is_some() => end_ns
                .saturating_add(linger_ns)
                .saturating_add(FINAL_GRACE_NS),
            None => end_ns.saturating_add(linger_ns),
        };
        if let Some(stopped_ns) = stopped_ns {
            deadline_ns = deadline_ns.min(stopped_ns.saturating_add(STOP_DRAIN_NS));
        }
        if now_ns < deadline_ns {
            let soon = last.is_none() && (now_ns >= end_ns || stopped_ns.is_some());
            let look_ns = if soon { LOOK_SOON_NS } else { LOOK_EVERY_NS };
            return Front::Wait(deadline_ns.min(now_ns.saturating_add(look_ns)));
        }
        let cut_off = last.map_or(now_ns, |last| last.ended_ns) < end_ns;
        let ending = if cut_off {
            context.ending()
        } else {
            Ending::Completed
        };
        let last = last.cloned();
        self.sample();
        self.meter.close_front(now_ns, last.as_ref(), ending);
        Front::Close
    }

    fn flush(&mut self) {
        let output = self.meter.take_output();
        if output.is_empty() {
            return;
        }
        let (control, path, host) = (self.control_packets, &self.path, &mut self.host);
        let (stamps, estimated) = (&mut self.stamps, self.bundles.dropped);
        give_out(&self.context, output, |segment, closed| {
            closed.control_packets = Some(if segment == 0 { control } else { 0 });
            closed.frozen_ns = host.take_frozen_ns();
            closed.clock_step_ns = Some(stamps.take_step_ns());
            if estimated {
                closed.warnings.push("drops-estimated");
            }
            closed.path = path.clone();
        });
    }

    /// The socket failed: everything open, and everything to come, ends so.
    fn give_up(&mut self, reason: &str) {
        let ending = Ending::Failed {
            reason: reason.to_owned(),
        };
        let now_ns = self.context.now_ns();
        let mut first_unopened = 0;
        while let Some(front) = self.meter.front() {
            self.meter.close_front(now_ns, None, ending.clone());
            first_unopened = front + 1;
        }
        self.flush();
        self.context.close_rest(first_unopened, &ending);
    }
}

/// Largest UDP payload.
const MAX_PAYLOAD: usize = 65_507;

/// How large the bundles are in which datagrams arrive. The kernel counts what a
/// socket drops in bundles; most bundles of a flow are of one size.
#[derive(Debug)]
struct Bundles {
    /// Datagrams that came in bundles of each size since the last tick.
    sizes: [u64; MAX_SEGMENTS as usize + 1],
    /// The size of most.
    usual: u64,
    /// Some were dropped.
    dropped: bool,
}

impl Default for Bundles {
    fn default() -> Self {
        Self {
            sizes: [0; MAX_SEGMENTS as usize + 1],
            usual: 1,
            dropped: false,
        }
    }
}

impl Bundles {
    /// A datagram came with so many in one bundle.
    #[inline]
    fn seen(&mut self, size: u32) {
        self.sizes[size.min(MAX_SEGMENTS) as usize] += 1;
    }

    /// How many datagrams so many dropped bundles held, about.
    fn datagrams(&mut self, bundles: u64) -> u64 {
        let sizes = self.sizes.iter().zip(0_u64..);
        if let Some((1.., size)) = sizes.max_by_key(|(datagrams, _)| **datagrams) {
            self.usual = size.max(1);
        }
        self.sizes.fill(0);
        self.dropped |= bundles > 0;
        bundles.saturating_mul(self.usual)
    }
}

/// What is to be done about the front segment.
enum Front {
    /// The front segment was closed.
    Close,
    /// Nothing to do before this instant from T0, ns.
    Wait(u64),
    /// Stopped before the next segment began.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_bundles_count_as_most_of_those_that_came() {
        let mut bundles = Bundles::default();
        assert_eq!(bundles.datagrams(0), 0);
        assert_eq!(bundles.datagrams(3), 3, "nothing came yet");
        for size in [46, 46, 46, 12, 12, 64].repeat(46) {
            bundles.seen(size);
        }
        assert_eq!(bundles.datagrams(10), 460);
        assert_eq!(bundles.datagrams(2), 92, "none came since");
        bundles.seen(u32::MAX);
        assert_eq!(bundles.datagrams(1), 64);
        assert!(bundles.dropped);
    }
}
