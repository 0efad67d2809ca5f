//! What is wrong is refused, with the line, the nearest valid key or value, and what there is.

use super::*;

const HEAD: &str = "[pairs]\nfrom = \"a\"\nto = \"b\"\n";

fn error(text: &str) -> CampaignError {
    read(text).expect_err(text)
}

/// A file of one phase with that traffic, and then more.
fn with(traffic: &str, more: &str) -> String {
    format!("{HEAD}[[phase]]\nname = \"p\"\nfor = \"60s\"\ntraffic = {{ {traffic} }}\n{more}")
}

#[test]
fn an_unknown_key_names_line_nearest_and_all() {
    let found = error(&format!(
        "{HEAD}[[phase]]\nfor = \"60s\"\ntrafic = {{ udp = \"1M\" }}\n"
    ));
    assert_eq!(found.kind(), ErrorKind::UnknownKey);
    assert_eq!(found.place(), &Place::Line { line: 6, column: 1 });
    assert_eq!(
        found.to_string(),
        "test.toml:6: unknown key `trafic` in [[phase]]: did you mean `traffic`? keys here: name, for, warmup, pause, traffic"
    );
}

#[test]
fn bad_input_of_every_sort() {
    // Text of the file, what the error says, and its line.
    let cases = [
        (with("udp = \"10 Mbits\"", ""), "did you mean `10 Mbit/s`?", 7),
        (with("udp = 10", ""), "`10` has no unit", 7),
        (with("udp = \"10\"", ""), "`10` has no unit", 7),
        (with("udp = \"NaN\"", ""), "is not a rate", 7),
        (with("udp = \"0 bit/s\"", ""), "is zero", 7),
        (with("udp = \"18446744073709551615 bit/s\"", ""), "too large", 7),
        (with("udp = \"1M\", size = 11", ""), "`size = 11` is outside 12 (the probe header) to 65507 bytes", 7),
        (with("udp = \"1M\", size = \"1 GB\"", ""), "outside 12", 7),
        (with("udp = \"1M\", size = -1", ""), "negative", 7),
        (with("udp = \"1M\", tcp = \"1M\"", ""), "exclude each other", 7),
        (with("size = 100", ""), "traffic needs a transport", 7),
        (with("udp = \"1M\", streams = 0", ""), "from 1 to 128", 7),
        (with("tcp = \"1M\", packets = 5", ""), "use `bytes`", 7),
        (with("udp = \"1M\", how = \"mesh\"", ""), "`how` belongs in [pairs]", 7),
        (with("udp = \"1M\", cc = \"cubic\"", ""), "only tcp has", 7),
        (with("udp = \"1M\", bind = \"10.0.0\"", ""), "neither an address", 7),
        (with("udp = \"1M\", mss = 1000", ""), "`mss` is for tcp", 7),
        (with("tcp = \"1M\", mss = 10", ""), "from 88 to 65495", 7),
        (with("tcp = \"1M\", gso = \"on\"", ""), "`gso` is for udp", 7),
        (with("udp = \"1M\", gso = \"yes\"", ""), "there are: auto, on, off", 7),
        (with("tcp = \"1M\", layer = \"ip\"", ""), "`layer` is for udp", 7),
        (with("udp = \"10 pkt/s\", layer = \"ip\"", ""), "give bit/s", 7),
        (with("udp = \"max\", spin = \"10 us\"", ""), "needs a schedule", 7),
        (with("udp = \"1M\", spin = \"1 s\"", ""), "at most 10 ms", 7),
        (with("udp = \"1M\", ramp = [\"2s 1M\", \"1s 2M\"]", ""), "order of time", 7),
        (with("udp = \"1M\", ramp = [\"2s 100 pkt/s\"]", ""), "both be bit/s", 7),
        (with("udp = \"1M\", dscp = 64", ""), "neither 0 to 63", 7),
        (with("udp = \"1M\", dscp = \"af14\"", ""), "neither 0 to 63", 7),
        (with("udp = \"1M\", ttl = 0", ""), "from 1 to 255", 7),
        (with("udp = \"1M\", flow_label = 1048576", ""), "from 0 to 1048575", 7),
        (with("udp = \"1M\", end = \"abort\"", ""), "`end` is for tcp", 7),
        (with("tcp = \"1M\", end = \"drain(2 h)\"", ""), "at most 60 s", 7),
        (with("tcp = \"1M\", window = \"1 GB\", ecn = \"ce\"", ""), "`ecn` is for udp", 7),
        (with("tcp = \"1M\", window = 100", ""), "2 KiB to 1 GiB", 7),
        (with("udp = \"1M\", echo = true, size = 12", ""), "at least 20", 7),
        (with("udp = \"1M\", arrival = \"exponentail\"", ""), "did you mean `exponential`?", 7),
        (with("udp = \"1M\"", "[[phase]]\nname = \"p\"\nfor = \"1s\"\ntraffic = { udp = \"1M\" }"), "two times the phase name `p`", 9),
        (with("udp = \"1M\"", "[[flow]]\nname = \"p\"\ntraffic = { udp = \"1M\" }"), "two times the flow set name `p`", 9),
        (with("udp = \"1M\"", "[[flow]]\nin = \"q\"\ntraffic = { udp = \"1M\" }"), "no such phase: unknown value `q`", 9),
        (with("udp = \"1M\"", "[[flow]]\nname = \"q\""), "`traffic` is missing in [[flow]]", 8),
        (with("udp = \"1M\"", "[[flow]]\nfor = \"2 min\"\ntraffic = { udp = \"1M\" }"), "does not fit into phase `p`", 9),
        (with("udp = \"1M\"", "[[phase]]\nname = \"q\"\nfor = \"1s\""), "phase `q` has no traffic", 8),
        (with("udp = \"1M\"", "[[expect]]\nthat = \"loss <= 200%\""), "at most 100 %", 9),
        (with("udp = \"1M\"", "[[expect]]\nthat = \"retransmits <= 5\""), "no flow set has `retransmits`", 9),
        (with("tcp = \"1M\"", "[[expect]]\nthat = \"p.jitter <= 5 ms\""), "flow set `p` has no `jitter`: it is tcp", 9),
        (with("udp = \"max\"", "[[expect]]\nthat = \"p.sent_ratio >= 99%\""), "udp at `max`", 9),
        (with("udp = \"1M\"", "[[expect]]\nthat = \"q.loss <= 1%\""), "no such flow set", 9),
        (with("udp = \"1M\"", "[[expect]]\nphase = \"q\"\nthat = \"loss <= 1%\""), "no such phase", 9),
        (with("udp = \"1M\"", "[[expect]]\nphase = \"p\"\nthat = \"q/loss <= 1%\""), "differ", 9),
        (with("udp = \"1M\"", "[[expect]]\nphase = \"p\""), "`that` is missing", 8),
        (with("udp = \"1M\"", "[valid]\nobservers = \"10%\""), "`observers`: `10%` is neither `invalid` nor `warn`", 9),
        (with("udp = \"1M\"", "[limits]\nper_asn = \"max\""), "limits nothing", 9),
        (with("udp = \"1M\"", "[limits]\nasn = \"1G\""), "keys here: per_kernel, target, flows, per_LABEL", 9),
        (with("udp = \"1M\"", "[groups]\ng = \"asn=150\""), "group `g` is a table", 9),
        (with("udp = \"1M\"", "[groups]\ng = { role = \"\" }"), "not a value of `role`", 9),
        ("[[phase]]\nfor = \"0s\"\n".to_owned(), "more than 0", 2),
        ("[[phase]]\nfor = \"-1s\"\n".to_owned(), "negative", 2),
        ("[[phase]]\nfor = 60\n".to_owned(), "`60` has no unit: write `60 s`", 2),
        ("[[phase]]\nname = \"p\"\n".to_owned(), "`for` is missing in [[phase]]", 1),
        ("[[phase]]\nfor = \"10s\"\nwarmup = \"10s\"\n".to_owned(), "leaves nothing", 3),
        ("[[phase]]\nfor = \"999h\"\n".to_owned(), "outside 0 s to 168 h", 2),
        ("[[phase]]\nfor = \"1s\"\ntraffic = { udp = \"1M\" }\n".to_owned(), "`from` is missing", 1),
        ("[phase]\nfor = \"1s\"\n".to_owned(), "write [[phase]]", 1),
        ("interval = \"1 ms\"\n[[phase]]\nfor = \"1s\"\n[[flow]]\nfrom = \"a\"\nto = \"b\"\ntraffic = { udp = \"1M\" }".to_owned(), "outside 100 ms to 60 s", 1),
        ("seed = 1.5\n[[phase]]\nfor = \"1s\"\n[[flow]]\nfrom = \"a\"\nto = \"b\"\ntraffic = { udp = \"1M\" }".to_owned(), "whole number", 1),
        ("campaign = 7\n".to_owned(), "a text in quotes, not a number", 1),
        ("a = 1\na = 2\n".to_owned(), "not valid TOML", 2),
        ("x = 2020-01-01\n".to_owned(), "a date has no place", 1),
    ];
    for (text, says, on_line) in cases {
        let error = error(&text);
        assert!(error.to_string().contains(says), "{error}\n{text}");
        let Place::Line { line, .. } = error.place() else {
            panic!("no line: {error}")
        };
        assert_eq!(*line, on_line, "{error}\n{text}");
    }
}

#[test]
fn parties_that_are_none() {
    let from = |value: &str| {
        let text = format!(
            "[groups]\ng = {{ asn = 1 }}\n[pairs]\nfrom = {value}\nto = \"b\"\n[[phase]]\nfor = \"1s\"\ntraffic = {{ tcp = \"max\" }}\n"
        );
        error(&text).to_string()
    };
    assert!(from("\"asn=150\"").contains("in a file a selector is a table"));
    assert!(from("\"host_*\"").contains("{ name = \"...\" }"));
    assert!(from("\"10.0.0.1\"").contains("not available yet"));
    assert!(from("[\"a\", \"g\"]").contains("`g` is a group"));
    assert!(from("[\"a\", \"a\"]").contains("twice"));
    assert!(from("[]").contains("empty list"));
    assert!(from("true").contains("a text or a list of them, not true or false"));
}

/// What a later version will have is refused as such, wherever it stands.
#[test]
fn later_keys_are_not_available_yet() {
    for key in keys::TRAFFIC.later {
        let found = error(&with(&format!("udp = \"1M\", {key} = true"), ""));
        assert_eq!(found.kind(), ErrorKind::NotAvailable, "{found}");
        assert!(
            found
                .to_string()
                .contains(&format!("`{key}` is not available yet")),
            "{found}"
        );
    }
    let parts = [
        "[matrix]\nrepeat = 10",
        "[[event]]\nname = \"x\"",
        "[[expect]]\nthat = \"loss <= 1%\"\nshare = \"95%\"",
        "[[expect]]\nthat = \"p.fairness >= 90%\"",
        "[[expect]]\nthat = \"up/a.rtt.p99 - idle/a.rtt.p99 <= 50 ms\"",
        "[groups]\ng = { discover = true }",
        "[groups]\ng = { asn = 150, per = \"asn\" }",
        "[[flow]]\nstagger = \"1s\"\ntraffic = { udp = \"1M\" }",
        "[limits]\nper_kernel = \"1000 pkt/s x hops\"",
    ];
    for part in parts {
        let found = error(&with("udp = \"1M\"", part));
        assert_eq!(found.kind(), ErrorKind::NotAvailable, "{part}: {found}");
        assert!(found.to_string().contains("not available yet"), "{found}");
    }
    let variable = "tcp = \"max\", cc = \"$cc\"";
    assert_eq!(error(&with(variable, "")).kind(), ErrorKind::NotAvailable);
    let at_once = with("udp = \"1M\"", "").replace("to = \"b\"", "to = \"b\"\nat_once = \"all\"");
    assert_eq!(error(&at_once).kind(), ErrorKind::NotAvailable);
    for top in ["start = \"01:00\"\n", "budget = \"2h\"\n"] {
        assert_eq!(
            error(&format!("{top}{}", with("udp = \"1M\"", ""))).kind(),
            ErrorKind::NotAvailable
        );
    }
}

/// The two examples of the language's description that need the matrix say so.
#[test]
fn later_examples_are_not_available_yet() {
    let failover = "campaign = \"as150-failover\"\n[matrix]\nrepeat = 10\n[pairs]\nfrom = { asn = 150, role = \"host\" }\n";
    assert_eq!(
        error(failover).to_string(),
        "test.toml:2: `matrix` is not available yet"
    );
    let latency = "campaign = \"latency-under-load\"\n[matrix]\ncc = [\"cubic\", \"bbr\"]\n";
    assert_eq!(error(latency).kind(), ErrorKind::NotAvailable);
    let night = "--from role=host --sample 60 --how mesh --at-once one-per-host --tcp max --for 10s --pause 2s --start 01:00 --budget 2h";
    assert_eq!(
        line(night).unwrap_err().to_string(),
        "--at-once: `--at-once` is not available yet"
    );
}

#[test]
fn an_empty_file_says_what_to_write() {
    assert_eq!(
        error("").to_string(),
        "test.toml: a campaign needs a phase: write [[phase]] with `for = \"60 s\"` and `traffic`"
    );
}
