//! Parsers of /proc. Odd text gives nothing, never
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

/// `Cpus_allowed_list`: CPUs that may be used, such as `0-3,8`.
pub fn allowed_cpus(status: &str) -> Option<&str> {
    status_value(status, "Cpus_allowed_list")
}

/// How many cores `Cpus_allowed_list` holds, such as `0-3,8`.
pub fn allowed_cores(status: &str) -> Option<u32> {
    let mut cores = 0u32;
    for range in allowed_cpus(status)?.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        cores = cores.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(cores)
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

    proptest! {
        #[test]
        fn odd_text_never_panics(text in "(CapEff:|Cpus_allowed_list:|)\\PC{0,60}") {
            effective_capabilities(&text);
            allowed_cores(&text);
        }
    }
}
