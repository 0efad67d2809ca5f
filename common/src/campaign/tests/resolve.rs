//! Parties against a registry.

use super::*;
use crate::label::Labels;
use crate::selector::Subject;

fn resolve(from: &str, names: &[&str]) -> Result<Vec<usize>, String> {
    let text = format!(
        "[groups]\nsrc = {{ asn = 150 }}\nnone = {{ asn = 172 }}\n[pairs]\nfrom = {from}\nto = \"x\"\n[[phase]]\nfor = \"1s\"\ntraffic = {{ tcp = \"max\" }}\n"
    );
    let campaign = read(&text).unwrap();
    let mut labels = Labels::new();
    labels.insert("asn", "150").unwrap();
    let labelled = names.iter().map(|name| Subject {
        name,
        labels: &labels,
        addresses: &[],
    });
    let subjects: Vec<Subject<'_>> = labelled.collect();
    campaign
        .resolve(&campaign.flow_sets[0].from, &subjects)
        .map_err(|error| error.to_string())
}

#[test]
fn groups_names_and_selectors() {
    let names = ["150-b", "150-a"];
    assert_eq!(resolve("\"src\"", &names), Ok(vec![1, 0]));
    assert_eq!(resolve("{ asn = 150 }", &names), Ok(vec![1, 0]));
    assert_eq!(resolve("[\"150-b\", \"150-a\"]", &names), Ok(vec![0, 1]));
}

#[test]
fn what_means_no_agent_says_what_there_is() {
    let names = ["150-a", "150-b"];
    assert_eq!(
        resolve("\"150-c\"", &names).unwrap_err(),
        "there is no agent or group named `150-c`, did you mean `150-a`? there are: 150-a, 150-b, none, src"
    );
    assert_eq!(
        resolve("\"none\"", &names).unwrap_err(),
        "`none` matches no agent: no agent has asn 172 (there are: 150)"
    );
    assert!(
        resolve("{ asn = 150 }", &[])
            .unwrap_err()
            .contains("there are no agents")
    );
    assert!(
        resolve("\"src\"", &["src"])
            .unwrap_err()
            .contains("rename the group")
    );
}

#[test]
fn numbers_as_toml_writes_them() {
    let campaign = read("[pairs]\nfrom = \"a\"\nto = \"b\"\n[[phase]]\nfor = \"1s\"\ntraffic = { udp = \"1M\", size = 1_000, streams = +2 }\n").unwrap();
    let traffic = &campaign.flow_sets[0].traffic;
    assert_eq!((traffic.size, traffic.streams), (Some(1_000), 2));
}
