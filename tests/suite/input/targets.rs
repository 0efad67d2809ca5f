//! Targets that do not answer, or refuse. The others run.

use std::process::Command;

use serde_json::Value;
use weir_lab::Topology;
use weir_tests::{Cluster, Ground, needs};

fn four_hosts() -> Topology {
    Topology::new("targets")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("host"))
        .asn(151, |a| a.join("ix100").host("host"))
        .asn(152, |a| a.join("ix100").host("host"))
        .asn(153, |a| a.join("ix100").host("host"))
}

fn flow<'a>(document: &'a Value, to: &str) -> &'a Value {
    let flows = document["flows"].as_array().expect("flows");
    flows
        .iter()
        .find(|flow| flow["to"] == to)
        .expect("a flow to it")
}

#[test]
fn a_dead_and_a_refusing_target_report_and_the_others_run() {
    needs!(Ground::Lab);
    let hosts = ["150-host", "151-host", "152-host", "153-host"];
    let cluster = Cluster::in_lab(&four_hosts(), &hosts);
    cluster.lab().cut("152-host").expect("a link");
    // 153 answers everything with a refusal.
    let rules = "table inet refusal {
        chain input {
            type filter hook input priority 0
            meta l4proto tcp reject with tcp reset
            meta l4proto udp reject
        }
    }";
    let status = cluster
        .lab()
        .command("153-host", "nft")
        .expect("a host")
        .arg(rules)
        .status();
    assert!(status.expect("nft is there").success());

    for traffic in [&["--udp", "1M"], &["--tcp", "1M"]] {
        let line = [
            "--from",
            "150-host",
            "--to",
            "asn=151,152,153",
            "--for",
            "1s",
            "--settle",
            "2s",
        ];
        let words = [&line[..], traffic, &["--ignore", "behind,frozen"]].concat();
        let (code, document) = cluster.run(&words);
        assert_eq!(code, 3, "{document:#}");
        assert_eq!(document["verdict"], "partial", "{document:#}");
        let good = flow(&document, "151-host");
        assert_eq!(
            (&good["complete"], &good["valid"]),
            (&true.into(), &true.into()),
            "{good:#}"
        );
        assert!(
            good["received"]["bytes"].as_u64() > Some(100_000),
            "{good:#}"
        );
        for (target, reasons) in [
            ("152-host", &["unreachable"][..]),
            ("153-host", &["refused", "unreachable"]),
        ] {
            let bad = flow(&document, target);
            let said = bad["reasons"].to_string();
            assert_eq!(bad["complete"], false, "{bad:#}");
            assert!(
                reasons.iter().any(|reason| said.contains(reason)),
                "{target}: {bad:#}"
            );
            let address = cluster.lab().address(target).expect("a host").to_string();
            assert!(
                said.contains(&address) || said.contains(target),
                "{target}: {said}"
            );
        }
        // As soon as it is known, for whoever watches.
        let told = cluster.weir(&[&["run"], words.as_slice()].concat());
        assert_eq!(told.code, 3, "{told:?}");
        assert!(
            told.stderr.contains("152-host") || told.stdout.contains("152-host"),
            "{told:?}"
        );
        let ready = format!("{}{}", told.stdout, told.stderr);
        assert!(
            ready.contains("1 of 3") && ready.contains("2 unreachable")
                || ready.contains("153-host"),
            "{ready}"
        );
    }
}

#[test]
fn a_policy_that_refuses_says_which_key_would_allow_it() {
    needs!(Ground::Lab);
    // Loopback is the only address of this host, and no --lab was given.
    let mut cluster = Cluster::new();
    for name in ["a1", "a2"] {
        let mut command = Command::new("unshare");
        command.arg("--net").arg("sh");
        command.args(["-c", "ip link set lo up && exec \"$0\" \"$@\""]);
        command.arg(weir_tests::binary("weir-agent"));
        cluster.launch(name, command);
    }
    cluster.await_agents(2);
    let (code, document) = cluster.run(&[
        "--from", "a1", "--to", "a2", "--udp", "1M", "--for", "1s", "--settle", "1s",
    ]);
    assert_eq!(code, 3, "{document:#}");
    assert!(
        document["reasons"].to_string().contains("--lab"),
        "{document:#}"
    );
}
