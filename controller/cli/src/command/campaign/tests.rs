use super::*;

fn read(purpose: Purpose, line: &str) -> Result<Words, Failure> {
    // A word in single quotes is one word, as in a shell.
    let words: Vec<String> = line
        .split('\'')
        .enumerate()
        .flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect();
    Words::read(purpose, &words)
}

fn error(line: &str) -> String {
    let words = match read(Purpose::Run, line) {
        Ok(words) => words,
        Err(failure) => return failure.to_string(),
    };
    let failure = words.source(Purpose::Run, Vec::new()).unwrap_err();
    assert_eq!(failure.exit().code(), 2);
    failure.to_string()
}

const LINE: &str = "--from 'asn=150 role=host' --to asn=162,171 --udp 10M --size 1400 --for 60s \
                    --then --tcp max --streams 2 --for 60s --expect 'udp.loss<=1%'";

#[test]
fn own_flags_may_stand_anywhere() {
    let line =
        format!("--json --save /x/y.toml {LINE} --queue --controller unix:/o.sock --quiet --flows");
    let words = read(Purpose::Run, &line).unwrap();
    assert!(
        words.common.json
            && words.queue
            && words.quiet
            && words.flows
            && !words.share
            && !words.help
    );
    assert_eq!(words.save.as_deref(), Some("/x/y.toml"));
    assert_eq!(words.common.controller.as_deref(), Some("unix:/o.sock"));
    let plain = read(Purpose::Run, LINE).unwrap();
    assert_eq!(words.campaign, plain.campaign);
    assert_eq!(plain.campaign[1], "asn=150 role=host");
    assert!(plain.alone.is_empty());
}

#[test]
fn flags_become_the_file_they_mean() {
    let words = read(Purpose::Run, LINE).unwrap();
    let source = words.source(Purpose::Run, vec!["weir".to_owned()]).unwrap();
    assert_eq!((source.file.as_str(), source.argv.len()), ("", 1));
    let campaign = file::parse(&source.toml, "x").unwrap();
    assert_eq!(campaign.phases.len(), 2);
    assert_eq!(render(&campaign), source.toml);
}

#[test]
fn a_file_is_sent_as_it_is_and_checked_here() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let text = "# mine\n[pairs]\nfrom = \"a\"\nto = \"b\"\n[[phase]]\nname = \"u\"\nfor = \"1s\"\ntraffic = { udp = \"1M\" }\n";
    fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap();
    let words = Words::read(Purpose::Run, &[name.to_owned()]).unwrap();
    let source = words.source(Purpose::Run, Vec::new()).unwrap();
    assert_eq!((source.toml.as_str(), source.file.as_str()), (text, name));

    fs::write(&path, text.replace("traffic", "trafic")).unwrap();
    let failure = words.source(Purpose::Run, Vec::new()).unwrap_err();
    let shown = failure.to_string();
    assert!(
        shown.contains("c.toml:8") && shown.contains("traffic"),
        "{shown}"
    );
}

#[test]
fn save_writes_what_reads_back_equal_and_never_over_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("saved.toml");
    let name = path.to_str().unwrap();
    let words = read(Purpose::Plan, &format!("{LINE} --save {name}")).unwrap();
    let source = words.source(Purpose::Plan, Vec::new()).unwrap();
    let saved = fs::read_to_string(&path).unwrap();
    assert_eq!(saved, source.toml);

    let again = Words::read(Purpose::Run, &[name.to_owned(), format!("--save={name}")]).unwrap();
    let failure = again.source(Purpose::Run, Vec::new()).unwrap_err();
    assert!(failure.to_string().contains("comments"), "{failure}");
    assert_eq!(fs::read_to_string(&path).unwrap(), saved);
}

#[test]
fn slips_are_named() {
    let table = [
        ("", "no campaign"),
        ("--json", "no campaign"),
        ("a.toml b.toml", "one campaign at a time"),
        ("a.toml --udp 10M --for 1s", "`a.toml` with `--udp`"),
        ("--from asn=150 role=host --udp 10M", "quote selectors"),
        (
            "/nonexistent/x.toml",
            "cannot read campaign file `/nonexistent/x.toml`",
        ),
        ("--save", "--save FILE"),
        ("--save --json", "--save FILE"),
        ("--json=yes --udp 10M", "takes no value"),
        ("--queue --share --udp 10M", "either wait"),
        ("--udpp 10M", "--udp"),
        ("--icmp 10M", "not available yet"),
    ];
    for (line, part) in table {
        let shown = error(line);
        assert!(shown.contains(part), "{line}: {shown}");
    }
}

#[test]
fn flags_of_running_are_not_flags_of_planning() {
    let words = read(Purpose::Plan, "--queue --udp 10M").unwrap();
    assert!(!words.queue && words.campaign.contains(&"--queue".to_owned()));
}

#[test]
fn help_is_found_anywhere_but_in_a_value() {
    assert!(read(Purpose::Run, "--udp 10M --help").unwrap().help);
    assert!(read(Purpose::Run, "-h").unwrap().help);
    assert!(!read(Purpose::Run, "--question -h --udp 10M").unwrap().help);
}

#[test]
fn help_lists_every_flag() {
    let help = described(Purpose::Run).render_long_help().to_string();
    for flag in FLAGS {
        assert!(
            help.contains(&format!("--{}", flag.name.replace("LABEL", "asn"))),
            "{}",
            flag.name
        );
    }
    for flag in OWN.map(|own| own.flag) {
        assert!(help.contains(&format!("--{}", flag.name)), "{}", flag.name);
    }
    described(Purpose::Plan).debug_assert();
    described(Purpose::Run).debug_assert();
}

#[test]
fn own_flags_are_no_flags_of_the_language() {
    for flag in OWN.map(|own| own.flag) {
        assert!(flags::spec(flag.name).is_none(), "--{}", flag.name);
    }
}
