//! `weir-agent` is one file that needs nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use weir_tests::{Cluster, Ground, Process, binary, needs};

/// Most bytes of the stripped file: what it has with TLS, and a little room. The target is
/// 7 MB, missed since (docs/performance.md).
const STRIPPED_MOST: u64 = 8_500_000;

/// Types of the program headers of an ELF64 file (elf(5)).
fn segments(path: &Path) -> Vec<u32> {
    let bytes = fs::read(path).expect("the program");
    assert_eq!(
        &bytes[..6],
        b"\x7fELF\x02\x01",
        "a little-endian ELF64 file"
    );
    let number = |at: usize, width: usize| -> usize {
        bytes[at..at + width]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count)
        .map(|i| number(table + i * size, 4) as u32)
        .collect()
}

#[test]
fn the_agent_is_static_and_small() {
    const PT_INTERP: u32 = 3;
    let program = binary("weir-agent");
    let segments = segments(&program);
    assert!(!segments.is_empty());
    assert!(
        !segments.contains(&PT_INTERP),
        "it asks for a dynamic loader: {segments:?}"
    );

    let directory = tempfile::tempdir().expect("a directory");
    let stripped = directory.path().join("weir-agent");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(&program)
        .status();
    assert!(
        status
            .expect("strip (Debian package binutils) is there")
            .success()
    );
    let bytes = fs::metadata(&stripped).expect("the stripped file").len();
    println!("weir-agent stripped: {bytes} bytes");
    if cfg!(debug_assertions) {
        println!("not held to {STRIPPED_MOST} bytes: this is a debug build");
    } else {
        assert!(bytes <= STRIPPED_MOST, "{bytes} bytes");
    }
}

#[test]
fn the_agent_starts_in_an_empty_root_directory() {
    needs!(Ground::Lab);
    let cluster = Cluster::new();
    // The root holds the program, and the controller's socket below `c`.
    let root = cluster.directory();
    fs::copy(binary("weir-agent"), root.join("weir-agent")).expect("a copy");
    let mut command = Command::new("chroot");
    command.arg(root).args([
        "/weir-agent",
        "--controller",
        "unix:/c/join/agents.sock",
        "--name",
        "lonely",
        "--data",
        "/a",
    ]);
    let agent = Process::start("lonely", command, &root.join("lonely.log"));
    cluster.await_agents(1);
    assert!(agent.output().contains("joined"), "{}", agent.output());
}
