//! The figures of one flow from the manifests of its two ends.
//!
//! Identities (docs/records.md): offered = sent + lost.sender;
//! sent = received + lost.network + lost.receiver.

mod rates;

use weir_common::record::{Counters, FlowClosed, FlowOutage, Window};
use weir_common::stats::{Histogram, Lengths};
use weir_common::traffic::Transport;

pub(super) use self::rates::{Moved, rates, segments};
use super::document::{
    Amount, Bursts, Cpu, Distances, Distribution, Echo, JitterMeans, LengthClass, Limited, Lost,
    LostDetail, Outage, Outages, Path, Pdv, Tcp, Ttl,
};
use super::evidence::FlowEvidence;
use super::validity::throttled;

/// Loss of a UDP flow, by place and by cause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Losses {
    pub(super) lost: Lost,
    pub(super) detail: LostDetail,
    /// lost.network / sent; null when an end is missing or nothing was sent.
    pub(super) ratio: Option<f64>,
    /// More received than sent: some counter is wrong.
    pub(super) excess: u64,
}

/// Splits what was sent and did not arrive by place.
pub(super) fn losses(evidence: &FlowEvidence) -> Losses {
    let tx = evidence.tx.window();
    let rx = evidence.rx.window();
    // Rows of an end that did not close may be missing: what they do not hold
    // is not known to be lost.
    let both = evidence.tx.closed.is_some() && evidence.rx.closed.is_some();
    let sent = tx.and_then(|tx| tx.tx_packets).filter(|_| both);
    let received = rx.and_then(|rx| rx.rx_packets).filter(|_| both);
    let missing = sent
        .zip(received)
        .map(|(sent, received)| sent.saturating_sub(received));
    let excess = sent
        .zip(received)
        .map_or(0, |(sent, received)| received.saturating_sub(sent));
    // Drops at the socket can include copies and packets outside the window,
    // so they never explain more than what is missing.
    let socket = missing
        .zip(rx)
        .map(|(missing, rx)| rx.socket_drops.unwrap_or(0).min(missing));
    let network = missing
        .zip(socket)
        .map(|(missing, socket)| missing - socket);
    let egress = tx.map(|tx| tx.egress_packets.unwrap_or(0));
    let egress = egress
        .zip(network)
        .map(|(egress, network)| egress.min(network));
    let window = evidence.rx.closed.as_ref().map(|closed| &closed.window);
    Losses {
        lost: Lost {
            sender: tx.map(|tx| tx.lost_sender()),
            network,
            receiver: socket,
        },
        detail: LostDetail {
            behind: tx.map(|tx| tx.behind_packets.unwrap_or(0)),
            blocked: tx.map(|tx| tx.blocked_packets.unwrap_or(0)),
            refused: tx.map(|tx| tx.refused_packets.unwrap_or(0)),
            egress,
            path: network
                .zip(egress)
                .map(|(network, egress)| network - egress),
            socket,
            head: window.and_then(|window| window.lost_head),
            tail: window.and_then(|window| window.lost_tail),
        },
        ratio: sent
            .filter(|&sent| sent > 0)
            .zip(network)
            .map(|(sent, network)| network as f64 / sent as f64),
        excess,
    }
}

/// Bursts of consecutive losses, when there was one.
pub(super) fn bursts(rx: &FlowClosed) -> Option<Bursts> {
    let count = rx.window.loss_bursts.filter(|&count| count > 0)?;
    let lost = rx.window.counters.lost_packets?;
    let distances = rx.window.loss_burst_distances.as_ref();
    Some(Bursts {
        mean: lost as f64 / count as f64,
        max: rx.window.loss_burst_max?,
        count,
        lengths: rx
            .window
            .loss_burst_lengths
            .as_ref()
            .map(classes)
            .unwrap_or_default(),
        distances: distances.and_then(|distances| {
            Some(Distances {
                mean: distances.mean()?,
                min: distances.min,
                max: distances.max,
                lengths: classes(distances),
            })
        }),
    })
}

/// The classes of length that have any.
fn classes(lengths: &Lengths) -> Vec<LengthClass> {
    let last = lengths.classes.len() - 1;
    let class = |(at, n): (usize, &u64)| LengthClass {
        from: 1 << at,
        to: (at < last).then_some((2 << at) - 1),
        n: *n,
    };
    let used = lengths.classes.iter().enumerate().filter(|(_, n)| **n > 0);
    used.map(class).collect()
}

/// The receiver's outages.
pub(super) fn outages(rx: &FlowClosed, streams: u16) -> Option<Outages> {
    let outages = rx.window.outages.as_ref()?;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let outage = |outage: &FlowOutage| Outage {
        from_s: seconds(outage.from_ns),
        to_s: outage.to_ns().map(seconds),
        length_s: seconds(outage.length_ns),
        lost: outage.lost_packets,
        first_seq: outage.first_seq,
        last_seq: outage.last_seq,
        stream: (streams > 1).then_some(outage.stream),
    };
    let longest = outages.kept.iter().map(|outage| outage.length_ns).max();
    Some(Outages {
        count: outages.count,
        sum_s: seconds(outages.sum_ns),
        max_s: seconds(longest.unwrap_or(0)),
        resolution_s: outages.resolution_ns.map(seconds),
        kept: outages.kept.iter().map(outage).collect(),
    })
}

/// Replies of an echo flow; `None` for other flows.
pub(super) fn echo(evidence: &FlowEvidence) -> Option<Echo> {
    let of = |closed: &Option<FlowClosed>| closed.as_ref()?.window.echo_packets;
    let (replies, returned) = (of(&evidence.rx.closed), of(&evidence.tx.closed));
    let lost_replies = replies
        .zip(returned)
        .map(|(replies, returned)| replies.saturating_sub(returned));
    (replies.is_some() || returned.is_some()).then_some(Echo {
        replies,
        returned,
        lost_replies,
    })
}

/// What the schedule asked for; `None` for unlimited traffic.
pub(super) fn offered(tx: Option<Counters>, scheduled: bool) -> Option<Amount> {
    let tx = tx.unwrap_or_default();
    scheduled.then_some(Amount {
        packets: tx.offered_packets,
        bytes: tx.offered_bytes,
    })
}

/// Sent and received amounts.
pub(super) fn amounts(evidence: &FlowEvidence) -> (Option<Amount>, Option<Amount>) {
    let sent = evidence.tx.window().map(|tx| Amount {
        packets: tx.tx_packets,
        bytes: Some(tx.tx_bytes.unwrap_or(0)),
    });
    let received = evidence.rx.window().map(|rx| Amount {
        packets: rx.rx_packets,
        bytes: Some(rx.rx_bytes.unwrap_or(0)),
    });
    (sent, received)
}

/// Bits per second of an amount over a time.
fn rate(bytes: Option<u64>, seconds: f64) -> Option<f64> {
    bytes
        .filter(|_| seconds > 0.0)
        .map(|bytes| bytes as f64 * 8.0 / seconds)
}

/// Nanoseconds as microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// A histogram's figures in microseconds; `None` without samples.
pub(super) fn distribution(histogram: &Histogram) -> Option<Distribution> {
    let percentile = |percent| histogram.percentile_ns(percent).map(us);
    Some(Distribution {
        n: histogram.count(),
        min: us(histogram.min_ns()?),
        mean: histogram.mean_ns()? / 1e3,
        p50: percentile(50.0)?,
        p90: percentile(90.0)?,
        p99: percentile(99.0)?,
        p999: percentile(99.9)?,
        max: us(histogram.max_ns()?),
        sd: histogram.sd_ns().unwrap_or(0.0) / 1e3,
        ..Distribution::default()
    })
}

/// How two clocks stand that differ by at most so much from what is known of them.
pub(super) fn relation(bound_ns: Option<u64>) -> &'static str {
    match bound_ns {
        Some(0) => "same-kernel",
        Some(_) => "estimated",
        None => "relative",
    }
}

/// One-way delay and its variation.
pub(super) fn delay(window: &Window) -> (Option<Distribution>, Option<Pdv>) {
    let Some(mut delay) = window.delay.as_ref().and_then(distribution) else {
        return (None, None);
    };
    delay.clock = Some(relation(window.delay_bound_ns).into());
    delay.bound = window.delay_bound_ns.map(us);
    delay.stamps = Some("user>kernel".into());
    let above = |percentile: f64| (percentile - delay.min).max(0.0);
    let pdv = Pdv {
        p50: above(delay.p50),
        p90: above(delay.p90),
        p99: above(delay.p99),
        p999: above(delay.p999),
        max: above(delay.max),
    };
    (Some(delay), Some(pdv))
}

/// Round-trip time: of each reply of an echo flow, or sampled from TCP_INFO once
/// an interval.
pub(super) fn rtt(window: &Window, transport: Transport) -> Option<Distribution> {
    let mut rtt = window.rtt.as_ref().and_then(distribution)?;
    let source = match transport {
        Transport::Udp => "echo",
        Transport::Tcp => "tcp_info",
    };
    rtt.source = Some(source.into());
    Some(rtt)
}

/// RFC 3550 jitter at the end of the window, and the two means.
pub(super) fn jitter(window: &Window) -> (Option<f64>, Option<JitterMeans>) {
    let means = JitterMeans {
        rfc3550_mean_us: window.jitter_mean_ns.map(us),
        ipdv_mean_abs_us: window.ipdv_mean_abs_ns.map(us),
    };
    let known = means.rfc3550_mean_us.is_some() || means.ipdv_mean_abs_us.is_some();
    (window.jitter_ns.map(us), known.then_some(means))
}

/// TTL range seen.
pub(super) fn ttl(window: &Window) -> Option<Ttl> {
    let changes = window.ttl_changes.unwrap_or(0);
    window.ttl.map(|(min, max)| Ttl { min, max, changes })
}

/// What only TCP has.
pub(super) fn tcp(evidence: &FlowEvidence, seconds: f64, streams: u16) -> Tcp {
    let tx = evidence.tx.closed.as_ref();
    let rx = evidence.rx.closed.as_ref();
    let window = tx.map(|tx| &tx.window);
    // The kernel's clocks run for each stream.
    let streams = f64::from(streams.max(1));
    let time = |pick: fn(&Window) -> Option<u64>| {
        window.and_then(pick).map(|us| us as f64 / 1e6 / streams)
    };
    let busy = time(|window| window.busy_us);
    let receiver = time(|window| window.rwnd_limited_us);
    let buffer = time(|window| window.sndbuf_limited_us);
    // They tick in jiffies and are read shortly after the window's end, so a
    // difference may come out just below 0.
    let network =
        busy.map(|busy| (busy - receiver.unwrap_or(0.0) - buffer.unwrap_or(0.0)).max(0.0));
    Tcp {
        cc: tx.and_then(|tx| tx.path.cc.clone()),
        mss: tx.and_then(|tx| tx.path.mss),
        acked_bytes: window.and_then(|window| window.acked_bytes),
        drained_bytes: rx.and_then(|rx| rx.drained_bytes),
        unread_bytes: rx.and_then(|rx| rx.unread_bytes),
        corrupt_bytes: rx.and_then(|rx| rx.corrupt_bytes),
        retransmitted_bytes: window.and_then(|window| window.retrans_bytes),
        setup_us: tx
            .and_then(|tx| tx.path.setup_us)
            .max(rx.and_then(|rx| rx.path.setup_us)),
        limited_s: Limited {
            network,
            receiver,
            buffer,
            app: busy.map(|busy| (seconds - busy).max(0.0)),
        },
    }
}

/// Ways the kernel was used, both ends together.
pub(super) fn path(evidence: &FlowEvidence) -> Path {
    let tx = evidence.tx.closed.as_ref();
    let rx = evidence.rx.closed.as_ref();
    Path {
        gso: tx.and_then(|tx| tx.path.gso.clone()),
        pacing: tx.and_then(|tx| tx.path.pacing.clone()),
        tx: tx.map(|tx| tx.path.call.clone()),
        rx: rx.map(|rx| rx.path.call.clone()),
        rng: tx.and_then(|tx| tx.path.rng.clone()),
        tx_thread: tx.and_then(|tx| tx.path.thread.clone()),
        rx_thread: rx.and_then(|rx| rx.path.thread.clone()),
        tx_cpus: tx.and_then(|tx| tx.path.cpus.clone()),
        rx_cpus: rx.and_then(|rx| rx.path.cpus.clone()),
        sndbuf_bytes: tx.and_then(|tx| tx.path.buffer_bytes),
        rcvbuf_bytes: rx.and_then(|rx| rx.path.buffer_bytes),
        link: tx.or(rx).map(|closed| closed.link),
    }
}

/// CPU shares of the window.
pub(super) fn cpu(evidence: &FlowEvidence, seconds: f64, streams: u16) -> Cpu {
    let share = |us: Option<u64>| {
        us.filter(|_| seconds > 0.0)
            .map(|us| us as f64 / 1e4 / seconds)
    };
    let tx = evidence.tx.closed.as_ref().map(|closed| &closed.window);
    let rx = evidence.rx.closed.as_ref().map(|closed| &closed.window);
    let waited = tx
        .and_then(|window| window.runq_wait_us)
        .max(rx.and_then(|window| window.runq_wait_us));
    let ends = [&evidence.tx, &evidence.rx].into_iter();
    let throttled = ends
        .filter_map(|end| throttled(end.closed.as_ref()?, seconds))
        .max_by(f64::total_cmp);
    Cpu {
        tx_pct: share(tx.and_then(|window| window.cpu_us)),
        rx_pct: share(rx.and_then(|window| window.cpu_us)),
        runq_wait_pct: share(waited).map(|share| share / f64::from(streams.max(1))),
        throttled_pct: throttled.map(|share| share * 100.0),
    }
}
