//! What held an unlimited flow back.

use super::document::{Cpu, Tcp};
use super::evidence::FlowEvidence;

/// Share of the time, per cent, from which the CPU is what limits: a thread that
/// is nearly always running, waiting to run, or throttled.
const BUSY_PCT: f64 = 90.0;

/// `cpu`, when the busier end had its threads running, or kept from running,
/// nearly all of the time. Else of UDP `blocked`, when the link held packets
/// back, and of TCP where it spent most of the window (TCP_INFO). `None` when
/// nothing is known.
pub(super) fn by(
    evidence: &FlowEvidence,
    streams: u16,
    cpu: Cpu,
    tcp: Option<&Tcp>,
) -> Option<&'static str> {
    let busiest = cpu.tx_pct.unwrap_or(0.0).max(cpu.rx_pct.unwrap_or(0.0));
    let of_a_thread = busiest / f64::from(streams.max(1));
    let kept = cpu.runq_wait_pct.unwrap_or(0.0) + cpu.throttled_pct.unwrap_or(0.0);
    if of_a_thread + kept >= BUSY_PCT {
        return Some("cpu");
    }
    let Some(tcp) = tcp else {
        let blocked = evidence.tx.window()?.blocked_packets?;
        return (blocked > 0).then_some("blocked");
    };
    let limited = tcp.limited_s;
    [
        ("network", limited.network),
        ("receiver", limited.receiver),
        ("buffer", limited.buffer),
        ("app", limited.app),
    ]
    .into_iter()
    .filter_map(|(what, seconds)| Some((what, seconds?)))
    .filter(|(_, seconds)| *seconds > 0.0)
    .max_by(|(_, a), (_, b)| a.total_cmp(b))
    .map(|(what, _)| what)
}
