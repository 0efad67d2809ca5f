//! What agents deliver: rows, manifests, observations, gaps.

use super::*;

pub(super) fn rows_come_back_whole_and_in_order(store: &dyn Store) {
    let other = planned(store, 3);
    let run = planned(store, 2);
    let stream = |k| Record {
        stream: Some(0),
        ..row(run, 2, End::Rx, k)
    };
    let sent = vec![
        row(run, 2, End::Rx, 0),
        stream(0),
        row(other, 3, End::Tx, 0),
        row(run, 2, End::Rx, 1),
        stream(1),
        full_row(run, 1, End::Rx, 0),
        full_row(run, 1, End::Tx, 0),
        Record {
            more: None,
            delay: None,
            tcp: None,
            ..full_row(run, 2, End::Tx, 0)
        },
    ];
    let appended = store
        .append_wait(batch(boot(1), 1, entries(sent.clone())))
        .unwrap();
    assert_eq!((appended.acked_seq, appended.dropped), (8, 0));
    assert_eq!(appended.stored, entries(sent.clone()));
    let order = [6, 5, 7, 0, 3, 1, 4].map(|place| sent[place].clone());
    let counts = [
        (1, End::Tx, 1),
        (1, End::Rx, 1),
        (2, End::Tx, 1),
        (2, End::Rx, 4),
    ]
    .map(|(flow, end, rows)| RowCount {
        flow: FlowId(flow),
        end,
        rows,
    });
    for closed in [false, true] {
        if closed {
            store.close_run(run, "pass", "{}", 1).unwrap();
        }
        assert_eq!(all_rows(store, run, ALL), order, "closed: {closed}");
        assert_eq!(store.row_counts(run).unwrap(), counts, "closed: {closed}");
        assert_eq!(store.runs(9).unwrap()[0].records, 7);
    }
    assert_eq!(all_rows(store, other, ALL).len(), 1);
    assert_eq!(all_rows(store, RunId(99), ALL), []);
}

pub(super) fn manifests_come_back(store: &dyn Store) {
    let run = planned(store, 2);
    let sent = [manifest(run, 2, End::Rx, 4), manifest(run, 1, End::Tx, 10)];
    let entries = sent
        .iter()
        .map(|closed| Entry::Closed(Box::new(closed.clone())))
        .collect();
    store.append_wait(batch(boot(1), 1, entries)).unwrap();
    let back = store.manifests(run).unwrap();
    assert_eq!(
        back.iter().map(|m| &m.closed).collect::<Vec<_>>(),
        sent.iter().collect::<Vec<_>>()
    );
    assert_eq!((&back[0].agent, back[0].boot), (&name("a"), boot(1)));
    assert_eq!(store.row_counts(run).unwrap(), []);
}

/// What was seen beside the flows: in order, whole, once; and of agents of the
/// run only.
pub(super) fn observations_come_back(store: &dyn Store) {
    let run = planned(store, 1);
    let sent = observed(run, 2_500);
    store.append_wait(batch(boot(1), 1, sent.clone())).unwrap();
    // Another boot tells the same again: what is there stays.
    store.append_wait(batch(boot(2), 1, sent)).unwrap();
    let (mut links, mut kernels) = (Vec::new(), Vec::new());
    store
        .links(run, &mut |rows| {
            assert!(rows.len() <= 1_000);
            links.extend(rows);
            ControlFlow::Continue(())
        })
        .unwrap();
    store
        .kernels(run, &mut |rows| {
            kernels.extend(rows);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((links.len(), kernels.len()), (2_500, 2_500));
    assert!(
        links
            .iter()
            .zip(0..)
            .all(|(found, k)| found.row == link_row(run, k))
    );
    assert!(links.iter().all(|found| found.agent == name("a")));
    assert!(
        kernels
            .iter()
            .zip(0..)
            .all(|(found, k)| *found == kernel_row(run, k))
    );
    let mut chunks = 0;
    store
        .links(run, &mut |_| {
            chunks += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(chunks, 1, "a scan can be ended");
    let ends = store.observations(run).unwrap();
    assert_eq!(ends.len(), 1);
    assert_eq!(
        Entry::Observed(Box::new(ends[0].observed.clone())),
        observed_end(run)
    );

    let stranger = Batch {
        agent: name("stranger"),
        ..batch(boot(3), 1, observed(run, 1))
    };
    let refused = store.append_wait(stranger);
    assert!(
        matches!(&refused, Err(StoreError::Entry { field, .. }) if field == "run"),
        "{refused:?}"
    );
    store.close_run(run, "pass", "{}", 1).unwrap();
    store.delete_run(run).unwrap();
    assert!(store.observations(run).unwrap().is_empty());
    store
        .links(run, &mut |rows| {
            panic!("{} rows of a deleted run", rows.len())
        })
        .unwrap();
}

/// An agent knows a run that the store does not: an older database was put back.
pub(super) fn numbers_of_runs_are_skipped_once(store: &dyn Store) {
    assert!(!store.skip_runs(RunId(0)).unwrap());
    let run = planned(store, 1);
    assert!(!store.skip_runs(run).unwrap());
    let unknown = RunId(run.0 + 3);
    let sent = batch(boot(1), 1, entries([row(unknown, 1, End::Tx, 0)]));
    let refused = store.append_wait(sent.clone());
    assert!(
        matches!(refused, Err(StoreError::Entry { .. })),
        "{refused:?}"
    );
    assert!(store.skip_runs(unknown).unwrap());
    assert!(!store.skip_runs(unknown).unwrap());
    // Its records are nobody's, and hold nothing up.
    let appended = store.append_wait(sent).unwrap();
    assert_eq!((appended.acked_seq, appended.dropped), (1, 1));
    assert_eq!(planned(store, 1).0, unknown.0 + 1);
    let far = store.skip_runs(RunId(u32::MAX));
    assert!(matches!(far, Err(StoreError::Refused { .. })), "{far:?}");
}

/// What an agent could not deliver: ranges of sequence numbers in one piece.
pub(super) fn gaps_come_back(store: &dyn Store) {
    let run = planned(store, 1);
    let damaged = Gap {
        run,
        flow: None,
        from_ns: None,
        to_ns: None,
        cause: GapCause::Damaged,
    };
    let ended = Gap {
        flow: Some((FlowId(1), End::Tx)),
        from_ns: Some(5),
        to_ns: Some(7),
        cause: GapCause::Ended,
        ..damaged.clone()
    };
    let gap = |gap: &Gap| Entry::Gap(Box::new(gap.clone()));
    let mut sent = vec![gap(&damaged); 3];
    sent.extend(entries([row(run, 1, End::Tx, 0)]));
    sent.extend([gap(&damaged), gap(&ended)]);
    let appended = store.append_wait(batch(boot(1), 1, sent.clone())).unwrap();
    assert_eq!(appended.acked_seq, 6);
    store.append_wait(batch(boot(1), 1, sent)).unwrap();
    let found = store.gaps(run).unwrap();
    let told: Vec<_> = found.iter().map(|gap| (gap.seq, gap.flow)).collect();
    assert_eq!(
        told,
        [
            (Some((1, 3)), None),
            (Some((5, 5)), None),
            (None, Some((FlowId(1), End::Tx)))
        ]
    );
    let last = &found[2];
    assert_eq!((last.from_ns, last.to_ns), (Some(5), Some(7)));
    assert_eq!((&last.agent, last.boot), (&name("a"), boot(1)));
    assert_eq!(last.why, GapCause::Ended.as_str());

    // Of an end that is another agent's it is refused, as a record is.
    let stranger = Batch {
        agent: name("stranger"),
        ..batch(boot(2), 1, vec![gap(&ended)])
    };
    let refused = store.append_wait(stranger);
    assert!(
        matches!(&refused, Err(StoreError::Entry { field, .. }) if field == "end"),
        "{refused:?}"
    );
    store.close_run(run, "partial", "{}", 1).unwrap();
    store.delete_run(run).unwrap();
    assert!(store.gaps(run).unwrap().is_empty());
}

/// Files that agents offer: the last offer of an end stands.
pub(super) fn artifacts_come_back(store: &dyn Store) {
    let run = planned(store, 2);
    let artifact = |flow, end, size_bytes| Artifact {
        run,
        flow: FlowId(flow),
        end,
        name: "a.jsonl".parse().unwrap(),
        size_bytes,
        sha256: [flow as u8; 32],
    };
    let entry = |artifact: &Artifact| Entry::Artifact(Box::new(artifact.clone()));
    let last = [
        artifact(1, End::Tx, 3),
        artifact(1, End::Rx, 2),
        artifact(2, End::Tx, 1),
    ];
    let mut sent = vec![entry(&artifact(1, End::Tx, 9))];
    sent.extend(last.iter().rev().map(entry));
    store.append_wait(batch(boot(1), 1, sent)).unwrap();
    let found = store.artifacts(run).unwrap();
    assert!(found.iter().all(|row| row.agent == name("a")));
    let found: Vec<Artifact> = found.into_iter().map(|row| row.artifact).collect();
    assert_eq!(found, last);
    let stranger = Batch {
        agent: name("stranger"),
        ..batch(boot(2), 1, vec![entry(&last[0])])
    };
    let refused = store.append_wait(stranger);
    assert!(
        matches!(&refused, Err(StoreError::Entry { field, .. }) if field == "end"),
        "{refused:?}"
    );
    store.close_run(run, "pass", "{}", 1).unwrap();
    store.delete_run(run).unwrap();
    assert!(store.artifacts(run).unwrap().is_empty());
}

/// Overlapping, repeated and gapped batches of two boots against a model.
pub(super) fn batches_follow_the_watermark(store: &dyn Store) {
    let strategy = proptest::collection::vec((0..2_u8, 0..30_u64, 0..8_usize), 1..25);
    let cases = std::cell::Cell::new(0_u8);
    TestRunner::new(Config {
        cases: 20,
        failure_persistence: None,
        ..Config::default()
    })
    .run(&strategy, |batches| {
        let case = cases.get() + 1;
        cases.set(case);
        let run = planned(store, 2);
        let mut acked = [0_u64; 2];
        for (which, first_seq, len) in batches {
            let of = [2 * case, 2 * case + 1].map(boot)[usize::from(which)];
            // The flow tells the boot and k the sequence, so that the rows show both.
            let rows = (0..len).map(|i| {
                row(
                    run,
                    u32::from(which) + 1,
                    End::Tx,
                    first_seq as u32 + i as u32,
                )
            });
            let result = store.append_wait(batch(of, first_seq, entries(rows)));
            let known = &mut acked[usize::from(which)];
            if first_seq == 0 || first_seq > *known + 1 {
                prop_assert!(matches!(result, Err(StoreError::Expected(seq)) if seq == *known + 1));
            } else {
                let last = (*known).max((first_seq + len as u64).saturating_sub(1));
                let appended = result.unwrap();
                prop_assert_eq!(appended.acked_seq, last);
                prop_assert_eq!(appended.stored.len() as u64, last - *known);
                *known = last;
            }
            prop_assert_eq!(store.watermark(&name("a"), of).unwrap(), *known);
        }
        let mut seen = BTreeMap::<u32, Vec<u32>>::new();
        for row in all_rows(store, run, ALL) {
            seen.entry(row.flow.0).or_default().push(row.k);
        }
        for (flow, last) in (1..).zip(acked) {
            let expected: Vec<_> = (1..=last as u32).collect();
            prop_assert_eq!(seen.remove(&flow).unwrap_or_default(), expected);
        }
        Ok(())
    })
    .unwrap();
}

pub(super) fn bad_entries_are_refused_by_field(store: &dyn Store) {
    let run = planned(store, 1);
    let absurd = |change: fn(&mut Record)| {
        let mut record = full_row(run, 1, End::Tx, 1);
        change(&mut record);
        record
    };
    let bad = [
        ("run", row(RunId(99), 1, End::Tx, 0)),
        ("flow", row(run, 2, End::Tx, 0)),
        ("flow", row(run, 0, End::Tx, 0)),
        (
            "record.tx_bytes",
            absurd(|r| r.counters.tx_bytes = Some(u64::MAX)),
        ),
        (
            "record.end of the row",
            absurd(|r| r.start_ns = i64::MAX as u64),
        ),
        (
            "record.tcp.srtt_us",
            absurd(|r| r.tcp.as_mut().unwrap().srtt_us = Some(1 << 63)),
        ),
        (
            "record.more.ce",
            absurd(|r| r.more.as_mut().unwrap().ce = Some(1 << 63)),
        ),
    ];
    for (wanted, record) in bad {
        let sent = entries([row(run, 1, End::Tx, 0), record]);
        match store.append_wait(batch(boot(1), 1, sent)) {
            Err(StoreError::Entry { seq: 2, field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    assert_eq!(
        all_rows(store, run, ALL),
        [],
        "nothing of a refused batch is stored"
    );
    assert_eq!(store.watermark(&name("a"), boot(1)).unwrap(), 0);
    store
        .append_wait(batch(boot(1), 1, entries([row(run, 1, End::Tx, 0)])))
        .unwrap();
}

pub(super) fn agents_speak_for_their_own_ends(store: &dyn Store) {
    let run = store.create_run(&new_run("x")).unwrap();
    let mut plan = plan(2);
    let agent = |text| Party::Agent {
        name: name(text),
        asn: None,
    };
    (plan.flows[0].from, plan.flows[0].to) = (agent("a"), agent("b"));
    (plan.flows[1].from, plan.flows[1].to) = (Party::Address("10.0.0.1:5201".into()), agent("a"));
    store.set_plan(run, &plan).unwrap();
    assert_eq!(store.flows(run).unwrap(), plan.flows);
    let send = |agent, flow, end| {
        let sent = entries([row(run, flow, end, 0)]);
        let first_seq = store.watermark(&name(agent), boot(1)).unwrap() + 1;
        store.append_wait(Batch {
            agent: name(agent),
            ..batch(boot(1), first_seq, sent)
        })
    };
    for (agent, flow, end) in [
        ("a", 1, End::Tx),
        ("b", 1, End::Rx),
        ("a", 2, End::Rx),
        ("a", 2, End::Tx),
    ] {
        send(agent, flow, end).unwrap();
    }
    for (agent, flow, end) in [
        ("b", 1, End::Tx),
        ("a", 1, End::Rx),
        ("b", 2, End::Tx),
        ("c", 1, End::Tx),
    ] {
        match send(agent, flow, end) {
            Err(StoreError::Entry { field, .. }) => assert_eq!(field, "end"),
            other => panic!("{agent} {flow} {end:?}: {other:?}"),
        }
    }
}

pub(super) fn late_rows_are_found_after_closing(store: &dyn Store) {
    let run = planned(store, 1);
    store
        .append_wait(batch(boot(1), 1, entries([row(run, 1, End::Tx, 0)])))
        .unwrap();
    store.close_run(run, "partial", "{}", 1).unwrap();
    store
        .append_wait(batch(boot(1), 2, entries([row(run, 1, End::Tx, 1)])))
        .unwrap();
    assert_eq!(all_rows(store, run, ALL).len(), 2);
    assert_eq!(store.row_counts(run).unwrap()[0].rows, 2);
    assert_eq!(store.runs(1).unwrap()[0].records, 2);
    store.close_run(run, "pass", "{}", 2).unwrap();
    assert_eq!(store.runs(1).unwrap()[0].records, 2);
    assert_eq!(store.delete_run(run).unwrap(), 2);
}

pub(super) fn queries_choose_and_stop(store: &dyn Store) {
    let run = planned(store, 3);
    let stream = |flow| Record {
        stream: Some(0),
        ..row(run, flow, End::Rx, 0)
    };
    let mut sent: Vec<_> = (0..2_500).map(|k| row(run, 2, End::Tx, k)).collect();
    sent.extend([
        row(run, 2, End::Rx, 0),
        stream(2),
        row(run, 3, End::Rx, 0),
        stream(3),
    ]);
    store.append_wait(batch(boot(1), 1, entries(sent))).unwrap();
    for closed in [false, true] {
        if closed {
            store.close_run(run, "pass", "{}", 1).unwrap();
        }
        let count = |flow: Option<u32>, end, streams| {
            all_rows(
                store,
                run,
                RecordQuery {
                    flow: flow.map(FlowId),
                    end,
                    streams,
                },
            )
            .len()
        };
        assert_eq!(count(None, None, Streams::Sum), 2_502);
        assert_eq!(count(Some(2), None, Streams::All), 2_502);
        assert_eq!(count(Some(2), Some(End::Rx), Streams::All), 2);
        assert_eq!(count(None, Some(End::Rx), Streams::Sum), 2);
        for absent in [0, 1, 4, u32::MAX] {
            assert_eq!(count(Some(absent), None, Streams::All), 0);
        }
        let mut chunks = Vec::new();
        store
            .records(run, &ALL, &mut |chunk| {
                chunks.push(chunk.len());
                if chunks.len() == 2 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(chunks, [1_000, 1_000]);
    }
}
