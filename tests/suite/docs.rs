//! The commands of README.md and docs/guide.md do what is written there.
//!
//! Blocks marked `console` are typed, in order, into a shell beside a network
//! like that of `weir demo --keep`. Every command must succeed, and every line
//! of shown output that has no digit (heads of tables, in the main) must come.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use weir_lab::{Shape, Topology};
use weir_tests::ground::Ground;
use weir_tests::{Cluster, binary, needs};

/// One command and the lines that are shown below it.
#[derive(Debug)]
struct Example {
    line: usize,
    command: String,
    shown: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push(Example {
                    line: number + 1,
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                (None, Some(example)) => example.shown.push(line.to_owned()),
                (None, None) => panic!("line {}: output before a command", number + 1),
            }
        }
    }
    found
}

/// White space folded, so that the width of columns does not matter.
fn folded(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn demo_network() -> Cluster {
    let topology = Topology::new("docs")
        .exchange("ix100")
        .asn(150, |a| a.join("ix100").host("iperf-generator"))
        .asn(162, |a| a.join("ix100").host("iperf-receiver-1"))
        .asn(171, |a| {
            a.join("ix100")
                .host("iperf-receiver-2")
                .access(Shape::mbit(50))
        });
    let hosts = [
        "150-iperf-generator",
        "162-iperf-receiver-1",
        "171-iperf-receiver-2",
    ];
    let cluster = Cluster::in_lab(&topology, &hosts);
    // The demo has left a run behind.
    let (code, _) = cluster.run(&[
        "--from", "asn=150", "--to", "asn=162", "--udp", "1M", "--for", "1s",
    ]);
    assert_eq!(code, 0);
    cluster
}

fn typed(cluster: &Cluster, file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let examples = examples(&fs::read_to_string(path).expect("the document is there"));
    assert!(examples.len() > 3, "{file}: {} examples", examples.len());
    let programs = binary("weir");
    let programs = programs.parent().expect("a program lies in a directory");
    let search = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for Example {
        line,
        command,
        shown,
    } in examples
    {
        let output = Command::new("bash")
            .args(["-c", &command])
            .env("PATH", &search)
            .env("WEIR_CONTROLLER", cluster.operator_endpoint())
            .current_dir(cluster.directory())
            .stdin(Stdio::null())
            .output()
            .expect("bash is there");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{file}:{line}: {command}\n{stdout}\n{stderr}"
        );
        let printed: Vec<String> = stdout.lines().map(folded).collect();
        for wanted in shown.iter().filter(|line| is_plain(line)) {
            let wanted = folded(wanted);
            assert!(
                printed.contains(&wanted),
                "{file}:{line}: no line `{wanted}` in\n{stdout}"
            );
        }
    }
}

/// A line that is the same in every run: p50 and p99 are names, not figures.
fn is_plain(line: &str) -> bool {
    let names_removed = line.replace("p50", "").replace("p99", "");
    !line.trim().is_empty()
        && line != "..."
        && !names_removed.contains(|c: char| c.is_ascii_digit())
}

#[test]
fn the_readme_and_the_guide_can_be_typed() {
    needs!(Ground::Lab);
    let cluster = demo_network();
    typed(&cluster, "README.md");
    typed(&cluster, "docs/guide.md");
}
