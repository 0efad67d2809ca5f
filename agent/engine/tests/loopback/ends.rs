//! How streams end, and what arrives of what was written.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use weir_common::assignment::{Rate, SocketTraffic, StreamEnd, Transport};
use weir_common::record::{Ending, FlowClosed};

use crate::pair::{Pair, TestPolicy, assert_whole, engine, segment, session, traffic};

fn max() -> SocketTraffic {
    traffic(Transport::Tcp, Rate::Max, 0)
}

/// sent = received + drained + unread, to the byte.
fn assert_accounted(tx: &FlowClosed, rx: &FlowClosed) {
    let parts = [rx.total.rx_bytes, rx.drained_bytes, rx.unread_bytes];
    let sum: u64 = parts.into_iter().flatten().sum();
    assert_eq!(tx.total.tx_bytes, Some(sum), "{tx:#?} {rx:#?}");
    assert_eq!(tx.ending, Ending::Completed, "{tx:#?}");
    assert_eq!(rx.ending, Ending::Completed, "{rx:#?}");
}

/// Stands between the two ends, in user space.
struct Relay {
    port: u16,
}

impl Relay {
    /// Forwards every connection to `to`; what the dialler sends goes through
    /// `change`, with its position.
    fn start(to: u16, change: impl Fn(u64, &mut [u8]) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let change = std::sync::Arc::new(change);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else {
                    return;
                };
                let there = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let change = std::sync::Arc::clone(&change);
                thread::spawn(move || forward(there.0, there.1, &*change));
                thread::spawn(move || forward(far, near, &|_, _: &mut [u8]| {}));
            }
        });
        Self { port }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, change: &dyn Fn(u64, &mut [u8])) {
    let mut buffer = vec![0; 64 << 10];
    let mut position = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        change(position, &mut buffer[..count]);
        position += count as u64;
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}

/// A run whose connections go through a relay.
fn through(
    session: weir_common::assignment::SessionSpec,
    change: impl Fn(u64, &mut [u8]) + Clone + Send + Sync + 'static,
) -> Pair {
    let pair = Pair::prepare_over(&engine(TestPolicy::default()), vec![session], |port| {
        Relay::start(port, change.clone()).port
    });
    pair.tx.ready(1);
    pair.rx.ready(1);
    pair.start();
    pair.tx.finished();
    pair.rx.finished();
    pair
}

/// Bytes of the preamble of a data connection.
const PREAMBLE: u64 = 9;

#[test]
fn writes_of_any_size_arrive_as_they_were_written() {
    for size in [0, 1_448, 70_001] {
        let mut verified = max();
        (verified.size, verified.verify) = (size, true);
        verified.bytes = Some(50_000_003);
        let mut two = session(1, verified, vec![segment(1, 0, 8_000, 0)]);
        two.tags = vec![41, 42];
        let pair = Pair::complete(vec![two]);
        let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
        assert_accounted(&tx, &rx);
        assert_eq!(
            (tx.path.call.as_str(), rx.path.call.as_str()),
            ("write", "read")
        );
        assert_eq!(tx.total.tx_bytes, Some(50_000_003), "size {size}");
        assert_eq!(rx.corrupt_bytes, Some(0), "size {size}");
        assert_eq!(rx.unread_bytes, Some(0));
    }
}

#[test]
fn positions_go_on_over_segments() {
    let mut verified = max();
    verified.verify = true;
    let segments = vec![segment(1, 0, 150, 0), segment(2, 150, 150, 50)];
    let pair = Pair::complete(vec![session(1, verified, segments)]);
    for flow in 1..=2 {
        let (tx, rx) = (assert_whole(&pair.tx, flow), assert_whole(&pair.rx, flow));
        assert_accounted(&tx, &rx);
        assert_eq!(rx.corrupt_bytes, Some(0));
    }
}

#[test]
fn bytes_changed_on_the_way_are_counted() {
    for verify in [true, false] {
        let mut asked = traffic(Transport::Tcp, Rate::BitsPerSecond(16_000_000), 0);
        asked.verify = verify;
        let one = session(1, asked, vec![segment(1, 0, 400, 0)]);
        let changed = [100_000, 100_001, 300_000];
        let pair = through(one, move |position, bytes| {
            for at in changed.map(|at| at + PREAMBLE) {
                let end = position + bytes.len() as u64;
                if (position..end).contains(&at) {
                    bytes[(at - position) as usize] ^= 0x10;
                }
            }
        });
        let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
        assert_accounted(&tx, &rx);
        assert_eq!(rx.corrupt_bytes, verify.then_some(3));
    }
}

#[test]
fn an_aborted_stream_is_reset_at_its_end() {
    let mut abrupt = max();
    abrupt.end = StreamEnd::Abort;
    // Half a second of a relay's buffers is on the way at the end.
    let one = session(1, abrupt, vec![segment(1, 0, 400, 0)]);
    let pair = through(one, |position, _| {
        if position > 1_000_000 {
            thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_accounted(&tx, &rx);
    assert!(rx.unread_bytes.unwrap() > 0, "{rx:#?}");
    assert!(tx.warnings.is_empty(), "{:?}", tx.warnings);
}

#[test]
fn what_is_not_delivered_in_the_time_to_drain_is_reset() {
    let mut short = max();
    short.end = StreamEnd::Drain(300_000_000);
    let one = session(1, short, vec![segment(1, 0, 400, 0)]);
    // The relay stands still after a megabyte, for longer than the run.
    let pair = through(one, |position, _| {
        if position > 1_000_000 {
            thread::sleep(std::time::Duration::from_secs(5));
        }
    });
    let (tx, rx) = (assert_whole(&pair.tx, 1), assert_whole(&pair.rx, 1));
    assert_accounted(&tx, &rx);
    assert!(rx.unread_bytes.unwrap() > 0, "{rx:#?}");
    assert_eq!(tx.warnings, ["drain-expired"]);
}
