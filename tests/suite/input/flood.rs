//! The agents' socket under floods of frames that no HTTP/2 client sends, while
//! an honest agent delivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_runtime::Endpoint;
use weir_tests::flood::{Attack, Honest, Limit};
use weir_tests::{Cluster, Usage};

/// Most growth of the controller's memory in one flood, KiB.
const GROWTH_KIB: u64 = 32 * 1024;

/// The most memory that a process had, looked at until it is dropped.
struct Peak {
    most_kib: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Peak {
    fn of(pid: u32) -> Self {
        let most_kib = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let (most, until) = (Arc::clone(&most_kib), Arc::clone(&ended));
        thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let now = Usage::of(pid).map_or(0, |usage| usage.anonymous_kib);
                most.fetch_max(now, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { most_kib, ended }
    }

    fn kib(&self) -> u64 {
        self.most_kib.load(Ordering::Relaxed)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[test]
fn floods_of_frames_bring_nothing_down() {
    let cluster = Cluster::on_loopback(&[("a1", &["asn=150"]), ("a2", &["asn=151"])]);
    let line = "--from a1 --to a2 --udp 1M --for 1s --ignore behind,frozen";
    cluster.run(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(cluster.weir(&["delete", "last"]).code, 0);
    let endpoint: Endpoint = cluster.join_endpoint().parse().expect("an endpoint");
    let pid = cluster.controller().id();
    let honest = Honest::start(&cluster.join_endpoint(), "honest");
    for attack in Attack::ALL {
        let name = attack.name();
        let before = Usage::of(pid).expect("it lives").anonymous_kib;
        let peak = Peak::of(pid);
        let begun = Instant::now();
        let limit = Limit {
            frames: u64::MAX,
            time: Duration::from_secs(2),
        };
        let flood = attack.run(&endpoint, limit).expect(name);
        let during = honest.waits(begun, Instant::now());
        println!(
            "{name}: {flood:?} in {:?}, {} to {} KiB, acks {} at most {:?}",
            begun.elapsed(),
            before,
            peak.kib(),
            during.len(),
            during.last()
        );
        assert!(flood.frames > 100, "{name}: {flood:?}");
        assert!(!during.is_empty(), "{name}: the honest agent waits");
        let grown = peak.kib().saturating_sub(before);
        assert!(grown <= GROWTH_KIB, "{name}: {grown} KiB more");
        // What no client may do for long ends the connection.
        let is_cut = !matches!(
            attack,
            Attack::RapidReset | Attack::ZeroWindow | Attack::LargeHeaders
        );
        assert!(!is_cut || flood.closed > 0, "{name}: {flood:?}");
    }
    honest.stop().expect("one session from beginning to end");
    super::protobuf::is_well(&cluster);
}
