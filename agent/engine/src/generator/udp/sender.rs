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
    /// Room for a whole bundle: the pattern once for each packet of `stride` bytes, so that
    /// every packet holds the same, wherever it stands.
    payload: Vec<u8>,
    stride: u32,
    /// Most packets in a bundle.
    most: u32,
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
            payload: pattern(traffic.size as usize).repeat(most as usize),
            stride: traffic.size,
            most,
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
        if place == 0 && bytes != self.stride {
            self.lay_out(bytes);
        }
        let bytes = bytes as usize;
        header
            .encode(&mut self.payload[place * bytes..(place + 1) * bytes])
            .expect("sizes are at least 12, cohorts below 128, 2^56 packets are not sent");
    }

    /// Makes place for packets of another size. A single packet is the pattern's
    /// beginning, whatever its size, so only a larger one than ever needs room.
    #[cold]
    fn lay_out(&mut self, bytes: u32) {
        let size = bytes as usize;
        if self.most > 1 {
            self.payload = pattern(size).repeat(self.most as usize);
            self.stride = bytes;
        } else if size > self.payload.len() {
            self.payload = pattern(size.next_power_of_two());
        }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use weir_common::assignment::{Rate, Transport};

    use super::*;
    use crate::payload::is_intact;
    use crate::socket::{DirectProvider, SocketProvider, UdpRequest};

    #[test]
    fn every_packet_of_any_size_holds_the_pattern() {
        let request = UdpRequest {
            local: (Ipv4Addr::LOCALHOST, 0).into(),
            reuse: false,
            interface: None,
        };
        let socket = || UdpSocket::from_fd(DirectProvider.udp(&request).unwrap()).unwrap();
        let traffic = SocketTraffic::new(Transport::Udp, Rate::Max, 100);
        let expected = pattern(4_096);
        for most in [1_u32, 7] {
            let mut sender = Sender::new(socket(), 1, None, &traffic, most);
            for bytes in [100_u32, 60, 100, 900, 20, 900] {
                for place in 0..most as usize {
                    sender.stamp(place, bytes, 1, 5);
                }
                let packets = sender.payload.chunks(bytes as usize).take(most as usize);
                for (place, packet) in packets.enumerate() {
                    assert!(is_intact(packet, &expected), "{bytes} at {place} of {most}");
                    let header = ProbeHeader::decode(packet).unwrap();
                    assert_eq!(header.sequence, place as u64, "{bytes} of {most}");
                }
            }
        }
    }
}
