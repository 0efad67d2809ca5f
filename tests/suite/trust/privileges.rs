//! What a running agent and a running controller may do.

use std::fs;
use std::path::PathBuf;

use weir_tests::{Cluster, Process};

/// A field of every thread of a process.
fn of_threads(process: &Process, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).expect("it runs");
    let status = |task: PathBuf| fs::read_to_string(task.join("status")).ok();
    let texts = tasks.flatten().filter_map(|task| status(task.path()));
    let value = |text: String| {
        let line = text.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    texts.filter_map(value).collect()
}

fn bits(field: &str) -> u64 {
    u64::from_str_radix(field, 16).expect("a set of capabilities")
}

const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const DAC_OVERRIDE: u64 = 1 << 1;
const FOWNER: u64 = 1 << 3;

#[test]
fn an_agent_has_no_capability_in_force_and_still_measures() {
    let cluster = Cluster::on_loopback(&[("a1", &[]), ("a2", &[])]);
    let own = bits(&of_threads_of_this("CapPrm"));
    let line = "--from a1 --to a2 --udp max --for 1s --ignore behind,frozen";
    let (code, document) = cluster.run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(code, 0, "{document:#}");
    for name in ["a1", "a2"] {
        let agent = cluster.agent(name);
        let threads = of_threads(agent, "CapEff");
        assert!(!threads.is_empty());
        assert!(threads.iter().all(|set| bits(set) == 0), "{threads:?}");
        for set in of_threads(agent, "CapPrm") {
            assert_eq!(bits(&set), own & (NET_ADMIN | NET_BIND_SERVICE));
        }
        assert!(of_threads(agent, "CapInh").iter().all(|set| bits(set) == 0));
        assert!(of_threads(agent, "CapAmb").iter().all(|set| bits(set) == 0));
        if own != 0 {
            let bounding = of_threads(agent, "CapBnd");
            assert!(bounding.iter().all(|set| bits(set) == 0), "{bounding:?}");
        }
        assert!(of_threads(agent, "NoNewPrivs").iter().all(|is| is == "1"));
        let log = agent.output();
        assert!(
            log.contains("confined") && log.contains("writes_bound"),
            "{log}"
        );
    }
    // The buffer that docs/performance.md rests on: 128 MiB, which the kernel doubles.
    let buffer = document["flows"][0]["path"]["rcvbuf_bytes"].as_u64();
    let forced = buffer == Some(2 * (128 << 20));
    assert_eq!(forced, own & NET_ADMIN != 0, "{buffer:?} {document:#}");
    let controller = of_threads(cluster.controller(), "CapEff");
    assert!(
        controller
            .iter()
            .all(|set| bits(set) == own & (DAC_OVERRIDE | FOWNER)),
        "{controller:?}"
    );
    assert!(
        of_threads(cluster.controller(), "NoNewPrivs")
            .iter()
            .all(|is| is == "1")
    );
}

fn of_threads_of_this(field: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").expect("this process");
    let line = text.lines().find(|line| line.starts_with(field));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.expect("a field").to_owned()
}
