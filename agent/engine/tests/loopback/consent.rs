//! Nothing but questions goes to who takes no part in the run.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_common::assignment::{Rate, Transport};
use weir_common::id::SessionId;
use weir_common::record::End;
use weir_engine::engine::{Event, FailureCode, Sink};
use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind};

use crate::pair::{
    Events, MS, TestPolicy, assignment, engine, mirrored, now_ns, segment, session, traffic,
};

fn failure(events: &Events) -> (FailureCode, String) {
    events.wait("a failure", |events| {
        events.iter().find_map(|event| match event {
            Event::Failed { code, reason, .. } => Some((*code, reason.clone())),
            _ => None,
        })
    })
}

/// A plain UDP service: what it did until the run gave up.
struct Plain {
    packets: u64,
    /// Of them, those that are more than a header.
    data: u64,
    took: Duration,
}

/// Aims `streams` streams of a fast flow at a plain UDP service that does this with what
/// comes.
fn at_a_plain_host(
    streams: u32,
    settle_ms: u64,
    answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
) -> (FailureCode, Plain) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let service = thread::spawn(move || {
        let begun = Instant::now();
        let (mut packets, mut data) = (0, 0);
        let mut buffer = [0; 2048];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((count, from)) => {
                    packets += 1;
                    data += u64::from(count > LENGTH);
                    answer(&socket, &buffer[..count], from);
                }
                Err(_) if told.load(Ordering::Acquire) => break,
                Err(_) => {}
            }
        }
        let took = begun.elapsed();
        Plain {
            packets,
            data,
            took,
        }
    });
    let fast = traffic(Transport::Udp, Rate::BitsPerSecond(100_000_000), 1_000);
    let mut to_it = session(1, fast, vec![segment(1, 0, 500, 0)]);
    to_it.tags = (1..=streams).collect();
    let mut all = assignment(vec![to_it]);
    all.settle_ns = settle_ms * MS;
    let events = Arc::new(Events::default());
    let sink = Arc::clone(&events) as Arc<dyn Sink>;
    let run = engine(TestPolicy::default())
        .prepare(Arc::new(all), sink)
        .unwrap();
    run.set_target(SessionId(1), port);
    let (code, _) = failure(&events);
    run.start(now_ns());
    events.finished();
    over.store(true, Ordering::Release);
    (code, service.join().unwrap())
}

#[test]
fn a_service_that_sends_everything_back_has_not_agreed() {
    let mirror = |socket: &UdpSocket, bytes: &[u8], from: SocketAddr| {
        socket.send_to(bytes, from).unwrap();
    };
    let (code, plain) = at_a_plain_host(1, 1_000, mirror);
    assert_eq!(code, FailureCode::Unreachable);
    assert!((1..20).contains(&plain.packets), "{} hellos", plain.packets);
    assert_eq!(plain.data, 0);
}

#[test]
fn an_answer_without_the_nonce_is_none() {
    let lie = |socket: &UdpSocket, bytes: &[u8], from: SocketAddr| {
        let mut header = ProbeHeader::decode(bytes).unwrap();
        header.kind = ProbeKind::HelloAck;
        let mut answer = [0; LENGTH];
        header.encode(&mut answer).unwrap();
        socket.send_to(&answer, from).unwrap();
    };
    let (code, plain) = at_a_plain_host(1, 1_000, lie);
    assert_eq!((code, plain.data), (FailureCode::Unreachable, 0));
}

#[test]
fn many_streams_ask_a_silent_host_slowly() {
    let (code, plain) = at_a_plain_host(100, 2_000, |_, _, _| {});
    assert_eq!((code, plain.data), (FailureCode::Unreachable, 0));
    let most = 10.0 + plain.took.as_secs_f64() * 100.0;
    assert!((plain.packets as f64) <= most, "{} packets", plain.packets);
}

#[test]
fn a_tcp_service_that_says_something_else_gets_no_payload() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Binary protocols may well begin with a zero.
    let service = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(&[0; 16]).unwrap();
        let mut all = Vec::new();
        let _reset = connection.read_to_end(&mut all);
        all.len()
    });
    let to_it = session(
        1,
        traffic(Transport::Tcp, Rate::Max, 0),
        vec![segment(1, 0, 500, 0)],
    );
    let mut all = assignment(vec![to_it]);
    all.settle_ns = 100 * MS;
    let events = Arc::new(Events::default());
    let sink = Arc::clone(&events) as Arc<dyn Sink>;
    let run = engine(TestPolicy::default())
        .prepare(Arc::new(all), sink)
        .unwrap();
    run.set_target(SessionId(1), port);
    let (code, reason) = failure(&events);
    // Later attempts find nobody; what the first one found is the service's.
    assert!(
        matches!(code, FailureCode::Refused | FailureCode::Unreachable),
        "{reason}"
    );
    run.stop("over");
    events.finished();
    assert_eq!(service.join().unwrap(), 9, "the preamble and no more");
}

#[test]
fn a_generator_that_listens_sends_nothing_to_a_source_without_a_link() {
    let data = traffic(Transport::Udp, Rate::BitsPerSecond(10_000_000), 1_000);
    let mut dialled = mirrored(&session(1, data, vec![segment(1, 0, 500, 0)]));
    // This end sends, and is dialled.
    (dialled.end, dialled.dials) = (End::Tx, false);
    let tag = dialled.tags[0];
    let events = Arc::new(Events::default());
    let sink = Arc::clone(&events) as Arc<dyn Sink>;
    let run = engine(TestPolicy::default())
        .prepare(Arc::new(assignment(vec![dialled])), sink)
        .unwrap();
    let port = events.port(SessionId(1));
    // It knows the tag, and may have made its address up.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut hello = [0; LENGTH];
    let header = ProbeHeader {
        tag,
        kind: ProbeKind::Hello,
        sequence: 0,
        send_ns: None,
    };
    header.encode(&mut hello).unwrap();
    socket.send_to(&hello, (Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut answer = [0; 2048];
    let (count, _) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(count, LENGTH, "no longer than what was asked");
    let (code, reason) = failure(&events);
    assert_eq!(code, FailureCode::Unreachable);
    assert!(reason.contains("flow link"), "{reason}");
    run.start(now_ns());
    events.finished();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(socket.recv_from(&mut answer).is_err(), "nothing more came");
}
