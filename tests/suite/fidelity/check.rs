//! The one check of every run: rows, manifests, document and kernel agree.

use serde_json::Value;
use weir_common::record::{Counters, End, FlowClosed};
use weir_tests::{Account, Cluster, Kept, account};

use super::{flows, number};

/// A probe header: what a packet of the pre-flow exchange has as its payload, bytes.
const CONTROL_BYTES: u64 = 20;

/// Checks a run that is closed and whole; gives what is kept of it.
///
/// 1. Rows have no holes, and are in the database as `weir records` gives them.
/// 2. Their sums are the totals of the manifests, which name as many rows.
/// 3. The result document says what the manifests say of the measured window.
/// 4. Its identities hold.
/// 5. The ledger is even.
pub(super) fn conserved(cluster: &Cluster, document: &Value) -> Account {
    let run = document["run"].as_str().expect("a result names its run");
    let account = account::stored(cluster, run);
    let kept: Vec<_> = account
        .values()
        .flat_map(|kept| kept.rows.iter().cloned())
        .collect();
    let exported = account::exported(cluster, run);
    assert_eq!(kept.len(), exported.len(), "rows kept, rows exported");
    for (kept, exported) in kept.iter().zip(&exported) {
        assert_eq!(kept, exported, "a row as it is kept, and as it is exported");
    }
    assert_eq!(
        account.len(),
        2 * flows(document).len(),
        "a manifest of each end"
    );
    for (key, kept) in &account {
        rows_add_up(&format!("{run} {key:?}"), kept);
    }
    for flow in flows(document) {
        let id = number(flow, "/flow") as u32;
        let (tx, rx) = (
            &account[&(id, End::Tx)].closed,
            &account[&(id, End::Rx)].closed,
        );
        match flow["transport"].as_str() {
            Some("udp") => udp_agrees(flow, tx, rx),
            Some("tcp") => tcp_agrees(flow, tx, rx),
            other => panic!("transport {other:?}"),
        }
    }
    let rows = kept.len() as u64;
    assert_eq!(number(document, "/ledger/stored"), rows, "{run}: ledger");
    assert_eq!(number(document, "/ledger/expected"), rows, "{run}: ledger");
    account
}

/// Rows follow each other from the start of the flow, and add up to the manifest.
fn rows_add_up(what: &str, kept: &Kept) {
    let Kept { rows, closed } = kept;
    assert_eq!(
        rows.len(),
        closed.rows as usize,
        "{what}: rows that the manifest names"
    );
    for pair in rows
        .windows(2)
        .filter(|pair| pair[0].stream == pair[1].stream)
    {
        assert_eq!(pair[1].k, pair[0].k + 1, "{what}: {pair:?}");
        assert_eq!(
            pair[1].start_ns,
            pair[0].start_ns + pair[0].length_ns,
            "{what}: {pair:?}"
        );
    }
    for row in rows
        .windows(2)
        .filter(|pair| pair[0].stream != pair[1].stream)
    {
        assert_eq!(row[1].k, 0, "{what}: {row:?}");
    }
    assert_eq!(kept.sum(false), closed.total, "{what}: rows and manifest");
    if rows.iter().any(|row| row.stream.is_some()) {
        assert_eq!(
            kept.sum(true),
            closed.total,
            "{what}: rows of streams and manifest"
        );
    }
    if !rows.iter().any(|row| row.warmup) {
        assert_eq!(
            closed.window.counters, closed.total,
            "{what}: without warm-up all is measured"
        );
    }
}

fn udp_agrees(flow: &Value, tx: &FlowClosed, rx: &FlowClosed) {
    let (sent, received) = (tx.window.counters, rx.window.counters);
    let said = |path: &str| number(flow, path);
    let is = |path: &str, value: Option<u64>| {
        assert_eq!(Some(said(path)), value, "{path} of {flow:#}");
    };
    is("/sent/packets", sent.tx_packets);
    is("/sent/bytes", sent.tx_bytes);
    is("/received/packets", received.rx_packets);
    is("/received/bytes", received.rx_bytes);
    is("/lost_detail/behind", sent.behind_packets);
    is("/lost_detail/blocked", sent.blocked_packets);
    is("/lost_detail/refused", sent.refused_packets);
    is("/duplicate", received.duplicate);
    is("/reordered", received.reordered);
    is("/late", received.late);
    let detail = |name: &str| said(&format!("/lost_detail/{name}"));
    let network = said("/lost/network");
    assert_eq!(
        said("/lost/sender"),
        detail("behind") + detail("blocked") + detail("refused")
    );
    assert_eq!(network, detail("egress") + detail("path"), "{flow:#}");
    assert_eq!(said("/lost/receiver"), detail("socket"), "{flow:#}");
    assert_eq!(
        said("/sent/packets"),
        said("/received/packets") + network + said("/lost/receiver")
    );
    assert_eq!(
        received.lost_packets,
        Some(network + said("/lost/receiver")),
        "declared lost"
    );
    if !flow["offered"].is_null() {
        is("/offered/packets", sent.offered_packets);
        assert_eq!(
            said("/offered/packets"),
            said("/sent/packets") + said("/lost/sender"),
            "{flow:#}"
        );
    }
    let share = network as f64 / said("/sent/packets") as f64;
    assert!(
        (super::figure(flow, "/loss") - share).abs() < 1e-9,
        "{flow:#}"
    );
    // The closing exchange told each end the other's totals, warm-up too.
    assert!(
        tx.link && rx.link,
        "the flow link carried the closing exchange"
    );
    let told = |closed: &FlowClosed| closed.peer.map(|peer| (peer.packets, peer.bytes));
    assert_eq!(
        told(tx),
        rx.total.rx_packets.zip(rx.total.rx_bytes),
        "told to the generator"
    );
    assert_eq!(
        told(rx),
        tx.total.tx_packets.zip(tx.total.tx_bytes),
        "told to the receiver"
    );
}

fn tcp_agrees(flow: &Value, tx: &FlowClosed, rx: &FlowClosed) {
    let sent = tx.total.tx_bytes.expect("a generator counts");
    let received = rx.total.rx_bytes.expect("a receiver counts");
    let drained = rx.drained_bytes.expect("TCP has it");
    assert_eq!(rx.unread_bytes, Some(0), "{flow:#}");
    assert_eq!(sent, received + drained, "{flow:#}");
    assert_eq!(
        Some(number(flow, "/sent/bytes")),
        tx.window.counters.tx_bytes
    );
    assert_eq!(
        Some(number(flow, "/received/bytes")),
        rx.window.counters.rx_bytes
    );
    assert_eq!(number(flow, "/tcp/drained_bytes"), drained);
    assert_eq!(number(flow, "/tcp/unread_bytes"), 0);
    assert!(
        flow["lost"].is_null() && flow["jitter_us"].is_null(),
        "{flow:#}"
    );
    assert!(flow["retransmits"].is_u64(), "{flow:#}");
}

/// The UDP flows from one host to another, all together, against what the kernel
/// counted since the counters were forgotten.
pub(super) fn kernel_agrees(cluster: &Cluster, account: &Account, from: &str, to: &str) {
    let lab = cluster.lab();
    let address = |host: &str| lab.address(host).unwrap_or_else(|error| panic!("{error}"));
    let counters = |host: &str| {
        let counters = lab.counters(host).unwrap_or_else(|error| panic!("{error}"));
        counters.udp().from(address(from)).to(address(to))
    };
    let udp = |end: End| {
        let is_udp = |closed: &FlowClosed| closed.control_packets.is_some();
        let ends = account.iter().filter(move |((_, of), _)| *of == end);
        ends.map(|(_, kept)| &kept.closed)
            .filter(move |closed| is_udp(closed))
    };
    let sum = |end: End, pick: fn(&Counters) -> Option<u64>| -> u64 {
        udp(end).filter_map(|closed| pick(&closed.total)).sum()
    };
    let control = |end: End| -> u64 { udp(end).filter_map(|closed| closed.control_packets).sum() };
    let (output, input) = (counters(from).output(), counters(to).input());
    let sent_bytes = sum(End::Tx, |total| total.tx_bytes) + CONTROL_BYTES * control(End::Tx);
    assert_eq!(output.udp_payload_bytes(), sent_bytes, "{output:?}");
    let sent = sum(End::Tx, |total| total.tx_packets) + control(End::Tx);
    let bundled = account
        .iter()
        .any(|(_, kept)| kept.closed.path.gso.as_deref() == Some("on"));
    if bundled {
        assert!(
            output.packets() <= sent,
            "bundles are one packet each: {output:?}"
        );
    } else {
        assert_eq!(output.packets(), sent, "{output:?}");
    }
    let arrived = sum(End::Rx, |total| total.rx_packets)
        + sum(End::Rx, |total| total.duplicate)
        + sum(End::Rx, |total| total.late)
        + sum(End::Rx, |total| total.socket_drops)
        + control(End::Rx);
    if !bundled {
        assert_eq!(input.packets(), arrived, "{input:?}");
    }
    if sum(End::Rx, |total| total.socket_drops) == 0 {
        let received = sum(End::Rx, |total| total.rx_bytes) + CONTROL_BYTES * control(End::Rx);
        assert_eq!(input.udp_payload_bytes(), received, "{input:?}");
    }
}

/// Starts the kernel's counters from zero.
pub(super) fn forget(cluster: &Cluster, hosts: &[&str]) {
    for host in hosts {
        cluster
            .lab()
            .forget_counts(host)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
