//! Two agents with their real engines, one flow over loopback, and a
//! controller that the test plays.

use std::path::Path;

use crate::controller::{Control, FakeController, Records};
use tokio_util::sync::CancellationToken;
use weir_agent::{Agent, AgentConfig};
use weir_common::record::{Ending, Entry, FlowClosed};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::assignment_status::State;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::agent::v1::session_status::State as SessionState;
use weir_proto::types::v1 as types;
use weir_runtime::HostClock;

const MILLISECOND: u64 = 1_000_000;
/// 1 Mbit/s of 1,000 B for 600 ms.
const PACKETS: u64 = 75;

fn desired(end: types::End, peer: &str) -> types::Desired {
    let udp = types::SocketTraffic {
        transport: types::Transport::Udp.into(),
        arrival: "constant".to_owned(),
        bundles: types::Bundles::Off.into(),
        size_bytes: 1000,
        rate: Some(types::socket_traffic::Rate::BitsPerSecond(1_000_000)),
        ..types::SocketTraffic::default()
    };
    let session = types::SessionSpec {
        session: 1,
        end: end.into(),
        dials: end == types::End::Tx,
        kind: Some(types::session_spec::Kind::Socket(udp)),
        peer: Some(types::session_spec::Peer::Agent(types::AgentPeer {
            name: peer.into(),
            addresses: vec!["127.0.0.1".into()],
        })),
        tags: vec![0x5eed],
        segments: vec![types::Segment {
            flow: 1,
            length_ns: 600 * MILLISECOND,
            ..types::Segment::default()
        }],
        ..types::SessionSpec::default()
    };
    types::Desired {
        assignment: Some(types::Assignment {
            run: 1,
            nonce: 99,
            interval_ns: 200 * MILLISECOND,
            linger_ns: 500 * MILLISECOND,
            settle_ns: 10_000 * MILLISECOND,
            end_ns: 600 * MILLISECOND,
            sessions: vec![session],
            ..types::Assignment::default()
        }),
        order: Some(types::desired::Order::Prepare(true)),
        ..types::Desired::default()
    }
}

fn spawn(controller: &FakeController, directory: &Path, name: &str, end: &CancellationToken) {
    let parsed = name.parse().expect("a name");
    let mut config = AgentConfig::new(controller.endpoint(), parsed, directory.join(name));
    config.lab = true;
    config.port = 0;
    let agent = Agent::build(config).expect("the agent builds");
    tokio::spawn(agent.run(end.clone()));
}

async fn ready(control: &mut Control) {
    let state = control.until(|message| match message {
        Up::SessionStatus(pb::SessionStatus { state, .. }) => match state {
            Some(SessionState::Failed(failed)) => Some(Err(failed)),
            Some(SessionState::Ready(ready)) => Some(Ok(ready)),
            _ => None,
        },
        _ => None,
    });
    let ready = state.await.expect("the session becomes ready");
    assert!(ready.link && ready.tuples.len() == 1, "{ready:?}");
}

/// Everything up to the manifest, stored at once.
async fn until_closed(records: &mut Records) -> (u64, FlowClosed) {
    let mut rows = 0;
    loop {
        let batch = records.batch().await;
        let last = batch.first_seq + batch.entries.len() as u64 - 1;
        records.ack(last, 4096).await;
        for entry in batch.entries {
            match Entry::try_from(entry).expect("the agent's entries convert") {
                Entry::Record(_) => rows += 1,
                Entry::Closed(closed) => return (rows, *closed),
                Entry::Link(_)
                | Entry::Kernel(_)
                | Entry::Observed(_)
                | Entry::Gap(_)
                | Entry::Artifact(_) => {}
            }
        }
    }
}

/// A control stream whose heartbeats are answered until one that was sent after
/// `from_ns`; when that one was sent.
async fn answered_until(control: &mut Control, from_ns: u64) -> u64 {
    control
        .until(|message| match message {
            Up::Heartbeat(beat) if beat.mono_ns > from_ns => Some(beat.mono_ns),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_generator_with_a_lease_stops_without_its_controller_and_one_without_does_not() {
    const LEASE: u64 = 3_000 * MILLISECOND;
    const PLANNED: u64 = 8_000 * MILLISECOND;
    for lease in [Some(LEASE), None] {
        let directory = tempfile::tempdir().unwrap();
        let mut controller = FakeController::start(directory.path());
        let end = CancellationToken::new();
        spawn(&controller, directory.path(), "generator", &end);
        let (mut tx, _, _) = controller.greet(0).await;
        let mut tx_records = controller.records(0, 4096).await;
        spawn(&controller, directory.path(), "receiver", &end);
        let (mut rx, _, _) = controller.greet(0).await;
        let mut rx_records = controller.records(0, 4096).await;
        let of = |end, peer| {
            let mut desired = desired(end, peer);
            let assignment = desired.assignment.as_mut().unwrap();
            assignment.end_ns = PLANNED;
            assignment.sessions[0].segments[0].length_ns = PLANNED;
            if end == types::End::Tx {
                assignment.stop_after_controller_loss_ns = lease;
            }
            desired
        };
        let to_rx = of(types::End::Rx, "generator");
        rx.snapshot(1, vec![to_rx.clone()]).await;
        let port = rx.until(|message| match message {
            Up::SessionStatus(pb::SessionStatus {
                state: Some(SessionState::ListeningPort(port)),
                ..
            }) => Some(port),
            _ => None,
        });
        let port = port.await;
        let mut to_tx = of(types::End::Tx, "receiver");
        to_tx.targets = vec![types::Target { session: 1, port }];
        tx.snapshot(1, vec![to_tx.clone()]).await;
        ready(&mut tx).await;
        ready(&mut rx).await;
        let clock = HostClock::from_host();
        let t0_ns = clock.now_ns() + 300 * MILLISECOND;
        let start = types::desired::Order::Start(types::StartAt {
            unix_ns: clock.unix_ns(),
            mono_ns: t0_ns,
            kernel_boot_id: weir_runtime::host::kernel_boot_id().unwrap(),
        });
        for (control, mut item) in [(&rx, to_rx), (&tx, to_tx)] {
            item.order = Some(start.clone());
            control.snapshot(2, vec![item]).await;
        }
        // From this heartbeat on the controller says nothing more.
        let seen_ns = answered_until(&mut tx, t0_ns).await;
        let sent = until_closed(&mut tx_records).await.1;
        let received = until_closed(&mut rx_records).await.1;
        assert_eq!(sent.total.tx_packets, received.total.rx_packets);
        let last_ns = t0_ns + sent.window.start_ns + sent.window.length_ns;
        if lease.is_none() {
            assert_eq!(sent.ending, Ending::Completed);
            assert_eq!(sent.window.length_ns, PLANNED);
        } else {
            let Ending::Stopped { reason } = &sent.ending else {
                panic!("{:?}", sent.ending);
            };
            assert!(reason.contains("controller was lost"), "{reason}");
            let late_ns = last_ns
                .checked_sub(seen_ns + LEASE)
                .expect("not before its end");
            // The figure is 0.1 s; a busy machine has ten times that.
            assert!(late_ns < 1_000 * MILLISECOND, "{late_ns} ns late");
        }
        end.cancel();
    }
}

#[tokio::test]
async fn a_flow_between_two_agents_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let end = CancellationToken::new();
    // The second agent starts once the first is greeted, so that each is known.
    spawn(&controller, directory.path(), "generator", &end);
    let (mut tx, _, _) = controller.greet(0).await;
    let mut tx_records = controller.records(0, 4096).await;
    spawn(&controller, directory.path(), "receiver", &end);
    let (mut rx, _, _) = controller.greet(0).await;
    let mut rx_records = controller.records(0, 4096).await;

    let to_rx = desired(types::End::Rx, "generator");
    rx.snapshot(1, vec![to_rx.clone()]).await;
    let port = rx
        .until(|message| match message {
            Up::SessionStatus(pb::SessionStatus {
                state: Some(SessionState::ListeningPort(port)),
                ..
            }) => Some(port),
            _ => None,
        })
        .await;
    let mut to_tx = desired(types::End::Tx, "receiver");
    to_tx.targets = vec![types::Target { session: 1, port }];
    tx.snapshot(1, vec![to_tx.clone()]).await;
    ready(&mut tx).await;
    ready(&mut rx).await;

    let clock = HostClock::from_host();
    let start = types::desired::Order::Start(types::StartAt {
        unix_ns: clock.unix_ns(),
        mono_ns: clock.now_ns() + 300 * MILLISECOND,
        kernel_boot_id: weir_runtime::host::kernel_boot_id().unwrap(),
    });
    let started = |item| types::Desired {
        order: Some(start.clone()),
        ..item
    };
    rx.snapshot(2, vec![started(to_rx)]).await;
    tx.snapshot(2, vec![started(to_tx)]).await;

    let (tx_rows, sent) = until_closed(&mut tx_records).await;
    let (rx_rows, received) = until_closed(&mut rx_records).await;
    assert_eq!(
        (&sent.ending, &received.ending),
        (&Ending::Completed, &Ending::Completed)
    );
    assert_eq!(sent.total.offered_packets, Some(PACKETS));
    assert_eq!(sent.total.tx_packets, received.total.rx_packets);
    assert_eq!(
        (u64::from(sent.rows), u64::from(received.rows)),
        (tx_rows, rx_rows)
    );
    for control in [&mut tx, &mut rx] {
        let finished = control.until(|message| match message {
            Up::AssignmentStatus(status) if status.state() == State::Finished => Some(status),
            _ => None,
        });
        assert_eq!(finished.await.late_by_ns, 0);
    }
    end.cancel();
}
