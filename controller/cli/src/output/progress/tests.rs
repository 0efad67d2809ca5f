use super::*;

fn state(name: &str, ready: u32, failed: u32) -> Event {
    Event::State(RunState {
        state: name.to_owned(),
        t0_unix_ns: if name == "running" {
            1_795_445_880_000_000_000
        } else {
            0
        },
        end_ns: 121_000_000_000,
        flows: 10,
        ready,
        failed,
        sessions: 10,
    })
}

fn failure(session: u32, to: &str, code: &str, reason: &str) -> Event {
    Event::Session(SessionNews {
        session,
        from: "150-a".to_owned(),
        to: to.to_owned(),
        code: code.to_owned(),
        reason: reason.to_owned(),
    })
}

fn rates(second: u64, phase: &str) -> Event {
    Event::Progress(Rates {
        elapsed_ns: second * 1_000_000_000,
        phase: phase.to_owned(),
        records: second * 4,
        records_expected: 480,
        rx_bps: 19_900_000,
        tx_bps: 20_000_000,
        flows: vec![FlowProgress {
            flow: 1,
            set: "udp".to_owned(),
            from: "150-a".to_owned(),
            to: "162-b".to_owned(),
            tx_bps: 10_000_000,
            rx_bps: 9_950_000,
            lost_packets: Some(4),
        }],
    })
}

#[test]
fn failed_targets_are_told_as_soon_as_known_and_summed_up() {
    let mut progress = Progress::new("r-0007", false);
    assert_eq!(
        progress.event(&state("preparing", 0, 0), 0),
        ["r-0007: preparing 10 flows"]
    );
    assert_eq!(
        progress.event(
            &failure(
                3,
                "162-host_1",
                "unreachable",
                "connect 10.162.0.72:7900: no route"
            ),
            0
        ),
        [
            "r-0007: not ready: 150-a -> 162-host_1: connect 10.162.0.72:7900: no route (unreachable)"
        ]
    );
    progress.event(
        &failure(
            4,
            "171-host_0",
            "refused",
            "connect 10.171.0.71:7900: refused",
        ),
        0,
    );
    assert_eq!(
        progress.event(&state("starting", 8, 2), 0),
        [
            "r-0007: 8 of 10 READY, 2 unreachable: 162-host_1 (no route), 171-host_0 (refused)",
            "r-0007: hint: while routes converge, --settle 120s keeps trying for longer",
            "r-0007: starting",
        ]
    );
}

#[test]
fn a_stop_and_the_last_records_are_told() {
    let mut progress = Progress::new("r-0007", false);
    progress.event(&state("running", 10, 0), 0);
    let lines: Vec<String> = ["stopping", "closing", "closed", "unheard-of"]
        .into_iter()
        .flat_map(|name| progress.event(&state(name, 10, 0), 0))
        .collect();
    assert_eq!(
        lines,
        ["r-0007: stopping", "r-0007: waiting for the last records"]
    );
}

#[test]
fn other_failures_name_both_ends() {
    let mut progress = Progress::new("r-0007", false);
    progress.event(
        &failure(1, "162-b", "bind", "bind 0.0.0.0:80: permission denied"),
        0,
    );
    assert_eq!(
        progress.event(&state("starting", 9, 1), 0)[0],
        "r-0007: 9 of 10 READY, 1 not ready: 150-a -> 162-b (permission denied)"
    );
}

#[test]
fn a_replay_tells_nothing_twice() {
    let mut progress = Progress::new("r-0007", false);
    let story = [
        state("preparing", 0, 0),
        failure(3, "x", "unreachable", "no route"),
        Event::Note("kernel is shared".to_owned()),
        state("starting", 9, 1),
        state("running", 9, 1),
    ];
    let first: Vec<String> = story
        .iter()
        .flat_map(|event| progress.event(event, 0))
        .collect();
    assert_eq!(first.len(), 7, "{first:?}");
    assert_eq!(
        first[6],
        "r-0007: running from Mon Nov 23 14:58:00 UTC 2026 for 2 min 1 s"
    );
    let again: Vec<String> = story
        .iter()
        .flat_map(|event| progress.event(event, 0))
        .collect();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn a_pipe_gets_a_line_every_few_seconds_and_at_each_phase() {
    let mut progress = Progress::new("r-0007", false);
    progress.event(&state("running", 10, 0), 0);
    let lines: Vec<String> = [
        (1, "udp"),
        (2, "udp"),
        (3, "tcp"),
        (4, "tcp"),
        (8, "tcp"),
        (9, ""),
    ]
    .into_iter()
    .flat_map(|(second, phase)| progress.event(&rates(second, phase), second * 1_000))
    .collect();
    assert_eq!(
        lines,
        [
            "r-0007: 0:01 of 2:01  udp  sent 20.00, got 19.90 Mbit/s  records 4 of 480",
            "r-0007: 0:03 of 2:01  tcp  sent 20.00, got 19.90 Mbit/s  records 12 of 480",
            "r-0007: 0:08 of 2:01  tcp  sent 20.00, got 19.90 Mbit/s  records 32 of 480",
        ]
    );
}

#[test]
fn a_terminal_gets_a_block_that_fits() {
    let mut progress = Progress::new("r-0007", true);
    assert_eq!(progress.block(24), ["r-0007 asking"]);
    assert_eq!(
        progress.event(&state("running", 10, 0), 0),
        ["r-0007: 10 of 10 READY"]
    );
    assert!(progress.event(&rates(12, "udp"), 0).is_empty());
    assert_eq!(
        progress.block(24),
        [
            "r-0007 running  0:12 of 2:01  udp  sent 20.00, got 19.90 Mbit/s  records 48 of 480",
            "  flow  set  from -> to       sent  got Mbit/s  lost",
            "     1  udp  150-a -> 162-b  10.00        9.95     4",
            "  and 9 more flows",
        ]
    );
    assert_eq!(progress.block(3).len(), 1);
}

#[test]
fn names_from_hosts_are_escaped() {
    let mut progress = Progress::new("r-0007", false);
    let lines = progress.event(&failure(1, "x\u{1b}[2J", "bind", "y\n"), 0);
    assert!(
        !lines[0].contains('\u{1b}') && !lines[0].contains('\n'),
        "{lines:?}"
    );
}
