//! Records on their way to the controller: in memory, and on disk so that a
//! killed agent delivers them after its restart (docs/adr/0015-spool.md).
//!
//! A [`Sequence`] is what one boot of the agent measured for one controller;
//! the [`Spool`] holds those of this boot and of the boots before it.
//!
//! ```text
//!  engine ── append ──> coalesce ──> queue (memory) ──> records stream
//!                                      │     ▲ what memory has not
//!                              writer thread ──> segments on disk ──> recover
//! ```
//!
//! Decisions are pure ([`queue`], [`coalesce`], [`frame`], [`recover`]);
//! `spool.rs` carries them out, `disk.rs` knows files.

mod coalesce;
mod crc;
mod disk;
mod frame;
mod marks;
mod queue;
mod recover;
mod spool;
#[cfg(test)]
mod tests;

use weir_proto::types::v1 as pb;

pub use disk::{Disk, Found, Ground};
pub use spool::SpoolError;
pub(crate) use spool::{Reserve, Sequence, Spool, Work, Writer};

/// How much an agent keeps for its controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of entries in memory.
    pub memory_bytes: usize,
    /// Bytes on disk, of all boots and controllers together.
    pub disk_bytes: u64,
    /// Bytes of one file.
    pub segment_bytes: u64,
    /// Bytes of the disk that are set aside for when it is full.
    pub reserve_bytes: u64,
}

impl Limits {
    /// The default ones, with another size of the disk's share. A file is a sixteenth of
    /// it at most, since it goes as a whole.
    pub fn of_disk(bytes: u64) -> Self {
        let limits = Self::default();
        Self {
            disk_bytes: bytes,
            segment_bytes: limits.segment_bytes.min(bytes / 16),
            ..limits
        }
    }
}

impl Default for Limits {
    /// 8 MiB and 256 MiB: 100 flows at 10 rows a second for over 20 minutes.
    fn default() -> Self {
        Self {
            memory_bytes: 8 << 20,
            disk_bytes: 256 << 20,
            segment_bytes: 4 << 20,
            reserve_bytes: 1 << 20,
        }
    }
}

/// How full the spool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// There is room.
    Room,
    /// 80 %: time to say so.
    High,
    /// 95 %: rows are coalesced.
    Coalescing,
    /// Generators have to stop; what they have left to say is still taken.
    Full,
}

impl Level {
    /// Of the share of the disk that is used, or of the memory by what the
    /// disk does not take, whichever is fuller.
    fn of(limits: &Limits, disk_bytes: u64, unwritten_bytes: usize) -> Self {
        let usable = limits.disk_bytes.saturating_sub(limits.reserve_bytes);
        let disk = disk_bytes.saturating_mul(100) / usable.max(1);
        let memory =
            (unwritten_bytes as u64).saturating_mul(100) / limits.memory_bytes.max(1) as u64;
        match disk.max(memory) {
            100.. => Self::Full,
            95.. => Self::Coalescing,
            80.. => Self::High,
            _ => Self::Room,
        }
    }
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimit {
    /// Entries.
    pub(crate) entries: usize,
    /// Encoded bytes.
    pub(crate) bytes: usize,
}

/// Consecutive entries, as they travel.
pub(crate) type Entries = Vec<pb::Entry>;
