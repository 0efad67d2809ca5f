//! The spool on real files, with its writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use weir_proto::types::v1 as pb;
use weir_proto::types::v1::entry::Item;

use super::*;
use crate::outbox::BatchLimit;
use crate::outbox::disk::{Disk, directories};
use crate::outbox::tests::{manifest, row};

const MOST: BatchLimit = BatchLimit {
    entries: 256,
    bytes: 64 << 10,
};

fn open(directory: &Path, generation: u8) -> Spool {
    let start = (BootId([generation; 16]), u64::from(generation));
    Spool::open(directory.to_owned(), start, Limits::default()).unwrap()
}

/// Waits until all is written.
fn settle(sequence: &Sequence) {
    while sequence.ready() < sequence.last() {
        thread::yield_now();
    }
}

/// Everything that is written and not delivered.
fn read(sequence: &Sequence) -> Vec<pb::Entry> {
    let mut all = Vec::new();
    let mut next = sequence.acked() + 1;
    while next <= sequence.ready() {
        let entries = match sequence.in_memory(next, MOST) {
            Some(entries) => entries,
            None => sequence.on_disk(next, MOST),
        };
        assert!(!entries.is_empty(), "nothing at {next}");
        next += entries.len() as u64;
        all.extend(entries);
    }
    all
}

fn files(directory: &Path) -> usize {
    let mut count = 0;
    for (_, controller) in directories(directory).unwrap() {
        for (_, boot) in directories(&controller).unwrap() {
            count += std::fs::read_dir(boot).unwrap().count();
        }
    }
    count
}

#[test]
fn the_next_start_offers_what_was_not_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 1);
    let sequence = spool.live("c");
    for k in 0..1_000 {
        spool.append(&sequence, row(1, k));
    }
    sequence.ack(10);
    drop((spool, sequence));

    let spool = open(directory.path(), 2);
    assert_eq!(spool.waiting("c"), 1_001, "and the interval under way");
    assert!(spool.backlog("another").is_empty());
    let [old] = &spool.backlog("c")[..] else {
        panic!("one boot");
    };
    assert_eq!((old.boot(), old.is_old()), (BootId([1; 16]), true));
    // Nothing was removed, so that the position was not kept; the controller
    // says where it stands.
    old.ack(10);
    settle(old);
    let entries = read(old);
    assert_eq!(entries.len(), 991);
    for (k, entry) in (10..).zip(&entries[..990]) {
        assert_eq!(*entry, pb::Entry::from(&row(1, k)));
    }
    assert!(matches!(entries[990].item, Some(Item::Gap(_))));
    // It is interrupted, and goes on where it was.
    old.ack(500);
    drop(spool);
    let spool = open(directory.path(), 3);
    let old = spool.backlog("c").remove(0);
    old.ack(500);
    settle(&old);
    assert_eq!(read(&old).len(), 501);
    old.ack(old.last());
    assert!(spool.backlog("c").is_empty());
    drop(spool);
    assert_eq!(files(directory.path()), 0);
}

#[test]
fn what_is_closed_has_no_gap_and_what_is_delivered_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for generation in 1..3 {
        let spool = open(directory.path(), generation);
        assert!(spool.backlog("c").is_empty());
        let sequence = spool.live("c");
        spool.append(&sequence, row(1, 0));
        spool.append(&sequence, manifest(1, 1));
        sequence.ack(2);
        assert!(sequence.is_empty());
    }
    let spool = open(directory.path(), 3);
    assert!(spool.backlog("c").is_empty());
    spool.close();
    assert_eq!(files(directory.path()), 0);
}

/// A spool of far more than memory holds, read from disk in the order of the entries.
#[test]
fn more_than_memory_holds_is_read_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        memory_bytes: 16 << 10,
        segment_bytes: 64 << 10,
        ..Limits::default()
    };
    let spool = Spool::open(directory.path().to_owned(), (BootId([1; 16]), 1), limits).unwrap();
    let sequence = spool.live("c");
    for k in 0..20_000 {
        spool.append(&sequence, row(1, k));
        if k % 50 == 0 {
            // As in time: a disk that falls behind is another test's.
            settle(&sequence);
        }
    }
    spool.close();
    let held = locked(&sequence.core).queue.held_bytes();
    assert!(held <= limits.memory_bytes, "{held} bytes");
    assert!(sequence.in_memory(1, MOST).is_none());
    assert!(files(directory.path()) > 5);
    for (k, entry) in (0..).zip(read(&sequence)) {
        assert_eq!(entry, pb::Entry::from(&row(1, k)));
    }
}

#[test]
fn the_position_is_kept_before_a_segment_goes() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        segment_bytes: 4 << 10,
        ..Limits::default()
    };
    let spool = Spool::open(directory.path().to_owned(), (BootId([1; 16]), 1), limits).unwrap();
    let sequence = spool.live("c");
    for k in 0..1_000 {
        spool.append(&sequence, row(1, k));
        settle(&sequence);
    }
    let before = files(directory.path());
    sequence.ack(800);
    spool.close();
    assert!(files(directory.path()) < before);
    drop((spool, sequence));
    let spool = open(directory.path(), 2);
    let old = spool.backlog("c").remove(0);
    assert_eq!(old.acked(), 800);
    settle(&old);
    let entries = read(&old);
    assert_eq!(entries[0], pb::Entry::from(&row(1, 800)));
    assert_eq!(entries.len(), 201, "and the interval under way");
}

/// A disk in memory that is full after so many bytes.
struct Full {
    segments: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
    room: Arc<AtomicUsize>,
}

impl Disk for Full {
    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut segments = locked(&self.segments);
        let used: usize = segments.values().map(Vec::len).sum();
        let room = self.room.load(Ordering::Relaxed).saturating_sub(used);
        let put = segments.entry(segment).or_default();
        put.truncate(at as usize);
        put.extend(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn keep_acked(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        locked(&self.segments).remove(&segment);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        let segments = locked(&self.segments);
        segments
            .get(&segment)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn truncate(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(locked(&self.segments).keys().copied().collect())
    }

    fn acked(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 1);
    let segments = Arc::<Mutex<BTreeMap<u64, Vec<u8>>>>::default();
    let room = Arc::new(AtomicUsize::new(3_000));
    let disk = Full {
        segments: Arc::clone(&segments),
        room: Arc::clone(&room),
    };
    let sequence = Arc::new(Sequence::new(
        &spool.common,
        ("c".into(), spool.boot),
        Queue::new(Limits::default()),
        Box::new(disk),
    ));
    locked(&spool.sequences).push(Arc::clone(&sequence));
    for k in 0..200 {
        spool.append(&sequence, row(1, k));
    }
    while !locked(&sequence.core).queue.is_degraded() {
        thread::yield_now();
    }
    // Delivered from memory meanwhile, and the manifest says so.
    spool.append(&sequence, manifest(1, 200));
    assert_eq!((sequence.ready(), sequence.last()), (201, 201));
    let entries = read(&sequence);
    let Some(Item::Closed(closed)) = &entries[200].item else {
        panic!("{:?}", entries[200]);
    };
    assert_eq!(closed.warnings, ["spool-degraded"]);
    room.store(usize::MAX, Ordering::Relaxed);
    spool.append(&sequence, row(2, 0));
    spool.close();
    let core = locked(&sequence.core);
    assert!(!core.queue.is_degraded());
    assert_eq!(core.queue.unwritten_bytes(), 0);
    drop(core);

    // All of it can be read back, past what the full disk has left.
    let disk = Full { segments, room };
    let found = Sequence::found(&spool.common, "c".into(), spool.boot, Box::new(disk));
    let found = found.unwrap().expect("it is not delivered");
    let read = read(&found);
    assert_eq!(read[..201], entries[..]);
    assert_eq!(read.len(), 202);
}

/// A disk that writes and never syncs.
struct Unsynced(Full);

impl Disk for Unsynced {
    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(segment, at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Err(io::Error::other("input/output error"))
    }

    fn keep_acked(&mut self, acked: u64) -> io::Result<()> {
        self.0.keep_acked(acked)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.0.remove(segment)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        self.0.read(segment)
    }

    fn truncate(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.0.truncate(segment, bytes)
    }

    fn segments(&self) -> io::Result<Vec<u64>> {
        self.0.segments()
    }

    fn acked(&self) -> io::Result<Option<u64>> {
        self.0.acked()
    }
}

#[test]
fn after_a_failed_sync_nothing_is_added_to_that_file_and_manifests_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), 1);
    let segments = Arc::<Mutex<BTreeMap<u64, Vec<u8>>>>::default();
    let disk = Unsynced(Full {
        segments: Arc::clone(&segments),
        room: Arc::new(AtomicUsize::new(usize::MAX)),
    });
    let sequence = Arc::new(Sequence::new(
        &spool.common,
        ("c".into(), spool.boot),
        Queue::new(Limits::default()),
        Box::new(disk),
    ));
    locked(&spool.sequences).push(Arc::clone(&sequence));
    spool.append(&sequence, row(1, 0));
    // A manifest is synced as soon as it is written.
    spool.append(&sequence, manifest(1, 1));
    while !locked(&sequence.core).unsynced {
        thread::yield_now();
    }
    spool.append(&sequence, row(2, 0));
    spool.append(&sequence, manifest(2, 1));
    spool.close();
    let entries = read(&sequence);
    let warnings: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.item {
            Some(Item::Closed(closed)) => Some(closed.warnings.len()),
            _ => None,
        })
        .collect();
    assert_eq!((entries.len(), warnings), (4, vec![0, 1]));
    assert!(locked(&segments).len() > 1, "it went on in the same file");
}

#[test]
fn the_reserve_is_there_and_is_given_back_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reserve");
    let mut reserve = Reserve::at(path.clone(), 1 << 16);
    assert!(!reserve.release());
    reserve.hold();
    // Not every file system can set space aside; then nothing is held.
    if path.exists() {
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 16);
        assert!(reserve.release());
    }
    assert!(!path.exists());
    reserve.hold();
    assert!(!path.exists() && !reserve.release());
    reserve.renew();
    assert_eq!(path.exists(), reserve.release());
}

#[test]
fn a_gap_has_no_end_when_rows_were_merged() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        disk_bytes: 64 << 10,
        segment_bytes: 8 << 10,
        reserve_bytes: 0,
        ..Limits::default()
    };
    let open = |generation: u8| {
        let start = (BootId([generation; 16]), u64::from(generation));
        Spool::open(directory.path().to_owned(), start, limits).unwrap()
    };
    let spool = open(1);
    let sequence = spool.live("c");
    for k in 0.. {
        if spool.level() >= Level::Coalescing {
            break;
        }
        spool.append(&sequence, row(1, k));
        settle(&sequence);
    }
    drop((spool, sequence));
    let spool = open(2);
    let old = spool.backlog("c").remove(0);
    settle(&old);
    let Some(Item::Gap(gap)) = read(&old).pop().and_then(|entry| entry.item) else {
        panic!("the interval under way is missing");
    };
    assert!(gap.from_ns.is_some() && gap.to_ns.is_none(), "{gap:?}");
}
