//! A disk that can be filled.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of little space at a directory; gone when it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of 4 MiB.
    ///
    /// # Panics
    /// When mounting is not allowed here.
    pub fn at(directory: &Path) -> Self {
        Self::of(4, directory)
    }

    /// One of so many MiB.
    ///
    /// # Panics
    /// When mounting is not allowed here.
    pub fn of(mib: u32, directory: &Path) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(directory)
            .status()
            .expect("mount (Debian package mount) is there");
        assert!(status.success(), "mounting a tmpfs");
        Self(directory.to_owned())
    }

    /// Takes all the space there is.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn fill(&self) {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .open(self.0.join("filler"));
        let mut file = file.expect("a file");
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("the file is ours");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still runs there has it until it ends.
        Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status()
            .ok();
    }
}
