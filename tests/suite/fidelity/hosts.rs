//! What hosts and kernels did to the flows: quotas, queues on the way, captures.

use std::time::Duration;

use serde_json::Value;
use weir_lab::{Direction, Lab, Shape};
use weir_tests::{Cluster, CpuQuota, Ground, Process, binary, eventually, needs};

use super::{GENERATOR, RECEIVER, figure, flows, number, on_two_hosts, two_hosts, warnings, words};

const ROUTER: &str = "150-router";

fn run(cluster: &Cluster, line: &str) -> (i32, Value) {
    cluster.run(&words(&format!(
        "--from {GENERATOR} --to {RECEIVER} {line}"
    )))
}

/// Rows of a table of the last run.
fn rows(cluster: &Cluster, table: &str) -> Vec<Value> {
    let ran = cluster.weir(&["records", "--table", table, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows = ran.json();
    rows.as_array().expect("an array of rows").clone()
}

fn warning<'a>(flow: &'a Value, code: &str) -> &'a Value {
    let warnings = flow["warnings"].as_array().expect("a flow has warnings");
    let found = warnings.iter().find(|warning| warning["code"] == code);
    found.unwrap_or_else(|| panic!("no warning `{code}`: {flow:#}"))
}

#[test]
fn a_cpu_quota_makes_a_schedule_invalid_and_limits_what_has_none() {
    needs!(Ground::Lab);
    let Some(quota) = CpuQuota::percent(5, "sender") else {
        eprintln!("skipped: no control group with a CPU quota can be made here");
        return;
    };
    // On loopback: hosts of a lab have a /sys of their own, without control groups.
    let cluster = Cluster::on_loopback(&[(GENERATOR, &[]), (RECEIVER, &[])]);
    quota.hold(cluster.agent(GENERATOR).id());

    let (code, document) = run(
        &cluster,
        "--udp 50000pkt/s --size 100 --for 4s --interval 500ms",
    );
    let flow = &flows(&document)[0];
    assert_eq!(
        (code, &document["verdict"]),
        (4, &"invalid".into()),
        "{document:#}"
    );
    assert_eq!(flow["valid"], false);
    let reasons = flow["reasons"].as_array().expect("a flow has reasons");
    let behind = reasons.iter().find(|reason| reason["code"] == "behind");
    let behind = behind.unwrap_or_else(|| panic!("not behind: {flow:#}"));
    assert!(figure(behind, "/value") > 0.1, "{behind:#}");
    let text = behind["text"].as_str().expect("a sentence");
    assert!(text.contains(": throttled "), "the cause is named: {text}");
    assert_eq!(
        number(flow, "/lost/network"),
        0,
        "invalid never reads as loss: {flow:#}"
    );
    let throttled = warning(flow, "throttled");
    assert!(figure(throttled, "/value") > 0.3, "{throttled:#}");
    assert_eq!(figure(throttled, "/limit"), 0.01);

    let per_end = cluster.weir(&["records", "--per-end", "--json"]).json();
    let told: u64 = per_end
        .as_array()
        .expect("an array of rows")
        .iter()
        .filter(|row| row["end"] == "tx")
        .filter_map(|row| row["throttled_us"].as_u64())
        .sum();
    assert!(told > 1_000_000, "{told} us of 4 s are in the rows");

    for traffic in ["--tcp max", "--udp max --size 1400"] {
        let (code, document) = run(&cluster, &format!("{traffic} --for 3s --interval 500ms"));
        let flow = &flows(&document)[0];
        assert_eq!(code, 0, "{traffic}: {document:#}");
        assert_eq!(flow["valid"], true, "{traffic}: {flow:#}");
        assert_eq!(flow["limited"], "cpu", "{traffic}: {flow:#}");
        assert!(warnings(flow).contains(&"throttled"), "{traffic}: {flow:#}");
    }
    drop(cluster);
}

#[test]
fn a_router_with_an_agent_tells_where_the_loss_was() {
    needs!(Ground::Lab);
    let slow = Shape::mbit(5).towards(Direction::Out);
    let topology = two_hosts().shape("150-router@ix100", slow);
    let cluster = Cluster::in_lab(&topology, &[GENERATOR, RECEIVER, ROUTER]);
    let (code, document) = run(
        &cluster,
        "--udp 10M --for 3s --interval 500ms --ignore behind,frozen",
    );
    let flow = &flows(&document)[0];
    assert_eq!(code, 0, "{document:#}");
    let lost = number(flow, "/lost_detail/path");
    assert!(lost > 500, "about half of 2,679 packets: {flow:#}");

    let place = &flow["lost_at"][0];
    assert_eq!(
        (&place["agent"], &place["by"]),
        (&ROUTER.into(), &"tbf".into()),
        "{flow:#}"
    );
    let dropped = number(place, "/dropped");
    // Nobody but the flow sends there in earnest: address resolution, some hellos.
    assert!(
        dropped.abs_diff(lost) <= 10,
        "{dropped} dropped, {lost} lost"
    );
    let interface = place["interface"].as_str().expect("a name");

    let links = rows(&cluster, "links");
    let of_router = links
        .iter()
        .filter(|row| row["agent"] == ROUTER && row["interface"] == interface);
    let sum: u64 = of_router
        .clone()
        .map(|row| number(row, "/qdisc_drops"))
        .sum();
    assert_eq!(sum, dropped, "the rows add up");
    assert!(of_router.clone().all(|row| row["qdisc"] == "tbf"));
    assert!(
        of_router
            .clone()
            .any(|row| number(row, "/qdisc_backlog_bytes") > 0)
    );
    // What was still queued at the end of the flow passed after the last row.
    let passed: u64 = of_router.map(|row| number(row, "/tx_packets")).sum();
    assert!(passed > 500, "{passed} passed");
    for host in [GENERATOR, RECEIVER] {
        assert!(
            links.iter().any(|row| row["agent"] == host),
            "{host} watches too"
        );
    }
    assert_eq!(
        document["links"][0]["agent"], ROUTER,
        "{}",
        document["links"]
    );
    assert_eq!(number(&document["links"][0], "/qdisc_drops"), dropped);

    let shown = cluster.weir(&["show"]).stdout;
    let line = format!("{ROUTER} {interface}: {dropped} dropped by tbf");
    assert!(shown.contains(&line), "{line}: {shown}");
}

#[test]
fn one_agent_tells_of_a_kernel_that_all_share() {
    needs!(Ground::Lab);
    let cluster = on_two_hosts();
    let (code, document) = run(
        &cluster,
        "--udp 1000pkt/s --size 100 --for 2s --interval 500ms --ignore behind,frozen",
    );
    assert_eq!(code, 0, "{document:#}");
    let kernels = rows(&cluster, "kernels");
    let numbers: Vec<u64> = kernels.iter().map(|row| number(row, "/k")).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a < b) && !numbers.is_empty(),
        "{numbers:?}"
    );
    let first = &kernels[0];
    assert!(
        kernels
            .iter()
            .all(|row| row["kernel_boot_id"] == first["kernel_boot_id"])
    );
    let time: u64 = kernels.iter().map(|row| number(row, "/length_ns")).sum();
    assert!(
        (1_900_000_000..2_100_000_000).contains(&time),
        "{time} ns of 2 s"
    );
    let processed: u64 = kernels
        .iter()
        .map(|row| number(row, "/softnet_processed"))
        .sum();
    assert!(
        processed >= number(&flows(&document)[0], "/received/packets"),
        "{processed}"
    );
    for row in &kernels {
        let all_us = number(row, "/cores") * number(row, "/length_ns") / 1_000;
        // Its ticks are 10 ms long.
        assert!(number(row, "/cpu_us") <= all_us + 50_000, "{row:#}");
    }

    let kernel = &document["provenance"]["kernels"][0];
    assert_eq!(kernel["boot_id"], first["kernel_boot_id"]);
    assert!(kernel["told_by"].is_string() && kernel["sysctls"]["net.core.rmem_max"].is_string());
    let agents = document["provenance"]["agents"].as_array().expect("agents");
    let generator = agents.iter().find(|agent| agent["name"] == GENERATOR);
    let generator = generator.expect("the generator is told");
    let route = generator["routes"][0]["at_end"]
        .as_str()
        .unwrap_or_default();
    assert!(
        route.starts_with("via ") && route.contains(" dev net0"),
        "{generator:#}"
    );
    let interfaces = generator["interfaces"].as_array().expect("interfaces");
    let net0 = interfaces
        .iter()
        .find(|interface| interface["name"] == "net0");
    assert_eq!(net0.expect("the host's interface")["driver"], "veth");
}

#[test]
fn a_capture_on_a_host_is_told_with_its_place() {
    needs!(Ground::Lab);
    let mut cluster = Cluster::around(Lab::up(&two_hosts()).expect("a lab"));
    for host in [GENERATOR, RECEIVER] {
        let mut agent = cluster
            .lab()
            .command(host, binary("weir-agent"))
            .expect("a host");
        agent.arg("--name-captures");
        cluster.launch(host, agent);
    }
    cluster.await_agents(2);
    let lab = cluster.lab();
    let mut tcpdump = lab.command(GENERATOR, "tcpdump").expect("a host");
    tcpdump.args(["-n", "-i", "net0", "-w", "/dev/null"]);
    if !weir_lab_has("tcpdump") {
        eprintln!("skipped: tcpdump is not installed");
        return;
    }
    let log = cluster.directory().join("tcpdump.log");
    let capture = Process::start("tcpdump", tcpdump, &log);
    eventually("a packet socket", Duration::from_secs(20), || {
        let mut cat = lab.command(GENERATOR, "cat").expect("a host");
        let output = cat.arg("/proc/net/packet").output().ok()?;
        (output.stdout.split(|byte| *byte == b'\n').count() > 2).then_some(())
    });
    let line = "--udp 200pkt/s --size 100 --for 1s --interval 500ms --ignore behind,frozen";
    let (code, document) = run(&cluster, line);
    assert_eq!(code, 0, "{document:#}");
    let flow = &flows(&document)[0];
    let text = warning(flow, "observed")["text"]
        .as_str()
        .expect("a sentence");
    let place = format!("(pid {}) at {GENERATOR} net0", capture.id());
    assert!(
        text.contains("tcpdump") && text.contains(&place),
        "{place}: {text}"
    );

    let (code, document) = run(&cluster, &format!("{line} --observers invalid"));
    assert_eq!(
        (code, &flows(&document)[0]["valid"]),
        (4, &false.into()),
        "{document:#}"
    );
    capture.kill();
    let (_, document) = run(&cluster, line);
    assert!(
        !warnings(&flows(&document)[0]).contains(&"observed"),
        "{document:#}"
    );
}

fn weir_lab_has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin"].map(Into::into))
        .any(|directory| directory.join(program).is_file())
}

#[test]
fn the_cpus_to_which_streams_are_kept_are_told() {
    let cpus = weir_engine::socket::thread_cpus().expect("Linux");
    let cpu = cpus.last().expect("one at least").to_string();
    let mut cluster = Cluster::on_loopback(&[("free", &[])]);
    let mut command = std::process::Command::new(binary("weir-agent"));
    command.args(["--lab", "--cpus", &cpu]);
    cluster.launch("kept", command);
    cluster.await_agents(2);
    let (code, document) = cluster.run(&words(
        "--from kept --to free --udp 100pkt/s --for 200ms --ignore behind,frozen",
    ));
    assert_eq!(code, 0, "{document:#}");
    let listed = cluster.weir(&["agents", "--json"]).json();
    let told = |agents: &Value, key: &str, name: &str, path: &str| -> Value {
        let agents = agents.as_array().expect("a list");
        let agent = agents.iter().find(|agent| agent[key] == name);
        let told = agent.and_then(|agent| agent.pointer(path));
        told.unwrap_or_else(|| panic!("{path} of {name}: {agents:#?}"))
            .clone()
    };
    let of_list = |name| told(&listed["agents"], "agent", name, "/inventory/stream_cpus");
    let of_run = |name| {
        told(
            &document["provenance"]["agents"],
            "name",
            name,
            "/stream_cpus",
        )
    };
    assert_eq!(
        (of_list("kept"), of_run("kept")),
        (cpu.as_str().into(), cpu.as_str().into())
    );
    assert_eq!((of_list("free"), of_run("free")), ("".into(), Value::Null));
    let table = cluster.weir(&["agents"]).stdout;
    assert!(table.contains(&format!("(cpus {cpu})")), "{table}");
}
