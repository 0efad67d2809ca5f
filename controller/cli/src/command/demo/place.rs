//! Where the demo keeps its things: one directory, emptied at each start and kept after the end.
//!
//! | entry | holds |
//! |---|---|
//! | `driver/` | the lock, and which processes were started |
//! | `weir.db`, `join/`, `operators.sock` | what a controller keeps (`weir serve --data`) |
//! | `agents/NAME/` | what each agent keeps (`weir agent --data`) |
//! | `logs/NAME.log` | what each process said |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weir_runtime::directory::{create_private, default_data_dir};
use weir_runtime::{DataDir, DirectoryError, Endpoint};

use crate::failure::{Failure, innermost};

/// The entry by which a directory is known to be a demo's.
const DRIVER: &str = "driver";

/// The directory of this demo, locked.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    driver: DataDir,
}

/// The data directory that is meant, absolute: the one given, else that of `weir serve`.
pub(super) fn data_directory(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let directory = match given {
        Some(path) => path.to_owned(),
        None => default_data_dir().map_err(Failure::usage)?,
    };
    std::path::absolute(&directory)
        .map_err(|error| Failure::usage(format!("--data {}: {error}", directory.display())))
}

impl Place {
    /// Locks the directory `demo` of a data directory. Nothing is removed yet.
    pub(super) fn open(data: &Path) -> Result<Self, Failure> {
        let root = data.join("demo");
        let driver = root.join(DRIVER);
        if !driver.exists() && !is_empty(&root) {
            return Err(Failure::usage(format!(
                "{} was not made by `weir demo`, which empties its directory: choose another place with --data DIR",
                root.display()
            )));
        }
        let driver = DataDir::open(driver).map_err(|error| match error {
            DirectoryError::Locked(_) => Failure::infrastructure(format!(
                "another `weir demo` runs in {}: end it, or use another place with --data DIR",
                root.display()
            )),
            error => Failure::infrastructure(format!(
                "{error}: {}: choose another place with --data DIR",
                innermost(&error)
            )),
        })?;
        let place = Self { root, driver };
        // Too long a path is found before anything is started.
        place.agents_endpoint().and(place.operators_endpoint())?;
        Ok(place)
    }

    /// Removes what an earlier demo kept and makes the directories anew.
    pub(super) fn empty(&self) -> Result<(), Failure> {
        let failed = |path: &Path, error: io::Error| {
            Failure::infrastructure(format!("remove {}: {error}", path.display()))
        };
        for entry in fs::read_dir(&self.root).map_err(|error| failed(&self.root, error))? {
            let entry = entry.map_err(|error| failed(&self.root, error))?;
            if entry.file_name() == DRIVER {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            removed.map_err(|error| failed(&path, error))?;
        }
        for directory in [self.root.join("logs"), self.root.join("agents")] {
            create_private(&directory).map_err(Failure::infrastructure)?;
        }
        Ok(())
    }

    /// The controller's data directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The lock, and files that must be whole after a crash.
    pub(super) fn driver(&self) -> &DataDir {
        &self.driver
    }

    /// The data directory of an agent.
    pub(super) fn agent(&self, name: &str) -> PathBuf {
        self.root.join("agents").join(name)
    }

    /// Where a process's output goes.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Where agents join.
    pub(super) fn agents_endpoint(&self) -> Result<Endpoint, Failure> {
        self.endpoint("join/agents.sock")
    }

    /// Where operators do.
    pub(super) fn operators_endpoint(&self) -> Result<Endpoint, Failure> {
        self.endpoint("operators.sock")
    }

    fn endpoint(&self, file: &str) -> Result<Endpoint, Failure> {
        let text = format!("unix:{}", self.root.join(file).display());
        text.parse().map_err(|error| {
            Failure::usage(format!("{error}: choose a shorter place with --data DIR"))
        })
    }
}

/// Whether nothing is there; what cannot be read is found out later, with its reason.
fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_demo_leaves_nothing_but_its_driver() {
        let data = tempfile::tempdir().unwrap();
        let place = Place::open(data.path()).unwrap();
        place.empty().unwrap();
        fs::write(place.log("controller"), "old").unwrap();
        fs::write(place.root().join("weir.db"), "old").unwrap();
        place.driver().write("processes", b"1 2\n").unwrap();
        place.empty().unwrap();
        assert!(!place.log("controller").exists() && !place.root().join("weir.db").exists());
        assert!(place.root().join("logs").is_dir());
        assert_eq!(
            place.driver().read("processes").unwrap().as_deref(),
            Some(&b"1 2\n"[..])
        );
    }

    #[test]
    fn what_others_made_is_never_emptied() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join("demo/thesis")).unwrap();
        let failure = Place::open(data.path()).unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert!(failure.to_string().contains("--data DIR"), "{failure}");
        assert!(data.path().join("demo/thesis").exists());
    }

    #[test]
    fn one_demo_at_a_time() {
        let data = tempfile::tempdir().unwrap();
        let _first = Place::open(data.path()).unwrap();
        let failure = Place::open(data.path()).unwrap_err();
        assert!(
            failure.to_string().contains("another `weir demo` runs"),
            "{failure}"
        );
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_at_once() {
        let data = tempfile::tempdir().unwrap();
        let deep = data.path().join("d".repeat(100));
        let failure = Place::open(&deep).unwrap_err();
        assert_eq!(failure.exit().code(), 2);
        assert!(failure.to_string().contains("107 bytes"), "{failure}");
    }

    #[test]
    fn a_given_directory_is_made_absolute() {
        let given = data_directory(Some(Path::new("here"))).unwrap();
        assert!(given.is_absolute() && given.ends_with("here"));
    }
}
