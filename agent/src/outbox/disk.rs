//! The files of one sequence, behind a trait so that a test can fail.
//!
//! `spool/CONTROLLER/GENERATION-BOOT/` holds `SEQUENCE.seg`, named by the first
//! entry, and `acked`: the sequence up to which all is delivered.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use weir_common::id::BootId;
use weir_runtime::directory::{create_private, write_atomic};

const ACKED: &str = "acked";
const SUFFIX: &str = ".seg";

/// Where the segments of one sequence are.
pub trait Disk: Send {
    /// Writes at the end of a segment, which is `at`; what is behind it is
    /// from a failed write and goes. Makes the segment.
    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// What was written last is to survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Keeps the position; on disk when this returns.
    fn keep_acked(&mut self, acked: u64) -> io::Result<()>;

    /// Removes a segment; it may be gone already.
    fn remove(&mut self, segment: u64) -> io::Result<()>;

    /// Removes everything.
    fn clear(&mut self) -> io::Result<()>;

    /// All bytes of a segment.
    fn read(&self, segment: u64) -> io::Result<Vec<u8>>;

    /// Cuts a segment.
    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()>;

    /// The segments there are, ascending.
    fn segments(&self) -> io::Result<Vec<u64>>;

    /// The position kept; `Err(InvalidData)` when it cannot be read.
    fn acked(&self) -> io::Result<Option<u64>>;
}

/// What an earlier boot left.
pub struct Found {
    /// The controller it is for.
    pub controller: String,
    /// The boot.
    pub boot: BootId,
    /// Its files.
    pub disk: Box<dyn Disk>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("controller", &self.controller)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// Where the files of all sequences are.
pub trait Ground: Send + Sync {
    /// What earlier boots left, of each controller the oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    fn found(&self) -> io::Result<Vec<Found>>;

    /// The files of a controller under a name, `GENERATION-BOOT`; none yet.
    fn make(&self, controller: &str, name: &str) -> Box<dyn Disk>;
}

/// A directory with one for each controller.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Ground for Directory {
    fn found(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for (controller, path) in directories(&self.0)? {
            for (name, path) in directories(&path)? {
                let boot = name.split_once('-').and_then(|(_, boot)| boot.parse().ok());
                let Some(boot) = boot else { continue };
                found.push(Found {
                    controller: controller.clone(),
                    boot,
                    disk: Box::new(Files::at(path)),
                });
            }
        }
        Ok(found)
    }

    fn make(&self, controller: &str, name: &str) -> Box<dyn Disk> {
        Box::new(Files::at(self.0.join(controller).join(name)))
    }
}

/// The directories in a directory, by name; none if it is not there.
pub(super) fn directories(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(
                entry
                    .file_name()
                    .into_string()
                    .ok()
                    .map(|name| (name, entry.path())),
            );
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A directory of segments.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// The segment that is written.
    open: Option<(u64, File)>,
}

impl Files {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self {
            directory,
            open: None,
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.directory.join(format!("{segment:020}{SUFFIX}"))
    }

    fn open(&mut self, segment: u64) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != segment) {
            create_private(&self.directory).map_err(io::Error::other)?;
            let path = self.path(segment);
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            let file = options.open(path)?;
            // The name has to survive a loss of power as the content does.
            File::open(&self.directory)?.sync_all()?;
            self.open = Some((segment, file));
        }
        let (_, file) = self.open.as_ref().expect("opened above");
        Ok(file)
    }
}

impl Disk for Files {
    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.open(segment)?;
        if file.metadata()?.len() > at {
            file.set_len(at)?;
        }
        let written = file.write_all_at(bytes, at);
        if written.is_err() {
            // Best effort: a reader finds its way past what is left.
            let _cut = file.set_len(at).is_ok();
            self.open = None;
        }
        written
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = match &self.open {
            Some((_, file)) => file.sync_data(),
            None => Ok(()),
        };
        if synced.is_err() {
            // After a failed fsync pages count as clean: never trust this file again.
            self.open = None;
        }
        synced
    }

    fn keep_acked(&mut self, acked: u64) -> io::Result<()> {
        let text = format!("{acked}\n");
        write_atomic(&self.directory.join(ACKED), text.as_bytes()).map_err(io::Error::other)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| *open == segment) {
            self.open = None;
        }
        match fs::remove_file(self.path(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        self.open = None;
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        fs::read(self.path(segment))
    }

    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(segment))?;
        file.set_len(bytes)
    }

    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut segments = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            segments.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn acked(&self) -> io::Result<Option<u64>> {
        match fs::read_to_string(self.directory.join(ACKED)) {
            Ok(text) => {
                let number = text.strip_suffix('\n').and_then(|text| text.parse().ok());
                number
                    .map(Some)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
