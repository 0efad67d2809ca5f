//! Why the store could not do something.

use std::path::PathBuf;
use std::sync::Arc;

use weir_common::id::{AgentName, BootId, RunId};

use super::TokenRefusal;

/// What kind of failure the storage had, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space left, or a size limit reached.
    Full,
    /// The file cannot be read or written.
    Unreadable,
    /// The file is damaged.
    Damaged,
    /// Another process holds the file.
    Busy,
    /// Anything else.
    Other,
}

impl Fault {
    /// What a person can do about it.
    pub fn fix(self) -> &'static str {
        match self {
            Self::Full => "free space on its disk; agents keep their records until then",
            Self::Unreadable => "check the disk and the permissions of the data directory",
            Self::Damaged => "restore it from a copy, or move it away to start a new one",
            Self::Busy => "end the program that has it open",
            Self::Other => "see the cause",
        }
    }
}

/// Why the store could not do something. Cheap to clone: one failed commit
/// answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened or made.
    #[error("opening the database {path}: {fix}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What to do.
        fix: &'static str,
        /// The cause.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Another controller uses the file.
    #[error(
        "the database {path} is in use by another controller ({holder}): stop that one, or use another --data directory",
        path = path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
    },
    /// The file was written by a later version.
    #[error(
        "the database {path} has schema version {found}, this weir knows up to {known}: use the weir that wrote it, or another --data directory",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Highest version known.
        known: i64,
    },
    /// The file is a database, but not of weir.
    #[error("{path} is a database of another program: use another --data directory", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The library linked in has a known fault that loses commits.
    #[error(
        "SQLite {version} can lose committed writes (WAL-reset race): build with 3.51.3 or later"
    )]
    UnsafeSqlite {
        /// Its version.
        version: String,
    },
    /// The storage failed; nothing of the operation is stored.
    #[error("{operation}: {fix}", fix = fault.fix())]
    Storage {
        /// What was being done.
        operation: &'static str,
        /// The kind of failure.
        fault: Fault,
        /// The cause.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store has been shut down.
    #[error("the store is shut down")]
    Stopped,
    /// The sequence of a boot has a hole before the batch.
    #[error("records must continue at sequence {0}")]
    Expected(u64),
    /// An entry of a batch cannot be stored.
    #[error("entry {seq}: {field}: {problem}")]
    Entry {
        /// Sequence of the entry.
        seq: u64,
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The name belongs to another key.
    #[error(
        "the name {0} belongs to another key: start the agent with its old data directory, or with another --name"
    )]
    NameTaken(AgentName),
    /// Another boot of the name has started later, or this is a copy of it.
    #[error(
        "agent {name} of generation {generation} is refused: boot {known_boot} of generation {known_generation} is known (two agents with copies of one data directory?)"
    )]
    StaleBoot {
        /// The name.
        name: AgentName,
        /// Generation that was told.
        generation: u64,
        /// Boot that is known.
        known_boot: BootId,
        /// Its generation.
        known_generation: u64,
    },
    /// A token is refused.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// No agent of that name has registered.
    #[error("no agent {0} has registered")]
    UnknownAgent(AgentName),
    /// No run matches.
    #[error("no run {wanted}: {have}")]
    NoSuchRun {
        /// What was asked for.
        wanted: String,
        /// What there is.
        have: String,
    },
    /// The run's state does not allow it.
    #[error("{operation} of {run} is refused: it is {state}")]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// The run.
        run: RunId,
        /// Its state.
        state: String,
    },
}

impl StoreError {
    /// Whether the storage itself failed: nothing can be acknowledged until it is mended.
    pub fn is_storage(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::Stopped)
    }
}
