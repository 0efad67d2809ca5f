//! At which addresses one host of a plan dials another.

use std::net::IpAddr;

use super::PlannedHost;

/// Addresses of `peer` for `host` to use, best first; empty when there is none that can work.
///
/// 1. Addresses of a family that `host` has too; those on a network of `host` before the others.
/// 2. Then loopback, if the two are one network stack: the same kernel, and the same addresses apart from
///    loopback. It comes last since an agent sends to it only in a lab; agents of a lab without a network
///    have nothing else.
/// 3. Loopback of another stack, and addresses that need an interface or name no single host, never.
pub(crate) fn reachable(host: &PlannedHost, peer: &PlannedHost) -> Vec<IpAddr> {
    let own: Vec<IpAddr> = host.addresses.iter().copied().filter(usable).collect();
    let theirs: Vec<IpAddr> = peer.addresses.iter().copied().filter(usable).collect();
    let one_kernel = !host.kernel.is_empty() && host.kernel == peer.kernel;
    let one_stack = one_kernel && same(&own, &theirs);
    let family = |address: &IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    let near = |address: &IpAddr| own.iter().any(|own| on_one_network(own, address));
    let (mut found, farther): (Vec<IpAddr>, Vec<IpAddr>) =
        theirs.into_iter().filter(family).partition(near);
    found.extend(farther);
    found.truncate(ADDRESSES);
    if one_stack {
        let shared = |address: &&IpAddr| address.is_loopback() && host.addresses.contains(address);
        found.extend(peer.addresses.iter().filter(shared));
    }
    found
}

/// The most addresses besides loopback that an assignment names for a peer: enough for any host, and within its bound of 64.
const ADDRESSES: usize = 16;

fn usable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

fn same(left: &[IpAddr], right: &[IpAddr]) -> bool {
    left.len() == right.len() && left.iter().all(|address| right.contains(address))
}

/// True for a shared /24 or /64: what local networks nearly always are, and only a preference.
fn on_one_network(left: &IpAddr, right: &IpAddr) -> bool {
    match (left, right) {
        (IpAddr::V4(left), IpAddr::V4(right)) => left.octets()[..3] == right.octets()[..3],
        (IpAddr::V6(left), IpAddr::V6(right)) => left.octets()[..8] == right.octets()[..8],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn host(kernel: &str, addresses: &[&str]) -> PlannedHost {
        PlannedHost {
            name: "a".parse().unwrap(),
            labels: BTreeMap::new(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            kernel: kernel.to_owned(),
            clock: kernel.to_owned(),
            sessions: 0,
        }
    }

    fn texts(host: &PlannedHost, peer: &PlannedHost) -> Vec<String> {
        reachable(host, peer)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn prefers_the_same_network_and_family() {
        let from = host("k", &["10.150.0.71"]);
        let to = host(
            "k",
            &[
                "fd00::1",
                "10.99.0.1",
                "10.150.0.72",
                "fe80::1",
                "127.0.0.1",
            ],
        );
        assert_eq!(texts(&from, &to), ["10.150.0.72", "10.99.0.1"]);
        assert!(texts(&host("k", &["fd01::1"]), &from).is_empty());
    }

    #[test]
    fn loopback_only_within_one_stack() {
        let lab = host("k", &["127.0.0.1"]);
        assert_eq!(texts(&lab, &lab), ["127.0.0.1"]);
        assert!(texts(&lab, &host("other", &["127.0.0.1"])).is_empty());
        let wired = host("k", &["192.168.1.5", "127.0.0.1"]);
        assert_eq!(texts(&wired, &wired), ["192.168.1.5", "127.0.0.1"]);
        let neighbour = host("k", &["192.168.1.6", "127.0.0.1"]);
        assert_eq!(texts(&wired, &neighbour), ["192.168.1.6"]);
    }
}
