//! Space that is set aside, and given back when the disk is full.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};

/// A file that is nothing but space.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
    /// It was given back, and is not taken again before the disk has taken everything.
    released: bool,
}

impl Reserve {
    pub(crate) fn at(path: PathBuf, bytes: u64) -> Self {
        Self {
            path,
            bytes,
            held: false,
            released: false,
        }
    }

    /// Sets the space aside, at the first call. Without it less fits when the
    /// disk is full, nothing else.
    pub(super) fn hold(&mut self) {
        if self.held || self.released || self.bytes == 0 {
            return;
        }
        self.held = true;
        let directory = self
            .path
            .parent()
            .map(weir_runtime::directory::create_private);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let held = directory.is_some_and(|made| made.is_ok())
            && options
                .open(&self.path)
                .is_ok_and(|file| fallocate(&file, FallocateFlags::empty(), 0, self.bytes).is_ok());
        if !held {
            self.release();
        }
    }

    /// The disk takes everything: if it was given back, it is set aside again.
    pub(super) fn renew(&mut self) {
        if std::mem::take(&mut self.released) {
            self.hold();
        }
    }

    /// Gives the space back; `false` when there is none.
    pub(super) fn release(&mut self) -> bool {
        let held = std::mem::replace(&mut self.held, false);
        self.released |= held;
        held && fs::remove_file(&self.path).is_ok()
    }
}
