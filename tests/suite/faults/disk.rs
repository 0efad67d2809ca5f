//! The disk is full for a while.

use weir_tests::{Background, Ground, SmallDisk, needs};

use super::{await_output, await_records, none_twice, pair, told, traffic, whole};

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
