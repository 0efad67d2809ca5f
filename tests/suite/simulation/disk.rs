//! The disk of a host: what was written outlives the agent, what was synced outlives
//! the host's power.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_agent::simulation::{Disk, Found, Ground};
use weir_common::id::BootId;

use super::dice::Dice;

/// A segment.
#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// So many of them survive a loss of power.
    synced: usize,
}

/// The directory of one boot.
#[derive(Debug, Default)]
struct Directory {
    segments: BTreeMap<u64, Segment>,
    acked: Option<u64>,
    /// The segment written last.
    open: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// By controller and name, which begins with the generation.
    directories: BTreeMap<(String, String), Directory>,
    /// Whether it takes nothing.
    full: bool,
    /// Whether syncs fail.
    unsyncable: bool,
    /// The next write is cut after so many bytes, since the agent is killed in it.
    tear: Option<usize>,
    /// Whether that has happened.
    torn: bool,
}

/// The disk of one host.
#[derive(Debug, Clone, Default)]
pub(super) struct Host(Arc<Mutex<State>>);

impl Host {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is no space left, or there is again.
    pub(super) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Syncs fail, or no longer.
    pub(super) fn set_unsyncable(&self, unsyncable: bool) {
        self.state().unsyncable = unsyncable;
    }

    /// Whether syncs fail.
    pub(super) fn is_unsyncable(&self) -> bool {
        self.state().unsyncable
    }

    /// The next write is cut.
    pub(super) fn tear(&self, bytes: u64) {
        self.state().tear = Some(bytes as usize);
    }

    /// Whether a write was cut since the last time that this was asked.
    pub(super) fn was_torn(&self) -> bool {
        let mut state = self.state();
        state.tear = None;
        std::mem::take(&mut state.torn)
    }

    /// The power goes: of what was not synced a part is there, up to some byte.
    pub(super) fn lose_power(&self, dice: &mut Dice) {
        for directory in self.state().directories.values_mut() {
            for segment in directory.segments.values_mut() {
                let unsynced = segment.bytes.len().saturating_sub(segment.synced);
                let kept = segment.synced + dice.below(unsynced as u64 + 1) as usize;
                segment.bytes.truncate(kept);
                segment.synced = segment.bytes.len();
            }
        }
    }
}

impl Ground for Host {
    fn found(&self) -> io::Result<Vec<Found>> {
        let state = self.state();
        let found = state.directories.keys().filter_map(|(controller, name)| {
            let (_, boot) = name.split_once('-')?;
            let boot: BootId = boot.parse().ok()?;
            Some(Found {
                controller: controller.clone(),
                boot,
                disk: self.make(controller, name),
            })
        });
        Ok(found.collect())
    }

    fn make(&self, controller: &str, name: &str) -> Box<dyn Disk> {
        Box::new(Files {
            host: self.clone(),
            at: (controller.to_owned(), name.to_owned()),
        })
    }
}

/// The files of one boot.
struct Files {
    host: Host,
    at: (String, String),
}

impl Files {
    fn with<T>(&self, work: impl FnOnce(&mut Directory) -> T) -> T {
        let mut state = self.host.state();
        work(state.directories.entry(self.at.clone()).or_default())
    }
}

impl Disk for Files {
    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (full, torn) = {
            let mut state = self.host.state();
            let torn = state.tear.take().map(|torn| torn % bytes.len().max(1));
            state.torn |= torn.is_some();
            (state.full, torn)
        };
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.with(|directory| {
            let file = directory.segments.entry(segment).or_default();
            file.bytes.truncate(at as usize);
            file.synced = file.synced.min(file.bytes.len());
            file.bytes.extend(&bytes[..torn.unwrap_or(bytes.len())]);
            directory.open = Some(segment);
        });
        match torn {
            Some(_) => Err(io::ErrorKind::Interrupted.into()),
            None => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.host.state().unsyncable {
            self.with(|directory| directory.open = None);
            return Err(io::ErrorKind::Other.into());
        }
        self.with(|directory| {
            let open = directory
                .open
                .and_then(|open| directory.segments.get_mut(&open));
            if let Some(file) = open {
                file.synced = file.bytes.len();
            }
        });
        Ok(())
    }

    fn keep_acked(&mut self, acked: u64) -> io::Result<()> {
        if self.host.state().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.with(|directory| directory.acked = Some(acked));
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.with(|directory| directory.segments.remove(&segment));
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.host.state().directories.remove(&self.at);
        Ok(())
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        let bytes = self.with(|at| at.segments.get(&segment).map(|file| file.bytes.clone()));
        bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.with(|directory| {
            if let Some(file) = directory.segments.get_mut(&segment) {
                file.bytes.truncate(bytes as usize);
                file.synced = file.synced.min(file.bytes.len());
            }
        });
        Ok(())
    }

    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(self.with(|directory| directory.segments.keys().copied().collect()))
    }

    fn acked(&self) -> io::Result<Option<u64>> {
        Ok(self.with(|directory| directory.acked))
    }
}
