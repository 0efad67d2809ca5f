//! The suite that every store runs: the contracts of [`Store`], one by one.
//! Each check gets a store of its own, empty.

mod denials;
mod records;
mod tokens;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use weir_common::assignment::StartAt;
use weir_common::id::{FlowId, RunId, SessionId};
use weir_common::record::{Artifact, End, Entry, Gap, GapCause, Record};

use self::denials::the_deny_list_comes_back;
use self::records::{
    agents_speak_for_their_own_ends, artifacts_come_back, bad_entries_are_refused_by_field,
    batches_follow_the_watermark, gaps_come_back, late_rows_are_found_after_closing,
    manifests_come_back, numbers_of_runs_are_skipped_once, observations_come_back,
    queries_choose_and_stop, rows_come_back_whole_and_in_order,
};
use self::tokens::{
    a_use_and_its_certificate_are_one, an_agent_asks_again_for_the_same_use,
    parallel_uses_are_counted, refused_tokens_say_why, tokens_are_taken_back_and_forgotten,
    tokens_are_used_up,
};
use super::samples::{
    batch, boot, entries, full_row, hello, kernel_row, link_row, manifest, name, new_run, observed,
    observed_end, plan, planned, row,
};
use super::{
    AssignmentState, Batch, Party, RecordQuery, RowCount, RunRef, RunState, SessionRow,
    SessionState, Store, StoreError, Streams,
};

/// One check.
pub(super) type Check = fn(&dyn Store);

/// All checks, by name.
pub(super) const CHECKS: &[(&str, Check)] = &[
    (
        "a name belongs to its first key",
        a_name_belongs_to_its_first_key,
    ),
    ("epochs and versions rise", epochs_and_versions_rise),
    ("a run goes through its life", a_run_goes_through_its_life),
    (
        "runs are found by what people say",
        runs_are_found_by_what_people_say,
    ),
    ("the parts of a run come back", the_parts_of_a_run_come_back),
    (
        "assignments only move forward",
        assignments_only_move_forward,
    ),
    ("sessions keep their port", sessions_keep_their_port),
    (
        "rows come back whole and in order",
        rows_come_back_whole_and_in_order,
    ),
    ("manifests come back", manifests_come_back),
    ("observations come back", observations_come_back),
    ("gaps come back", gaps_come_back),
    (
        "numbers of runs are skipped once",
        numbers_of_runs_are_skipped_once,
    ),
    ("artifacts come back", artifacts_come_back),
    ("batches follow the watermark", batches_follow_the_watermark),
    (
        "bad entries are refused by field",
        bad_entries_are_refused_by_field,
    ),
    (
        "agents speak for their own ends",
        agents_speak_for_their_own_ends,
    ),
    (
        "late rows are found after closing",
        late_rows_are_found_after_closing,
    ),
    ("a deleted run leaves nothing", a_deleted_run_leaves_nothing),
    ("queries choose and stop", queries_choose_and_stop),
    ("the deny list comes back", the_deny_list_comes_back),
    ("tokens are used up", tokens_are_used_up),
    (
        "a use and its certificate are one",
        a_use_and_its_certificate_are_one,
    ),
    (
        "an agent asks again for the same use",
        an_agent_asks_again_for_the_same_use,
    ),
    ("refused tokens say why", refused_tokens_say_why),
    (
        "tokens are taken back and forgotten",
        tokens_are_taken_back_and_forgotten,
    ),
    ("parallel uses are counted", parallel_uses_are_counted),
];

fn start(unix_ns: i64) -> StartAt {
    StartAt {
        unix_ns,
        mono_ns: 9,
        kernel_boot_id: "k".into(),
    }
}

fn all_rows(store: &dyn Store, run: RunId, query: RecordQuery) -> Vec<Record> {
    let mut rows = Vec::new();
    store
        .records(run, &query, &mut |chunk| {
            rows.extend(chunk);
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

const ALL: RecordQuery = RecordQuery {
    flow: None,
    end: None,
    streams: Streams::All,
};

fn a_name_belongs_to_its_first_key(store: &dyn Store) {
    let first = store.register_agent(&hello("a", 1, 1, 1)).unwrap();
    assert_eq!((first.generation, first.first_seen_unix_ns), (1, 1_000));
    // The same boot returns; a restart follows.
    store.register_agent(&hello("a", 1, 1, 1)).unwrap();
    store.register_agent(&hello("a", 1, 2, 2)).unwrap();
    let other_key = store.register_agent(&hello("a", 2, 3, 3));
    assert!(
        matches!(other_key, Err(StoreError::NameTaken(_))),
        "{other_key:?}"
    );
    for generation in [1, 2] {
        let copy = store.register_agent(&hello("a", 1, generation, 3));
        assert!(
            matches!(copy, Err(StoreError::StaleBoot { .. })),
            "{copy:?}"
        );
    }
    store.touch_agent(&name("a"), 77).unwrap();
    store.touch_agent(&name("nobody"), 77).unwrap();
    store.register_agent(&hello("B", 3, 1, 9)).unwrap();
    let agents = store.agents().unwrap();
    assert_eq!(
        agents.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
        ["B", "a"]
    );
    let known = store.agent(&name("a")).unwrap().unwrap();
    assert_eq!((known.boot, known.last_seen_unix_ns), (boot(2), 77));
    assert_eq!(known.labels["asn"], "150");
    assert_eq!(known.inventory, [1, 2, 3]);
    assert_eq!(store.agent(&name("nobody")).unwrap(), None);
}

/// An agent that accepted more than was drawn: an older database was put back.
fn versions_follow_the_agents(store: &dyn Store) {
    let agent = name("much-told");
    assert!(!store.skip_snapshot_versions(&agent, 5).unwrap());
    store.register_agent(&hello("much-told", 1, 1, 1)).unwrap();
    assert!(store.skip_snapshot_versions(&agent, 5).unwrap());
    assert!(!store.skip_snapshot_versions(&agent, 5).unwrap());
    assert_eq!(store.next_snapshot_version(&agent).unwrap(), 6);
    assert!(!store.skip_snapshot_versions(&agent, 6).unwrap());
}

fn epochs_and_versions_rise(store: &dyn Store) {
    versions_follow_the_agents(store);
    assert_eq!(store.identity().controller_id.len(), 32);
    let first = store.next_session_epoch().unwrap();
    assert!(store.next_session_epoch().unwrap() > first);
    let unknown = store.next_snapshot_version(&name("a"));
    assert!(
        matches!(unknown, Err(StoreError::UnknownAgent(_))),
        "{unknown:?}"
    );
    store.register_agent(&hello("a", 1, 1, 1)).unwrap();
    assert_eq!(store.next_snapshot_version(&name("a")).unwrap(), 1);
    store.register_agent(&hello("a", 1, 2, 2)).unwrap();
    assert_eq!(store.next_snapshot_version(&name("a")).unwrap(), 2);
    assert_eq!(
        store.agent(&name("a")).unwrap().unwrap().snapshot_version,
        2
    );
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Refused { .. })),
        "{result:?}"
    );
}

fn a_run_goes_through_its_life(store: &dyn Store) {
    let run = store.create_run(&new_run("x")).unwrap();
    let row = store.run(run).unwrap().unwrap();
    assert_eq!(
        (row.state, row.start.clone(), row.end_ns),
        (RunState::Created, None, 0)
    );
    assert_eq!(row.new, new_run("x"));
    store.set_waiting(run, RunState::Queued).unwrap();
    store.set_waiting(run, RunState::Preparing).unwrap();
    refused(store.set_waiting(run, RunState::Closed));
    store.set_plan(run, &plan(2)).unwrap();
    store.set_plan(run, &plan(3)).unwrap();
    refused(store.delete_run(run));
    store.set_started(run, &start(100)).unwrap();
    store.set_started(run, &start(100)).unwrap();
    refused(store.set_started(run, &start(101)));
    refused(store.set_plan(run, &plan(2)));
    refused(store.set_waiting(run, RunState::Queued));
    assert_eq!(store.open_runs().unwrap(), [run]);
    assert!(store.set_stopping(run, "asked").unwrap());
    assert!(!store.set_stopping(run, "again").unwrap());
    refused(store.set_started(run, &start(100)));
    store.close_run(run, "partial", "{\"a\":1}", 900).unwrap();
    store.close_run(run, "pass", "{\"a\":2}", 901).unwrap();
    assert!(!store.set_stopping(run, "too late").unwrap());
    assert_eq!(store.open_runs().unwrap(), []);
    let row = store.run(run).unwrap().unwrap();
    assert_eq!(row.state, RunState::Closed);
    assert_eq!(row.start, Some(start(100)));
    assert_eq!(row.stop_reason.as_deref(), Some("asked"));
    assert_eq!(row.verdict.as_deref(), Some("pass"));
    assert_eq!(row.result_json.as_deref(), Some("{\"a\":2}"));
    assert_eq!(
        (row.closed_unix_ns, row.end_ns),
        (Some(901), 10_000_000_000)
    );
    let missing = store.close_run(RunId(99), "pass", "{}", 0);
    assert!(
        matches!(missing, Err(StoreError::NoSuchRun { .. })),
        "{missing:?}"
    );
    assert_eq!(store.run(RunId(99)).unwrap(), None);
}

fn runs_are_found_by_what_people_say(store: &dyn Store) {
    let none = store.find_run(&RunRef::Last(0)).unwrap_err().to_string();
    assert_eq!(none, "no run last: there is none yet");
    let runs: Vec<_> = ["x", "y", "x", "z"]
        .iter()
        .map(|name| store.create_run(&new_run(name)).unwrap())
        .collect();
    let find = |text: &str| store.find_run(&text.parse().unwrap());
    assert_eq!(find("last").unwrap(), runs[3]);
    assert_eq!(find("last~3").unwrap(), runs[0]);
    assert_eq!(find("x").unwrap(), runs[2]);
    assert_eq!(find(&runs[1].to_string()).unwrap(), runs[1]);
    let missing = find("last~4").unwrap_err().to_string();
    assert!(
        missing.contains("no run last~4: the newest are r-0004 z, r-0003 x"),
        "{missing}"
    );
    assert!(find("w").is_err());
    let list = store.runs(2).unwrap();
    assert_eq!(
        list.iter().map(|run| run.run).collect::<Vec<_>>(),
        [runs[3], runs[2]]
    );
    store.close_run(runs[3], "pass", "{}", 1).unwrap();
    store.delete_run(runs[3]).unwrap();
    assert_eq!(find("last").unwrap(), runs[2]);
    assert!(
        store.create_run(&new_run("x")).unwrap() > runs[3],
        "numbers never come again"
    );
}

fn the_parts_of_a_run_come_back(store: &dyn Store) {
    let run = planned(store, 5);
    let plan = plan(5);
    assert_eq!(store.phases(run).unwrap(), plan.phases);
    assert_eq!(store.flows(run).unwrap(), plan.flows);
    let assignments = store.assignments(run).unwrap();
    assert_eq!(assignments.len(), 2);
    assert_eq!(assignments[1].agent, name("b"));
    assert_eq!(assignments[1].assignment, [2]);
    assert_eq!(assignments[1].state, AssignmentState::Planned);
    assert_eq!(store.runs(1).unwrap()[0].flows, 5);
    let mut holes = plan.clone();
    holes.flows.remove(0);
    let other = store.create_run(&new_run("y")).unwrap();
    refused(store.set_plan(other, &holes));
}

fn assignments_only_move_forward(store: &dyn Store) {
    let run = planned(store, 1);
    let set = |state, reason: &str, late| {
        store
            .set_assignment_state(run, &name("a"), state, reason, late)
            .unwrap();
        let row = store.assignments(run).unwrap().remove(0);
        (row.state, row.reason, row.late_by_ns)
    };
    assert_eq!(
        set(AssignmentState::Running, "", 5).0,
        AssignmentState::Running
    );
    assert_eq!(
        set(AssignmentState::Armed, "", 0).0,
        AssignmentState::Running
    );
    let stopped = set(AssignmentState::Stopped, "asked", 0);
    assert_eq!(stopped, (AssignmentState::Stopped, "asked".into(), 5));
    store
        .set_assignment_state(run, &name("nobody"), AssignmentState::Armed, "", 0)
        .unwrap();
}

fn sessions_keep_their_port(store: &dyn Store) {
    let run = planned(store, 2);
    let row = |session, end, state, port| SessionRow {
        session: SessionId(session),
        end,
        state,
        port,
    };
    let ready = || SessionState::Ready {
        tuples: vec!["a>b".into()],
        link: true,
    };
    let failed = SessionState::Failed {
        code: "unreachable".into(),
        reason: "connect 10.0.0.1: no".into(),
    };
    store
        .set_session(run, &row(2, End::Tx, failed.clone(), None))
        .unwrap();
    store
        .set_session(
            run,
            &row(1, End::Rx, SessionState::Listening { port: 7900 }, None),
        )
        .unwrap();
    store
        .set_session(run, &row(1, End::Tx, ready(), None))
        .unwrap();
    store
        .set_session(run, &row(1, End::Rx, ready(), None))
        .unwrap();
    assert_eq!(
        store.sessions(run).unwrap(),
        [
            row(1, End::Tx, ready(), None),
            row(1, End::Rx, ready(), Some(7900)),
            row(2, End::Tx, failed, None),
        ]
    );
}

fn a_deleted_run_leaves_nothing(store: &dyn Store) {
    let (kept, run) = (planned(store, 1), planned(store, 2));
    let rows = (0..50).flat_map(|k| [full_row(run, 2, End::Rx, k), row(kept, 1, End::Tx, k)]);
    store.append_wait(batch(boot(1), 1, entries(rows))).unwrap();
    store.close_run(run, "pass", "{}", 1).unwrap();
    assert_eq!(store.delete_run(run).unwrap(), 50);
    assert_eq!(store.run(run).unwrap(), None);
    assert_eq!(all_rows(store, run, ALL), []);
    assert_eq!(store.flows(run).unwrap(), []);
    assert_eq!(all_rows(store, kept, ALL).len(), 50);
    let again = store.delete_run(run);
    assert!(
        matches!(again, Err(StoreError::NoSuchRun { .. })),
        "{again:?}"
    );
    // An agent that still has old rows is not stuck.
    let mixed = entries([row(run, 1, End::Tx, 50), row(kept, 1, End::Tx, 50)]);
    let appended = store.append_wait(batch(boot(1), 101, mixed)).unwrap();
    assert_eq!(
        (appended.acked_seq, appended.dropped, appended.stored.len()),
        (102, 1, 1)
    );
    assert_eq!(all_rows(store, kept, ALL).len(), 51);
}
