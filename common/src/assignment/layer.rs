//! What a packet counts for at each layer, and how many a rate makes.

use super::{Layer, Rate, SocketTraffic};

/// UDP header, bytes (RFC 768).
const UDP: u32 = 8;
/// IPv4 header without options, bytes (RFC 791).
const IPV4: u32 = 20;
/// IPv6 header without extensions, bytes (RFC 8200).
const IPV6: u32 = 40;
/// Ethernet header, bytes: addresses and type (IEEE 802.3).
const ETHERNET: u32 = 14;
/// Frame check sequence, bytes.
const CHECKSUM: u32 = 4;
/// Least Ethernet frame with its check sequence, bytes; shorter ones are padded.
const FRAME_LEAST: u32 = 64;
/// Preamble with start delimiter, and least gap between frames, bytes.
const PREAMBLE_AND_GAP: u32 = 8 + 12;

impl Layer {
    /// Bytes that a UDP packet of so much payload counts for, where it fits one
    /// frame. Frames are padded on the wire only: an emulated link does not, and
    /// tcpdump does not see it.
    pub const fn counted_bytes(self, payload: u32, ipv6: bool) -> u32 {
        let ip = payload + UDP + if ipv6 { IPV6 } else { IPV4 };
        let frame = ip + ETHERNET;
        match self {
            Self::Payload => payload,
            Self::Ip => ip,
            Self::Frame => frame,
            Self::Wire if frame + CHECKSUM < FRAME_LEAST => FRAME_LEAST + PREAMBLE_AND_GAP,
            Self::Wire => frame + CHECKSUM + PREAMBLE_AND_GAP,
        }
    }
}

impl SocketTraffic {
    /// The highest rate in the unit of [`rate`](Self::rate), its ramp counted in;
    /// `None` where the rate has no number.
    pub fn peak_rate(&self) -> Option<u64> {
        let (Rate::BitsPerSecond(rate) | Rate::MilliPacketsPerSecond(rate)) = self.rate else {
            return None;
        };
        // Before a point at 0 the rate itself never holds.
        let from_the_start = self.ramp.first().is_none_or(|first| first.at_ns > 0);
        let points = self.ramp.iter().map(|point| point.rate);
        points.chain(from_the_start.then_some(rate)).max()
    }

    /// The highest packet rate of a UDP session of so many streams, thousandths per
    /// second, rounded; `None` for [`Rate::Max`].
    pub fn peak_milli_pps(&self, ipv6: bool, streams: u64) -> Option<u64> {
        let rounded = |of: u128, by: u128| u64::try_from((of + by / 2) / by).unwrap_or(u64::MAX);
        match self.rate {
            Rate::Max => None,
            Rate::MilliPacketsPerSecond(_) => self.peak_rate(),
            Rate::BitsPerSecond(_) => {
                let bits = u128::from(self.layer.counted_bytes(self.size, ipv6).max(1)) * 8;
                Some(rounded(u128::from(self.peak_rate()?) * 1_000, bits))
            }
            Rate::Arrival => {
                let mean_ns = self.arrival.mean_spacing(None, None).ok()??;
                Some((streams as f64 * 1e12 / mean_ns).round() as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::{RampPoint, Transport};
    use crate::traffic::Law;
    use crate::unit::Span;

    #[test]
    fn headers_by_layer() {
        for (layer, v4, v6) in [
            (Layer::Payload, 1_000, 1_000),
            (Layer::Ip, 1_028, 1_048),
            (Layer::Frame, 1_042, 1_062),
            (Layer::Wire, 1_066, 1_086),
        ] {
            assert_eq!(layer.counted_bytes(1_000, false), v4, "{layer:?}");
            assert_eq!(layer.counted_bytes(1_000, true), v6, "{layer:?}");
        }
        // The least frame: 64 bytes, and 20 more that pass on the wire.
        assert_eq!(Layer::Wire.counted_bytes(12, false), 84);
        assert_eq!(Layer::Wire.counted_bytes(18, false), 84);
        assert_eq!(Layer::Wire.counted_bytes(19, false), 85);
        assert_eq!(Layer::Frame.counted_bytes(12, false), 54);
    }

    #[test]
    fn the_peak_is_that_of_the_ramp() {
        let mut traffic = SocketTraffic::new(Transport::Udp, Rate::BitsPerSecond(8_000_000), 1_000);
        assert_eq!(traffic.peak_milli_pps(false, 1), Some(1_000_000));
        traffic.layer = Layer::Ip;
        assert_eq!(traffic.peak_milli_pps(false, 1), Some(972_763));
        let point = |at_ns, rate| RampPoint { at_ns, rate };
        traffic.layer = Layer::Payload;
        traffic.ramp = vec![point(0, 800_000), point(5, 1_600_000)];
        assert_eq!(traffic.peak_milli_pps(false, 1), Some(200_000));
        traffic.ramp[0].at_ns = 1;
        assert_eq!(traffic.peak_milli_pps(false, 1), Some(1_000_000));
        traffic.rate = Rate::Max;
        assert_eq!(traffic.peak_milli_pps(false, 1), None);
        traffic.rate = Rate::Arrival;
        let mean = Some(Span::from_millis(2));
        traffic.arrival = Law::Exponential { mean };
        assert_eq!(traffic.peak_milli_pps(true, 3), Some(1_500_000));
    }
}
