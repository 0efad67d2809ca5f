//! Every figure of a few flows, a line for each kind.

use crate::analysis::document::{Amount, Distribution, Flow, LayeredRate, ResultDocument};
use crate::output::figure::{bytes, percent, rate, time_in, time_unit};
use crate::output::text::printable;

/// What is not known.
const NONE: &str = "-";

/// The figures of every flow; empty lines for what a flow does not have are left out.
pub fn details(document: &ResultDocument) -> Vec<String> {
    document.flows.iter().flat_map(of_flow).collect()
}

fn of_flow(flow: &Flow) -> Vec<String> {
    let mut lines = vec![printable(&format!(
        "flow {} {} {} -> {}",
        flow.flow, flow.transport, flow.from, flow.to
    ))];
    let mut line = |name: &str, text: Option<String>| {
        lines.extend(text.map(|text| format!("  {name:<9} {text}")));
    };
    let udp = flow.transport == "udp";
    line(
        "offered",
        flow.offered
            .map(|offered| amount(offered, flow.rates_bps.offered)),
    );
    let payload = |rates: Option<LayeredRate>| rates.map(|rates| rates.payload);
    line(
        "sent",
        flow.sent
            .map(|sent| amount(sent, payload(flow.rates_bps.sent))),
    );
    line(
        "received",
        flow.received
            .map(|received| amount(received, payload(flow.rates_bps.received))),
    );
    line("lost", lost(flow));
    if udp {
        line(
            "order",
            Some(format!(
                "late {}, duplicate {}, reordered {}",
                count(flow.late),
                count(flow.duplicate),
                count(flow.reordered)
            )),
        );
    }
    line("delay", flow.delay_us.as_ref().map(distribution));
    line("jitter", jitter(flow));
    line("rtt", flow.rtt_us.as_ref().map(distribution));
    line("lateness", flow.lateness_us.as_ref().map(distribution));
    line("tcp", tcp(flow));
    line("cpu", cpu(flow));
    line(
        "path",
        Some(
            [
                ("sent by", flow.path.tx.as_ref()),
                ("received by", flow.path.rx.as_ref()),
                ("bundles", flow.path.gso.as_ref()),
                ("pacing", flow.path.pacing.as_ref()),
            ]
            .into_iter()
            .filter_map(|(what, how)| how.map(|how| format!("{what} {}", printable(how))))
            .collect::<Vec<_>>()
            .join(", "),
        )
        .filter(|text| !text.is_empty()),
    );
    lines
}

fn count(count: Option<u64>) -> String {
    count.map_or(NONE.to_owned(), |count| count.to_string())
}

fn amount(amount: Amount, bps: Option<f64>) -> String {
    let mut parts = Vec::new();
    parts.extend(amount.packets.map(|packets| format!("{packets} packets")));
    parts.push(amount.bytes.map_or(NONE.to_owned(), bytes));
    parts.extend(bps.map(rate));
    parts.join(", ")
}

/// Loss by place and cause.
fn lost(flow: &Flow) -> Option<String> {
    let (lost, detail) = (flow.lost?, flow.lost_detail?);
    Some(format!(
        "sender {} (behind {}, blocked {}, refused {}); network {} (egress {}, path {}), {} %; receiver's socket {}",
        count(lost.sender),
        count(detail.behind),
        count(detail.blocked),
        count(detail.refused),
        count(lost.network),
        count(detail.egress),
        count(detail.path),
        flow.loss.map_or(NONE.to_owned(), percent),
        count(lost.receiver),
    ))
}

fn distribution(figures: &Distribution) -> String {
    let (name, unit) = time_unit(figures.p99);
    let shown = |us: f64| time_in(us, unit);
    let mut text = format!(
        "min {}, mean {}, p50 {}, p90 {}, p99 {}, p99.9 {}, max {} {name}",
        shown(figures.min),
        shown(figures.mean),
        shown(figures.p50),
        shown(figures.p90),
        shown(figures.p99),
        shown(figures.p999),
        shown(figures.max),
    );
    for more in super::flows::relation(figures)
        .iter()
        .chain(&figures.source)
    {
        text.push_str("; ");
        text.push_str(&printable(more));
    }
    text
}

fn jitter(flow: &Flow) -> Option<String> {
    let shown = |us: f64| {
        let (name, unit) = time_unit(us);
        format!("{} {name}", time_in(us, unit))
    };
    let mut parts = Vec::new();
    parts.extend(flow.jitter_us.map(|us| format!("{} at the end", shown(us))));
    if let Some(means) = flow.jitter {
        parts.extend(
            means
                .rfc3550_mean_us
                .map(|us| format!("mean {} (RFC 3550)", shown(us))),
        );
        parts.extend(
            means
                .ipdv_mean_abs_us
                .map(|us| format!("mean |ipdv| {}", shown(us))),
        );
    }
    if let Some(pdv) = flow.pdv_us {
        parts.push(format!(
            "pdv p50 {}, p99 {}",
            shown(pdv.p50),
            shown(pdv.p99)
        ));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn tcp(flow: &Flow) -> Option<String> {
    let tcp = flow.tcp.as_ref()?;
    let mut parts = Vec::new();
    parts.extend(tcp.cc.as_deref().map(printable));
    parts.extend(tcp.mss.map(|mss| format!("mss {mss}")));
    parts.push(format!(
        "retransmits {} ({})",
        count(flow.retransmits),
        tcp.retransmitted_bytes.map_or(NONE.to_owned(), bytes)
    ));
    for (what, amount) in [
        ("acked", tcp.acked_bytes),
        ("drained", tcp.drained_bytes),
        ("unread", tcp.unread_bytes),
    ] {
        parts.extend(amount.map(|amount| format!("{what} {}", bytes(amount))));
    }
    let limits = [
        ("network", tcp.limited_s.network),
        ("receiver", tcp.limited_s.receiver),
        ("buffer", tcp.limited_s.buffer),
        ("application", tcp.limited_s.app),
    ];
    let limits: Vec<String> = limits
        .into_iter()
        .filter_map(|(what, seconds)| seconds.map(|seconds| format!("{what} {seconds:.1}")))
        .collect();
    if !limits.is_empty() {
        parts.push(format!("limited by {} s", limits.join(", ")));
    }
    Some(parts.join(", "))
}

fn cpu(flow: &Flow) -> Option<String> {
    let shares = [
        ("sender", flow.cpu.tx_pct),
        ("receiver", flow.cpu.rx_pct),
        ("waiting", flow.cpu.runq_wait_pct),
    ];
    let shares: Vec<String> = shares
        .into_iter()
        .filter_map(|(what, percent)| percent.map(|percent| format!("{what} {percent:.1} %")))
        .collect();
    (!shares.is_empty()).then(|| shares.join(", "))
}
