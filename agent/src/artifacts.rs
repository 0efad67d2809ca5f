//! Files that flows write on this host: written beside the records, kept within a
//! bound, read when somebody fetches them.
//!
//! `artifacts/CONTROLLER/RUN/FLOW-END-NAME`, with `.part` behind it while it is
//! written. A file gets its name after it was offered, and it is offered through the
//! outbox: so each is offered, whenever the process ends.

mod log;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest::{Context, SHA256};
use weir_common::id::{FlowId, RunId};
use weir_common::record::{Artifact, End};
use weir_common::traffic::LogFile;
use weir_runtime::directory::create_private;

pub(crate) use log::RunLog;

/// What the files of all runs take at most; beyond it the oldest go.
const ALL_BYTES: u64 = 256 << 20;
/// What is behind the name of a file that is being written.
const PART: &str = ".part";

/// The files of an agent.
#[derive(Debug)]
pub(crate) struct Artifacts {
    directory: PathBuf,
    all_bytes: u64,
}

/// Which file: whose run, and the end of a flow that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) controller: String,
    pub(crate) run: RunId,
    pub(crate) flow: FlowId,
    pub(crate) end: End,
    pub(crate) name: LogFile,
}

impl Key {
    fn file(&self) -> String {
        format!("{}-{}-{}", self.flow.0, self.end.as_str(), self.name)
    }

    /// From the names of directories and file.
    fn parse(controller: &str, run: &str, file: &str) -> Option<Self> {
        let (flow, rest) = file.split_once('-')?;
        let (end, name) = rest.split_once('-')?;
        Some(Self {
            controller: controller.to_owned(),
            run: RunId(run.parse().ok()?),
            flow: FlowId(flow.parse().ok()?),
            end: match end {
                "tx" => End::Tx,
                "rx" => End::Rx,
                _ => return None,
            },
            name: name.parse().ok()?,
        })
    }
}

impl Artifacts {
    /// In this directory, which need not be there yet.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self {
            directory,
            all_bytes: ALL_BYTES,
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        let run = key.run.0.to_string();
        self.directory
            .join(&key.controller)
            .join(run)
            .join(key.file())
    }

    fn part(&self, key: &Key) -> PathBuf {
        let mut path = self.path(key).into_os_string();
        path.push(PART);
        path.into()
    }

    /// Begins a file.
    fn create(&self, key: &Key) -> io::Result<File> {
        let path = self.part(key);
        let parent = path.parent().unwrap_or(&self.directory);
        create_private(parent).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        options.open(path)
    }

    /// Hashes what was written, offers it, gives it its name.
    fn complete(&self, key: &Key, offer: impl FnOnce(Artifact)) -> io::Result<()> {
        let part = self.part(key);
        let file = File::open(&part)?;
        file.sync_all()?;
        let (size_bytes, sha256) = digest(&file)?;
        offer(Artifact {
            run: key.run,
            flow: key.flow,
            end: key.end,
            name: key.name.clone(),
            size_bytes,
            sha256,
        });
        fs::rename(&part, self.path(key))?;
        self.prune();
        Ok(())
    }

    /// Forgets a file that nothing was written to.
    fn discard(&self, key: &Key) {
        // It is empty or unreadable; the next start looks again.
        fs::remove_file(self.part(key)).ok();
    }

    /// Completes what a process that ended was writing: whole lines stay, a torn one goes.
    pub(crate) fn recover(&self, mut offer: impl FnMut(&str, Artifact)) {
        for (path, key) in self.files(PART) {
            let done = cut_torn_line(&path).and_then(|bytes| {
                if bytes == 0 {
                    self.discard(&key);
                    return Ok(());
                }
                self.complete(&key, |artifact| offer(&key.controller, artifact))
            });
            if let Err(error) = done {
                tracing::warn!(file = %path.display(), %error, "a file of an earlier start is lost");
            }
        }
    }

    /// Bytes of a file from a place on, at most as many as the buffer holds; 0 at its end.
    ///
    /// # Errors
    /// `NotFound` when it is not kept any more; `InvalidInput` for a place beyond its end.
    pub(crate) fn read(&self, key: &Key, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.path(key))?;
        if offset > file.metadata()?.len() {
            let problem = "the place is beyond the end of the file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        file.read_at(buffer, offset)
    }

    /// Removes the files that were complete first, until the rest fits.
    fn prune(&self) {
        let dated = |(path, _): (PathBuf, Key)| {
            let data = fs::metadata(&path).ok()?;
            let changed = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some((changed, path, data.len()))
        };
        let mut files: Vec<_> = self.files("").into_iter().filter_map(dated).collect();
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, path, size) in files {
            if bytes <= self.all_bytes {
                return;
            }
            tracing::info!(file = %path.display(), "removed: newer files need the room");
            if fs::remove_file(&path).is_ok() {
                bytes -= size;
            }
            // Gone as soon as they are empty.
            path.ancestors()
                .skip(1)
                .take(2)
                .all(|parent| fs::remove_dir(parent).is_ok());
        }
    }

    /// All files with such an ending behind their names.
    fn files(&self, ending: &str) -> Vec<(PathBuf, Key)> {
        let mut found = Vec::new();
        for (controller, path) in entries(&self.directory) {
            for (run, path) in entries(&path) {
                for (file, path) in entries(&path) {
                    let name = file.strip_suffix(ending);
                    let key = name.and_then(|name| Key::parse(&controller, &run, name));
                    found.extend(key.map(|key| (path, key)));
                }
            }
        }
        found
    }
}

/// Names and paths in a directory; none if it cannot be read.
fn entries(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    named.collect()
}

/// Size and SHA-256 of a file.
fn digest(mut file: &File) -> io::Result<(u64, [u8; 32])> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                context.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
    let sha256 = context.finish().as_ref().try_into();
    Ok((bytes, sha256.expect("SHA-256 has 32 bytes")))
}

/// Cuts what is behind the last whole line; gives the bytes that are left.
fn cut_torn_line(path: &Path) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut end = file.metadata()?.len();
    let mut byte = [0];
    while end > 0 {
        file.read_exact_at(&mut byte, end - 1)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    file.set_len(end)?;
    Ok(end)
}

#[cfg(test)]
mod tests;
