//! Rows that follow each other, merged into one.

use super::{DelayColumns, Flags, MoreColumns, Record, TcpColumns, add_counts};
use crate::stats::Histogram;

/// Flags that decide what a row counts for: rows that differ in them stay apart.
const APART: u32 = Flags::WARMUP.0 | Flags::LATE_REPORT.0;

impl Record {
    /// Whether `next` continues this row and may be merged into it.
    pub fn continues_in(&self, next: &Self) -> bool {
        self.run == next.run
            && self.flow == next.flow
            && self.stream == next.stream
            && self.end == next.end
            && self.source == next.source
            && self.flags.0 & APART == next.flags.0 & APART
            && self.start_ns.checked_add(self.length_ns) == Some(next.start_ns)
    }

    /// Merges the row that follows this one: counts add up, states are those
    /// at the end, extremes and distributions are of both. Keeps this row's `k`
    /// and start, and sets [`Flags::COALESCED`].
    pub fn coalesce(&mut self, next: &Self) {
        self.length_ns = self.length_ns.saturating_add(next.length_ns);
        self.flags.insert(next.flags);
        self.flags.insert(Flags::COALESCED);
        self.counters.add(&next.counters);
        both(&mut self.delay, next.delay.as_ref(), DelayColumns::extend);
        both(&mut self.tcp, next.tcp.as_ref(), TcpColumns::extend);
        both(&mut self.more, next.more.as_ref(), MoreColumns::extend);
    }
}

/// Extends a part with the next row's, where both have it.
fn both<T: Clone>(part: &mut Option<T>, next: Option<&T>, extend: fn(&mut T, &T)) {
    match (part, next) {
        (Some(part), Some(next)) => extend(part, next),
        (part @ None, Some(next)) => *part = Some(next.clone()),
        (_, None) => {}
    }
}

fn merge(histogram: &mut Option<Histogram>, next: Option<&Histogram>) {
    both(histogram, next, Histogram::merge);
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl DelayColumns {
    fn extend(&mut self, next: &Self) {
        // The bound of the two together is the wider; unknown for either is
        // unknown for both.
        self.delay_bound_ns = match (&self.delay, &next.delay) {
            (Some(_), Some(_)) => self
                .delay_bound_ns
                .zip(next.delay_bound_ns)
                .map(|(a, b)| a.max(b)),
            (None, Some(_)) => next.delay_bound_ns,
            (_, None) => self.delay_bound_ns,
        };
        merge(&mut self.delay, next.delay.as_ref());
        merge(&mut self.rtt, next.rtt.as_ref());
    }
}

impl TcpColumns {
    fn extend(&mut self, next: &Self) {
        for (sum, next) in [
            (&mut self.acked_bytes, next.acked_bytes),
            (&mut self.retransmits, next.retransmits),
            (&mut self.retrans_bytes, next.retrans_bytes),
            (&mut self.busy_us, next.busy_us),
            (&mut self.rwnd_limited_us, next.rwnd_limited_us),
            (&mut self.sndbuf_limited_us, next.sndbuf_limited_us),
            (&mut self.segs_out, next.segs_out),
        ] {
            *sum = add_counts(*sum, next);
        }
        for (state, next) in [
            (&mut self.cwnd_bytes, next.cwnd_bytes),
            (&mut self.srtt_us, next.srtt_us),
            (&mut self.rttvar_us, next.rttvar_us),
            (&mut self.delivery_bps, next.delivery_bps),
            (&mut self.unacked_bytes, next.unacked_bytes),
        ] {
            *state = next.or(*state);
        }
        self.min_rtt_us = least(self.min_rtt_us, next.min_rtt_us);
    }
}

impl MoreColumns {
    fn extend(&mut self, next: &Self) {
        merge(&mut self.lateness, next.lateness.as_ref());
        for (sum, next) in [
            (&mut self.blocked_us, next.blocked_us),
            (&mut self.control_packets, next.control_packets),
            (&mut self.ttl_changes, next.ttl_changes),
            (&mut self.ce, next.ce),
            (&mut self.corrupt_packets, next.corrupt_packets),
            (&mut self.echo_packets, next.echo_packets),
            (&mut self.cpu_us, next.cpu_us),
            (&mut self.runq_wait_us, next.runq_wait_us),
            (&mut self.throttled_us, next.throttled_us),
        ] {
            *sum = add_counts(*sum, next);
        }
        for (state, next) in [
            (&mut self.sndbuf_bytes, next.sndbuf_bytes),
            (&mut self.rcvbuf_bytes, next.rcvbuf_bytes),
            (&mut self.jitter_ns, next.jitter_ns),
        ] {
            *state = next.or(*state);
        }
        self.reorder_extent_max = self.reorder_extent_max.max(next.reorder_extent_max);
        self.ttl_min = least(self.ttl_min, next.ttl_min);
        self.ttl_max = self.ttl_max.max(next.ttl_max);
        self.dscp_seen = match (self.dscp_seen, next.dscp_seen) {
            (Some(mut seen), Some(next)) => {
                seen.merge(next);
                Some(seen)
            }
            (seen, next) => seen.or(next),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{FlowId, RunId};
    use crate::record::{Counters, DscpSet, End, Source};

    fn row(k: u32, packets: u64) -> Record {
        let histogram = |value: u64| {
            let mut histogram = Histogram::new();
            histogram.record(value);
            Some(histogram)
        };
        let value = u64::from(k) + 1;
        Record {
            run: RunId(1),
            flow: FlowId(2),
            stream: None,
            end: End::Tx,
            k,
            source: Source::Measured,
            start_ns: u64::from(k) * 1_000,
            length_ns: 1_000,
            flags: Flags::default(),
            counters: Counters {
                tx_packets: Some(packets),
                ..Counters::default()
            },
            delay: Some(DelayColumns {
                delay: histogram(value * 1_000_000),
                delay_bound_ns: Some(value),
                rtt: None,
            }),
            tcp: (k > 0).then(|| TcpColumns {
                acked_bytes: Some(value),
                cwnd_bytes: Some(value),
                min_rtt_us: Some(value),
                ..TcpColumns::default()
            }),
            more: Some(MoreColumns {
                lateness: histogram(value * 1_000),
                cpu_us: Some(value),
                jitter_ns: (k != 2).then_some(value),
                ttl_min: Some(value),
                ttl_max: Some(value),
                dscp_seen: Some(DscpSet::from_bits(1 << k)),
                ..MoreColumns::default()
            }),
        }
    }

    #[test]
    fn counts_add_up_and_states_are_the_last() {
        let mut merged = row(0, 10);
        for k in 1..3 {
            let next = row(k, 10);
            assert!(merged.continues_in(&next));
            merged.coalesce(&next);
        }
        assert_eq!((merged.k, merged.start_ns, merged.length_ns), (0, 0, 3_000));
        assert_eq!(merged.flags.names(), ["coalesced"]);
        assert_eq!(merged.counters.tx_packets, Some(30));
        let delay = merged.delay.unwrap();
        let histogram = delay.delay.unwrap();
        assert_eq!((histogram.count(), delay.delay_bound_ns), (3, Some(3)));
        assert_eq!(
            (histogram.min_ns(), histogram.max_ns()),
            (Some(1_000_000), Some(3_000_000))
        );
        let tcp = merged.tcp.unwrap();
        assert_eq!(
            (tcp.acked_bytes, tcp.cwnd_bytes, tcp.min_rtt_us),
            (Some(5), Some(3), Some(2))
        );
        let more = merged.more.unwrap();
        assert_eq!((more.cpu_us, more.jitter_ns), (Some(6), Some(2)));
        assert_eq!((more.ttl_min, more.ttl_max), (Some(1), Some(3)));
        assert_eq!(more.dscp_seen, Some(DscpSet::from_bits(0b111)));
        assert_eq!(more.lateness.unwrap().count(), 3);
    }

    #[test]
    fn rows_that_mean_different_things_stay_apart() {
        let first = row(0, 1);
        assert!(!first.continues_in(&row(2, 1)), "not the next one");
        let apart = |change: fn(&mut Record)| {
            let mut next = row(1, 1);
            change(&mut next);
            !first.continues_in(&next)
        };
        assert!(apart(|next| next.flags.insert(Flags::WARMUP)));
        assert!(apart(|next| next.flags.insert(Flags::LATE_REPORT)));
        assert!(apart(|next| next.stream = Some(0)));
        assert!(apart(|next| next.end = End::Rx));
        assert!(apart(|next| next.source = Source::Reported));
        assert!(!apart(|next| next.flags.insert(Flags::SHORT)));
    }
}
