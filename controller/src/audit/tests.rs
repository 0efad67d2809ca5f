//! A real file in a temporary directory.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn operator() -> Who {
    Who {
        role: "operator",
        uid: Some(1_000),
        ..Who::default()
    }
}

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join(FILE)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A log with these runs started.
fn written(runs: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let audit = Audit::open(directory.path()).unwrap();
    for run in 0..runs {
        let entry = Entry::new(Event::RunStarted, operator());
        audit.tell(entry.by("ControllerService/Run").to(format!("r-{run:04}")));
    }
    audit.flush();
    directory
}

#[test]
fn entries_say_who_did_what() {
    let directory = written(2);
    let lines = lines(&path(&directory));
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["event"], "chain-began");
    let last = &lines[2];
    for (key, value) in [
        ("seq", Value::from(3)),
        ("event", "run-started".into()),
        ("outcome", "done".into()),
        ("role", "operator".into()),
        ("uid", 1_000.into()),
        ("method", "ControllerService/Run".into()),
        ("object", "r-0001".into()),
    ] {
        assert_eq!(last[key], value, "{key}: {last}");
    }
    let mode = fs::metadata(path(&directory)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_whole_chain_is_continued() {
    let directory = written(2);
    let audit = Audit::open(directory.path()).unwrap();
    audit.tell(Entry::new(Event::RunStopped, operator()).to("r-0001"));
    audit.flush();
    let file = fs::File::open(path(&directory)).unwrap();
    let mut seen = 0;
    let checked = chain::check(io::BufReader::new(file), |_| seen += 1).unwrap();
    assert_eq!((checked.head.seq, seen, checked.broken), (4, 4, None));
}

#[test]
fn a_broken_chain_is_kept_and_the_next_one_says_so() {
    let directory = written(3);
    let file = path(&directory);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("r-0001", "r-9999")).unwrap();
    drop(Audit::open(directory.path()).map(|audit| audit.flush()));
    let kept = directory.path().join("audit-broken-1.jsonl");
    assert!(fs::read_to_string(&kept).unwrap().contains("r-9999"));
    let began = &lines(&file)[0];
    assert_eq!(began["outcome"], "failed");
    let reason = began["reason"].as_str().unwrap();
    for word in ["audit-broken-1.jsonl", "line 3", "entry 2"] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
}

#[test]
fn a_torn_line_is_no_whole_chain() {
    let directory = written(1);
    let file = path(&directory);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 10]).unwrap();
    drop(Audit::open(directory.path()).map(|audit| audit.flush()));
    assert!(directory.path().join("audit-broken-1.jsonl").exists());
    let reason = lines(&file)[0]["reason"].to_string();
    assert!(reason.contains("in the middle"), "{reason}");
}

#[test]
fn a_flood_of_refusals_is_a_few_lines_with_counts() {
    let directory = tempfile::tempdir().unwrap();
    let audit = Audit::open(directory.path()).unwrap();
    for _ in 0..100_000 {
        audit.tell(Entry::new(Event::Call, operator()).refused("not for you"));
    }
    audit.flush();
    let lines = lines(&path(&directory));
    assert!(lines.len() < 10, "{}", lines.len());
    let refusals = lines.iter().filter(|line| line["outcome"] == "refused");
    let counted: u64 = refusals
        .map(|line| line["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(counted, 100_000);
}

#[test]
fn texts_of_others_are_escaped_and_cut() {
    let directory = tempfile::tempdir().unwrap();
    let audit = Audit::open(directory.path()).unwrap();
    let nasty = "\u{1b}[2J\n{\"seq\":9}\u{9b}\u{202e}";
    let who = operator().named(nasty);
    let entry = Entry::new(Event::Session, who).to(nasty);
    audit.tell(entry.refused(nasty.repeat(100_000)));
    audit.flush();
    let text = fs::read_to_string(path(&directory)).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.len() < 4_096, "{}", text.len());
    let shows = |c: char| c == '\n' || (' '..='~').contains(&c) || c == '…';
    assert!(text.chars().all(shows), "{text}");
}

#[test]
fn entries_that_the_disk_did_not_take_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    // Always full, as full(4) says.
    std::os::unix::fs::symlink("/dev/full", path(&directory)).unwrap();
    let file = fs::OpenOptions::new()
        .append(true)
        .open(path(&directory))
        .unwrap();
    let shared = Arc::new(Shared::default());
    let (jobs, queue) = sync_channel(WAITING);
    let writer = Writer::new(path(&directory), file, Head::default(), Arc::clone(&shared));
    let writer = writer.unwrap();
    let thread = thread::spawn(move || writer.run(&queue));
    let shared_too = Arc::clone(&shared);
    let clock = HostClock::from_host();
    let audit = Audit {
        shared,
        jobs,
        clock,
    };
    for _ in 0..3 {
        audit.tell(Entry::new(Event::RunStopped, operator()));
        audit.flush();
    }
    drop(audit);
    thread.join().unwrap();
    assert_eq!(shared_too.lost.load(Ordering::Relaxed), 3);
}

proptest! {
    /// Whatever byte of a file is changed, taken out or put in, the check finds
    /// it, and what it calls whole is what was written.
    #[test]
    fn no_change_goes_unseen(at in any::<prop::sample::Index>(), byte: u8, kind in 0..3_u8) {
        let mut head = Head::default();
        let mut text = String::new();
        for n in 0..5 {
            let fields = [("object".to_owned(), Value::from(n))].into_iter().collect();
            let (line, next) = chain::seal(&head, fields);
            text.push_str(&line);
            head = next;
        }
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        prop_assume!(bytes != text.as_bytes());
        let mut whole = String::new();
        let checked = chain::check(bytes.as_slice(), |line| {
            whole.push_str(line);
            whole.push('\n');
        }).unwrap();
        prop_assert!(checked.broken.is_some() || checked.unfinished > 0);
        prop_assert!(text.starts_with(&whole));
    }
}
