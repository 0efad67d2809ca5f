//! Parsers of /proc and of control group files. Odd text gives nothing, never
//! a panic.

/// Names of the bits of `CapEff`, in the order of capabilities(7).
const CAPABILITIES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

/// The value of a `Key:` line of /proc/PID/status.
fn status_value<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.map(str::trim)
}

/// Effective capabilities by name; bits that have no name yet are left out.
pub fn effective_capabilities(status: &str) -> Vec<&'static str> {
    let bits = status_value(status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let bits = bits.unwrap_or(0);
    let set = CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0);
    set.map(|(_, name)| *name).collect()
}

/// How many cores `Cpus_allowed_list` holds, such as `0-3,8`.
pub fn allowed_cores(status: &str) -> Option<u32> {
    let mut cores = 0u32;
    for range in status_value(status, "Cpus_allowed_list")?.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        cores = cores.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(cores)
}

/// The control groups that may limit CPU time, from /proc/PID/cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlGroups {
    /// Path in the unified hierarchy (version 2).
    pub unified: Option<String>,
    /// Path in the `cpu` hierarchy (version 1).
    pub cpu: Option<String>,
}

impl ControlGroups {
    /// Lines are `number:controllers:path` (cgroups(7)).
    pub fn parse(text: &str) -> Self {
        let mut groups = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(number), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == "0" && controllers.is_empty() {
                groups.unified = Some(path.to_owned());
            } else if controllers.split(',').any(|controller| controller == "cpu") {
                groups.cpu = Some(path.to_owned());
            }
        }
        groups
    }
}

/// `cpu.max` of version 2: `max 100000` or `50000 100000`, as thousandths of a core.
pub fn cpu_max_milli(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let (quota, period) = (words.next()?, words.next()?);
    milli(quota.parse().ok()?, period.parse().ok()?)
}

/// Quota and period of version 1, as thousandths of a core; -1 is no quota.
pub fn cfs_quota_milli(quota_us: &str, period_us: &str) -> Option<u64> {
    milli(
        quota_us.trim().parse().ok()?,
        period_us.trim().parse().ok()?,
    )
}

fn milli(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1000)?.checked_div(period_us)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn status_as_the_kernel_writes_it() {
        let status = "Name:\tweir\nCapInh:\t0000000000000000\nCapEff:\t0000000000003000\n\
                      Cpus_allowed:\tf\nCpus_allowed_list:\t0-3,8\n";
        assert_eq!(
            effective_capabilities(status),
            ["cap_net_admin", "cap_net_raw"]
        );
        assert_eq!(allowed_cores(status), Some(5));
        let all = effective_capabilities("CapEff:\t000001ffffffffff\n");
        assert_eq!(
            (all.len(), all.last()),
            (41, Some(&"cap_checkpoint_restore"))
        );
        assert!(effective_capabilities("").is_empty());
        assert_eq!(allowed_cores("Cpus_allowed_list:\t3-1\n"), None);
    }

    #[test]
    fn control_groups_of_both_versions() {
        let text = "12:cpu,cpuacct:/docker/abc\n3:cpuset:/x\n0::/user.slice/a:b\n";
        let groups = ControlGroups::parse(text);
        assert_eq!(groups.unified.as_deref(), Some("/user.slice/a:b"));
        assert_eq!(groups.cpu.as_deref(), Some("/docker/abc"));
    }

    #[test]
    fn quotas_are_thousandths_of_a_core() {
        assert_eq!(cpu_max_milli("50000 100000\n"), Some(500));
        assert_eq!(cpu_max_milli("max 100000\n"), None);
        assert_eq!(cpu_max_milli("1 0"), None);
        assert_eq!(cfs_quota_milli("150000\n", "100000\n"), Some(1500));
        assert_eq!(cfs_quota_milli("-1\n", "100000\n"), None);
    }

    proptest! {
        #[test]
        fn odd_text_never_panics(text in "(CapEff:|Cpus_allowed_list:|0::|)\\PC{0,60}") {
            effective_capabilities(&text);
            allowed_cores(&text);
            ControlGroups::parse(&text);
            cpu_max_milli(&text);
            cfs_quota_milli(&text, &text);
        }
    }
}
