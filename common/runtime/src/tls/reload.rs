//! What is made of files, and made anew when they change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::TlsError;
use super::files::{Stamp, stamp};

/// A value made of files. Whoever asks for it gets one of their present
/// content, or the last good one if that is broken.
pub(super) struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    now: Mutex<(Vec<Stamp>, Arc<T>)>,
}

impl<T> std::fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl<T> Reloading<T> {
    /// Makes it for the first time.
    ///
    /// # Errors
    /// What `make` says: there is nothing older to keep.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let stamps = files.iter().map(|file| stamp(file)).collect();
        let first = Arc::new(make()?);
        Ok(Self {
            files,
            make: Box::new(make),
            now: Mutex::new((stamps, first)),
        })
    }

    /// The value of the files as they are. Costs a stat of each.
    pub(super) fn current(&self) -> Arc<T> {
        let stamps: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 != stamps {
            match (self.make)() {
                Ok(made) => {
                    tracing::info!(files = ?self.files, "read the new certificate");
                    now.1 = Arc::new(made);
                }
                Err(error) => {
                    let reason = reason(&error);
                    tracing::warn!(
                        reason,
                        "the new certificate is of no use; the old one is kept"
                    );
                }
            }
            // A broken file is told once, and read again when it changes again.
            now.0 = stamps;
        }
        Arc::clone(&now.1)
    }
}

fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_broken_file_keeps_the_old_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "one").unwrap();
        let read = path.clone();
        let held = Reloading::new(vec![path.clone()], move || {
            let text = fs::read_to_string(&read).map_err(|source| TlsError::Read {
                path: read.clone(),
                source,
            })?;
            (!text.is_empty())
                .then_some(text)
                .ok_or(TlsError::Certificate)
        })
        .unwrap();
        assert_eq!(*held.current(), "one");
        fs::write(&path, "").unwrap();
        assert_eq!(*held.current(), "one");
        fs::remove_file(&path).unwrap();
        assert_eq!(*held.current(), "one");
        fs::write(&path, "three").unwrap();
        assert_eq!(*held.current(), "three");
    }
}
