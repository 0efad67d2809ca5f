//! Campaign files and command lines that mean nothing.

use std::fs;

use weir_tests::Cluster;

fn cluster() -> Cluster {
    Cluster::on_loopback(&[
        ("a1", &["asn=150", "role=host"]),
        ("a2", &["asn=151", "role=host"]),
    ])
}

/// A good file but for what is replaced in it; its traffic stands in line 8.
const FILE: &str = "\
campaign = \"x\"
[pairs]
from = \"a1\"
to = \"a2\"
[[phase]]
name = \"p\"
for = \"1s\"
traffic = { udp = \"1 Mbit/s\" }
";

/// What a file has in the place of what, its line, and what has to be said of it.
const FILES: &[(&str, &str, u32, &[&str])] = &[
    (
        "traffic =",
        "trafic =",
        8,
        &["`trafic`", "did you mean `traffic`", "warmup"],
    ),
    ("from =", "form =", 3, &["`form`", "`from`"]),
    ("campaign =", "campain =", 1, &["`campain`", "`campaign`"]),
    (
        "\"1 Mbit/s\"",
        "\"10 Mbits\"",
        8,
        &["`10 Mbits`", "`10 Mbit/s`", "kbit/s"],
    ),
    ("\"1 Mbit/s\"", "10", 8, &["no unit", "Mbit/s"]),
    ("\"1 Mbit/s\"", "\"10\"", 8, &["no unit", "Mbit/s"]),
    ("\"1 Mbit/s\"", "\"0 Mbit/s\"", 8, &["zero"]),
    ("\"1 Mbit/s\"", "nan", 8, &["`udp`"]),
    (
        "\"1 Mbit/s\"",
        "\"18446744073709551615 Mbit/s\"",
        8,
        &["too large"],
    ),
    ("\"1 Mbit/s\"", "\"-1 Mbit/s\"", 8, &["negative"]),
    ("\"1s\"", "\"-1s\"", 7, &["`for`", "negative"]),
    ("\"1s\"", "\"0s\"", 7, &["`for`"]),
    ("\"1s\"", "1", 7, &["`for`", "unit"]),
    (
        "\"1 Mbit/s\" }",
        "\"1 Mbit/s\", spoof = \"10.0.0.1\" }",
        8,
        &["`spoof`", "not available yet"],
    ),
    (
        "{ udp = \"1 Mbit/s\" }",
        "{ raw = \"x\" }",
        8,
        &["`raw`", "not available yet"],
    ),
    (
        "traffic = { udp = \"1 Mbit/s\" }\n",
        "",
        5,
        &["phase `p`", "no traffic"],
    ),
    ("\"a1\"", "{ asn = 999 }", 3, &["asn=999", "150", "151"]),
    ("\"a1\"", "\"nobody\"", 3, &["`nobody`", "a1", "a2"]),
    ("\"a1\"", "{ rolle = \"host\" }", 3, &["rolle", "role"]),
];

/// What is added at the end of the file.
const ADDED: &[(&str, u32, &[&str])] = &[
    (
        "[matrix]\nrepeat = 3\n",
        9,
        &["`matrix`", "not available yet"],
    ),
    (
        "[[event]]\nname = \"e\"\n",
        9,
        &["`event`", "not available yet"],
    ),
    (
        "[[expect]]\nthat = \"loss <= 200%\"\n",
        10,
        &["`200%`", "100 %"],
    ),
    (
        "[[expect]]\nthat = \"los <= 1%\"\n",
        10,
        &["`los`", "`loss`"],
    ),
    (
        "[[phase]]\nname = \"p\"\nfor = \"1s\"\ntraffic = { tcp = \"max\" }\n",
        10,
        &["phase name `p`"],
    ),
    ("[nonsense]\n", 9, &["`nonsense`"]),
    ("x = [\n", 9, &[]),
];

#[test]
fn files_are_refused_with_line_and_way_out() {
    let cluster = cluster();
    let path = cluster.directory().join("x.toml");
    let replaced = FILES.iter().map(|(what, with, line, words)| {
        assert!(FILE.contains(what), "{what}");
        (FILE.replace(what, with), line, words)
    });
    let added = ADDED
        .iter()
        .map(|(more, line, words)| (format!("{FILE}{more}"), line, words));
    for (text, line, words) in replaced.chain(added) {
        fs::write(&path, &text).expect("a file");
        for command in ["plan", "run"] {
            let ran = cluster.weir(&[command, "x.toml"]);
            assert_eq!(ran.code, 2, "{text}\n{ran:?}");
            assert!(
                ran.stderr.contains(&format!("x.toml:{line}:")),
                "line {line}: {text}\n{ran:?}"
            );
            for word in *words {
                assert!(ran.stderr.contains(word), "{word}: {text}\n{}", ran.stderr);
            }
            assert_eq!(ran.stdout, "", "nothing but the error");
        }
    }
    assert_eq!(
        cluster.weir(&["runs", "--json"]).json()["runs"],
        serde_json::json!([])
    );
}

#[test]
fn command_lines_are_refused_with_their_flag_and_way_out() {
    let cluster = cluster();
    let good = ["--from", "a1", "--to", "a2", "--udp", "1M", "--for", "1s"];
    let with = |flag: &str, value: &'static str| -> Vec<&'static str> {
        let mut words = good.to_vec();
        let at = words
            .iter()
            .position(|word| *word == flag)
            .expect("a flag of the line");
        words[at + 1] = value;
        words
    };
    let plus = |more: &[&'static str]| [&good[..], more].concat();
    let lines: Vec<(Vec<&str>, &[&str])> = vec![
        (with("--from", "asn=150,role=host"), &["asn=150 role=host"]),
        (with("--from", "asn=999"), &["asn=999", "150", "151"]),
        (with("--to", "nobody"), &["`nobody`", "a1, a2"]),
        (with("--udp", "10 Mbits"), &["--udp", "`10 Mbit/s`"]),
        (with("--udp", "10"), &["--udp", "no unit"]),
        (with("--udp", "0"), &["--udp", "zero"]),
        (with("--udp", "NaN"), &["--udp"]),
        (with("--for", "-1s"), &["--for", "negative"]),
        (with("--for", "10000000000h"), &["--for"]),
        (plus(&["--expect", "loss<=200%"]), &["--expect", "100 %"]),
        (
            plus(&[
                "--name", "x", "--then", "--tcp", "max", "--for", "1s", "--name", "x",
            ]),
            &["`x`"],
        ),
        (plus(&["--frm", "a1"]), &["--frm", "`--from`"]),
        (plus(&["--interval", "1ms"]), &["100 ms"]),
        (plus(&["--streams", "18446744073709551615"]), &["--streams"]),
        (plus(&["--size", "1GB"]), &["size"]),
        (plus(&["--dscp", "af14"]), &["dscp", "af43"]),
        (
            vec!["--from", "a1", "--to", "a2", "--for", "1s"],
            &["no traffic", "--udp"],
        ),
        (vec!["nofile.toml"], &["nofile.toml"]),
    ];
    for (line, words) in lines {
        let ran = cluster.weir(&[&["run"], line.as_slice()].concat());
        assert_eq!(ran.code, 2, "{line:?}: {ran:?}");
        for word in words {
            assert!(
                ran.stderr.contains(word),
                "{word}: {line:?}: {}",
                ran.stderr
            );
        }
        assert_eq!(
            ran.stderr.trim_end().lines().count(),
            1,
            "one sentence: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_later_flag_says_that_it_is_not_there_yet() {
    let cluster = cluster();
    for flag in ["--itg", "--budget", "--start", "--repeat"] {
        let ran = cluster.weir(&[
            "plan", "--from", "a1", "--to", "a2", "--udp", "1M", "--for", "1s", flag, "1",
        ]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            ran.stderr.contains("not available yet"),
            "{flag}: {}",
            ran.stderr
        );
    }
}
