//! `struct tcp_info` (tcp(7), include/uapi/linux/tcp.h) read by offset, so that a
//! kernel with a shorter struct only leaves the newer fields unknown.

/// What the kernel knows of one TCP connection. Fields that came with later kernels
/// are `None` where the kernel does not have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Smoothed round-trip time (RFC 6298), us.
    pub rtt_us: u32,
    /// Its mean deviation, us.
    pub rttvar_us: u32,
    /// Least round-trip time of the connection (4.6), us; `None` before the first
    /// sample.
    pub min_rtt_us: Option<u32>,
    /// Whether every segment carries timestamps (RFC 7323).
    pub timestamps: bool,
    /// Sender's maximum segment size, bytes: payload of a full segment.
    pub snd_mss: u32,
    /// Congestion window, segments.
    pub snd_cwnd: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked_segments: u32,
    /// Segments retransmitted since the connection began.
    pub total_retrans: u32,
    /// Sequence numbers acknowledged (4.1): payload bytes, plus one for the SYN of
    /// the dialling end and one for the FIN.
    pub bytes_acked: Option<u64>,
    /// Payload bytes received in order (4.1).
    pub bytes_received: Option<u64>,
    /// Segments sent, retransmissions and pure acknowledgements included (4.2).
    pub segs_out: Option<u32>,
    /// Segments received (4.2).
    pub segs_in: Option<u32>,
    /// Bytes in the send buffer that were never sent (4.6).
    pub notsent_bytes: Option<u32>,
    /// Latest delivery-rate sample (4.9), bytes a second.
    pub delivery_rate: Option<u64>,
    /// Time with data in flight or waiting (4.10), us.
    pub busy_us: Option<u64>,
    /// Time held by the receiver's window (4.10), us.
    pub rwnd_limited_us: Option<u64>,
    /// Time held by the own send buffer (4.10), us.
    pub sndbuf_limited_us: Option<u64>,
    /// Payload bytes sent, retransmissions included (4.19).
    pub bytes_sent: Option<u64>,
    /// Payload bytes retransmitted (4.19).
    pub bytes_retrans: Option<u64>,
}

/// As much of the struct as is read here.
pub(super) const TCP_INFO_BYTES: usize = 216;

/// TCPI_OPT_TIMESTAMPS of tcpi_options.
const OPT_TIMESTAMPS: u8 = 1;

/// The option with its padding, as Linux sends it.
const TIMESTAMP_BYTES: u32 = 12;

impl TcpInfo {
    /// Congestion window in bytes.
    pub fn cwnd_bytes(&self) -> u64 {
        u64::from(self.snd_cwnd) * u64::from(self.snd_mss)
    }

    /// Maximum segment size as it is told in a SYN: the options that every segment
    /// carries (timestamps, RFC 7323) counted in.
    pub fn mss_with_options(&self) -> u32 {
        let options = if self.timestamps { TIMESTAMP_BYTES } else { 0 };
        self.snd_mss + options
    }

    /// Estimated bytes in flight: segments not acknowledged, at the full size.
    pub fn unacked_bytes(&self) -> u64 {
        u64::from(self.unacked_segments) * u64::from(self.snd_mss)
    }

    /// Reads the struct from what the kernel wrote, however short.
    pub fn parse(bytes: &[u8]) -> Self {
        let u32_at = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let u64_at = |at: usize| -> Option<u64> {
            Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        Self {
            timestamps: bytes
                .get(5)
                .is_some_and(|options| options & OPT_TIMESTAMPS != 0),
            snd_mss: u32_at(16).unwrap_or(0),
            unacked_segments: u32_at(24).unwrap_or(0),
            rtt_us: u32_at(68).unwrap_or(0),
            rttvar_us: u32_at(72).unwrap_or(0),
            snd_cwnd: u32_at(80).unwrap_or(0),
            total_retrans: u32_at(100).unwrap_or(0),
            bytes_acked: u64_at(120),
            bytes_received: u64_at(128),
            segs_out: u32_at(136),
            segs_in: u32_at(140),
            notsent_bytes: u32_at(144),
            min_rtt_us: u32_at(148).filter(|rtt_us| *rtt_us != u32::MAX),
            delivery_rate: u64_at(160),
            busy_us: u64_at(168),
            rwnd_limited_us: u64_at(176),
            sndbuf_limited_us: u64_at(184),
            bytes_sent: u64_at(200),
            bytes_retrans: u64_at(208),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_struct_leaves_newer_fields_unknown() {
        let mut bytes = [0_u8; 104]; // Linux 3.2
        bytes[16..20].copy_from_slice(&1448_u32.to_ne_bytes());
        bytes[80..84].copy_from_slice(&10_u32.to_ne_bytes());
        bytes[100..104].copy_from_slice(&3_u32.to_ne_bytes());
        let info = TcpInfo::parse(&bytes);
        assert_eq!((info.cwnd_bytes(), info.total_retrans), (14480, 3));
        assert_eq!(
            (info.bytes_acked, info.bytes_retrans, info.min_rtt_us),
            (None, None, None)
        );
    }

    #[test]
    fn no_sample_of_the_least_rtt_is_unknown() {
        let mut bytes = [0_u8; TCP_INFO_BYTES];
        bytes[148..152].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(TcpInfo::parse(&bytes).min_rtt_us, None);
        bytes[148..152].copy_from_slice(&42_u32.to_ne_bytes());
        assert_eq!(TcpInfo::parse(&bytes).min_rtt_us, Some(42));
    }

    proptest! {
        #[test]
        fn any_bytes_parse(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let info = TcpInfo::parse(&bytes);
            prop_assert_eq!(info.bytes_retrans.is_some(), bytes.len() >= TCP_INFO_BYTES);
        }
    }
}
