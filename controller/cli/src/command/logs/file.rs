//! A file that arrives in parts, over several attempts if need be.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

/// A file that is not whole yet; it has `.part` behind its name.
///
/// Invariant: `digest` is of exactly the `bytes` that were written.
pub(super) struct Arriving<'a> {
    path: &'a Path,
    part: PathBuf,
    file: File,
    digest: Context,
    bytes: u64,
    size_bytes: u64,
    sha256: &'a [u8],
}

impl<'a> Arriving<'a> {
    /// Takes up what an earlier attempt has left; `None` when the file is there and right.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn open(
        path: &'a Path,
        size_bytes: u64,
        sha256: &'a [u8],
    ) -> Result<Option<Self>, String> {
        let said = |error| named(path, error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| named(parent, error))?;
        }
        if let Ok(file) = File::open(path) {
            let (digest, bytes) = read(&file).map_err(said)?;
            if bytes == size_bytes && digest.finish().as_ref() == sha256 {
                return Ok(None);
            }
            return Err(format!(
                "another file is at {}: move it away",
                path.display()
            ));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        let file = options.create(true).read(true).append(true).open(&part);
        let file = file.map_err(said)?;
        let (digest, bytes) = read(&file).map_err(said)?;
        let mut arriving = Self {
            path,
            part,
            file,
            digest,
            bytes,
            size_bytes,
            sha256,
        };
        if bytes > size_bytes {
            arriving.begin_again()?;
        }
        Ok(Some(arriving))
    }

    /// How much is here.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn begin_again(&mut self) -> Result<(), String> {
        let cut = self.file.set_len(0);
        cut.map_err(|error| named(self.path, error))?;
        (self.digest, self.bytes) = (Context::new(&SHA256), 0);
        Ok(())
    }

    /// Adds a part.
    ///
    /// # Errors
    /// The file cannot be written, or it would be longer than it was said to be.
    pub(super) fn put(&mut self, content: &[u8]) -> Result<(), String> {
        if self.bytes + content.len() as u64 > self.size_bytes {
            self.begin_again()?;
            return Err("its host sent more than it offered".to_owned());
        }
        let written = self.file.write_all(content);
        written.map_err(|error| named(self.path, error))?;
        self.digest.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }

    /// Gives the file its name, if it is what was offered.
    ///
    /// # Errors
    /// It is not whole yet, or not what was offered; that is thrown away.
    pub(super) fn finish(mut self) -> Result<(), String> {
        if self.bytes < self.size_bytes {
            return Err(format!("{} of {} bytes came", self.bytes, self.size_bytes));
        }
        if self.digest.clone().finish().as_ref() != self.sha256 {
            self.begin_again()?;
            return Err("its SHA-256 is not the one offered: what came is thrown away".to_owned());
        }
        let kept = self.file.sync_all();
        let kept = kept.and_then(|()| fs::rename(&self.part, self.path));
        kept.map_err(|error| named(self.path, error))
    }
}

/// The digest of all of a file, and its length.
fn read(mut file: &File) -> std::io::Result<(Context, u64)> {
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((digest, bytes));
        }
        digest.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn named(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"{\"record\":{}}\n";

    fn sha256() -> Vec<u8> {
        ring::digest::digest(&SHA256, CONTENT).as_ref().to_vec()
    }

    fn open<'a>(path: &'a Path, sha256: &'a [u8]) -> Arriving<'a> {
        let size = CONTENT.len() as u64;
        Arriving::open(path, size, sha256).unwrap().unwrap()
    }

    #[test]
    fn what_came_stays_and_the_rest_is_added() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r-0001").join("1-tx-a.jsonl");
        let sha256 = sha256();
        let mut file = open(&path, &sha256);
        file.put(&CONTENT[..5]).unwrap();
        let error = file.finish().unwrap_err();
        assert_eq!(error, "5 of 14 bytes came");
        let mut file = open(&path, &sha256);
        assert_eq!(file.bytes(), 5);
        file.put(&CONTENT[5..]).unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        let again = Arriving::open(&path, CONTENT.len() as u64, &sha256);
        assert!(again.unwrap().is_none());
    }

    #[test]
    fn what_was_not_offered_is_thrown_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1-tx-a.jsonl");
        let sha256 = sha256();
        let mut file = open(&path, &sha256);
        file.put(&[b'x'; 14]).unwrap();
        assert!(file.finish().unwrap_err().contains("SHA-256"));
        let mut file = open(&path, &sha256);
        assert_eq!(file.bytes(), 0);
        assert!(
            file.put(&[b'x'; 15])
                .unwrap_err()
                .contains("more than it offered")
        );
        assert!(!path.exists());
    }
}
