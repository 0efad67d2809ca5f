//! How fast a stop is: from the command line to the last packet.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_common::record::End;

use crate::{Background, Cluster, account};

/// One stop of a running flow.
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// From the start of the process `weir stop` to the last packet, by this host's
    /// wall clock; no less than 0.
    pub end_to_end: Duration,
    /// From the start of that process to its end: its run is told to stop.
    pub command: Duration,
    /// Packets that the sender counted, and those that the receiver did.
    pub packets: (u64, u64),
}

/// Starts a flow of 1,000 packets a second between two agents on this host, stops it
/// with `weir stop` after half a second, and looks when it really ended.
///
/// # Panics
/// When the run does not begin, or its result is not there.
pub fn stop_a_run(cluster: &Cluster, from: &str, to: &str) -> Stopped {
    let line = format!(
        "run --json --from {from} --to {to} --udp 1000pkt/s --size 100 --for 120s --interval 100ms --linger 200ms --ignore behind,frozen"
    );
    let runs = || cluster.weir(&["runs", "--json"]).json()["runs"].clone();
    let known = runs().as_array().map_or(0, Vec::len);
    let run = Background::start(cluster, &line);
    // It runs once intervals of both ends are stored.
    let newest = || {
        let listed = runs();
        let listed = listed.as_array().filter(|runs| runs.len() > known)?;
        let id = |run: &Value| run["run"].as_str().map(str::to_owned);
        let open = listed.iter().find(|run| run["verdict"].is_null());
        open.filter(|run| run["records"].as_u64() >= Some(4))
            .and_then(id)
    };
    let id = crate::eventually("a running run", Duration::from_secs(60), newest);
    sleep(Duration::from_millis(500));
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
    };
    let asked = now();
    let stopped = cluster.weir(&["stop", &id, "--reason", "measured"]);
    let answered = now();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let document = run.finish().json();
    let last = last_sent(cluster, &document);
    let account = account::stored(cluster, &id);
    let total = |end| &account[&(1, end)].closed.total;
    Stopped {
        end_to_end: last.saturating_sub(asked),
        command: answered.saturating_sub(asked),
        packets: (
            total(End::Tx).tx_packets.unwrap_or_default(),
            total(End::Rx).rx_packets.unwrap_or_default(),
        ),
    }
}

/// When the last packet of a run was sent, by its senders: since the Unix epoch, by this
/// host's wall clock.
///
/// # Panics
/// When the run has no result, or had not begun.
pub fn last_sent(cluster: &Cluster, document: &Value) -> Duration {
    let id = document["run"].as_str().expect("a result names its run");
    let t0_ns = document["time"]["t0_unix_ns"]
        .as_u64()
        .expect("it had begun");
    let account = account::stored(cluster, id);
    let senders = account.iter().filter(|((_, end), _)| *end == End::Tx);
    let ends = senders.map(|(_, kept)| kept.closed.window.start_ns + kept.closed.window.length_ns);
    Duration::from_nanos(t0_ns + ends.max().expect("a sender"))
}
