//! The deny list: one entry for each subject.

use super::super::{Denial, Store};

fn denial(subject: &str, reason: &str) -> Denial {
    Denial {
        subject: subject.parse().unwrap(),
        reason: reason.to_owned(),
        by: "uid 0".to_owned(),
        since_unix_ns: 1_800_000_000_000_000_000,
    }
}

pub(super) fn the_deny_list_comes_back(store: &dyn Store) {
    assert!(store.denials().unwrap().is_empty());
    let all = ["a1", "operator:anna", "serial:4f00"].map(|text| denial(text, "why"));
    for denial in all.iter().rev() {
        store.deny(denial).unwrap();
    }
    assert_eq!(
        store.denials().unwrap(),
        all,
        "in the order of the subjects"
    );
    let again = denial("a1", "another reason");
    store.deny(&again).unwrap();
    assert_eq!(store.denials().unwrap()[0], again);
    assert!(store.allow(&again.subject).unwrap());
    assert!(!store.allow(&again.subject).unwrap(), "it is gone");
    assert_eq!(store.denials().unwrap(), all[1..]);
}
