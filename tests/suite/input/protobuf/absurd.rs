//! An agent that is believed, and lies in its records.

use serde_json::Value;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::agent::v1::records_response::Message as Acks;
use weir_proto::types::v1 as types;
use weir_tests::Cluster;

use super::{COUNT_MOST, batch, block_on, is_well, opened, row};
use weir_tests::pretender::{Pretender, Stream, request};

fn most_counters() -> types::Counters {
    let most = Some(COUNT_MOST);
    types::Counters {
        offered_packets: most,
        offered_bytes: most,
        tx_packets: most,
        tx_bytes: most,
        rx_packets: most,
        rx_bytes: most,
        behind_packets: most,
        blocked_packets: most,
        refused_packets: most,
        egress_packets: most,
        rx_of_tx_packets: most,
        lost_packets: most,
        socket_drops: most,
        late: most,
        duplicate: most,
        reordered: most,
    }
}

/// Rows that nothing can be added to.
fn rows() -> Vec<types::Entry> {
    let absurd = |i: u32| {
        row(|row| {
            (row.k, row.flags, row.counters) = (u32::MAX - i, 1 << 5, Some(most_counters()));
            (row.start_ns, row.length_ns) = if i == 0 { (0, 0) } else { (COUNT_MOST - 1, 1) };
        })
    };
    (0..8).map(absurd).collect()
}

/// A manifest of more rows than there can be, in no time.
fn closed() -> types::Entry {
    let most = Some(COUNT_MOST);
    let closed = types::FlowClosed {
        run: 1,
        flow: 1,
        end: 1,
        path: Some(types::DataPath::default()),
        rows: u32::MAX,
        total: Some(most_counters()),
        window: Some(types::Window {
            start_ns: COUNT_MOST,
            length_ns: 0,
            counters: Some(most_counters()),
            frozen_us: most,
            cpu_us: most,
            runq_wait_us: most,
            ..Default::default()
        }),
        ending: Some(types::Ending {
            how: 1,
            reason: String::new(),
        }),
        drained_bytes: most,
        unread_bytes: most,
        control_packets: most,
        ..Default::default()
    };
    types::Entry {
        item: Some(types::entry::Item::Closed(closed)),
    }
}

/// Takes part in the run, says it all, and gives up.
async fn lie(me: &Pretender, mut control: Stream, epoch: u64) {
    // Its assignment: the run is there.
    loop {
        let answer: pb::ControlResponse = control.answer().await.expect("a snapshot");
        if let Some(pb::control_response::Message::Snapshot(snapshot)) = answer.message
            && !snapshot.items.is_empty()
        {
            break;
        }
    }
    let mut stream = opened(me, epoch).await;
    for (first_seq, entries) in [(1, rows()), (9, vec![closed()])] {
        stream.send(&batch(first_seq, entries));
        let answer: pb::RecordsResponse = stream.answer().await.expect("an answer");
        assert!(matches!(answer.message, Some(Acks::Ack(_))), "{answer:?}");
    }
    let reason = "gave up".repeat(20_000);
    let aborted = pb::AssignmentStatus {
        run: 1,
        state: 7,
        reason,
        late_by_ns: u64::MAX,
    };
    control.send(&request(Up::AssignmentStatus(aborted)));
    // The stream stays open until it has been read.
    control.send(&request(Up::Heartbeat(pb::Heartbeat {
        session_epoch: epoch,
        mono_ns: 1,
        interfaces: Vec::new(),
    })));
    loop {
        let answer: pb::ControlResponse = control.answer().await.expect("an answer");
        if let Some(pb::control_response::Message::HeartbeatAck(_)) = answer.message {
            break;
        }
    }
}

#[test]
fn absurd_figures_of_an_agent_bring_no_run_down() {
    let cluster = Cluster::on_loopback(&[("a2", &["asn=151"])]);
    let line = "--from liar --to a2 --settle 20s --udp 1M --for 1s";
    let words: Vec<&str> = line.split_whitespace().collect();
    let run = std::thread::scope(|scope| {
        block_on(async {
            let me = Pretender::new(&cluster, "liar").await;
            let (control, epoch) = me.joined().await;
            // Now that it is there, the run can be planned.
            let run = scope.spawn(|| cluster.run(&words));
            lie(&me, control, epoch).await;
            run
        })
        .join()
        .expect("weir run ends")
    });
    // Its figures contradict each other: that comes before what is missing.
    assert_eq!(run.0, 4, "{:#}", run.1);
    let Value::Array(reasons) = &run.1["reasons"] else {
        panic!("{:#}", run.1)
    };
    let longest = reasons
        .iter()
        .filter_map(|reason| reason["text"].as_str())
        .map(str::len)
        .max();
    assert!(
        longest < Some(4_000),
        "what an agent says is cut: {longest:?}"
    );
    for words in [
        &["show"][..],
        &["records", "--format", "csv"],
        &["records", "--per-end", "--format", "json"],
    ] {
        let ran = cluster.weir(words);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    is_well(&cluster);
}
