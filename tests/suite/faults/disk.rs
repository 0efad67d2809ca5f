//! The disk is full for a while.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_tests::{Ground, needs};

use super::{Background, await_output, await_records, none_twice, pair, told, traffic, whole};

/// A small disk at a directory; gone when it is dropped.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn at(directory: &Path) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(directory)
            .status()
            .expect("mount (Debian package mount) is there");
        assert!(status.success(), "mounting a tmpfs");
        Self(directory.to_owned())
    }

    /// Takes all the space there is.
    pub(super) fn fill(&self) {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .open(self.0.join("filler"));
        let mut file = file.expect("a file");
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    pub(super) fn free(&self) {
        fs::remove_file(self.0.join("filler")).expect("the file is ours");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still runs there has it until it ends.
        Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status()
            .ok();
    }
}

#[test]
fn what_a_full_disk_cannot_take_is_kept_by_the_agents() {
    needs!(Ground::Lab);
    let mut cluster = pair();
    cluster.kill_controller();
    let disk = SmallDisk::at(&cluster.controller_data());
    cluster.start_controller();
    cluster.await_agents(2);

    let run = Background::start(&cluster, &format!("run --json {}", traffic("3s")));
    await_records(&cluster, "r-0001", 4);
    disk.fill();
    await_output(cluster.controller(), "nothing can be stored");
    let log = cluster.controller().output();
    assert!(
        log.contains("free space on its disk"),
        "the way out is named: {log}"
    );
    let refused = cluster.weir(&[
        "run", "--share", "--from", "a1", "--to", "a2", "--udp", "1M", "--for", "1s",
    ]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("free space"), "{refused:?}");
    // The run is over long before there is space again.
    await_output(cluster.agent("a1"), "state=Finished");
    await_output(cluster.agent("a2"), "state=Finished");
    disk.free();
    await_output(cluster.controller(), "the store works again");
    let ran = run.finish();
    assert_eq!(ran.code, 0, "{ran:?}");
    whole(&cluster, &ran.json());
}

#[test]
fn a_result_that_cannot_be_stored_is_stored_later() {
    needs!(Ground::Lab);
    let mut cluster = pair();
    cluster.kill_controller();
    let disk = SmallDisk::at(&cluster.controller_data());
    cluster.start_controller();
    cluster.await_agents(2);

    let run = Background::start(&cluster, &format!("run {}", traffic("2s")));
    await_records(&cluster, "r-0001", 4);
    disk.fill();
    // Nobody is left to wait for, so that the run is closed while there is no space.
    for agent in ["a1", "a2"] {
        cluster.take_agent(agent).kill();
    }
    await_output(
        cluster.controller(),
        "the result cannot be stored; trying again",
    );
    disk.free();
    let ran = run.finish();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(told(&ran).contains("free space"), "{ran:?}");
    let document = cluster.weir(&["show", "--json"]).json();
    assert_eq!(document["verdict"], "partial", "{document:#}");
    none_twice(&cluster);
}
