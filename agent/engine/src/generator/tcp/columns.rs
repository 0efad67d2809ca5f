//! TCP_INFO's running totals as the columns of a row.

use weir_common::record::TcpColumns;

use crate::socket::TcpInfo;

/// TCP_INFO's running totals at the last row.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    last: TcpInfo,
}

impl Sampled {
    pub(super) fn columns(&mut self, info: &TcpInfo, unacked_bytes: Option<u64>) -> TcpColumns {
        let last = std::mem::replace(&mut self.last, *info);
        let change = |now: Option<u64>, then: Option<u64>| {
            now.map(|now| now.saturating_sub(then.unwrap_or(0)))
        };
        TcpColumns {
            acked_bytes: change(info.bytes_acked, last.bytes_acked),
            retransmits: Some(u64::from(
                info.total_retrans.saturating_sub(last.total_retrans),
            )),
            retrans_bytes: change(info.bytes_retrans, last.bytes_retrans),
            cwnd_bytes: Some(info.cwnd_bytes()),
            srtt_us: Some(u64::from(info.rtt_us)),
            min_rtt_us: info.min_rtt_us.map(u64::from),
            rttvar_us: Some(u64::from(info.rttvar_us)),
            delivery_bps: info.delivery_rate.map(|bytes| bytes.saturating_mul(8)),
            busy_us: change(info.busy_us, last.busy_us),
            rwnd_limited_us: change(info.rwnd_limited_us, last.rwnd_limited_us),
            sndbuf_limited_us: change(info.sndbuf_limited_us, last.sndbuf_limited_us),
            unacked_bytes,
            segs_out: match (info.segs_out, last.segs_out) {
                (Some(now), then) => Some(u64::from(now.wrapping_sub(then.unwrap_or(0)))),
                (None, _) => None,
            },
        }
    }
}
