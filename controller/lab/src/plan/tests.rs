use proptest::prelude::*;

use super::*;
use crate::{Direction, Loss, Topology};

fn topology() -> Topology {
    Topology::new("demo")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("a").access(Shape::mbit(50)))
        .asn(162, |a| a.join("ix100").host("b"))
}

fn inputs(plan: &Plan, tool: Tool, namespace: &str) -> String {
    let fits = |step: &&Step| step.tool == tool && step.namespace.as_deref() == Some(namespace);
    plan.iter()
        .filter(fits)
        .map(|step| step.input.as_str())
        .collect()
}

#[test]
fn builds_in_the_order_that_the_kernel_needs() {
    let network = topology().resolve().unwrap();
    let plan = Namespaces::new("w").up(&network);
    let mut stages: Vec<(Tool, bool)> = plan
        .iter()
        .map(|step| (step.tool, step.namespace.is_some()))
        .collect();
    stages.dedup();
    assert_eq!(
        stages,
        [
            (Tool::Ip, false),
            (Tool::Sh, true),
            (Tool::Ip, false),
            (Tool::Ip, true),
            (Tool::Sh, true),
            (Tool::Ip, true),
            (Tool::Tc, true)
        ]
    );
    assert_eq!(
        plan[0].input,
        "netns add w.ix100\nnetns add w.150-router\nnetns add w.150-a\nnetns add w.162-router\nnetns add w.162-b\n"
    );
    assert!(
        inputs(&plan, Tool::Sh, "w.150-router").contains("put 1 /proc/sys/net/ipv4/ip_forward")
    );
    assert!(!inputs(&plan, Tool::Sh, "w.150-a").contains("ip_forward"));
    let pairs = &plan
        .iter()
        .rfind(|step| step.namespace.is_none())
        .unwrap()
        .input;
    assert!(
        pairs.contains(
            "link add name net0 netns w.150-a type veth peer name p0 netns w.150-router\n"
        ),
        "{pairs}"
    );
    let host = inputs(&plan, Tool::Ip, "w.150-a");
    assert_eq!(
        host,
        "link set lo up\nlink set net0 up\naddress replace 10.150.0.71/24 dev net0\n\
         address replace fd00:150::71/64 dev net0 nodad\n\
         route replace 0.0.0.0/0 via 10.150.0.254\nroute replace ::/0 via fd00:150::254\n"
    );
}

#[test]
fn access_limits_sit_at_the_router_and_at_the_exchange() {
    let network = topology().resolve().unwrap();
    let plan = Namespaces::new("w").up(&network);
    let tbf = "root handle 1: tbf rate 50000000bit burst 31250b limit 312500b\n";
    assert_eq!(
        inputs(&plan, Tool::Tc, "w.150-router"),
        format!("qdisc add dev up0 {tbf}")
    );
    assert_eq!(
        inputs(&plan, Tool::Tc, "w.ix100"),
        format!("qdisc add dev p0 {tbf}")
    );
    assert_eq!(inputs(&plan, Tool::Tc, "w.162-router"), "");
}

#[test]
fn needs_tc_and_nft_only_when_asked() {
    let plain = Topology::new("p").asn(1, |a| a.host("h"));
    let tools = |topology: &Topology| {
        let mut tools: Vec<Tool> = Namespaces::new("w")
            .up(&topology.resolve().unwrap())
            .iter()
            .map(|step| step.tool)
            .collect();
        tools.sort_unstable();
        tools.dedup();
        tools
    };
    assert_eq!(tools(&plain), [Tool::Ip, Tool::Sh]);
    assert_eq!(
        tools(&plain.clone().shape("1-h", Shape::mbit(1))),
        [Tool::Ip, Tool::Tc, Tool::Sh]
    );
    assert_eq!(
        tools(&plain.clone().count()),
        [Tool::Ip, Tool::Nft, Tool::Sh]
    );
    let lossy = plain.loss("1-h", Loss::percent(1).towards(Direction::In));
    assert_eq!(tools(&lossy), [Tool::Ip, Tool::Nft, Tool::Sh]);
}

#[test]
fn loss_is_where_packets_arrive() {
    let network = topology()
        .loss("162-b", Loss::percent(2).towards(Direction::Out))
        .resolve()
        .unwrap();
    let plan = Namespaces::new("w").up(&network);
    let rules = inputs(&plan, Tool::Nft, "w.162-router");
    assert!(
        rules.contains("device \"p0\"") && rules.contains("mod 10000 < 200 drop"),
        "{rules}"
    );
    assert_eq!(inputs(&plan, Tool::Nft, "w.162-b"), "");
}

#[test]
fn cutting_spares_the_near_end_and_healing_repeats_what_is_forgotten() {
    let network = topology().link(150, 162).resolve().unwrap();
    let namespaces = Namespaces::new("w");
    let access = network.link("150-router@ix100").unwrap();
    assert_eq!(
        namespaces.cut(&network, access)[0].namespace.as_deref(),
        Some("w.ix100")
    );
    let inputs = |plan: Plan, tool: Tool| -> Vec<(Option<String>, String)> {
        let steps = plan.into_iter().filter(|step| step.tool == tool);
        steps.map(|step| (step.namespace, step.input)).collect()
    };
    let heal = inputs(namespaces.heal(&network, access), Tool::Ip);
    assert_eq!(
        heal,
        [(Some("w.ix100".to_owned()), "link set p0 up\n".to_owned())]
    );
    let direct = network.link("150-router--162-router").unwrap();
    let heal = inputs(namespaces.heal(&network, direct), Tool::Ip);
    assert!(
        heal.iter()
            .all(|(namespace, _)| namespace.as_deref() == Some("w.162-router"))
    );
    assert_eq!(heal[0].1, "link set up1 up\n");
    assert!(
        heal[1].1.contains("address replace fd00:ff01::2/64"),
        "{heal:?}"
    );
    assert!(
        heal[1].1.contains("route replace 10.150.0.0/24 via"),
        "{heal:?}"
    );
    let waits = inputs(namespaces.heal(&network, direct), Tool::Sh);
    assert_eq!(waits.len(), 2, "for both ends");
}

#[test]
fn htb_has_a_byte_queue_below_its_class() {
    let lines = shaped("up0", Shape::mbit(5).htb().burst(9_000).limit(20_000));
    assert!(
        lines.contains("htb rate 5000000bit ceil 5000000bit burst 9000b"),
        "{lines}"
    );
    assert!(lines.ends_with("bfifo limit 20000b\n"), "{lines}");
}

proptest! {
    /// No name that passes the model can break out of a line of input.
    #[test]
    fn lines_hold_only_harmless_characters(host in "[a-z0-9][a-zA-Z0-9_-]{0,47}", asn in 1_u32..255) {
        let network = Topology::new("x").asn(asn, |a| a.host(&host)).resolve();
        prop_assume!(network.is_ok());
        let network = network.unwrap();
        let namespaces = Namespaces::new("weir.x.1-2-3-4");
        let plan = [namespaces.up(&network), namespaces.down(&network)].concat();
        for step in plan.iter().filter(|step| step.tool != Tool::Sh) {
            let harmless = |c: char| c.is_ascii_alphanumeric() || " -_./:\n".contains(c);
            prop_assert!(step.input.chars().all(harmless), "{}", step.input);
        }
    }
}
