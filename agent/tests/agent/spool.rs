//! Records outlive the agent that made them.

use std::path::Path;

use crate::controller::{Control, FakeController};
use crate::link::{Running, standing, start_at, start_with};
use crate::traffic::Call;
use weir_agent::outbox::Limits;
use weir_common::id::RunId;
use weir_proto::agent::v1::assignment_status::State;
use weir_proto::types::v1 as types;
use weir_proto::types::v1::entry::Item;

const RUN: RunId = RunId(1);

/// An agent in mid-run, for the controller of this identity.
async fn running(
    controller: &mut FakeController,
    identity: &str,
    data: &Path,
    (run, spool): (RunId, Limits),
) -> (Running, Control, Vec<u8>) {
    let mut agent = start_with(controller, data, spool);
    let (mut control, _, hello) = controller.greet_as(identity, 0).await;
    control.snapshot(1, vec![start_at(run.0, 1)]).await;
    assert_eq!(control.answer().await, Ok(1));
    assert_eq!(agent.traffic.call().await, Call::Prepare(run));
    assert_eq!(agent.traffic.call().await, Call::Start(run, 1));
    (agent, control, hello.boot_id)
}

fn spooled(data: &Path) -> usize {
    let controllers = std::fs::read_dir(data.join("spool")).expect("a spool");
    let directories = controllers.flatten().filter(|entry| entry.path().is_dir());
    let boots = directories.flat_map(|entry| std::fs::read_dir(entry.path()).expect("readable"));
    boots.count()
}

/// Bytes of segments.
fn bytes(data: &Path) -> u64 {
    let mut bytes = 0;
    let mut directories = vec![data.join("spool")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                bytes += entry.metadata().map_or(0, |found| found.len());
            }
        }
    }
    bytes
}

#[tokio::test]
async fn a_restart_delivers_what_was_measured_before_and_then_says_that_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let mut controller = FakeController::start(directory.path());
    let (agent, _control, boot) =
        running(&mut controller, "fake", &data, (RUN, Limits::default())).await;
    let mut records = controller.records(0, 4096).await;
    agent.traffic.records(RUN, 0..5);
    records.items(1, 5).await;
    records.ack(2, 4096).await;
    agent.kill().await;

    // This kind of controller lost the last acknowledgement: it has two.
    let agent = start_with(&controller, &data, Limits::default());
    let (mut control, _, hello) = controller.greet(0).await;
    assert_eq!(hello.assignments, [], "not before its records");
    let mut streams = [
        controller.records(2, 4096).await,
        controller.records(2, 4096).await,
    ];
    streams.sort_by_key(|stream| stream.open.boot_id != boot);
    let [mut old, new] = streams;
    assert_eq!(
        (old.open.boot_id == boot, new.open.boot_id),
        (true, hello.boot_id)
    );
    let items = old.items(3, 4).await;
    let ks: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Record(row) => Some(row.k),
            _ => None,
        })
        .collect();
    assert_eq!(ks, [2, 3, 4]);
    let Some(Item::Gap(gap)) = items.last() else {
        panic!("{items:?}");
    };
    assert_eq!(
        (gap.run, gap.flow, gap.end(), gap.cause()),
        (1, Some(1), types::End::Rx, types::gap::Cause::Ended)
    );
    assert_eq!((gap.from_ns, gap.to_ns), (Some(5), Some(6)));
    old.ack(6, 4096).await;
    let status = standing(&mut control, State::Aborted).await;
    assert_eq!(status.reason, "agent restart");

    // Nothing is left for the next start.
    agent.kill().await;
    assert_eq!(spooled(&data), 0);
    let _agent = start_with(&controller, &data, Limits::default());
    let (_control, _, hello) = controller.greet(0).await;
    assert_eq!(hello.assignments[0].state(), State::Aborted);
    let stream = controller.records(0, 4096).await;
    assert_eq!(stream.open.boot_id, hello.boot_id, "no other is offered");
}

#[tokio::test]
async fn records_of_another_controller_wait_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let mut controller = FakeController::start(directory.path());
    let (agent, _control, boot) =
        running(&mut controller, "one", &data, (RUN, Limits::default())).await;
    let stream = controller.records(0, 0).await;
    agent.traffic.records(RUN, 0..3);
    agent.traffic.closed(RUN, 3);
    agent.kill().await;
    drop(stream);

    // A controller with another database, and a run of its own.
    let other = RunId(2);
    let (agent, _control, second) =
        running(&mut controller, "two", &data, (other, Limits::default())).await;
    let mut stream = controller.records(0, 4096).await;
    assert_eq!(stream.open.boot_id, second);
    agent.traffic.records(other, 0..1);
    agent.traffic.closed(other, 1);
    assert_eq!(stream.items(1, 2).await.len(), 2);
    stream.ack(2, 4096).await;
    drop(stream);
    agent.kill().await;
    let _agent = start_with(&controller, &data, Limits::default());
    let kept = std::fs::read_dir(data.join("spool/one")).expect("a directory");
    assert_eq!(kept.count(), 1, "those of the first");
    let (_control, _, _) = controller.greet_as("one", 0).await;
    loop {
        let mut stream = controller.records(0, 4096).await;
        if stream.open.boot_id == boot {
            let items = stream.items(1, 4).await;
            assert!(matches!(items[3], Item::Closed(_)), "{items:?}");
            return;
        }
    }
}

#[tokio::test]
async fn a_full_spool_merges_intervals_and_then_stops_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let mut controller = FakeController::start(directory.path());
    let limits = Limits {
        disk_bytes: 64 << 10,
        segment_bytes: 8 << 10,
        reserve_bytes: 4 << 10,
        ..Limits::default()
    };
    let (mut agent, mut control, _) = running(&mut controller, "fake", &data, (RUN, limits)).await;
    // Nobody takes the records.
    let mut records = controller.records(0, 0).await;
    let mut made = 0;
    let reason = loop {
        let before = bytes(&data);
        agent.traffic.records(RUN, made..made + 10);
        made += 10;
        assert!(made < 100_000, "it is never full");
        // Ten intervals make at least one row, also when they are merged.
        while bytes(&data) == before {
            std::thread::yield_now();
        }
        tokio::select! {
            biased;
            call = agent.traffic.call() => break call,
            () = tokio::task::yield_now() => {}
        }
    };
    let Call::Stop(RUN, reason) = reason else {
        panic!("{reason:?}");
    };
    assert!(reason.starts_with("SPOOL_FULL"), "{reason}");
    agent.traffic.closed(RUN, made);
    agent
        .traffic
        .event(RUN, weir_engine::engine::Event::Finished);
    let status = standing(&mut control, State::Stopped).await;
    assert!(status.reason.starts_with("SPOOL_FULL"), "{}", status.reason);
    // No other run begins before there is room.
    control
        .snapshot(2, vec![start_at(RUN.0, 1), start_at(2, 1)])
        .await;
    let refused = standing(&mut control, State::Aborted).await;
    assert_eq!(refused.run, 2);

    // Every packet that was counted arrives, in fewer rows; the manifest knows.
    records.ack(0, 1 << 20).await;
    let (mut rows, mut packets, mut merged, mut next) = (0, 0, 0, 1);
    let closed = loop {
        let item = records.items(next, 1).await;
        next += item.len() as u64;
        let mut closed = None;
        for item in item {
            match item {
                Item::Record(row) => {
                    rows += 1;
                    packets += row.counters.expect("counters").rx_packets.expect("a count");
                    merged += u32::from(row.flags & 4 == 4);
                }
                Item::Closed(manifest) => closed = Some(manifest),
                other => panic!("{other:?}"),
            }
        }
        if let Some(closed) = closed {
            break closed;
        }
    };
    assert!(merged > 0 && rows < made, "{rows} rows of {made}");
    assert_eq!(packets, u64::from(made));
    assert_eq!(closed.rows, rows);
}

/// The controller acknowledged, and then an older state of its database was put back:
/// what the agent still has on disk comes again, for the rest there is a gap each, and
/// what is measured next follows.
#[tokio::test]
async fn an_older_database_gets_what_is_left_and_gaps_for_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let mut controller = FakeController::start(directory.path());
    let limits = Limits {
        segment_bytes: 1 << 10,
        ..Limits::default()
    };
    let (agent, _control, _) = running(&mut controller, "fake", &data, (RUN, limits)).await;
    let mut records = controller.records(0, 4096).await;
    for ten in 0..10 {
        let before = bytes(&data);
        agent.traffic.records(RUN, ten * 10..ten * 10 + 10);
        // Each ten in a frame of their own, so that there are several segments.
        while bytes(&data) == before {
            std::thread::yield_now();
        }
    }
    records.items(1, 100).await;
    let before = bytes(&data);
    records.ack(100, 4096).await;
    // Segments that are delivered go, but for the last.
    while bytes(&data) >= before {
        tokio::task::yield_now().await;
    }
    drop(records);

    let mut records = controller.records(40, 4096).await;
    assert_eq!(records.open.last_run, RUN.0);
    let items = records.items(41, 60).await;
    let gone = items
        .iter()
        .take_while(|item| {
            matches!(item, Item::Gap(gap) if gap.run == RUN.0 && gap.cause() == types::gap::Cause::Forgotten)
        })
        .count();
    assert!((1..60).contains(&gone), "{gone} of {items:?}");
    for (k, item) in (40..).zip(&items).skip(gone) {
        assert!(
            matches!(item, Item::Record(row) if row.k == k),
            "{k}: {item:?}"
        );
    }
    // And on.
    records.ack(100, 4096).await;
    agent.traffic.records(RUN, 100..103);
    let items = records.items(101, 3).await;
    assert!(
        matches!(&items[2], Item::Record(row) if row.k == 102),
        "{items:?}"
    );
    agent.kill().await;
}
