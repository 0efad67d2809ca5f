//! Campaign files, as people write them: their plans, and the lines of their errors.

use weir_common::campaign::file;

use super::*;

const AS150: &str = r#"campaign = "as150-to-162-171"

[groups]
src = { asn = 150, role = "host" }
dst = { asn = [162, 171] }

[pairs]
from = "src"
to   = "dst"

[[phase]]
name    = "udp"
traffic = { udp = "10 Mbit/s", size = 1400 }
for     = "60s"

[[phase]]
name    = "tcp"
traffic = { tcp = "max", streams = 2 }
for     = "60s"

[[flow]]
name    = "probe"
from    = "a0"
to      = "c1"
in      = ["tcp"]
traffic = { udp = "50 pkt/s", size = 64 }

[limits]
flows = 100
"#;

fn parsed(text: &str) -> Campaign {
    file::parse(text, "as150.toml").expect("a campaign")
}

#[test]
fn the_shortest_file_plans() {
    let plan = plan(&parsed(AS150), &agents(), 7).unwrap();
    let in_phase = |index: u16| plan.flows.iter().filter(|flow| flow.phase == index).count();
    assert_eq!((in_phase(0), in_phase(1)), (8, 9));
    assert_eq!(plan.flows[0].key, "udp/udp/a0>b0");
    assert_eq!(plan.phases[1].start_ns, 61_000_000_000);
    assert_eq!(plan.flows[8].rows_per_end, 180);
    assert_eq!(plan.end_ns, 121_000_000_000);
}

#[test]
fn errors_know_their_line() {
    let line = |old: &str, new: &str, agents: &[AgentFacts]| {
        assert!(AS150.contains(old));
        let text = AS150.replace(old, new);
        let campaign = parsed(&text);
        plan(&campaign, agents, 7)
            .unwrap_err()
            .line(&text, &campaign)
    };
    let six = agents();
    assert_eq!(line("asn = 150", "asn = 151", &six), Some(4));
    assert_eq!(
        line(
            "to   = \"dst\"",
            "to   = \"dst\"\nhow  = \"one-to-one\"",
            &six
        ),
        Some(10)
    );
    assert_eq!(line("streams = 2", "cc = \"vegas\"", &six), Some(18));
    assert_eq!(line("\"a0\"", "\"a9\"", &six), Some(23));
    assert_eq!(line("flows = 100", "flows = 16", &six), Some(29));
    let mut busy = agents();
    busy[0].max_sessions = 3;
    assert_eq!(line("100", "99", &busy), Some(7));
    let campaign = parsed(AS150);
    let error = PlanError::Sizes {
        set: "udp".to_owned(),
        from: 1,
        to: 2,
    };
    assert_eq!(error.line("not = [toml", &campaign), None);
}
