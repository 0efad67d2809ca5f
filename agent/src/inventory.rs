//! What this host can do, as the controller and its users see it.
//!
//! Parsers are pure ([`proc`], [`netlink`]); this file reads. What a host does
//! not tell is left empty: an inventory never stops an agent.

mod kernel;
pub mod netlink;
pub mod proc;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use weir_engine::cgroup;
use weir_proto::types::v1 as pb;
use weir_runtime::HostClock;

use crate::policy::Prefix;
use netlink::Interface;
use netlink::counters::Qdisc;

/// Descriptors that the agent needs for itself: link, lock, logs, epoll.
const OWN_DESCRIPTORS: u64 = 64;
/// Descriptors of a session with one stream: data, flow link, wake-ups, one spare.
const DESCRIPTORS_PER_SESSION: u64 = 4;
/// Sessions beyond which memory, not descriptors, is the limit.
const SESSIONS_MOST: u64 = weir_common::assignment::bounds::SESSIONS as u64;

/// The host as it is now.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// What is told to the controller.
    pub inventory: pb::Inventory,
    /// Prefixes of the host's interfaces, for the local policy.
    pub connected: Vec<Prefix>,
}

/// Reads the host. Blocks for some milliseconds of system calls.
pub fn read() -> Host {
    let (interfaces, connected) = interfaces().unwrap_or_else(|error| {
        tracing::warn!(error = %error, "interfaces could not be listed");
        Default::default()
    });
    let status = text("/proc/self/status");
    let capabilities = proc::effective_capabilities(&status);
    let privileged = capabilities.contains(&"cap_net_admin");
    // tcp(7): only allowed ones may be chosen without CAP_NET_ADMIN.
    let usable = if privileged { "available" } else { "allowed" };
    let bundles = weir_engine::socket::bundle_support().ok();
    let kernel = kernel::read();
    let name = rustix::system::uname();
    let inventory = pb::Inventory {
        kernel: name.release().to_string_lossy().into_owned(),
        machine: name.machine().to_string_lossy().into_owned(),
        kernel_boot_id: weir_runtime::host::kernel_boot_id().unwrap_or_default(),
        time_namespace: weir_runtime::host::time_namespace().unwrap_or_default(),
        interfaces,
        cores: proc::allowed_cores(&status).unwrap_or(1),
        cpu_quota_milli: cgroup::quota_milli(&cgroup::of_this_process()),
        capabilities: capabilities.into_iter().map(str::to_owned).collect(),
        congestion_controls: sysctl_words(&format!("tcp_{usable}_congestion_control")),
        congestion_control: sysctl_words("tcp_congestion_control")
            .pop()
            .unwrap_or_default(),
        gso: bundles.is_some_and(|bundles| bundles.gso),
        gro: bundles.is_some_and(|bundles| bundles.gro),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        max_sessions: max_sessions(getrlimit(Resource::Nofile).current),
        distribution: kernel.distribution,
        cpu_model: kernel.cpu_model,
        hypervisor: kernel.hypervisor,
        clocksource: kernel.clocksource,
        sysctls: kernel.sysctls,
        timer_slack_ns: text("/proc/self/timerslack_ns").trim().parse().ok(),
        cpu_set: proc::allowed_cpus(&status).unwrap_or_default().to_owned(),
        binary_sha256: kernel::program_sha256().unwrap_or_default(),
        stream_cpus: String::new(),
        clock_domain: HostClock::from_host().domain(),
    };
    Host {
        inventory,
        connected,
    }
}

/// Reads the interfaces alone, and their prefixes: what may change while an agent runs.
///
/// # Errors
/// The kernel refuses the socket or a question, or does not answer.
pub fn interfaces() -> io::Result<(Vec<pb::Interface>, Vec<Prefix>)> {
    let interfaces = netlink::read()?;
    let offloads = netlink::offloads::read().unwrap_or_default();
    let told = interfaces
        .iter()
        .map(|interface| described(interface, &offloads));
    Ok((told.collect(), connected(&interfaces)))
}

/// The host's name, for an agent without another.
pub fn hostname() -> Option<String> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    (!name.is_empty()).then_some(name)
}

fn described(interface: &Interface, offloads: &BTreeMap<u32, Vec<String>>) -> pb::Interface {
    pb::Interface {
        name: interface.name.clone(),
        addresses: interface
            .addresses
            .iter()
            .map(|(ip, len)| format!("{ip}/{len}"))
            .collect(),
        mtu: interface.mtu,
        qdisc: interface.qdisc.clone(),
        state: interface.state.to_owned(),
        driver: interface.driver.clone(),
        qdiscs: interface.qdiscs.iter().map(Qdisc::describe).collect(),
        offloads: offloads.get(&interface.index).cloned().unwrap_or_default(),
        token_buckets: interface.qdiscs.iter().filter_map(token_bucket).collect(),
    }
}

fn token_bucket(qdisc: &Qdisc) -> Option<pb::TokenBucket> {
    let bucket = qdisc.bucket?;
    Some(pb::TokenBucket {
        place: qdisc.place(),
        rate_bytes: bucket.rate_bytes,
        burst_bytes: bucket.burst_bytes,
        limit_bytes: bucket.limit_bytes.into(),
    })
}

fn connected(interfaces: &[Interface]) -> Vec<Prefix> {
    let addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
    addresses.map(|(ip, len)| Prefix::new(*ip, *len)).collect()
}

/// Sessions that a limit of open files allows at once; `None` = unlimited.
fn max_sessions(open_files: Option<u64>) -> u32 {
    let sessions = open_files.map_or(SESSIONS_MOST, |limit| {
        limit.saturating_sub(OWN_DESCRIPTORS) / DESCRIPTORS_PER_SESSION
    });
    sessions.min(SESSIONS_MOST) as u32
}

/// A file's text, or nothing.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn sysctl_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = text(Path::new("/proc/sys/net/ipv4").join(name))
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_follow_the_limit_of_open_files() {
        assert_eq!(max_sessions(Some(1024)), 240);
        assert_eq!(max_sessions(Some(10)), 0);
        assert_eq!(max_sessions(Some(1 << 30)), 4096);
        assert_eq!(max_sessions(None), 4096);
    }

    #[test]
    fn this_host_can_be_read() {
        let host = read();
        assert!(!host.inventory.kernel.is_empty() && host.inventory.cores > 0);
        let loopback = host.inventory.interfaces.iter().find(|i| i.name == "lo");
        assert!(
            loopback.is_some_and(|lo| lo.mtu > 0),
            "{:?}",
            host.inventory.interfaces
        );
    }
}
