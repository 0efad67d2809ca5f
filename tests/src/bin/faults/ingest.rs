//! How many records a second are acknowledged and durable: streams made by hand beside
//! the bare append loop of the same rows, in turn on the same cores.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use prost::encoding::encode_varint;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use weir_common::stats::Histogram;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_request::Message as Up;
use weir_proto::agent::v1::records_response::Message as Down;
use weir_proto::types::v1 as types;
use weir_tests::pretender::{Pretender, Stream};
use weir_tests::report::{Figure, Spread, Target, quantile};
use weir_tests::{Background, Cluster};

use crate::Settings;
use crate::rig::wait;

/// Entries of a batch, the most there may be.
const BATCH: u64 = 256;
/// Entries in flight that the controller allows a stream.
const CREDIT: u64 = 4_096;
/// Streams, each of an agent of its own.
const STREAMS: usize = 4;
/// Bytes of the histogram of every second row.
const HISTOGRAM: usize = 100;
/// Rows of a transaction of the bare loop.
const TRANSACTION: u64 = 10_000;
/// Columns of the narrow core, and of a delay row beside its histogram.
const CORE: usize = 24;
const DELAY: usize = 9;

/// The figures.
pub(crate) fn measure(settings: Settings) -> anyhow::Result<Vec<Figure>> {
    let (rounds, seconds) = settings.or_quick((3, 5), (1, 1));
    let length = Duration::from_secs(seconds);
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut delays = Vec::new();
    for _ in 0..rounds {
        let loop_alone = bare_loop(length)?;
        let (streams, mut waited) = streams(length)?;
        waited.sort_by(f64::total_cmp);
        delays.push(quantile(&waited, 0.99).context("an acknowledgement")?);
        ratios.push(streams / loop_alone);
        ours.push(streams);
        bare.push(loop_alone);
    }
    let what = "records/s acknowledged and durable, every second one with a delay histogram";
    Ok(vec![
        Figure::new(what)
            .ours(Spread::of(ours.iter().copied()))
            .other("bare append loop", Spread::of(bare))
            .ratio(Spread::of(ratios))
            .target(Target::RatioAtLeast(0.5))
            .note(format!("{STREAMS} streams")),
        Figure::new("the same, records/s")
            .ours(Spread::of(ours))
            .target(Target::AtLeast(150_000.0)),
        Figure::new("from sending a batch to its acknowledgement, p99, ms")
            .ours(Spread::of(delays))
            .target(Target::AtMost(250.0)),
    ])
}

/// A histogram as it travels.
fn histogram() -> Vec<u8> {
    let mut histogram = Histogram::new();
    let mut value = 10_000;
    loop {
        for _ in 0..3 {
            histogram.record(value);
        }
        value += value / 9;
        let bytes = histogram.encode();
        if bytes.len() >= HISTOGRAM {
            return bytes;
        }
    }
}

/// The entries of a batch, encoded once.
fn entries(flow: u32) -> Vec<u8> {
    let histogram = histogram();
    let row = |k: u64| {
        let count = Some(1_000 + k);
        let delay = types::DelayColumns {
            delay_hist: Some(histogram.clone()),
            delay_bound_ns: Some(0),
            rtt_hist: None,
        };
        let record = types::Record {
            run: 1,
            flow,
            end: types::End::Tx.into(),
            source: types::Source::Measured.into(),
            k: k as u32,
            start_ns: k * 100_000_000,
            length_ns: 100_000_000,
            counters: Some(types::Counters {
                offered_packets: count,
                offered_bytes: count,
                tx_packets: count,
                tx_bytes: count,
                rx_packets: count,
                rx_bytes: count,
                ..types::Counters::default()
            }),
            delay: (k % 2 == 1).then_some(delay),
            ..types::Record::default()
        };
        types::Entry {
            item: Some(types::entry::Item::Record(record)),
        }
    };
    let batch = pb::Batch {
        first_seq: 0,
        entries: (0..BATCH).map(row).collect(),
    };
    batch.encode_to_vec()
}

/// A request whose batch begins at a sequence: a message is the sum of its parts.
fn request(first_seq: u64, entries: &[u8]) -> Vec<u8> {
    let head = pb::Batch {
        first_seq,
        entries: Vec::new(),
    };
    let head = head.encode_to_vec();
    let empty = pb::RecordsRequest {
        message: Some(Up::Batch(pb::Batch::default())),
    };
    let mut bytes = vec![empty.encode_to_vec()[0]];
    encode_varint((head.len() + entries.len()) as u64, &mut bytes);
    bytes.extend(head);
    bytes.extend_from_slice(entries);
    bytes
}

/// Rows a second of all streams together, and how long each acknowledgement took, ms.
fn streams(length: Duration) -> anyhow::Result<(f64, Vec<f64>)> {
    let cluster = Cluster::on_loopback(&[("sink", &["asn=150"])]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut joined = Vec::new();
        for i in 0..STREAMS {
            let me = Pretender::new(&cluster, &format!("p{i}")).await;
            let (control, epoch) = me.joined().await;
            joined.push((me, control, epoch));
        }
        // It waits for agents that take no part, so that it stays open.
        let line = "run --json --from name=p* --to sink --settle 60s --udp 1M --for 1s";
        let _run = Background::start(&cluster, line);
        let path = cluster.database();
        let flows = wait("the flows of the run", || {
            Ok(flows(&path).ok().filter(|flows| flows.len() == STREAMS))
        })?;
        let end = Instant::now() + length;
        let begun = Instant::now();
        let mut sending = tokio::task::JoinSet::new();
        // The sessions stay while the records flow.
        let mut sessions = Vec::new();
        for (i, (me, control, epoch)) in joined.into_iter().enumerate() {
            let name = format!("p{i}");
            let flow = flows.iter().find(|(_, from)| *from == name);
            let entries = entries(flow.context("a flow of each stream")?.0);
            let mut records = me.records().await;
            records.send(&pb::RecordsRequest {
                message: Some(Up::Open(me.records_open(epoch))),
            });
            acked(&mut records).await?;
            sessions.push((me, control));
            sending.spawn(send(records, entries, end));
        }
        let (mut rows, mut waited) = (0, Vec::new());
        while let Some(sent) = sending.join_next().await {
            let (count, times) = sent??;
            rows += count;
            waited.extend(times);
        }
        let rate = rows as f64 / begun.elapsed().as_secs_f64();
        let database = Connection::open(&path)?;
        let stored: i64 =
            database.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
        ensure!(
            stored as u64 == rows,
            "{rows} rows acknowledged, {stored} stored"
        );
        Ok((rate, waited))
    })
}

/// Number and sender of each flow.
fn flows(database: &Path) -> rusqlite::Result<Vec<(u32, String)>> {
    let database = Connection::open(database)?;
    let mut select = database.prepare("SELECT number, from_name FROM flows")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

async fn acked(stream: &mut Stream) -> anyhow::Result<u64> {
    let answer: pb::RecordsResponse = stream.answer().await?;
    match answer.message {
        Some(Down::Ack(ack)) => Ok(ack.acked_seq),
        other => bail!("no acknowledgement: {other:?}"),
    }
}

/// Sends as much as is allowed until a time; rows, and how long each batch took, ms.
async fn send(
    mut stream: Stream,
    entries: Vec<u8>,
    end: Instant,
) -> anyhow::Result<(u64, Vec<f64>)> {
    let (mut next, mut stored) = (1, 0);
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut times = Vec::new();
    while stored + 1 < next || Instant::now() < end {
        while next + BATCH - 1 <= stored + CREDIT && Instant::now() < end {
            stream.send_bytes(request(next, &entries));
            next += BATCH;
            waiting.push_back((next - 1, Instant::now()));
        }
        if stored + 1 < next {
            stored = acked(&mut stream).await?;
        }
        while let Some((last, sent)) = waiting.front()
            && *last <= stored
        {
            times.push(sent.elapsed().as_secs_f64() * 1e3);
            waiting.pop_front();
        }
    }
    Ok((stored, times))
}

/// Rows a second that one loop appends: as wide, as many with a histogram, as durable.
fn bare_loop(length: Duration) -> anyhow::Result<f64> {
    let directory = tempfile::Builder::new().prefix("weir-").tempdir()?;
    let database = Connection::open(directory.path().join("bare.db"))?;
    let columns = |count: usize| {
        let names: Vec<String> = (1..count).map(|i| format!("c{i} INTEGER")).collect();
        names.join(", ")
    };
    database.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE records (record INTEGER PRIMARY KEY, {}) STRICT;
         CREATE TABLE record_delay (record INTEGER PRIMARY KEY, {}, hist BLOB) STRICT;",
        columns(CORE),
        columns(DELAY)
    ))?;
    let marks = |count: usize| vec!["?"; count].join(", ");
    let mut core = database.prepare(&format!("INSERT INTO records VALUES ({})", marks(CORE)))?;
    let insert = format!("INSERT INTO record_delay VALUES ({})", marks(DELAY + 1));
    let mut delay = database.prepare(&insert)?;
    let histogram = Value::Blob(histogram());
    let begun = Instant::now();
    let mut rows = 0_i64;
    while begun.elapsed() < length {
        database.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..TRANSACTION {
            rows += 1;
            // As many columns are null as in a row of the streams.
            let value = |at: usize| match at {
                0 => Some(rows),
                1 | 3..=13 => Some(1_000 + rows % 256),
                _ => None,
            };
            core.execute(params_from_iter((0..CORE).map(value)))?;
            if rows % 2 == 1 {
                let values = (0..DELAY).map(|_| Value::Integer(rows));
                let histogram = std::iter::once(histogram.clone());
                delay.execute(params_from_iter(values.chain(histogram)))?;
            }
        }
        database.execute_batch("COMMIT")?;
    }
    Ok(rows as f64 / begun.elapsed().as_secs_f64())
}
