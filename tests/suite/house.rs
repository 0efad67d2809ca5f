//! Rules of the house that neither compiler nor clippy checks: who may import
//! whom, what may be depended on, what is kept out of the pure parts.

mod licence;
mod metadata;
mod tree;

use std::collections::BTreeSet;

use self::metadata::Workspace;
use self::tree::{Source, is_test};

/// Import arrows: a crate, and all that it may use of the others (also in its tests).
const ARROWS: [(&str, &[&str]); 11] = [
    ("weir-common", &[]),
    // An agent without a controller plans and judges as the controller does.
    ("weir-experiment", &["weir-common"]),
    ("weir-wire", &[]),
    ("weir-lab", &[]),
    ("weir-runtime", &["weir-common"]),
    ("weir-proto", &["weir-common"]),
    ("weir-engine", &["weir-common", "weir-wire"]),
    (
        "weir-agent",
        &[
            "weir-engine",
            "weir-experiment",
            "weir-proto",
            "weir-runtime",
            "weir-common",
            // The first bytes of a meeting without a controller.
            "weir-wire",
        ],
    ),
    (
        "weir-controller",
        &[
            "weir-experiment",
            "weir-proto",
            "weir-runtime",
            "weir-common",
        ],
    ),
    (
        "weir",
        &[
            "weir-controller",
            "weir-agent",
            "weir-lab",
            "weir-experiment",
            "weir-proto",
            "weir-runtime",
            "weir-common",
        ],
    ),
    (
        "weir-tests",
        &[
            "weir",
            "weir-controller",
            "weir-agent",
            "weir-engine",
            "weir-lab",
            "weir-experiment",
            "weir-proto",
            "weir-runtime",
            "weir-common",
            "weir-wire",
        ],
    ),
];

/// What no crate of the first list may reach, by whatever path.
const KEPT_OUT: [(&[&str], &[&str]); 2] = [
    (
        &[
            "weir-common",
            "weir-experiment",
            "weir-wire",
            "weir-engine",
            "weir-lab",
        ],
        &["tonic", "prost", "tokio", "hyper", "h2", "rusqlite"],
    ),
    (
        &["weir-common", "weir-experiment", "weir-wire"],
        &["socket2", "rustix", "mio", "tracing"],
    ),
];

/// Source that decides and never touches the world: `now` and facts are handed in.
const PURE: [&str; 4] = [
    "common/src/",
    "common/experiment/src/",
    "common/wire/src/",
    "controller/src/run/machine",
];

/// How the world would be touched.
const WORLD: [&str; 13] = [
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "tokio::",
    "tonic::",
    "rusqlite::",
];

#[test]
fn crates_import_along_the_arrows() {
    let workspace = Workspace::read();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let members: BTreeSet<&str> = workspace.member_names().collect();
    assert_eq!(
        members, known,
        "every member has its line in ARROWS, and no other"
    );
    for (name, allowed) in ARROWS {
        for used in workspace.local_dependencies(name) {
            assert!(
                allowed.contains(&used),
                "{name} must not depend on {used}: it may use only {allowed:?}"
            );
        }
    }
}

#[test]
fn low_crates_reach_no_grpc_no_runtime_and_no_store() {
    let workspace = Workspace::read();
    for (crates, kept_out) in KEPT_OUT {
        for name in crates {
            let reached = workspace.reachable(name);
            for banned in kept_out {
                assert!(!reached.contains(*banned), "{name} reaches {banned}");
            }
        }
    }
}

#[test]
fn every_dependency_is_from_the_registry_and_permissively_licensed() {
    let workspace = Workspace::read();
    let mut wrong = Vec::new();
    for package in workspace.packages() {
        let label = format!("{} {}", package.name, package.version);
        match package.source {
            None if workspace.is_member(&package) => {}
            Some(source) if source.starts_with("registry+") => {}
            other => wrong.push(format!(
                "{label} comes from {other:?}: only members and the registry are allowed"
            )),
        }
        match package.license {
            Some(license) if licence::is_allowed(license) => {}
            other => wrong.push(format!(
                "{label} has licence {other:?}, which is not in the list"
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let registries: BTreeSet<&str> = workspace.packages().filter_map(|p| p.source).collect();
    assert!(
        registries.len() <= 1,
        "more than one registry: {registries:?}"
    );
}

#[test]
fn every_crate_says_what_it_is_and_keeps_the_lints() {
    let workspace = Workspace::read();
    for package in workspace.packages().filter(|p| workspace.is_member(p)) {
        let name = package.name;
        assert_eq!(
            package.license,
            Some("MIT OR Apache-2.0"),
            "licence of {name}"
        );
        assert!(package.has_description, "{name} has no description");
        assert!(!package.publishable, "{name} must have publish = false");
        let manifest = std::fs::read_to_string(package.manifest).expect("a manifest is readable");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} does not inherit the lints"
        );
        for root in package.roots() {
            let text = std::fs::read_to_string(root).expect("the root of a target is readable");
            let first = text.lines().next().unwrap_or_default();
            assert!(
                first.starts_with("//! ") && !first.contains("Placeholder"),
                "{root} does not say what it is"
            );
        }
    }
}

#[test]
fn pure_source_touches_no_world() {
    let mut wrong = Vec::new();
    for source in rust_sources() {
        if PURE.iter().any(|prefix| source.path.starts_with(prefix)) && !is_test(&source.path) {
            for (number, line) in source.tested_lines() {
                for word in WORLD.iter().filter(|word| line.contains(*word)) {
                    wrong.push(format!("{}:{number}: {word}", source.path));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "pure source names the world:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_stays_in_the_socket_module_and_nothing_is_a_stub() {
    // In two parts, so that this file does not find itself.
    let stubs = ["todo", "unimplemented"].map(|word| format!("{word}!("));
    let blocks = ["{", "fn", "impl"].map(|what| ["unsafe", what].join(" "));
    let mut wrong = Vec::new();
    for source in rust_sources() {
        let home_of_unsafe = source.path.starts_with("agent/engine/src/socket");
        for (number, line) in source.code_lines() {
            let found = stubs.iter().any(|word| line.contains(word))
                || (!home_of_unsafe && blocks.iter().any(|word| line.contains(word)));
            if found {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_module_chooses_the_store() {
    let allowed = ["controller/src/app.rs", "controller/src/store.rs"];
    let wrong: Vec<String> = rust_sources()
        .filter(|source| source.path.starts_with("controller/src/"))
        .filter(|source| !allowed.contains(&source.path.as_str()))
        .filter(|source| !source.path.starts_with("controller/src/store/"))
        .filter(|source| !source.path.starts_with("controller/src/app/"))
        .filter(|source| !is_test(&source.path) && source.names("SqliteStore"))
        .map(|source| source.path)
        .collect();
    assert!(
        wrong.is_empty(),
        "name `dyn Store`, not a concrete store: {wrong:?}"
    );
}

#[test]
fn the_tree_names_no_machine_and_no_registry() {
    let words = [
        ["/wo", "rk/"],
        ["/tmp", "/t-"],
        ["/root", "/.cargo"],
        ["crates", ".io"],
        ["pypi", ".org"],
        ["registry.npm", "js.org"],
        ["proxy.go", "lang.org"],
        ["replace", "-with"],
    ]
    .map(|parts| parts.concat());
    let mut wrong = Vec::new();
    // A lock file has to say where each package is from.
    for source in tree::sources().filter(|source| !source.path.ends_with("Cargo.lock")) {
        for (number, line) in source.lines() {
            for word in words.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_and_paths_in_the_documents_lead_somewhere() {
    let root = tree::root();
    let top: BTreeSet<String> = tree::sources()
        .filter_map(|source| source.path.split_once('/').map(|(top, _)| top.to_owned()))
        .collect();
    let mut wrong = Vec::new();
    for source in tree::sources().filter(|source| is_markdown(&source.path)) {
        let here = root.join(&source.path);
        let here = here.parent().expect("a file has a directory");
        for link in tree::links(&source.text) {
            if !here.join(link).exists() {
                wrong.push(format!("{}: link to {link}", source.path));
            }
        }
        for path in tree::quoted_paths(&source.text, &top) {
            if !root.join(path).exists() {
                wrong.push(format!("{}: names {path}", source.path));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these lead nowhere:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn decisions_are_numbered_and_whole() {
    let mut decisions: Vec<Source> = tree::sources()
        .filter(|source| source.path.starts_with("docs/adr/"))
        .collect();
    decisions.sort_by(|a, b| a.path.cmp(&b.path));
    let mut numbers = std::collections::BTreeSet::new();
    for decision in &decisions {
        let path = &decision.path;
        // Decisions that are made side by side have their numbers beforehand: they may have gaps.
        let number = path.get(9..13).unwrap_or_default().to_owned();
        let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        assert!(
            is_number && path.get(13..14) == Some("-"),
            "{path} has no number"
        );
        assert!(
            numbers.insert(number.clone()),
            "{path}: {number} is given twice"
        );
        assert!(
            decision.text.starts_with(&format!("# {number}: ")),
            "title of {path}"
        );
        for heading in ["Context", "Decision", "Consequences", "Alternatives"] {
            assert!(
                decision.names(&format!("\n## {heading}\n")),
                "{path} lacks {heading}"
            );
        }
        let lines = decision.text.lines().count();
        assert!(lines <= 80, "{path} has {lines} lines: one page, please");
    }
}

fn rust_sources() -> impl Iterator<Item = Source> {
    // Bindings are generated, and checked where they are made.
    tree::sources().filter(|source| {
        std::path::Path::new(&source.path)
            .extension()
            .is_some_and(|e| e == "rs")
            && !source.path.starts_with("proto/src/gen/")
    })
}

fn is_markdown(path: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|e| e == "md")
}
