//! Who captures packets: sockets that see everything in this host's network
//! namespace, and known programs anywhere on its kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use weir_common::observation::Observer;

use super::proc::{PacketSocket, packet_sockets, socket_inode};

/// Programs that capture, by what /proc/PID/comm says (15 bytes at most).
const CAPTURES: [&str; 9] = [
    "tcpdump",
    "dumpcap",
    "tshark",
    "wireshark",
    "seedemu_sniffer",
    "ngrep",
    "netsniff-ng",
    "suricata",
    "snort",
];

/// Programs that hold a packet socket for every protocol and read only what is
/// meant for them: clients of DHCP and LLDP.
const NOT_CAPTURES: [&str; 7] = [
    "dhclient",
    "dhcpcd",
    "udhcpc",
    "systemd-network",
    "NetworkManager",
    "wpa_supplicant",
    "lldpd",
];

/// Captures named in one observation.
const NAMED_MOST: usize = 64;

/// Whom an agent has seen since it began to look.
#[derive(Debug, Default)]
pub(super) struct Captures {
    seen: BTreeSet<Observer>,
    /// Packet sockets that were looked up already.
    known: BTreeSet<PacketSocket>,
}

impl Captures {
    /// Looks at the packet sockets of this network namespace. Cheap while
    /// nothing changes. `name_of` gives the name of an interface.
    pub(super) fn look_here(&mut self, name_of: impl Fn(u32) -> Option<String>) {
        let sockets = packet_sockets(&text("/proc/net/packet"));
        let fresh: Vec<PacketSocket> = sockets.difference(&self.known).copied().collect();
        if fresh.is_empty() {
            return;
        }
        let holders = holders(&fresh.iter().map(|socket| socket.inode).collect());
        for socket in fresh {
            self.known.insert(socket);
            let holder = holders.get(&socket.inode);
            let own = holder.is_some_and(|holder| holder.pid == std::process::id());
            if own || holder.is_some_and(|holder| NOT_CAPTURES.contains(&holder.name.as_str())) {
                continue;
            }
            self.add(Observer {
                who: holder
                    .map_or_else(|| "packet socket".to_owned(), |holder| holder.name.clone()),
                pid: holder.map(|holder| holder.pid),
                interface: socket.interface.and_then(&name_of),
                here: true,
            });
        }
    }

    /// Looks for known programs among all processes that can be seen.
    pub(super) fn look_everywhere(&mut self) {
        let own = namespace(Path::new("/proc/self"));
        for (pid, directory) in processes() {
            let Some(name) = name(&directory) else {
                continue;
            };
            if !CAPTURES.contains(&name.as_str()) {
                continue;
            }
            // Those of this namespace are known by their sockets, with their interface.
            let here = own.is_some() && namespace(&directory) == own;
            let told = |observer: &Observer| observer.pid == Some(pid) && observer.here;
            if here && self.seen.iter().any(told) {
                continue;
            }
            self.add(Observer {
                who: name,
                pid: Some(pid),
                interface: None,
                here,
            });
        }
    }

    fn add(&mut self, observer: Observer) {
        if self.seen.len() < NAMED_MOST {
            self.seen.insert(observer);
        }
    }

    /// Everyone seen.
    pub(super) fn into_observers(self) -> Vec<Observer> {
        self.seen.into_iter().collect()
    }
}

/// A process that holds a socket.
#[derive(Debug)]
struct Holder {
    pid: u32,
    name: String,
}

/// The processes that hold these sockets, by inode. Those of other users can only
/// be seen with the right to.
fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, Holder> {
    let mut found = BTreeMap::new();
    for (pid, directory) in processes() {
        let Ok(descriptors) = fs::read_dir(directory.join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let Ok(link) = fs::read_link(descriptor.path()) else {
                continue;
            };
            let inode = socket_inode(&link.to_string_lossy());
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                let name = name(&directory).unwrap_or_default();
                found.entry(inode).or_insert(Holder { pid, name });
            }
        }
        if found.len() == inodes.len() {
            break;
        }
    }
    found
}

/// All processes that can be seen, by their number.
fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    })
}

fn name(directory: &Path) -> Option<String> {
    let name = fs::read_to_string(directory.join("comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Identity of a process's network namespace.
fn namespace(directory: &Path) -> Option<PathBuf> {
    fs::read_link(directory.join("ns/net")).ok()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_with_its_process() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let inode = socket_inode(&link.to_string_lossy()).unwrap();
        let found = holders(&BTreeSet::from([inode]));
        assert_eq!(found[&inode].pid, std::process::id());
        assert!(!found[&inode].name.is_empty());
    }

    #[test]
    fn names_fit_what_the_kernel_keeps() {
        for name in CAPTURES.iter().chain(&NOT_CAPTURES) {
            assert!(name.len() <= 15, "{name}");
        }
    }
}
