//! Many agents and many flows.

use std::fs;
use std::process::Command;

use weir_tests::{Cluster, Crowd, binary};

const AGENTS: usize = 200;

const MESH: &str = "\
campaign = \"mesh\"
[pairs]
from = { name = \"h*\" }
to = { name = \"h*\" }
how = \"mesh\"
[[phase]]
name = \"p\"
for = \"1s\"
traffic = { udp = \"10 pkt/s\", size = 64 }
";

#[test]
fn two_hundred_agents_in_a_ring_and_all_to_one() {
    let cluster = Cluster::new();
    let _crowd = Crowd::join(&cluster, AGENTS);
    let common = [
        "--udp",
        "20pkt/s",
        "--size",
        "64",
        "--for",
        "2s",
        "--settle",
        "30s",
        "--ignore",
        "behind,frozen",
    ];
    for (who, flows) in [
        (
            &["--from", "name=h*", "--to", "name=h*", "--how", "ring"][..],
            AGENTS,
        ),
        (&["--from", "role=source", "--to", "h000"], AGENTS - 1),
    ] {
        let (code, document) = cluster.run(&[who, &common].concat());
        let short = |key: &str| {
            document[key]
                .to_string()
                .chars()
                .take(2_000)
                .collect::<String>()
        };
        assert_eq!(code, 0, "{} {}", short("reasons"), short("ledger"));
        assert_eq!(document["flows"].as_array().map(Vec::len), Some(flows));
        let ledger = &document["ledger"];
        // Two rows at each end of each flow.
        assert_eq!(ledger["expected"], 4 * flows, "{}", short("ledger"));
        assert_eq!(ledger["stored"], 4 * flows, "{}", short("ledger"));
        let skew = &document["time"]["start_skew_us"]["max"];
        assert!(skew.is_number(), "the skew of T0: {}", document["time"]);
        println!("{flows} flows: skew of T0 {skew} us");
    }
    let log = cluster.controller().output();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_mesh_of_twenty_starts_and_its_limits_are_named() {
    let mut cluster = Cluster::new();
    let _crowd = Crowd::join(&cluster, 20);
    let mesh = [
        "--from", "name=h*", "--to", "name=h*", "--how", "mesh", "--settle", "30s",
    ];
    let udp = [
        "--udp",
        "10pkt/s",
        "--size",
        "64",
        "--for",
        "1s",
        "--ignore",
        "behind,frozen",
    ];
    let (code, document) = cluster.run(&[&mesh[..], &udp].concat());
    assert_eq!(code, 0, "{}", document["reasons"]);
    assert_eq!(document["flows"].as_array().map(Vec::len), Some(380));
    assert_eq!(document["ledger"]["stored"], document["ledger"]["expected"]);

    // What a campaign limits: the key, what is allowed, and what there would be.
    for (limit, says) in [
        ("flows = 100", &["380 flows", "limits.flows", "100"][..]),
        (
            "target = \"1 kbit/s\"",
            &["limits.target", "1 kbit/s", "what is sent to h0"],
        ),
        (
            "per_asn = \"1 kbit/s\"",
            &["limits.per_asn", "1 kbit/s", "asn 15"],
        ),
        (
            "per_kernel = \"100 pkt/s\"",
            &["limits.per_kernel", "100 pkt/s", "3800 pkt/s"],
        ),
    ] {
        let text = format!("{MESH}[limits]\n{limit}\n");
        fs::write(cluster.directory().join("mesh.toml"), text).expect("a file");
        let ran = cluster.weir(&["run", "mesh.toml"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        for word in says {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
    }

    // What a host's open files limit: an agent that may have few.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 80 && exec \"$0\" \"$@\""]);
    command.arg(binary("weir-agent")).arg("--lab");
    cluster.launch("small", command);
    cluster.await_agents(21);
    let ran = cluster.weir(&[&["run", "--from", "name=h*", "--to", "small"], &udp[..]].concat());
    assert_eq!(ran.code, 2, "{ran:?}");
    for word in ["flows per agent", "small", "20 flows"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
}
