use super::*;
use proptest::prelude::*;

struct Host {
    name: String,
    labels: Labels,
    addresses: Vec<IpAddr>,
}

/// Hosts 0..9 in each of AS 150, 151, 162.
fn hosts() -> Vec<Host> {
    let mut hosts = Vec::new();
    for asn in [150, 151, 162] {
        for n in 0..10 {
            let mut labels = Labels::new();
            labels.insert("asn", &asn.to_string()).unwrap();
            labels.insert("node", &format!("host_{n}")).unwrap();
            labels
                .insert("role", if n == 0 { "Router" } else { "Host" })
                .unwrap();
            let addresses = vec![format!("10.{asn}.0.{}", 71 + n).parse().unwrap()];
            hosts.push(Host {
                name: format!("{asn}-host_{n}"),
                labels,
                addresses,
            });
        }
    }
    hosts
}

fn subjects(hosts: &[Host]) -> Vec<Subject<'_>> {
    fn subject(host: &Host) -> Subject<'_> {
        let Host {
            name,
            labels,
            addresses,
        } = host;
        Subject {
            name,
            labels,
            addresses,
        }
    }
    hosts.iter().map(subject).collect()
}

fn count(text: &str) -> usize {
    let hosts = hosts();
    let selector: Selector = text.parse().unwrap();
    selector.select(&subjects(&hosts), 1).len()
}

#[test]
fn space_is_and_comma_is_or() {
    assert_eq!(count("asn=150,151 role=host"), 18);
    assert_eq!(count("asn=150,151 role=host node!=host_9"), 16);
    assert_eq!(count("asn=150 node=host_*"), 10);
    assert_eq!(count("asn!=150"), 20);
    assert_eq!(count("Role=Host asn=1??"), 27);
    assert_eq!(count("name=150-host_3,151-*"), 11);
    assert_eq!(count("prefix=10.150.0.0/16 except=150-host_0"), 9);
    assert_eq!(count("missing!=x"), 30);
    assert_eq!(count("missing=x"), 0);
}

#[test]
fn wrong_forms_show_the_right_one() {
    let text = |text: &str| text.parse::<Selector>().unwrap_err().to_string();
    assert!(text("asn=150,role=host").contains("write `asn=150 role=host`"));
    assert!(text("asn=150,151,role=host").contains("write `asn=150,151 role=host`"));
    assert!(text("asn=!150").contains("write `asn!=150`"));
    assert!(text("!host_9").contains("write `name!=host_9`"));
    assert!(text("asn=150 host_9").contains("`name=host_9`"));
    assert!(text("asn=150 asn=151").contains("`asn=a,b`"));
    assert!(text("asn=").contains("not a value of `asn`"));
    assert!(text("per=asn").contains("not available yet"));
    assert!(text("sample=0").contains("from 1"));
    assert!(text(" ").contains("empty selector"));
}

#[test]
fn nothing_matched_says_what_there_is() {
    let hosts = hosts();
    let explain = |text: &str| text.parse::<Selector>().unwrap().explain(&subjects(&hosts));
    assert_eq!(
        explain("asn=172"),
        "no agent has asn 172, did you mean `162`? (there are: 150, 151, 162)"
    );
    assert_eq!(
        explain("rolle=host"),
        "no agent has a label `rolle`, did you mean `role`? (labels: asn, node, role)"
    );
    assert!(explain("name=150-host_99").contains("did you mean `150-host_9`?"));
    assert!(
        explain("asn=150 prefix=10.151.0.0/16").contains("none of the 30 agents matches all parts")
    );
    assert_eq!(Selector::default().explain(&[]), "there are no agents");
}

#[test]
fn a_sample_depends_on_the_seed_only() {
    let hosts = hosts();
    let mut reversed = self::hosts();
    reversed.reverse();
    let selector: Selector = "role=host sample=5".parse().unwrap();
    let names = |hosts: &[Host], seed| -> Vec<String> {
        let subjects = subjects(hosts);
        selector
            .select(&subjects, seed)
            .into_iter()
            .map(|i| subjects[i].name.to_owned())
            .collect()
    };
    assert_eq!(names(&hosts, 1).len(), 5);
    assert_eq!(names(&hosts, 1), names(&reversed, 1));
    assert_ne!(names(&hosts, 1), names(&hosts, 2));
}

proptest! {
    #[test]
    fn printed_selectors_read_back(
        keys in prop::collection::btree_map("[a-m][a-z0-9_]{0,6}", ("[a-z0-9_*?.]{1,8}", any::<bool>()), 1..4),
        name in prop::option::of("[A-Za-z0-9_.*-]{1,10}"),
        sample in prop::option::of(1..100_u32),
    ) {
        let mut selector = Selector::default();
        for (key, (value, negated)) in &keys {
            prop_assume!(!label::RESERVED.contains(&key.as_str()));
            selector.add(key, *negated, &[value]).unwrap();
        }
        if let Some(name) = &name {
            selector.add("name", false, &[name]).unwrap();
        }
        selector.sample = sample;
        prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
    }

    #[test]
    fn any_text_is_a_selector_or_an_error(text in "\\PC{0,60}") {
        let _ = text.parse::<Selector>();
    }

    #[test]
    fn globs_agree_with_a_plain_recursion(pattern in "[ab*?]{1,8}", word in "[ab]{0,8}") {
        fn plain(pattern: &[u8], word: &[u8]) -> bool {
            match (pattern.first(), word.first()) {
                (None, None) => true,
                (Some(b'*'), _) => plain(&pattern[1..], word) || (!word.is_empty() && plain(pattern, &word[1..])),
                (Some(b'?'), Some(_)) => plain(&pattern[1..], &word[1..]),
                (Some(a), Some(b)) if a == b => plain(&pattern[1..], &word[1..]),
                _ => false,
            }
        }
        let glob = Glob::new(&pattern).unwrap();
        prop_assert_eq!(glob.matches(&word), plain(pattern.as_bytes(), word.as_bytes()));
    }
}
