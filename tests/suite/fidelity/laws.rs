//! Laws of arrival and size out of files: what a trace says is what is sent.

use std::fs;

use serde_json::Value;
use weir_tests::{Ground, needs};

use super::{GENERATOR, RECEIVER, flows, number, on_two_hosts, run_line};

/// A cycle of 40 ms with four packets, two of them at once.
const GAPS: &str = "# between the packets of one burst and the next\nunit ms\n5\n10\n0\n25\n";
const SIZES: &str = "100\n200  # the middle one\n300\n";

fn campaign() -> String {
    // 29 cycles and three packets of the thirtieth; then one cycle and no more.
    format!(
        r#"campaign = "traced"
interval = "100ms"
[pairs]
from = "{GENERATOR}"
to   = "{RECEIVER}"
[[phase]]
name = "over-and-over"
for  = "1.19s"
traffic = {{ udp = "arrival", arrival = 'trace("gaps.txt")', size = 'trace("sizes.txt")' }}
[[phase]]
name = "once"
for  = "500ms"
traffic = {{ udp = "arrival", arrival = 'trace("gaps.txt", repeat = false)', size = 500 }}
[valid]
ignore = ["behind", "frozen"]
"#
    )
}

#[test]
fn a_trace_is_sent_value_by_value() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let path = cluster.directory().join("traced.toml");
    let line = path.to_str().expect("a path");
    fs::write(&path, campaign()).expect("a campaign");
    fs::write(cluster.directory().join("sizes.txt"), SIZES).expect("a trace of sizes");
    let refused = cluster.weir(&["run", line]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("gaps.txt"), "{refused:?}");

    fs::write(cluster.directory().join("gaps.txt"), GAPS).expect("a trace of spacings");
    let (document, _) = run_line(&cluster, line, 0);
    let flow = |phase: &str| -> &Value {
        let named = |flow: &&Value| flow["phase"] == phase;
        flows(&document)
            .iter()
            .find(named)
            .expect("a flow of each phase")
    };
    let repeated = flow("over-and-over");
    assert_eq!(
        number(repeated, "/offered/packets"),
        29 * 4 + 3,
        "{repeated:#}"
    );
    assert_eq!(
        number(repeated, "/offered/bytes"),
        39 * 600 + 300,
        "{repeated:#}"
    );
    assert_eq!(number(flow("once"), "/offered/packets"), 4, "{document:#}");
    assert_eq!(
        number(flow("once"), "/offered/bytes"),
        2_000,
        "{document:#}"
    );
    let told = document["provenance"].to_string();
    for text in [GAPS, SIZES] {
        let hash = sha256(text);
        assert!(told.contains(&hash), "{hash} of {text:?} in {told}");
    }
}

fn sha256(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let hex = |byte: &u8| format!("{byte:02x}");
    digest.as_ref().iter().map(hex).collect()
}
