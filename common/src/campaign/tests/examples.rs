//! The examples of the language's description and of the documentation.

use super::*;
use std::path::{Path, PathBuf};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn example(name: &str) -> String {
    let path = docs().join("examples").join(format!("{name}.toml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The command line that an example's comment shows, without `weir run`.
fn line_of(text: &str) -> String {
    let comments = text.lines().filter_map(|line| line.strip_prefix('#'));
    let from_command = comments.skip_while(|line| !line.contains("weir run"));
    let mut command = String::new();
    for part in from_command {
        let part = part.trim();
        let goes_on = part.ends_with('\\');
        command.push_str(part.trim_end_matches('\\').trim_start_matches("weir run"));
        command.push(' ');
        if !goes_on {
            break;
        }
    }
    command
}

/// A campaign without what a command line cannot say: names and question, and groups replaced by what they mean.
fn nameless(campaign: &Campaign) -> Campaign {
    let mut campaign = campaign.inlined();
    let sets: Vec<String> = campaign
        .flow_sets
        .iter()
        .map(|set| set.name.clone())
        .collect();
    let phases: Vec<String> = campaign
        .phases
        .iter()
        .map(|phase| phase.name.clone())
        .collect();
    let number = |names: &[String], name: &String| {
        names
            .iter()
            .position(|other| other == name)
            .unwrap()
            .to_string()
    };
    campaign.name = String::new();
    campaign.question = None;
    for expectation in &mut campaign.expectations {
        expectation.set = expectation.set.take().map(|name| number(&sets, &name));
        expectation.phase = expectation.phase.take().map(|name| number(&phases, &name));
    }
    campaign
        .flow_sets
        .iter_mut()
        .for_each(|set| set.name.clear());
    campaign
        .phases
        .iter_mut()
        .for_each(|phase| phase.name.clear());
    campaign
}

#[test]
fn every_example_file_means_what_its_line_means() {
    let mut seen = 0;
    for entry in std::fs::read_dir(docs().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let from_file = file::parse(&text, path.to_str().unwrap()).unwrap();
        let from_line =
            line(&line_of(&text)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            nameless(&from_file),
            nameless(&from_line),
            "{}",
            path.display()
        );
        assert_eq!(read(&render(&from_file)).unwrap(), from_file);
        seen += 1;
    }
    assert!(seen >= 4, "{seen} examples");
}

#[test]
fn two_kinds_of_traffic_at_once() {
    let campaign = read(&example("seed-3-multi")).unwrap();
    assert_eq!(campaign.name, "seed-3-multi");
    assert_eq!(campaign.phases.len(), 1);
    let [ditg, iperf] = &campaign.flow_sets[..] else {
        panic!("two flow sets")
    };
    assert_eq!((ditg.name.as_str(), iperf.name.as_str()), ("ditg", "iperf"));
    assert_eq!(ditg.traffic.rate.to_string(), "3000 pkt/s");
    assert_eq!(ditg.traffic.size, Some(512));
    assert_eq!(iperf.traffic.rate.to_string(), "3 kbit/s");
    assert_eq!(
        iperf.from,
        Party::Agents(vec!["multi-traffic-generator".to_owned()])
    );
    assert_eq!(campaign.sets_in(0).count(), 2);
}

#[test]
fn groups_phases_and_an_expectation() {
    let campaign = read(&example("as150-to-162-171")).unwrap();
    assert_eq!(campaign.groups.len(), 2);
    assert_eq!(campaign.flow_sets[0].from, Party::Group("src".to_owned()));
    assert_eq!(campaign.flow_sets[0].phases, [0]);
    assert_eq!(campaign.flow_sets[1].traffic.streams, 2);
    assert_eq!(
        campaign.window(1),
        (Span::from_secs(61), Span::from_secs(121))
    );
    let expectation = &campaign.expectations[0];
    assert_eq!(expectation.set.as_deref(), Some("udp"));
    assert_eq!(expectation.to_string(), "udp/udp.loss <= 1 %");
}

/// Every block of TOML in the reference is a campaign, or a part that becomes one with a phase and a pair.
#[test]
fn every_block_of_the_reference_is_valid() {
    let text = std::fs::read_to_string(docs().join("campaign.md")).unwrap();
    let mut blocks = 0;
    let mut parts = text.split("```toml\n");
    parts.next();
    for part in parts {
        let block = part.split("```").next().unwrap();
        let mut whole = block.to_owned();
        if !block.contains("[pairs]") {
            whole.push_str("\n[pairs]\nfrom = \"a\"\nto = \"b\"\n");
        }
        if !block.contains("[[phase]]") {
            whole.push_str(
                "\n[[phase]]\nname = \"main\"\nfor = \"60 s\"\ntraffic = { udp = \"10 Mbit/s\" }\n",
            );
        }
        read(&whole).unwrap_or_else(|error| panic!("docs/campaign.md: {error}\n{whole}"));
        blocks += 1;
    }
    assert!(blocks > 5, "{blocks} blocks");
    let mut lines = 0;
    for command in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("weir run "))
    {
        line(command).unwrap_or_else(|error| panic!("docs/campaign.md: {error}\n{command}"));
        lines += 1;
    }
    assert!(lines > 2, "{lines} lines");
}

/// No key is left out of the reference.
#[test]
fn the_reference_names_every_key() {
    let text = std::fs::read_to_string(docs().join("campaign.md")).unwrap();
    let sections = [
        &keys::TOP,
        &keys::PAIRS,
        &keys::PHASE,
        &keys::FLOW,
        &keys::TRAFFIC,
        &keys::EXPECT,
        &keys::VALID,
        &keys::LIMITS,
    ];
    for key in sections.iter().flat_map(|section| section.keys) {
        let named = [format!("`{key}`"), format!("[{key}]"), format!("`{key}.")];
        assert!(
            named.iter().any(|form| text.contains(form)),
            "docs/campaign.md does not name `{key}`"
        );
    }
    for flag in flags::FLAGS {
        assert!(
            text.contains(&format!("--{}", flag.name)),
            "docs/campaign.md does not name --{}",
            flag.name
        );
    }
    for metric in Metric::ALL {
        assert!(
            text.contains(&format!("`{}`", metric.as_str())),
            "docs/campaign.md does not name {}",
            metric.as_str()
        );
    }
}
