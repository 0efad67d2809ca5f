use std::sync::{Arc, mpsc};

use ring::digest::digest as digest_of;
use weir_common::assignment::{
    Assignment, Family, Kind, Observe, OnControllerLoss, Peer, Rate, Segment, SessionSpec,
    SocketTraffic, Transport,
};
use weir_common::id::SessionId;
use weir_common::record::{Counters, DataPath, Ending, Flags, FlowClosed, Record, Source, Window};

use super::*;

fn key(run: u32, flow: u32) -> Key {
    Key {
        controller: "c1".into(),
        run: RunId(run),
        flow: FlowId(flow),
        end: End::Tx,
        name: "a-b.jsonl".parse().unwrap(),
    }
}

fn write(artifacts: &Artifacts, key: &Key, content: &[u8]) {
    use std::io::Write;
    artifacts.create(key).unwrap().write_all(content).unwrap();
}

#[test]
fn names_of_files_tell_whose_they_are() {
    let key = key(7, 3);
    assert_eq!(key.file(), "3-tx-a-b.jsonl");
    assert_eq!(Key::parse("c1", "7", &key.file()), Some(key));
    for file in [
        "3-tx",
        "x-tx-a.jsonl",
        "3-up-a.jsonl",
        "3-tx-a.csv",
        "a.jsonl",
    ] {
        assert_eq!(Key::parse("c1", "7", file), None, "{file}");
    }
}

#[test]
fn a_complete_file_is_offered_as_it_is_and_can_be_read_from_any_place() {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::at(directory.path().join("artifacts"));
    let content = b"{}\n{}\n";
    write(&artifacts, &key(1, 1), content);
    let mut offered = None;
    let offer = |artifact| offered = Some(artifact);
    artifacts.complete(&key(1, 1), offer).unwrap();
    let offered = offered.unwrap();
    assert_eq!(offered.size_bytes, 6);
    assert_eq!(offered.sha256[..], *digest_of(&SHA256, content).as_ref());
    let mut buffer = [0; 16];
    assert_eq!(artifacts.read(&key(1, 1), 3, &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"{}\n");
    assert_eq!(artifacts.read(&key(1, 1), 6, &mut buffer).unwrap(), 0);
    let kind = |key: &Key, at| artifacts.read(key, at, &mut [0]).unwrap_err().kind();
    assert_eq!(kind(&key(1, 1), 7), io::ErrorKind::InvalidInput);
    assert_eq!(kind(&key(1, 2), 0), io::ErrorKind::NotFound);
}

#[test]
fn what_a_killed_process_wrote_is_offered_up_to_its_last_whole_line() {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::at(directory.path().to_owned());
    write(&artifacts, &key(1, 1), b"{}\n{\"rec");
    write(&artifacts, &key(1, 2), b"{\"rec");
    let mut offered = Vec::new();
    artifacts.recover(|controller, artifact| {
        offered.push((controller.to_owned(), artifact.flow.0, artifact.size_bytes));
    });
    assert_eq!(offered, [("c1".to_owned(), 1, 3)]);
    let mut again = 0;
    artifacts.recover(|_, _| again += 1);
    assert_eq!(again, 0);
    assert_eq!(artifacts.read(&key(1, 1), 0, &mut [0; 8]).unwrap(), 3);
}

#[test]
fn the_oldest_files_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut artifacts = Artifacts::at(directory.path().to_owned());
    artifacts.all_bytes = 100;
    for run in 1..=3 {
        write(&artifacts, &key(run, 1), &[b'\n'; 40]);
        // Their order is that of their times.
        let file = File::options()
            .write(true)
            .open(artifacts.part(&key(run, 1)));
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(run));
        file.unwrap().set_modified(time).unwrap();
        artifacts.complete(&key(run, 1), |_| {}).unwrap();
    }
    let there = |run| artifacts.path(&key(run, 1)).exists();
    assert_eq!([there(1), there(2), there(3)], [false, true, true]);
    assert!(!directory.path().join("c1").join("1").exists());
    assert!(directory.path().join("c1").exists());
}

fn assignment() -> Assignment {
    let session = |session, flow, log_file: Option<&str>| SessionSpec {
        session: SessionId(session),
        end: End::Tx,
        dials: true,
        kind: Kind::Socket(SocketTraffic {
            log_file: log_file.map(|name| name.parse().unwrap()),
            ..SocketTraffic::new(Transport::Udp, Rate::Max, 100)
        }),
        peer: Peer::Agent {
            name: "b".parse().unwrap(),
            addresses: Vec::new(),
        },
        tags: vec![1],
        segments: vec![Segment {
            flow: FlowId(flow),
            start_ns: 0,
            length_ns: 1,
            warmup_ns: 0,
        }],
        family: Family::Any,
        source_address: None,
        source_interface: None,
        source_port: None,
        port: 0,
    };
    Assignment {
        run: RunId(1),
        nonce: 1,
        seed: 1,
        interval_ns: 1_000_000_000,
        linger_ns: 0,
        settle_ns: 0,
        end_ns: 1,
        on_controller_loss: OnControllerLoss::default(),
        sessions: vec![session(1, 1, Some("probe.jsonl")), session(2, 2, None)],
        observe: Observe::default(),
        traces: Vec::new(),
    }
}

fn record(flow: u32) -> Record {
    Record {
        run: RunId(1),
        flow: FlowId(flow),
        stream: None,
        end: End::Tx,
        k: 0,
        source: Source::default(),
        start_ns: 0,
        length_ns: 1,
        flags: Flags::default(),
        counters: Counters::default(),
        delay: None,
        tcp: None,
        more: None,
    }
}

fn closed(flow: u32) -> FlowClosed {
    FlowClosed {
        run: RunId(1),
        flow: FlowId(flow),
        end: End::Tx,
        rows: 1,
        ending: Ending::Completed,
        total: Counters::default(),
        window: Window::default(),
        drained_bytes: None,
        unread_bytes: None,
        corrupt_bytes: None,
        control_packets: None,
        tuples: Vec::new(),
        first_packet_ns: None,
        path: DataPath::default(),
        link: true,
        peer: None,
        warnings: Vec::new(),
    }
}

#[test]
fn each_end_gets_its_rows_and_its_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = Arc::new(Artifacts::at(directory.path().to_owned()));
    let (offer, offered) = mpsc::channel();
    let log = RunLog::begin(&artifacts, "c1", &assignment(), move |artifact| {
        offer.send(artifact).unwrap();
    });
    let log = log.unwrap().unwrap();
    for flow in 1..=2 {
        log.record(&record(flow));
        log.closed(&closed(flow));
    }
    let artifact = offered.recv().unwrap();
    assert_eq!((artifact.flow, artifact.end), (FlowId(1), End::Tx));
    drop(log);
    // The writer has ended: the file has its name.
    assert!(offered.recv().is_err());
    let text = fs::read_to_string(directory.path().join("c1/1/1-tx-probe.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["record"]["flow"], 1);
    assert_eq!(lines[1]["flow_closed"]["rows"], 1);
}

#[test]
fn a_run_without_such_flows_has_no_writer() {
    let artifacts = Arc::new(Artifacts::at("/nonexistent".into()));
    let mut assignment = assignment();
    assignment.sessions.remove(0);
    let log = RunLog::begin(&artifacts, "c1", &assignment, |_| {});
    assert!(log.unwrap().is_none());
}
