//! What cargo says of the workspace and of everything it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;

use serde_json::Value;

/// The output of `cargo metadata`.
pub(super) struct Workspace {
    document: Value,
}

/// One package, local or foreign.
pub(super) struct Package<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) id: &'a str,
    /// `None` = a path.
    pub(super) source: Option<&'a str>,
    pub(super) license: Option<&'a str>,
    pub(super) manifest: &'a str,
    pub(super) has_description: bool,
    pub(super) publishable: bool,
    targets: &'a [Value],
}

impl<'a> Package<'a> {
    /// Root files of its libraries and programs.
    pub(super) fn roots(&self) -> impl Iterator<Item = &'a str> {
        self.targets
            .iter()
            .filter(|target| {
                list(target, "kind")
                    .iter()
                    .any(|kind| kind == "lib" || kind == "bin")
            })
            .map(|target| text(target, "src_path"))
    }
}

impl Workspace {
    /// Asks cargo, which needs no network: everything was fetched to build this test.
    pub(super) fn read() -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(super::tree::root())
            .args(["metadata", "--format-version=1", "--offline"])
            .arg("--filter-platform=x86_64-unknown-linux-gnu")
            .output()
            .expect("cargo can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo metadata: {said}");
        let document = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        Self { document }
    }

    /// Every package that is built on this platform.
    pub(super) fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        list(&self.document, "packages")
            .iter()
            .map(|package| Package {
                name: text(package, "name"),
                version: text(package, "version"),
                id: text(package, "id"),
                source: package["source"].as_str(),
                license: package["license"].as_str(),
                manifest: text(package, "manifest_path"),
                has_description: package["description"].is_string(),
                // An empty list of registries is `publish = false`; null is any.
                publishable: package["publish"]
                    .as_array()
                    .is_none_or(|list| !list.is_empty()),
                targets: list(package, "targets"),
            })
    }

    /// Whether a package is a member.
    pub(super) fn is_member(&self, package: &Package<'_>) -> bool {
        list(&self.document, "workspace_members")
            .iter()
            .any(|id| id == package.id)
    }

    /// Names of the members.
    pub(super) fn member_names(&self) -> impl Iterator<Item = &str> {
        self.packages()
            .filter(|package| self.is_member(package))
            .map(|package| package.name)
    }

    /// Members on which a member depends directly, for whatever purpose.
    pub(super) fn local_dependencies(&self, name: &str) -> Vec<&str> {
        list(&self.document, "packages")
            .iter()
            .filter(|package| package["name"] == name && package["source"].is_null())
            .flat_map(|package| list(package, "dependencies"))
            .filter(|dependency| dependency["source"].is_null())
            .map(|dependency| text(dependency, "name"))
            .collect()
    }

    /// Names of all packages that end up in a build of a member: its own
    /// dependencies and theirs, without those of tests.
    pub(super) fn reachable(&self, member: &str) -> BTreeSet<&str> {
        let names: BTreeMap<&str, &str> = self.packages().map(|p| (p.id, p.name)).collect();
        let nodes: BTreeMap<&str, &Value> = list(&self.document["resolve"], "nodes")
            .iter()
            .map(|node| (text(node, "id"), node))
            .collect();
        let start = self
            .packages()
            .find(|package| package.name == member && self.is_member(package));
        let mut open: Vec<&str> = vec![start.expect("the member exists").id];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let dependencies = list(nodes[id], "deps").iter();
            let built = dependencies.filter(|dependency| {
                list(dependency, "dep_kinds")
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            });
            open.extend(built.map(|dependency| text(dependency, "pkg")));
        }
        seen.into_iter().map(|id| names[id]).collect()
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
