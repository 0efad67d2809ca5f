use std::sync::Mutex as StdMutex;

use weir_common::record::Flags;

use super::*;

#[derive(Default)]
struct Kept(StdMutex<Vec<Event>>);

impl Sink for Kept {
    fn event(&self, _run: RunId, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn row(k: u32, tx: u64) -> Row {
    let span = Span {
        k,
        start_ns: u64::from(k) * 100,
        length_ns: 100,
        flags: if k == 0 {
            Flags::WARMUP
        } else {
            Flags::default()
        },
    };
    let counters = Counters {
        tx_packets: Some(tx),
        ..Counters::default()
    };
    let more = MoreColumns {
        cpu_us: Some(5),
        jitter_ns: Some(tx),
        ..MoreColumns::default()
    };
    Row {
        span,
        counters,
        delay: None,
        tcp: None,
        more: Some(more),
    }
}

fn meter(streams: usize) -> (FlowMeter, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let key = FlowKey {
        run: RunId(1),
        flow: FlowId(2),
        end: End::Tx,
    };
    (FlowMeter::new(key, streams, Arc::clone(&kept) as _), kept)
}

fn rows(kept: &Kept) -> Vec<(Option<u16>, u32, Option<u64>)> {
    let events = kept.0.lock().unwrap();
    let row = |event: &Event| match event {
        Event::Record(row) => Some((row.stream, row.k, row.counters.tx_packets)),
        _ => None,
    };
    events.iter().filter_map(row).collect()
}

#[test]
fn one_stream_is_the_flow() {
    let (meter, kept) = meter(1);
    meter.row(0, row(0, 3));
    meter.row(0, row(1, 4));
    let closed = meter
        .close_stream(0, StreamClosed::new(Ending::Completed, 100, 100))
        .unwrap();
    assert_eq!(rows(&kept), [(None, 0, Some(3)), (None, 1, Some(4))]);
    assert_eq!((closed.rows, closed.total.tx_packets), (2, Some(7)));
    assert_eq!(closed.window.cpu_us, Some(5)); // the warm-up is left out
}

#[test]
fn a_sum_waits_for_every_stream_that_is_still_there() {
    let (meter, kept) = meter(2);
    meter.row(0, row(0, 1));
    meter.row(0, row(1, 2));
    assert_eq!(rows(&kept).iter().filter(|row| row.0.is_none()).count(), 0);
    meter.row(1, row(0, 10));
    assert_eq!(rows(&kept).last(), Some(&(None, 0, Some(11))));
    let ending = Ending::Failed {
        reason: "reset".to_owned(),
    };
    assert!(
        meter
            .close_stream(1, StreamClosed::new(ending.clone(), 100, 50))
            .is_none()
    );
    assert_eq!(rows(&kept).last(), Some(&(None, 1, Some(2))));
    let closed = meter
        .close_stream(0, StreamClosed::new(Ending::Completed, 100, 100))
        .unwrap();
    assert_eq!((closed.rows, closed.total.tx_packets), (5, Some(13)));
    assert_eq!((closed.ending, closed.window.length_ns), (ending, 100));
}

#[test]
fn jitter_of_a_sum_is_the_worst_stream() {
    let (meter, kept) = meter(2);
    meter.row(0, row(1, 7));
    meter.row(1, row(1, 9));
    let events = kept.0.lock().unwrap();
    let Some(Event::Record(sum)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(sum.more.as_ref().and_then(|more| more.jitter_ns), Some(9));
}
