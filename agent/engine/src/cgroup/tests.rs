use proptest::prelude::*;

use super::*;

/// Version 1 of a container: the `cpu,cpuacct` hierarchy, the container's own
/// group as the root of the mount.
const CONTAINER_V1: &str = "\
1035 1034 0:33 /docker/5f3c /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev master:17 - cgroup cgroup rw,cpu,cpuacct
1036 1034 0:34 /docker/5f3c /sys/fs/cgroup/memory ro,nosuid,nodev master:18 - cgroup cgroup rw,memory
1040 1030 0:45 / /dev/mqueue rw - mqueue mqueue rw
";

/// Version 2 of a machine with systemd.
const UNIFIED: &str = "\
24 23 0:21 / /proc rw,nosuid - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

/// Both, as systemd's hybrid layout has them.
const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn directories(membership: &str, mountinfo: &str) -> Vec<String> {
    groups(&Membership::parse(membership), &mounts(mountinfo))
        .into_iter()
        .map(|group| group.directory.display().to_string())
        .collect()
}

#[test]
fn throttling_of_version_1_is_in_nanoseconds() {
    let text = "nr_periods 1210\nnr_throttled 1180\nthrottled_time 110893240117\n\
                nr_bursts 0\nburst_time 0\n";
    let expected = Throttled {
        periods: 1_210,
        throttled_periods: 1_180,
        throttled_us: 110_893_240,
    };
    assert_eq!(Throttled::parse(text), Some(expected));
}

#[test]
fn throttling_of_version_2_is_in_microseconds() {
    let text = "usage_usec 5120339\nuser_usec 1200000\nsystem_usec 3920339\nnice_usec 0\n\
                core_sched.force_idle_usec 0\nnr_periods 1023\nnr_throttled 1001\n\
                throttled_usec 96773112\nnr_bursts 0\nburst_usec 0\n";
    let expected = Throttled {
        periods: 1_023,
        throttled_periods: 1_001,
        throttled_us: 96_773_112,
    };
    assert_eq!(Throttled::parse(text), Some(expected));
    let without_controller = "usage_usec 5120339\nuser_usec 1200000\nsystem_usec 3920339\n";
    assert_eq!(Throttled::parse(without_controller), None);
}

#[test]
fn membership_of_both_versions() {
    let text = "12:cpu,cpuacct:/docker/abc\n3:cpuset:/x\n0::/user.slice/a:b\n";
    let groups = Membership::parse(text);
    assert_eq!(groups.unified.as_deref(), Some("/user.slice/a:b"));
    assert_eq!(groups.cpu.as_deref(), Some("/docker/abc"));
}

#[test]
fn groups_are_followed_up_to_the_mount() {
    assert_eq!(
        directories("0::/system.slice/weir-agent.service\n", UNIFIED),
        [
            "/sys/fs/cgroup/system.slice/weir-agent.service",
            "/sys/fs/cgroup/system.slice",
            "/sys/fs/cgroup"
        ]
    );
    assert_eq!(
        directories("2:cpuacct:/\n1:cpu:/quota/a\n0::/\n", HYBRID),
        [
            "/sys/fs/cgroup/cpu/quota/a",
            "/sys/fs/cgroup/cpu/quota",
            "/sys/fs/cgroup/cpu",
            "/sys/fs/cgroup/unified"
        ]
    );
}

#[test]
fn a_container_sees_its_own_group_at_the_mount() {
    assert_eq!(
        directories("4:cpu,cpuacct:/docker/5f3c\n", CONTAINER_V1),
        ["/sys/fs/cgroup/cpu,cpuacct"]
    );
    assert_eq!(
        directories("4:cpu,cpuacct:/docker/5f3c/inner\n", CONTAINER_V1),
        [
            "/sys/fs/cgroup/cpu,cpuacct/inner",
            "/sys/fs/cgroup/cpu,cpuacct"
        ]
    );
    // A process of another container, or one beyond the namespace's root.
    for path in ["/docker/other", "/../outside"] {
        assert_eq!(
            directories(
                &format!("0::{path}\n"),
                &UNIFIED.replace("0:30 /", "0:30 /docker/5f3c")
            ),
            ["/sys/fs/cgroup"],
            "{path}"
        );
    }
}

#[test]
fn mount_points_may_hold_spaces() {
    let line = "41 31 0:38 / /mnt/control\\040groups rw - cgroup2 cgroup2 rw\n";
    assert_eq!(mounts(line)[0].point, Path::new("/mnt/control groups"));
}

#[test]
fn quotas_are_thousandths_of_a_core() {
    assert_eq!(cpu_max_milli("50000 100000\n"), Some(500));
    assert_eq!(cpu_max_milli("max 100000\n"), None);
    assert_eq!(cpu_max_milli("1 0"), None);
    assert_eq!(cfs_quota_milli("150000\n", "100000\n"), Some(1500));
    assert_eq!(cfs_quota_milli("-1\n", "100000\n"), None);
}

#[test]
fn this_machine_can_be_read() {
    // A machine without control groups has none; what there is can be read.
    for group in of_this_process() {
        assert!(group.directory.is_absolute(), "{group:?}");
        let (quota, throttled) = (group.quota_milli(), group.throttled());
        assert!(quota != Some(0), "{group:?}");
        assert!(
            throttled.is_none_or(|t| t.throttled_periods <= t.periods),
            "{group:?}: {throttled:?}"
        );
    }
}

proptest! {
    #[test]
    fn odd_text_never_panics(text in "(0::|1:cpu:|nr_periods |throttled_usec |\\d+ \\d+ 0:1 / )?\\PC{0,60}( - cgroup2 )?\\PC{0,20}") {
        Throttled::parse(&text);
        groups(&Membership::parse(&text), &mounts(&text));
        cpu_max_milli(&text);
        cfs_quota_milli(&text, &text);
    }
}
