//! The files of the repository, as text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the tree.
pub(super) struct Source {
    /// Path from the root, with `/`.
    pub(super) path: String,
    /// Content.
    pub(super) text: String,
}

impl Source {
    /// Lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    /// Lines of Rust without comments.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }

    /// The same, up to the unit tests, which stand last.
    pub(super) fn tested_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines()
            .take_while(|(_, line)| line.trim() != "mod tests {")
    }

    /// Whether the text holds this.
    pub(super) fn names(&self, what: &str) -> bool {
        self.text.contains(what)
    }
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the tests lie in the repository")
        .to_owned()
}

/// All text files but those of git and of builds.
pub(super) fn sources() -> impl Iterator<Item = Source> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    paths.into_iter().filter_map(move |path| {
        let text = fs::read_to_string(&path).ok()?;
        let path = path
            .strip_prefix(&root)
            .ok()?
            .to_string_lossy()
            .into_owned();
        Some(Source { path, text })
    })
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("the tree is readable");
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if entry.file_name() == ".git" {
            continue; // a file in a second work tree
        }
        if kind.is_file() {
            into.push(path);
        } else if kind.is_dir() && !is_build(&path) {
            collect(&path, into);
        }
    }
}

/// Cargo marks the directories that it builds in.
fn is_build(directory: &Path) -> bool {
    directory.join("CACHEDIR.TAG").exists()
}

/// Whether a Rust file holds only tests.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("conformance.rs")
}

/// Targets of the relative links of a Markdown text, without their anchors.
pub(super) fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|link| link.split('#').next())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.contains(' '))
}

/// Paths in back quotes that begin in a top directory of the tree.
pub(super) fn quoted_paths<'a>(
    text: &'a str,
    top: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(move |path| path.chars().all(plain))
        .filter(|path| {
            path.split_once('/')
                .is_some_and(|(first, _)| top.contains(first))
        })
}
