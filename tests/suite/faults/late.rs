//! Records that come after their run was closed.

use std::process::Command;

use weir_tests::proxy::Fault;
use weir_tests::{Background, Cluster, Proxy, binary, eventually};

use super::{SOON, await_output, await_records, codes, traffic, whole};

/// The receiver is cut off in mid-run and is given up; when it is back, the result is
/// made anew and lacks nothing.
#[test]
fn a_run_becomes_complete_when_the_agent_that_was_cut_off_is_back() {
    let mut cluster = Cluster::on_loopback(&[("a1", &["asn=150"])]);
    let target = cluster.controller_data().join("join/agents.sock");
    let link = Proxy::start(&cluster.directory().join("a2.sock"), &target);
    let mut agent = Command::new(binary("weir-agent"));
    agent.args(["--lab", "--label", "asn=151"]);
    cluster.launch_to(&link.endpoint(), "a2", agent);
    cluster.await_agents(2);
    let run = Background::start(&cluster, &format!("run --json {}", traffic("4s")));
    await_records(&cluster, "r-0001", 8);
    link.set(Fault::partition());
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    let document = ran.json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    let unclosed = document["ledger"]["unclosed"].as_array().map(Vec::len);
    assert_eq!(unclosed, Some(2), "{document:#}");

    link.heal();
    let show = || cluster.weir(&["show", "--json"]).json();
    eventually("a complete result", SOON, || {
        (show()["checks"]["complete"] == true).then_some(())
    });
    let document = show();
    assert_eq!(document["verdict"], "pass", "{document:#}");
    assert_eq!(codes(&document["warnings"]), ["late-records"]);
    whole(&cluster, &document);
    let shown = cluster.weir(&["show"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("PASS"), "{shown:?}");
    assert!(
        shown.stdout.contains("after the run was closed"),
        "{shown:?}"
    );
    let listed = cluster.weir(&["runs", "--json"]).json();
    assert_eq!(listed["runs"][0]["state"], "pass", "{listed}");
    await_output(cluster.controller(), "its result was made anew");
}
