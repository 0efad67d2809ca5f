//! Data directories: private, locked by one process, and files in them that
//! are either the old or the new ones after a crash.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Neither `--data` nor a home directory is known.
    #[error("no data directory: HOME is not set; name one with --data DIR")]
    NoHome,
    /// Another process uses it.
    #[error("data directory {} is used by another process; end that one or name another with --data DIR", .0.display())]
    Locked(PathBuf),
    /// A system call failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl DirectoryError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// Where data goes when nobody says: `/var/lib/weir` for root, else
/// `$XDG_DATA_HOME/weir` or `~/.local/share/weir`.
///
/// # Errors
/// An ordinary user without a home.
pub fn default_data_dir() -> Result<PathBuf, DirectoryError> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    place(
        rustix::process::geteuid().is_root(),
        variable("XDG_DATA_HOME").map(PathBuf::from),
        variable("HOME").map(PathBuf::from),
    )
    .ok_or(DirectoryError::NoHome)
}

fn place(root: bool, data_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from("/var/lib/weir"));
    }
    data_home
        .filter(|path| path.is_absolute())
        .or_else(|| home.map(|home| home.join(".local/share")))
        .map(|base| base.join("weir"))
}

/// Creates a directory and its parents, readable by its owner only.
///
/// # Errors
/// The directory cannot be made.
pub fn create_private(path: &Path) -> Result<(), DirectoryError> {
    let result = DirBuilder::new().recursive(true).mode(0o700).create(path);
    result.map_err(DirectoryError::io("create directory", path))
}

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock lives as long as this file is open.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if needed (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`DirectoryError::Locked`] when another process has it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        let path = path.into();
        create_private(&path)?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(DirectoryError::io("open", &file))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DirectoryError::Locked(path)),
            Err(errno) => Err(DirectoryError::io("lock", &file)(errno.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// It exists and cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        let path = self.file(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DirectoryError::io("read", &path)(error)),
        }
    }

    /// Replaces a file (mode 0600): after a crash it is whole, old or new. On
    /// return it is on disk.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
        write_atomic(&self.file(name), bytes)
    }
}

/// Replaces a file (mode 0600) through a temporary one beside it: write,
/// fsync, rename, fsync of the directory.
///
/// # Errors
/// The old file is unchanged then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let written = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(DirectoryError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(DirectoryError::io("rename", &temporary))?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(DirectoryError::io("sync directory", directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn default_place_depends_on_the_user() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            place(true, path("/x"), path("/root")),
            path("/var/lib/weir")
        );
        assert_eq!(
            place(false, None, path("/home/a")),
            path("/home/a/.local/share/weir")
        );
        assert_eq!(place(false, path("/d"), path("/home/a")), path("/d/weir"));
        assert_eq!(place(false, path("relative"), None), None);
    }

    #[test]
    fn one_process_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(matches!(
            DataDir::open(&path),
            Err(DirectoryError::Locked(_))
        ));
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn files_are_replaced_whole() {
        let parent = tempfile::tempdir().unwrap();
        let data = DataDir::open(parent.path()).unwrap();
        assert_eq!(data.read("x").unwrap(), None);
        data.write("x", b"old and long").unwrap();
        data.write("x", b"new").unwrap();
        assert_eq!(data.read("x").unwrap().as_deref(), Some(&b"new"[..]));
        assert!(!data.file("x.new").exists());
        assert_eq!(
            fs::metadata(data.file("x")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn errors_name_the_operation_and_the_path() {
        let error = write_atomic(Path::new("/nonexistent/x"), b"").unwrap_err();
        assert_eq!(error.to_string(), "write /nonexistent/x.new");
    }
}
