//! The control stream: who an agent says it is, and what it says after that.

use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::types::v1 as types;
use weir_tests::Cluster;

use super::{block_on, is_well, names};
use weir_tests::pretender::{Pretender, request};

/// What makes a good Hello a bad one.
type Damage = fn(&mut pb::Hello);

/// The field that has to be named, and what is done to it.
fn damages() -> Vec<(&'static str, Damage)> {
    vec![
        ("hello.signature", |hello| hello.signature.clear()),
        ("hello.signature", |hello| hello.signature = vec![7; 64]),
        ("hello.signature", |hello| hello.boot_id = vec![7; 16]),
        ("hello.public_key", |hello| hello.public_key.clear()),
        ("hello.name", |hello| hello.name.clear()),
        ("hello.name", |hello| hello.name = "../../etc".into()),
        ("hello.name", |hello| hello.name = "n".repeat(10_000)),
        ("hello.boot_id", |hello| hello.boot_id = vec![1; 15]),
        ("hello.generation", |hello| hello.generation = 0),
        ("hello.generation", |hello| hello.generation = u64::MAX),
        ("hello.protocol_min", |hello| {
            (hello.protocol_min, hello.protocol_max) = (2, 9);
        }),
        ("hello.protocol_min", |hello| {
            (hello.protocol_min, hello.protocol_max) = (u32::MAX, 0);
        }),
        ("hello.labels", |hello| {
            hello.labels = [("a b!".into(), "x".into())].into();
        }),
        ("hello.labels", |hello| {
            hello.labels = (0..65).map(|i| (format!("l{i}"), "x".to_owned())).collect();
        }),
        ("hello.inventory", |hello| {
            hello.inventory = Some(types::Inventory {
                version: "v".repeat(70_000),
                ..types::Inventory::default()
            });
        }),
        ("assignment_status.state", |hello| {
            hello.assignments = vec![pb::AssignmentStatus {
                run: 1,
                ..Default::default()
            }];
        }),
    ]
}

#[test]
fn a_hello_is_refused_with_its_field() {
    let cluster = Cluster::new();
    block_on(async {
        let me = Pretender::new(&cluster, "liar").await;
        // Known, so that what it says of its assignments is listened to.
        let (stream, _) = me.joined().await;
        drop(stream);
        let controller_id = controller_id(&cluster);
        for (field, damage) in damages() {
            let (stream, nonce) = me.control().await;
            let mut hello = me.hello(&nonce);
            hello.controller_id.clone_from(&controller_id);
            damage(&mut hello);
            stream.send(&request(Up::Hello(hello)));
            names(&stream.refusal().await, field);
        }
        // A signature answers one challenge.
        let (stream, _) = me.control().await;
        let (_, other) = me.control().await;
        stream.send(&request(Up::Hello(me.hello(&other))));
        names(&stream.refusal().await, "hello.signature");
        // Something else in the place of a hello.
        for message in [
            Up::Heartbeat(pb::Heartbeat::default()),
            Up::SnapshotAck(pb::SnapshotAck { version: u64::MAX }),
        ] {
            let (stream, _) = me.control().await;
            stream.send(&request(message));
            names(&stream.refusal().await, "hello");
        }
    });
    is_well(&cluster);
}

fn controller_id(cluster: &Cluster) -> String {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(cluster.database(), flags).expect("it");
    let query = "SELECT value FROM meta WHERE name = 'controller_id'";
    database
        .query_row(query, [], |row| row.get(0))
        .expect("an id")
}

fn session(state: Option<pb::session_status::State>) -> pb::SessionStatus {
    pb::SessionStatus {
        run: 1,
        session: 1,
        end: 1,
        state,
    }
}

/// It listens at a port.
fn listening(port: u32) -> pb::SessionStatus {
    session(Some(pb::session_status::State::ListeningPort(port)))
}

/// What ends the stream, and the field that has to be named.
fn refused() -> Vec<(&'static str, Up)> {
    vec![
        ("hello", Up::Hello(pb::Hello::default())),
        (
            "heartbeat.session_epoch",
            Up::Heartbeat(pb::Heartbeat {
                session_epoch: u64::MAX,
                mono_ns: 0,
                interfaces: Vec::new(),
            }),
        ),
        ("session_status.state", Up::SessionStatus(session(None))),
        (
            "session_status.listening_port",
            Up::SessionStatus(listening(0)),
        ),
        (
            "session_status.listening_port",
            Up::SessionStatus(listening(u32::MAX)),
        ),
        (
            "end",
            Up::SessionStatus(pb::SessionStatus {
                end: 77,
                ..listening(1)
            }),
        ),
        (
            "assignment_status.state",
            Up::AssignmentStatus(pb::AssignmentStatus {
                run: 1,
                state: 99,
                ..Default::default()
            }),
        ),
    ]
}

/// What is about nothing that there is.
fn ignored() -> Vec<Up> {
    vec![
        Up::SnapshotAck(pb::SnapshotAck { version: u64::MAX }),
        Up::SnapshotNack(pb::SnapshotNack {
            version: u64::MAX,
            ..Default::default()
        }),
        Up::SnapshotNack(pb::SnapshotNack {
            version: 1,
            last_good_version: u64::MAX,
            reasons: vec![pb::NackReason {
                run: u32::MAX,
                sessions: vec![0, u32::MAX],
                ..Default::default()
            }],
        }),
        Up::SessionStatus(pb::SessionStatus {
            run: u32::MAX,
            session: u32::MAX,
            ..listening(1)
        }),
        Up::AssignmentStatus(pb::AssignmentStatus {
            run: u32::MAX,
            state: 7,
            late_by_ns: u64::MAX,
            reason: "x".repeat(100_000),
        }),
    ]
}

#[test]
fn what_is_said_after_the_hello_is_checked_too() {
    let cluster = Cluster::new();
    block_on(async {
        let me = Pretender::new(&cluster, "liar").await;
        for (field, message) in refused() {
            let (stream, _) = me.joined().await;
            stream.send(&request(message));
            names(&stream.refusal().await, field);
        }
        let (mut stream, session_epoch) = me.joined().await;
        for message in ignored() {
            stream.send(&request(message));
        }
        stream.send(&request(Up::Heartbeat(pb::Heartbeat {
            session_epoch,
            mono_ns: u64::MAX,
            interfaces: Vec::new(),
        })));
        loop {
            let answer: pb::ControlResponse = stream.answer().await.expect("it goes on");
            if let Some(pb::control_response::Message::HeartbeatAck(ack)) = answer.message {
                assert_eq!(ack.mono_ns, u64::MAX);
                break;
            }
        }
    });
    is_well(&cluster);
}
