//! The agent against a controller that the test plays, with an engine that the
//! test plays too: a real link over a unix socket, no traffic.

use std::path::Path;
use std::time::Duration;

use crate::controller::{Control, FakeController, Records};
use crate::traffic::{Call, FakeTraffic};
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_agent::outbox::Limits;
use weir_agent::{Agent, AgentConfig};
use weir_common::id::{RunId, SessionId};
use weir_common::record::End;
use weir_engine::engine::Event;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::assignment_status::State;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::agent::v1::session_status::State as SessionState;
use weir_proto::types::v1 as types;

const SECOND: u64 = 1_000_000_000;

/// A running agent.
pub(crate) struct Running {
    pub(crate) task: JoinHandle<()>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) traffic: FakeTraffic,
}

impl Running {
    /// Ends the process of the agent, as kill -9 would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

fn start(controller: &FakeController, data: &Path) -> Running {
    start_with(controller, data, Limits::default())
}

pub(crate) fn start_with(controller: &FakeController, data: &Path, spool: Limits) -> Running {
    let mut config = AgentConfig::new(
        controller.endpoint(),
        "150-host_0".parse().expect("a name"),
        data,
    );
    config.labels.insert("asn", "150").expect("a label");
    config.spool = spool;
    let traffic = FakeTraffic::new();
    let engine = traffic.engine();
    let agent = Agent::with_traffic(config, |_, _| engine).expect("the agent builds");
    let shutdown = CancellationToken::new();
    Running {
        task: tokio::spawn(agent.run(shutdown.clone())),
        shutdown,
        traffic,
    }
}

fn assignment(run: u32) -> types::Assignment {
    let udp = types::SocketTraffic {
        transport: types::Transport::Udp.into(),
        arrival: "constant".to_owned(),
        bundles: types::Bundles::Off.into(),
        size_bytes: 1200,
        rate: Some(types::socket_traffic::Rate::BitsPerSecond(1_000_000)),
        ..types::SocketTraffic::default()
    };
    types::Assignment {
        run,
        nonce: u64::from(run) + 1000,
        interval_ns: SECOND,
        end_ns: 10 * SECOND,
        sessions: vec![types::SessionSpec {
            session: 1,
            end: types::End::Rx.into(),
            kind: Some(types::session_spec::Kind::Socket(udp)),
            peer: Some(types::session_spec::Peer::Agent(types::AgentPeer {
                name: "162-host_0".into(),
                addresses: vec!["10.162.0.71".into()],
            })),
            tags: vec![7],
            segments: vec![types::Segment {
                flow: 1,
                length_ns: SECOND,
                ..Default::default()
            }],
            ..types::SessionSpec::default()
        }],
        ..types::Assignment::default()
    }
}

fn prepare(run: u32) -> types::Desired {
    types::Desired {
        assignment: Some(assignment(run)),
        order: Some(types::desired::Order::Prepare(true)),
        ..types::Desired::default()
    }
}

/// Starts at an instant that this kernel's clock has long passed, or never will.
pub(crate) fn start_at(run: u32, mono_ns: u64) -> types::Desired {
    let start = types::StartAt {
        unix_ns: 1,
        mono_ns,
        kernel_boot_id: weir_runtime::host::kernel_boot_id().expect("/proc is mounted"),
    };
    types::Desired {
        order: Some(types::desired::Order::Start(start)),
        ..prepare(run)
    }
}

pub(crate) async fn standing(control: &mut Control, wanted: State) -> pb::AssignmentStatus {
    control
        .until(|message| match message {
            Up::AssignmentStatus(status) if status.state() == wanted => Some(status),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn from_hello_to_the_last_record() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let mut agent = start(&controller, &directory.path().join("a"));

    let (mut control, nonce, hello) = controller.greet(0).await;
    assert_eq!((hello.name.as_str(), hello.generation), ("150-host_0", 1));
    assert_eq!(hello.labels.get("asn").map(String::as_str), Some("150"));
    assert!(
        hello
            .inventory
            .is_some_and(|inventory| inventory.max_sessions > 0)
    );
    assert_eq!(
        (hello.controller_id.as_str(), hello.accepted_version),
        ("", 0)
    );
    let signed = [
        b"weir-hello-1",
        &nonce[..],
        b"150-host_0",
        &hello.boot_id[..],
    ]
    .concat();
    let key = UnparsedPublicKey::new(&ED25519, &hello.public_key);
    key.verify(&signed, &hello.signature)
        .expect("the key's owner signed");

    control.snapshot(1, vec![prepare(7)]).await;
    assert_eq!(control.answer().await, Ok(1));
    standing(&mut control, State::Accepted).await;
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(7)));
    let session = SessionId(1);
    agent.traffic.event(
        RunId(7),
        Event::Listening {
            session,
            port: 7900,
        },
    );
    let ready = Event::Ready {
        session,
        end: End::Rx,
        tuples: vec!["a>b".into()],
        link: true,
    };
    agent.traffic.event(RunId(7), ready);
    let port = control
        .until(|message| match message {
            Up::SessionStatus(pb::SessionStatus {
                state: Some(SessionState::ListeningPort(port)),
                ..
            }) => Some(port),
            _ => None,
        })
        .await;
    assert_eq!(port, 7900);
    standing(&mut control, State::Prepared).await;

    control.snapshot(2, vec![start_at(7, 1)]).await;
    assert_eq!(control.answer().await, Ok(2));
    assert_eq!(agent.traffic.call().await, Call::Start(RunId(7), 1));
    let running = standing(&mut control, State::Running).await;
    assert!(running.late_by_ns > 0, "a T0 of the past is a late start");

    let mut records = controller.records(0, 4096).await;
    assert_eq!(records.open.boot_id, hello.boot_id);
    agent.traffic.records(RunId(7), 0..3);
    agent.traffic.closed(RunId(7), 3);
    agent.traffic.event(RunId(7), Event::Finished);
    assert_eq!(records.entries(4).await, [1, 2, 3, 4]);
    records.ack(4, 4096).await;
    standing(&mut control, State::Finished).await;

    agent.shutdown.cancel();
    agent.task.await.unwrap();
    let log = std::fs::read_to_string(directory.path().join("a/flows.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 1);
    assert!(
        log.starts_with(r#"{"flow_closed":{"run":"r-0007""#),
        "{log}"
    );
}

#[tokio::test]
async fn a_bad_snapshot_is_refused_by_field_and_the_good_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let mut agent = start(&controller, &directory.path().join("a"));
    let (mut control, _, _) = controller.greet(0).await;
    control.snapshot(5, vec![prepare(1)]).await;
    assert_eq!(control.answer().await, Ok(5));
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(1)));

    let mut absurd = prepare(2);
    absurd.assignment.as_mut().unwrap().interval_ns = 0;
    control.snapshot(6, vec![prepare(1), absurd]).await;
    let nack = control.answer().await.unwrap_err();
    assert_eq!((nack.version, nack.last_good_version), (6, 5));
    assert_eq!(nack.reasons.len(), 1);
    assert_eq!(
        (nack.reasons[0].run, nack.reasons[0].field.as_str()),
        (2, "items[1].assignment.interval_ns")
    );

    control.snapshot(4, vec![]).await;
    assert_eq!(
        control.answer().await.unwrap_err().reasons[0].field,
        "version"
    );
    let stop = types::desired::Order::Stop("asked".into());
    control
        .snapshot(
            7,
            vec![types::Desired {
                order: Some(stop),
                ..prepare(1)
            }],
        )
        .await;
    assert_eq!(control.answer().await, Ok(7));
    assert_eq!(
        agent.traffic.call().await,
        Call::Stop(RunId(1), "asked".into())
    );
}

#[tokio::test]
async fn a_restart_never_runs_an_assignment_twice() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a");
    let mut controller = FakeController::start(directory.path());
    let mut agent = start(&controller, &data);
    let (mut control, _, first) = controller.greet(0).await;
    control.snapshot(1, vec![start_at(1, 1)]).await;
    assert_eq!(control.answer().await, Ok(1));
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(1)));
    assert_eq!(agent.traffic.call().await, Call::Start(RunId(1), 1));
    agent.kill().await;

    let mut agent = start(&controller, &data);
    let (mut control, _, hello) = controller.greet(0).await;
    assert_eq!(hello.generation, 2);
    assert_ne!(hello.boot_id, first.boot_id);
    assert_eq!(hello.public_key, first.public_key);
    assert_eq!(
        (hello.controller_id.as_str(), hello.accepted_version),
        ("fake", 1)
    );
    let [status] = &hello.assignments[..] else {
        panic!("{:?}", hello.assignments)
    };
    assert_eq!(
        (status.state(), status.reason.as_str()),
        (State::Aborted, "agent restart")
    );

    control.snapshot(1, vec![start_at(1, 1)]).await;
    assert_eq!(control.answer().await, Ok(1));
    standing(&mut control, State::Aborted).await;
    // Another run is the engine's next call: the first was not begun again.
    control.snapshot(2, vec![start_at(1, 1), prepare(2)]).await;
    assert_eq!(control.answer().await, Ok(2));
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(2)));
}

#[tokio::test]
async fn records_are_delivered_again_until_they_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let mut agent = start(&controller, &directory.path().join("a"));
    let (mut control, _, _) = controller.greet(0).await;
    control.snapshot(1, vec![start_at(1, 1)]).await;
    assert_eq!(control.answer().await, Ok(1));
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(1)));

    let mut records = controller.records(0, 4096).await;
    agent.traffic.records(RunId(1), 0..5);
    assert_eq!(records.entries(5).await, [1, 2, 3, 4, 5]);
    drop(records); // nothing was acknowledged

    let mut records = controller.records(2, 4096).await;
    assert_eq!(
        records.entries(3).await,
        [3, 4, 5],
        "from where the controller stands"
    );
    records.nack(4).await;
    assert_eq!(records.entries(2).await, [4, 5]);
    records.ack(5, 2).await;
    agent.traffic.records(RunId(1), 5..10);
    assert_eq!(records.entries(2).await, [6, 7], "no more than the credit");
    records.ack(7, 1).await;
    assert_eq!(records.entries(1).await, [8]);

    // The controller restarts: both streams end, the backlog waits.
    drop(records);
    drop(control);
    let (_control, _, hello) = controller.greet(8).await;
    assert_eq!(hello.assignments.len(), 1, "the run goes on");
    let mut records: Records = controller.records(8, 4096).await;
    assert_eq!(records.entries(2).await, [9, 10]);
}

#[tokio::test]
async fn a_session_that_is_lost_is_told_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let mut agent = start(&controller, &directory.path().join("a"));
    let (mut control, _, _) = controller.greet(0).await;
    control.snapshot(1, vec![prepare(1)]).await;
    assert_eq!(control.answer().await, Ok(1));
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(1)));
    drop(control);

    let code = weir_engine::engine::FailureCode::Bind;
    let (session, end, reason) = (
        SessionId(1),
        End::Rx,
        "bind 0.0.0.0:7900: in use".to_owned(),
    );
    agent.traffic.event(
        RunId(1),
        Event::Failed {
            session,
            end,
            code,
            reason,
        },
    );
    let (mut control, _, _) = controller.greet(0).await;
    let failed = control
        .until(|message| match message {
            Up::SessionStatus(pb::SessionStatus {
                state: Some(SessionState::Failed(f)),
                ..
            }) => Some(f),
            _ => None,
        })
        .await;
    assert_eq!(failed.code, "bind");
    standing(&mut control, State::Prepared).await;
}

#[tokio::test]
async fn a_refused_name_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let _agent = start(&controller, &directory.path().join("a"));
    let control = controller.control().await;
    control
        .fail(tonic::Status::already_exists(
            "name 150-host_0 belongs to another key",
        ))
        .await;
    let (_control, _, hello) = controller.greet(0).await;
    assert_eq!(hello.name, "150-host_0");
}

#[tokio::test]
async fn an_ending_agent_stops_its_runs_and_delivers_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let mut agent = start(&controller, &directory.path().join("a"));
    let (mut control, _, _) = controller.greet(0).await;
    control.snapshot(1, vec![prepare(1)]).await;
    assert_eq!(control.answer().await, Ok(1));
    assert_eq!(agent.traffic.call().await, Call::Prepare(RunId(1)));
    let mut records = controller.records(0, 4096).await;
    agent.shutdown.cancel();
    assert!(matches!(
        agent.traffic.call().await,
        Call::Stop(RunId(1), _)
    ));
    agent.traffic.closed(RunId(1), 0);
    agent.traffic.event(RunId(1), Event::Finished);
    assert_eq!(records.entries(1).await, [1]);
    records.ack(1, 4096).await;
    standing(&mut control, State::Stopped).await;
    agent.task.await.unwrap();
}

#[tokio::test]
async fn two_hundred_agents_share_one_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let mut controller = FakeController::start(directory.path());
    let shutdown = CancellationToken::new();
    let mut agents = Vec::new();
    for i in 0..200 {
        let name = format!("agent-{i}");
        let data = directory.path().join(&name);
        let config = AgentConfig::new(controller.endpoint(), name.parse().unwrap(), data);
        let engine = FakeTraffic::new().engine();
        let agent = Agent::with_traffic(config, |_, _| engine).unwrap();
        agents.push(tokio::spawn(agent.run(shutdown.clone())));
    }
    let mut names = std::collections::BTreeSet::new();
    let mut sessions = Vec::new();
    for _ in 0..200 {
        let (control, _, hello) = controller.greet(0).await;
        names.insert(hello.name);
        sessions.push(control);
    }
    assert_eq!(names.len(), 200);
    shutdown.cancel();
    drop(sessions);
    for agent in agents {
        tokio::time::timeout(Duration::from_secs(60), agent)
            .await
            .unwrap()
            .unwrap();
    }
}
