//! Ingest over a real store.

use weir_common::id::FlowId;
use weir_common::record::End;

use super::*;
use crate::store::samples::{batch, boot, entries, manifest, name, planned, row};
use crate::store::{SqliteStore, StoreError};

fn open(dir: &tempfile::TempDir) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&dir.path().join("weir.db")).unwrap())
}

fn plan() -> Plan {
    Plan {
        name: "x".into(),
        question: None,
        seed: 1,
        interval_ns: 1_000_000_000,
        linger_ns: 0,
        settle_ns: 0,
        lost_agent: weir_experiment::plan::OnLostAgent::Mark,
        hosts: Vec::new(),
        observers: Vec::new(),
        phases: Vec::new(),
        sessions: Vec::new(),
        flows: Vec::new(),
        end_ns: 0,
        records_expected: 40,
        records_at_most: false,
        load: weir_experiment::plan::Load::default(),
        warnings: Vec::new(),
        traces: Vec::new(),
    }
}

#[tokio::test]
async fn rows_are_acked_after_the_commit_and_seen_live() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let run = planned(store.as_ref(), 1);
    let ingest = Ingest::new(Arc::clone(&store));
    ingest.open_run(run, &plan());
    assert_eq!(ingest.watermark(&name("a"), boot(1)).await.unwrap(), 0);

    let mut pending = Vec::new();
    for k in 0..20_u32 {
        let mut sent = entries([row(run, 1, End::Tx, k), row(run, 1, End::Rx, k)]);
        if k == 19 {
            sent.push(Entry::Closed(Box::new(manifest(run, 1, End::Tx, 20))));
        }
        let first_seq = u64::from(k) * 2 + 1;
        pending.push(ingest.submit(batch(boot(1), first_seq, sent)).await);
    }
    let mut acked = 0;
    for commit in pending {
        let appended = commit.stored().await.unwrap();
        assert!(appended.acked_seq > acked);
        acked = appended.acked_seq;
        let manifests = usize::from(acked == 41);
        assert_eq!(
            appended.stored.len(),
            manifests,
            "only manifests are handed on"
        );
    }
    assert_eq!(store.watermark(&name("a"), boot(1)).unwrap(), 41);
    let live = ingest.live(run).unwrap();
    assert_eq!((live.stored(), live.expected()), (40, 40));
    assert_eq!(live.flow(FlowId(1)).unwrap().tx_bps, 1_120_000);

    let gap = ingest
        .submit(batch(boot(1), 50, Vec::new()))
        .await
        .stored()
        .await;
    assert!(matches!(gap, Err(StoreError::Expected(42))), "{gap:?}");
    assert!(!ingest.is_degraded());
    ingest.close_run(run);
    assert!(ingest.live(run).is_none());
}

#[tokio::test]
async fn rows_stored_before_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let run = planned(store.as_ref(), 1);
    store
        .append_wait(batch(boot(1), 1, entries([row(run, 1, End::Tx, 0)])))
        .unwrap();
    let ingest = Ingest::new(store);
    ingest.open_run(run, &plan());
    // The count comes from another thread; each look lets it go on.
    while ingest.live(run).unwrap().stored() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ingest.live(run).unwrap().stored(), 1);
}

/// As when a disk hangs and nothing leaves the queue.
#[tokio::test]
async fn a_full_queue_stops_the_reading_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let run = planned(store.as_ref(), 1);
    let ingest = Ingest::new(store);
    let all = Arc::clone(&ingest.inner.room)
        .acquire_many_owned(QUEUE)
        .await
        .unwrap();
    let mut submit = Box::pin(ingest.submit(batch(boot(1), 1, entries([row(run, 1, End::Tx, 0)]))));
    tokio::select! {
        biased;
        _ = &mut submit => panic!("there was no room"),
        () = tokio::task::yield_now() => {}
    }
    drop(all);
    let appended = submit.await.stored().await.unwrap();
    assert_eq!(appended.acked_seq, 1);
}

/// As of a copy of a running machine, or of a liar: what came first stays, and the run's
/// ledger says so.
#[tokio::test]
async fn other_content_under_a_known_number_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let run = planned(store.as_ref(), 1);
    let ingest = Ingest::new(Arc::clone(&store));
    let rows = |ks: std::ops::Range<u32>, packets| {
        let rows = ks.map(|k| {
            let mut row = row(run, 1, End::Tx, k);
            row.counters.tx_packets = Some(packets);
            row
        });
        entries(rows)
    };
    let sent = ingest.submit(batch(boot(1), 1, rows(0..4, 7))).await;
    assert_eq!(sent.conflict(), None);
    sent.stored().await.unwrap();
    // The same again, and then some of it with another count.
    let sent = ingest.submit(batch(boot(1), 1, rows(0..4, 7))).await;
    assert_eq!(sent.conflict(), None);
    sent.stored().await.unwrap();
    for _ in 0..2 {
        let sent = ingest.submit(batch(boot(1), 3, rows(2..5, 8))).await;
        let seq = sent.conflict().map(|conflict| (conflict.run, conflict.seq));
        assert_eq!(seq, Some((run, (3, 4))));
        assert_eq!(sent.stored().await.unwrap().acked_seq, 5);
    }
    let gaps = store.gaps(run).unwrap();
    let [gap] = &gaps[..] else {
        panic!("{gaps:?}");
    };
    assert_eq!((gap.seq, gap.boot), (Some((3, 4)), boot(1)));
    assert!(gap.why.contains("other content"), "{}", gap.why);
    let mut packets = Vec::new();
    let query = crate::store::RecordQuery::default();
    store
        .records(run, &query, &mut |rows| {
            packets.extend(rows.iter().map(|row| row.counters.tx_packets.unwrap()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(packets, [7, 7, 7, 7, 8]);
}
