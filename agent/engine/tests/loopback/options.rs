//! What a flow asks of its connections: had at both ends, or refused before T0.

use weir_common::assignment::{Rate, SocketTraffic, Transport};
use weir_engine::engine::{Event, FailureCode};

use crate::pair::{Events, Pair, assert_whole, segment, session, traffic};

fn tcp() -> SocketTraffic {
    traffic(Transport::Tcp, Rate::BitsPerSecond(8_000_000), 0)
}

/// Why an end could not prepare.
fn failure(events: &Events) -> (FailureCode, String) {
    events.wait("failure", |events| {
        events.iter().find_map(|event| match event {
            Event::Failed { code, reason, .. } => Some((*code, reason.clone())),
            _ => None,
        })
    })
}

#[test]
fn segments_and_buffers_are_those_asked_for_whoever_dials() {
    for dials in [true, false] {
        let mut asked = tcp();
        asked.mss = Some(1_000);
        asked.window = Some(50_000);
        asked.nodelay = true;
        asked.marking.dscp = Some(46);
        asked.marking.ttl = Some(9);
        let mut one = session(1, asked, vec![segment(1, 0, 300, 0)]);
        one.dials = dials;
        let pair = Pair::complete(vec![one]);
        let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
        // 12 of each segment's 1000 bytes are timestamps.
        assert_eq!(tx.path.mss, Some(988), "dials {dials}");
        assert_eq!(tx.path.buffer_bytes, Some(100_000), "dials {dials}");
        assert_eq!(rx.path.buffer_bytes, Some(100_000), "dials {dials}");
        assert!(tx.total.tx_bytes.unwrap() > 0);
    }
}

#[test]
fn what_a_host_cannot_give_is_refused_before_t0_by_that_host() {
    let mut controls = tcp();
    controls.congestion_control = Some("nonesuch".to_owned());
    let mut segments = tcp();
    segments.mss = Some(20_000);
    let mut label = tcp();
    label.marking.flow_label = Some(5);
    for (asked, dials, says) in [
        (&controls, true, "use congestion control nonesuch"),
        (&controls, false, "use congestion control nonesuch"),
        (&label, true, "set the flow label 5 to 127.0.0.1"),
        (&label, false, "set the flow label 5: the end that sends"),
    ] {
        let mut one = session(1, asked.clone(), vec![segment(1, 0, 300, 0)]);
        one.dials = dials;
        let pair = Pair::prepare(vec![one]);
        let (code, reason) = failure(&pair.tx);
        assert_eq!(code, FailureCode::Bind, "{reason}");
        assert!(reason.starts_with(says), "{reason}");
        if !dials {
            let (code, reason) = failure(&pair.rx);
            assert_eq!(code, FailureCode::Bind, "{reason}");
            assert!(reason.contains("that host cannot give"), "{reason}");
        }
        pair.tx_run.stop("the test is over");
        pair.rx_run.stop("the test is over");
        pair.tx.finished();
        pair.rx.finished();
    }
    // Loopback's MTU of 64 KiB has room for it.
    let one = session(1, segments, vec![segment(1, 0, 200, 0)]);
    assert_eq!(
        Pair::complete(vec![one]).tx.closed(1).path.mss,
        Some(19_988)
    );
}
