//! The socket of a stream and the packets on their way to it: stamped, sent singly
//! or as a bundle.

use weir_common::assignment::{OnFull, SocketTraffic};
use weir_wire::probe_header::{ProbeHeader, ProbeKind};

use crate::payload::pattern;
use crate::socket::{Refusal, SendOutcome, UdpSocket};

/// See the module.
pub(super) struct Sender {
    pub(super) socket: UdpSocket,
    tag: u32,
    /// Room for a whole bundle, or for the largest packet so far.
    payload: Vec<u8>,
    /// The number of the next packet.
    pub(super) sequence: u64,
    /// Send buffer in force, and whether it is as large as it should be.
    pub(super) buffer: Option<(u64, bool)>,
    /// A full buffer grows, where that may be forced.
    grows: bool,
}

impl Sender {
    /// For packets of the traffic's size, up to `most` in a bundle.
    pub(super) fn new(
        socket: UdpSocket,
        tag: u32,
        buffer: Option<(u64, bool)>,
        traffic: &SocketTraffic,
        most: u32,
    ) -> Self {
        Self {
            socket,
            tag,
            // The same in every packet, wherever it stands in a bundle.
            payload: pattern(traffic.size as usize).repeat(most as usize),
            sequence: 0,
            buffer,
            grows: traffic.on_full == OnFull::Drop && traffic.window.is_none(),
        }
    }

    /// Writes the header of the packet `place` after the next one to its place in
    /// the payload.
    #[inline]
    pub(super) fn stamp(&mut self, place: usize, bytes: u32, cohort: u8, now_ns: u64) {
        let header = ProbeHeader {
            tag: self.tag,
            kind: ProbeKind::Data { cohort },
            sequence: self.sequence + place as u64,
            send_ns: Some(now_ns),
        };
        let bytes = bytes as usize;
        if (place + 1) * bytes > self.payload.len() {
            self.grow_payload((place + 1) * bytes);
        }
        header
            .encode(&mut self.payload[place * bytes..(place + 1) * bytes])
            .expect("sizes are at least 12, cohorts below 128, 2^56 packets are not sent");
    }

    /// Room for a packet larger than any before it, of a law of sizes: seldom, since the
    /// room doubles.
    #[cold]
    fn grow_payload(&mut self, bytes: usize) {
        self.payload = pattern(bytes.next_power_of_two());
    }

    /// Sends `packets` stamped packets of `bytes` each; `None` if they are more than
    /// one and the kernel makes no bundle of them.
    #[inline]
    pub(super) fn send(&mut self, packets: usize, bytes: u32) -> Option<SendOutcome> {
        let whole = &self.payload[..packets * bytes as usize];
        let outcome = if packets == 1 {
            self.socket.send(whole)
        } else {
            self.socket.send_bundle(whole, bytes as u16)?
        };
        if matches!(outcome, SendOutcome::Sent | SendOutcome::NoBufs) {
            self.sequence += packets as u64;
        }
        Some(outcome)
    }

    /// As [`send`](Self::send); a send buffer that is full grows first.
    #[inline]
    pub(super) fn send_or_grow(&mut self, packets: usize, bytes: u32) -> Option<SendOutcome> {
        let mut outcome = self.send(packets, bytes)?;
        while outcome == SendOutcome::WouldBlock && self.grow_buffer() {
            outcome = self.send(packets, bytes)?;
        }
        Some(outcome)
    }

    /// Doubles the send buffer where that may be forced: a buffer that is full hides
    /// the queue behind it, which alone is to decide what is lost. Says no for good
    /// once it may not, or once the buffer is as large as any queue should be.
    #[cold]
    fn grow_buffer(&mut self) -> bool {
        let Some((bytes, true)) = self.buffer else {
            return false;
        };
        if !self.grows || bytes >= SEND_BUFFER_MOST {
            return false;
        }
        // The kernel doubles what it is asked for.
        let grown = self.socket.force_send_buffer(bytes as usize);
        let grown = grown.map_or(bytes, |size| size.bytes as u64);
        self.buffer = Some((grown.max(bytes), grown > bytes));
        grown > bytes
    }
}

/// What a refused packet is reported as.
pub(super) fn refusal_code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotPermitted => "refused-not-permitted",
        Refusal::TooLarge => "refused-too-large",
        Refusal::Unreachable => "refused-unreachable",
        Refusal::PortUnreachable => "refused-port-unreachable",
        Refusal::Other(_) => "refused-other",
    }
}

/// As far as a send buffer grows by itself, bytes as the kernel counts them: a queue
/// of five seconds at 100 Mbit/s.
const SEND_BUFFER_MOST: u64 = 128 << 20;
