//! Batches that no careful agent sends, by an agent made by hand: ended at each byte,
//! replayed, overlapping, out of order, on two streams at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_request::Message as Up;
use weir_proto::agent::v1::records_response::Message as Down;
use weir_proto::types::v1 as types;
use weir_tests::pretender::{Pretender, Stream};
use weir_tests::{Background, Cluster, Proxy, account};

use crate::Settings;
use crate::outcome::Outcome;
use crate::rig::wait;

/// Rows of a batch.
const BATCH: u64 = 20;
const RUN: u32 = 1;

/// A run that an agent made by hand takes part in.
struct Stage {
    me: Pretender,
    link: Proxy,
    cluster: Cluster,
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime of one thread").block_on(future)
}

/// A row whose place and figures tell its sequence; `other` is what a liar says of it.
fn row(seq: u64, other: u64) -> types::Entry {
    let record = types::Record {
        run: RUN,
        flow: 1,
        end: types::End::Tx.into(),
        source: types::Source::Measured.into(),
        k: seq as u32,
        start_ns: seq * 1_000,
        length_ns: 1_000,
        counters: Some(types::Counters {
            tx_packets: Some(seq + other),
            ..types::Counters::default()
        }),
        ..types::Record::default()
    };
    types::Entry {
        item: Some(types::entry::Item::Record(record)),
    }
}

fn batch(first_seq: u64, count: u64, other: u64) -> pb::RecordsRequest {
    let entries = (first_seq..first_seq + count).map(|seq| row(seq, other));
    pb::RecordsRequest {
        message: Some(Up::Batch(pb::Batch {
            first_seq,
            entries: entries.collect(),
        })),
    }
}

/// What the controller answers a batch: what is stored, or what it expects.
async fn answer(stream: &mut Stream) -> anyhow::Result<Result<u64, u64>> {
    let answer: pb::RecordsResponse = stream.answer().await?;
    match answer.message.context("an answer")? {
        Down::Ack(ack) => Ok(Ok(ack.acked_seq)),
        Down::Nack(nack) => Ok(Err(nack.expected_seq)),
    }
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let cluster = Cluster::on_loopback(&[("a1", &["asn=150"])]);
        let target = cluster.controller_data().join("join/agents.sock");
        let link = Proxy::start(&cluster.directory().join("p1.sock"), &target);
        let me = Pretender::at(&link.endpoint(), "p1").await;
        let stage = Self { me, link, cluster };
        let (_control, _epoch) = stage.me.joined().await;
        let line = "run --json --from p1 --to a1 --settle 1s --udp 1M --for 1s";
        let run = Background::start(&stage.cluster, line);
        // It takes no part, so that the run is over soon; its flow is there.
        let ran = run.finish();
        ensure!(ran.code == 3, "the run of nobody: {ran:?}");
        Ok(stage)
    }

    /// A records stream on a connection of its own, and what is stored.
    async fn stream(&mut self) -> anyhow::Result<(Stream, Stream, u64)> {
        self.me.reconnect(&self.link.endpoint()).await;
        let (control, epoch) = self.me.joined().await;
        let mut records = self.me.records().await;
        records.send(&pb::RecordsRequest {
            message: Some(Up::Open(self.me.records_open(epoch))),
        });
        match answer(&mut records).await? {
            Ok(acked) => Ok((control, records, acked)),
            Err(expected) => bail!("{expected} is expected before anything was sent"),
        }
    }

    /// Every row up to `acked` is stored once, as it was sent first.
    fn judge(&self, outcome: &mut Outcome, acked: u64) {
        let mut stored: BTreeMap<u64, usize> = BTreeMap::new();
        let mut altered = 0;
        for row in account::stored_rows(&self.cluster.database(), RUN) {
            let seq = u64::from(row.k);
            *stored.entry(seq).or_default() += 1;
            altered += usize::from(row.counters.tx_packets != Some(seq));
        }
        let missing = (1..=acked).filter(|seq| !stored.contains_key(seq)).count();
        outcome.expected = acked as usize;
        outcome.lost = missing + altered;
        outcome.doubled = stored.values().map(|count| count - 1).sum();
        outcome.doubled += stored.range(acked + 1..).count();
        outcome.check(outcome.lost == 0, || {
            format!("{missing} rows are missing, {altered} are not what was sent first")
        });
        let doubled = outcome.doubled;
        outcome.check(doubled == 0, || format!("{doubled} rows too many"));
        let log = self.cluster.controller().output();
        outcome.check(!log.contains("panicked"), || {
            "the controller panicked".into()
        });
    }
}

/// The connection ends after each byte of a batch: all of it is stored or nothing.
pub(crate) fn cut_bytes(settings: Settings) -> anyhow::Result<Outcome> {
    let step = settings.or_quick(1, 97);
    block_on(async {
        let mut stage = Stage::set().await?;
        let mut outcome = Outcome::default();
        let (mut after, mut acked, mut whole) = (1, 0, 0);
        loop {
            let (_control, mut records, stored) = stage.stream().await?;
            let all = stored == acked || stored == acked + BATCH;
            outcome.check(all, || {
                format!("{stored} stored after {acked}: a part of a batch")
            });
            whole += u64::from(stored > acked);
            acked = stored;
            let cuts = stage.link.passed().cuts;
            stage.link.cut_after(after);
            records.send(&batch(acked + 1, BATCH, 0));
            if let Ok(Ok(stored)) = answer(&mut records).await {
                acked = stored;
            }
            if stage.link.passed().cuts == cuts {
                break; // the batch is shorter than that
            }
            after += step;
        }
        outcome.injected = format!(
            "{} cuts, after byte 1 to {after}; {whole} batches were stored and not acknowledged",
            stage.link.passed().cuts
        );
        outcome.check(after > 300, || format!("a batch of {after} bytes is none"));
        stage.judge(&mut outcome, acked);
        Ok(outcome)
    })
}

/// Batches again, in pieces, too early, with other content, and on two streams at once.
pub(crate) fn replay(settings: Settings) -> anyhow::Result<Outcome> {
    let times: u64 = settings.or_quick(5_000, 300);
    let mut dice = settings.dice("replay");
    block_on(async {
        let mut stage = Stage::set().await?;
        let mut outcome = Outcome::default();
        let (_control, mut records, mut acked) = stage.stream().await?;
        let (mut again, mut early) = (0, 0);
        for _ in 0..times {
            let first = (acked + 1 + dice.below(BATCH)).saturating_sub(dice.below(2 * BATCH));
            let count = 1 + dice.below(BATCH);
            // A liar says other figures of what is stored already.
            let other = u64::from(first + count <= acked + 1);
            records.send(&batch(first, count, other));
            let expected = if first == 0 || first > acked + 1 {
                early += 1;
                Err(acked + 1)
            } else {
                again += u64::from(first <= acked);
                acked = acked.max(first + count - 1);
                Ok(acked)
            };
            let answered = answer(&mut records).await?;
            outcome.check(answered == expected, || {
                format!("{answered:?} to {first}+{count}, not {expected:?}")
            });
        }
        // The newest session wins; the records of the older stream are as good.
        let (_control, mut beside, _) = stage.stream().await?;
        for _ in 0..times.min(500) {
            let message = batch(acked + 1, BATCH, 0);
            beside.send(&message);
            records.send(&message);
            acked += BATCH;
            for stream in [&mut beside, &mut records] {
                let answered = answer(stream).await;
                let well = matches!(answered, Ok(Ok(seq)) if seq == acked) || answered.is_err();
                outcome.check(well, || format!("{answered:?} of two streams at {acked}"));
            }
        }
        outcome.injected =
            format!("{again} batches again or overlapping, {early} too early, 2 streams at once");
        outcome.check(again > 0 && early > 0, || "nothing was replayed".into());
        stage.judge(&mut outcome, acked);
        Ok(outcome)
    })
}

/// So long a session without a heartbeat is given up.
const SILENCE: Duration = Duration::from_secs(15);

/// An agent that says nothing any more, beside others that are well.
pub(crate) fn silent_agent(_settings: Settings) -> anyhow::Result<Outcome> {
    block_on(async {
        let cluster = Cluster::on_loopback(&[("a1", &["asn=150"])]);
        let me = Pretender::new(&cluster, "p1").await;
        let begun = Instant::now();
        let (_control, _epoch) = me.joined().await;
        let state = || -> anyhow::Result<Option<()>> {
            let listed = cluster.weir(&["agents", "--json"]).json();
            let agents = listed["agents"].as_array().context("agents")?;
            for agent in agents {
                let lost = agent["state"] == "lost";
                ensure!(!lost || agent["agent"] == "p1", "{agent} was called lost");
                if lost {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        };
        wait("p1 lost", state)?;
        let mut outcome = Outcome {
            injected: "1 agent without a heartbeat".into(),
            detected: Some(begun.elapsed()),
            ..Outcome::default()
        };
        let late = begun.elapsed() > SILENCE + Duration::from_secs(2);
        outcome.check(!late, || "called lost too late".into());
        sleep(Duration::from_secs(1));
        state()?;
        Ok(outcome)
    })
}
