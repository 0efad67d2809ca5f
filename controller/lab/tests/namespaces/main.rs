//! Labs in real namespaces. They need root or an unprivileged user namespace;
//! where neither is to be had, each test fails and says why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod inside;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use inside::{Action, Running, connects, is_cut, send_udp};
use weir_lab::privilege::{self, Privilege};
use weir_lab::{Direction, Lab, LabError, Loss, Shape, Topology};

fn seed() -> Topology {
    Topology::new("test")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("generator"))
        .asn(162, |a| a.join("ix100").host("receiver-1"))
        .asn(171, |a| a.join("ix100").host("receiver-2"))
        .count()
}

const GENERATOR: &str = "150-generator";
const RECEIVER: &str = "162-receiver-1";

/// Brings a lab up; started by an ordinary user, the whole test program first
/// starts itself again inside a user namespace, for this one test.
fn up(test: &str, topology: &Topology) -> Option<Lab> {
    match privilege::probe() {
        Privilege::Root => Some(Lab::up(topology).unwrap()),
        Privilege::UserNamespace => {
            let arguments = [test, "--exact", "--nocapture"].map(OsString::from);
            let program = std::env::current_exe().unwrap();
            let mut again = privilege::in_user_namespace(&program, &arguments).unwrap();
            let status = again.status().unwrap();
            assert!(status.success(), "{test} failed in a user namespace");
            None
        }
        Privilege::Refused { why } => panic!("labs cannot be tested here: {why}"),
    }
}

#[test]
fn hosts_of_all_ases_reach_each_other() {
    let Some(lab) = up("hosts_of_all_ases_reach_each_other", &seed()) else {
        return;
    };
    let hosts: Vec<String> = lab
        .network()
        .hosts()
        .map(|host| host.name.clone())
        .collect();
    for from in &hosts {
        for to in hosts.iter().filter(|to| *to != from) {
            assert!(
                connects(&lab, from, to, lab.address(to).unwrap().into()),
                "{from} {to}"
            );
        }
    }
    let to = lab.address_v6(RECEIVER).unwrap();
    assert!(connects(&lab, GENERATOR, RECEIVER, to.into()), "IPv6");
    lab.down().unwrap();
}

#[test]
fn several_routers_and_direct_links_carry_traffic() {
    let topology = Topology::new("mesh")
        .exchange("ix100")
        .exchange("ix101")
        .asn(2, |a| {
            a.router("r100").join("ix100").router("r101").join("ix101")
        })
        .asn(150, |a| a.join("ix100").host("h"))
        .asn(160, |a| a.join("ix101").host("h"))
        .asn(64_512, |a| a.lan("10.200.1.0/24").host("h"))
        .link(160, 64_512);
    let Some(lab) = up("several_routers_and_direct_links_carry_traffic", &topology) else {
        return;
    };
    let to = lab.address("64512-h").unwrap().into();
    assert!(connects(&lab, "150-h", "64512-h", to));
    assert!(connects(
        &lab,
        "150-h",
        "64512-h",
        lab.address_v6("64512-h").unwrap().into()
    ));
    lab.cut("160-router--64512-router").unwrap();
    assert!(is_cut(&lab, "150-h", "64512-h", to));
    lab.heal("160-router--64512-router").unwrap();
    assert!(connects(&lab, "150-h", "64512-h", to));
    assert!(connects(
        &lab,
        "150-h",
        "64512-h",
        lab.address_v6("64512-h").unwrap().into()
    ));
}

#[test]
fn a_program_inside_keeps_its_process_id_and_the_root_namespace_stays_empty() {
    let test = "a_program_inside_keeps_its_process_id_and_the_root_namespace_stays_empty";
    let interfaces = || std::fs::read_to_string("/proc/net/dev").unwrap();
    let names = |text: String| -> Vec<String> {
        text.lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect()
    };
    let Some(lab) = up(test, &seed()) else { return };
    let child = lab
        .command(GENERATOR, "sh")
        .unwrap()
        .args(["-c", "echo $$"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), pid);
    let here = names(interfaces());
    assert!(
        !here
            .iter()
            .any(|name| name.starts_with("net0") || name.starts_with("up")),
        "{here:?}"
    );
    let missing = lab.command("150-nobody", "sh").unwrap_err();
    assert!(matches!(missing, LabError::UnknownHost { .. }));
}

#[test]
fn counters_agree_with_what_was_sent_to_the_packet() {
    let test = "counters_agree_with_what_was_sent_to_the_packet";
    let Some(lab) = up(test, &seed()) else { return };
    let to: IpAddr = lab.address(RECEIVER).unwrap().into();
    let counters = |host: &str| lab.counters(host).unwrap().udp().to(to).to_port(4000);
    assert_eq!(counters(GENERATOR).packets(), 0);
    send_udp(&lab, GENERATOR, to, 1_234, 100);
    // The last packets may still be on their way when the sender has ended.
    assert!(eventually(|| counters(RECEIVER).input().packets() >= 1_234));
    let (sent, received) = (counters(GENERATOR).output(), counters(RECEIVER).input());
    assert_eq!((sent.packets(), sent.udp_payload_bytes()), (1_234, 123_400));
    assert_eq!((received.packets(), received.bytes()), (1_234, 1_234 * 128));
    assert_eq!(counters(RECEIVER).output().packets(), 0);
    lab.forget_counts(GENERATOR).unwrap();
    assert_eq!(counters(GENERATOR).packets(), 0);
    assert!(matches!(
        lab.counters("150-router"),
        Err(LabError::NotCounted { .. })
    ));
}

#[test]
fn loss_is_near_its_share_and_can_be_taken_away() {
    let test = "loss_is_near_its_share_and_can_be_taken_away";
    let loss = Loss::percent(20).towards(Direction::In);
    let topology = seed().loss("162-router@ix100", loss);
    let Some(lab) = up(test, &topology) else {
        return;
    };
    let to: IpAddr = lab.address(RECEIVER).unwrap().into();
    let arrived = || {
        lab.counters(RECEIVER)
            .unwrap()
            .input()
            .udp()
            .to(to)
            .packets()
    };
    send_udp(&lab, GENERATOR, to, 2_000, 100);
    // Binomial with n = 2,000: ten standard deviations are 179 packets.
    assert!((1_420..=1_780).contains(&arrived()), "{}", arrived());
    lab.lose("162-router@ix100", None).unwrap();
    lab.forget_counts(RECEIVER).unwrap();
    send_udp(&lab, GENERATOR, to, 500, 100);
    assert!(eventually(|| arrived() == 500), "{}", arrived());
    lab.lose("162-router@ix100", Some(Loss::percent(100)))
        .unwrap();
    send_udp(&lab, GENERATOR, to, 50, 100);
    assert_eq!(arrived(), 500);
}

/// Sends 200 datagrams of 1,400 B at once through a 5 Mbit/s limit: of the
/// 288,400 B only bucket, queue and what flows meanwhile can pass.
fn assert_limits(lab: &Lab) {
    let to: IpAddr = lab.address(RECEIVER).unwrap().into();
    send_udp(lab, GENERATOR, to, 200, 1_400);
    let sent = lab.counters(GENERATOR).unwrap().output().udp().packets();
    // The queue of 48 KiB drains in 79 ms; a paced packet after it is the
    // event that says so, since the queue is first in, first out.
    let marker = Running::start(lab, RECEIVER, &Action::AwaitUdp { port: 4001 });
    Running::run(
        lab,
        GENERATOR,
        &Action::SendUdpSlowly {
            to: (to, 4001).into(),
        },
    );
    assert_eq!(marker.finish(), "arrived");
    let arrived = lab
        .counters(RECEIVER)
        .unwrap()
        .input()
        .udp()
        .to_port(4000)
        .packets();
    assert_eq!(sent, 200);
    assert!(
        (20..180).contains(&arrived),
        "{arrived} of 200 passed a queue of 32 packets"
    );
}

#[test]
fn a_rate_limit_drops_what_its_queue_cannot_hold() {
    let test = "a_rate_limit_drops_what_its_queue_cannot_hold";
    let topology = seed()
        .packet_by_packet()
        .shape("162-router@ix100", Shape::mbit(5));
    let Some(lab) = up(test, &topology) else {
        return;
    };
    assert_limits(&lab);
    let to: IpAddr = lab.address(RECEIVER).unwrap().into();
    lab.shape("162-router@ix100", None).unwrap();
    for host in [GENERATOR, RECEIVER] {
        lab.forget_counts(host).unwrap();
    }
    send_udp(&lab, GENERATOR, to, 200, 1_400);
    let all = || lab.counters(RECEIVER).unwrap().input().udp().packets() == 200;
    assert!(eventually(all), "without the limit everything passes");
    lab.shape("162-router@ix100", Some(Shape::mbit(5).htb()))
        .unwrap();
    lab.forget_counts(GENERATOR).unwrap();
    lab.forget_counts(RECEIVER).unwrap();
    assert_limits(&lab);
}

#[test]
fn packet_by_packet_cuts_bundles_before_the_link() {
    let test = "packet_by_packet_cuts_bundles_before_the_link";
    let Some(lab) = up(test, &seed().packet_by_packet()) else {
        return;
    };
    assert!(connects(
        &lab,
        GENERATOR,
        RECEIVER,
        lab.address(RECEIVER).unwrap().into()
    ));
    // 1 MiB in packets of at most 1,500 B.
    let received = lab.counters(RECEIVER).unwrap().input().tcp().to_port(5201);
    assert!(received.packets() > 500, "{received:?}");
    assert!(
        received.bytes() <= received.packets() * 1_500,
        "{received:?}"
    );
    // In another lab the same bytes take fewer packets, which are bundles.
    let other = Lab::up(&seed()).unwrap();
    let to = other.address(RECEIVER).unwrap().into();
    assert!(connects(&other, GENERATOR, RECEIVER, to));
    let bundled = other
        .counters(RECEIVER)
        .unwrap()
        .input()
        .tcp()
        .to_port(5201);
    assert!(bundled.bytes() > bundled.packets() * 1_500, "{bundled:?}");
}

#[test]
fn a_cut_link_carries_nothing_and_a_healed_one_everything() {
    let test = "a_cut_link_carries_nothing_and_a_healed_one_everything";
    let Some(lab) = up(test, &seed()) else { return };
    let to: IpAddr = lab.address(RECEIVER).unwrap().into();
    for link in ["162-router@ix100", RECEIVER] {
        assert!(connects(&lab, GENERATOR, RECEIVER, to));
        lab.cut(link).unwrap();
        assert!(is_cut(&lab, GENERATOR, RECEIVER, to), "{link} is cut");
        lab.heal(link).unwrap();
        assert!(connects(&lab, GENERATOR, RECEIVER, to), "{link} is healed");
    }
    assert!(matches!(
        lab.cut("nowhere"),
        Err(LabError::UnknownLink { .. })
    ));
}

#[test]
fn two_labs_live_side_by_side() {
    let Some(first) = up("two_labs_live_side_by_side", &seed()) else {
        return;
    };
    let second = Lab::up(&seed()).unwrap();
    let to: IpAddr = first.address(RECEIVER).unwrap().into();
    send_udp(&first, GENERATOR, to, 5, 10);
    assert_eq!(first.counters(RECEIVER).unwrap().udp().packets(), 5);
    assert_eq!(second.counters(RECEIVER).unwrap().udp().packets(), 0);
    first.down().unwrap();
    assert!(connects(&second, GENERATOR, RECEIVER, to));
}

#[test]
fn going_down_ends_what_runs_inside_and_removes_everything() {
    let test = "going_down_ends_what_runs_inside_and_removes_everything";
    let Some(lab) = up(test, &seed()) else { return };
    let mut child = lab
        .command(GENERATOR, "sleep")
        .unwrap()
        .arg("600")
        .spawn()
        .unwrap();
    let namespace = format!("/run/netns/{}", lab.namespace(GENERATOR).unwrap());
    assert!(std::fs::exists(&namespace).unwrap());
    lab.down().unwrap();
    assert!(!std::fs::exists(&namespace).unwrap());
    assert!(!child.wait().unwrap().success());
}

/// Not a test of its own: what the next test starts and kills.
#[test]
#[ignore = "started by leftovers_of_a_killed_process_are_swept"]
fn lab_that_is_killed() {
    let lab = Lab::up(&seed()).unwrap();
    let mut child = lab
        .command(GENERATOR, "sleep")
        .unwrap()
        .arg("600")
        .spawn()
        .unwrap();
    println!("\nlab {} {}", lab.namespace(GENERATOR).unwrap(), child.id());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn leftovers_of_a_killed_process_are_swept() {
    let test = "leftovers_of_a_killed_process_are_swept";
    let Some(living) = up(test, &seed()) else {
        return;
    };
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["lab_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("lab "))
        .unwrap();
    let [_, namespace, stray] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let (namespace, stray) = (
        format!("/run/netns/{namespace}"),
        format!("/proc/{stray}/comm"),
    );
    weir_lab::sweep().unwrap();
    assert!(std::fs::exists(&namespace).unwrap(), "its owner lives");
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Another test's lab may be quicker to sweep, so only the result counts.
    weir_lab::sweep().unwrap();
    assert!(!std::fs::exists(&namespace).unwrap(), "{namespace} is left");
    let gone = || std::fs::read_to_string(&stray).map_or(true, |name| name.trim() != "sleep");
    assert!(eventually(gone), "the program in the lab still runs");
    assert!(connects(
        &living,
        GENERATOR,
        RECEIVER,
        living.address(RECEIVER).unwrap().into()
    ));
}

#[test]
fn strays_of_a_killed_user_namespace_are_ended_from_outside() {
    if privilege::probe() == Privilege::Root {
        return; // `an_ordinary_user_gets_the_same_lab` runs it.
    }
    let arguments = ["lab_that_is_killed", "--exact", "--ignored", "--nocapture"];
    let program = std::env::current_exe().unwrap();
    let mut owner = privilege::in_user_namespace(&program, &arguments.map(OsString::from))
        .unwrap()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("lab "))
        .unwrap();
    let stray = format!("/proc/{}/comm", line.split(' ').nth(2).unwrap());
    let runs = || std::fs::read_to_string(&stray).is_ok_and(|name| name.trim() == "sleep");
    weir_lab::sweep().unwrap();
    assert!(eventually(runs), "its owner lives");
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(runs(), "it outlives its owner");
    weir_lab::sweep().unwrap();
    assert!(eventually(|| !runs()), "it still runs");
}

/// Asks until it holds or 10 s are over.
fn eventually(holds: impl Fn() -> bool) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::time::Instant::now() < deadline {
        if holds() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn twenty_hosts_are_up_soon() {
    let mut topology = Topology::new("wide").exchange("ix100").count();
    for asn in 150..154 {
        topology = topology.asn(asn, |a| {
            a.join("ix100").hosts("h", 5).access(Shape::mbit(50))
        });
    }
    let begun = std::time::Instant::now();
    let Some(lab) = up("twenty_hosts_are_up_soon", &topology) else {
        return;
    };
    let took = begun.elapsed();
    println!("25 namespaces up in {took:?}");
    assert!(took.as_secs() < 20, "{took:?}");
    assert!(connects(
        &lab,
        "150-h-1",
        "153-h-5",
        lab.address("153-h-5").unwrap().into()
    ));
}

#[test]
fn an_ordinary_user_gets_the_same_lab() {
    if !matches!(privilege::probe(), Privilege::Root) || privilege::is_in_user_namespace() {
        return; // An ordinary user runs all the other tests that way.
    }
    // A copy, since the build directory may be closed to others.
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    let program = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    open_to_all(&program);
    for test in [
        "counters_agree_with_what_was_sent_to_the_packet",
        "a_rate_limit_drops_what_its_queue_cannot_hold",
        "a_cut_link_carries_nothing_and_a_healed_one_everything",
        "strays_of_a_killed_user_namespace_are_ended_from_outside",
    ] {
        let output = Command::new(&program)
            .args([test, "--exact", "--nocapture"])
            .uid(65_534)
            .gid(65_534)
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
    }
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
