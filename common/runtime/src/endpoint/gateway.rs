//! `gateway:PORT`: where the host of an emulated network listens, seen from
//! one of its machines.
//!
//! That is the first address of the machine's own network: Docker gives it to
//! the host that the containers run on. The default route's next hop is not
//! it: in an emulated network that is a router, another machine. The routing
//! table says which networks are a machine's own (proc_net(5), `route`); the
//! interface of the default route comes first, then the order of the table.

use std::io;
use std::net::Ipv4Addr;

/// A network without a first address of its own has a longer prefix.
const LONGEST_PREFIX: u32 = 30;

/// Finds the address now; addresses of a machine may change.
pub(super) fn find() -> io::Result<Ipv4Addr> {
    let table = std::fs::read_to_string("/proc/net/route")?;
    first_address(&table).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "this host has no IPv4 network of its own, so it has no gateway: name the controller with tcp://HOST:PORT",
        )
    })
}

struct Route<'a> {
    interface: &'a str,
    destination: u32,
    gateway: u32,
    mask: u32,
}

/// The kernel prints an address as the number that its bytes are in memory.
fn routes(table: &str) -> impl Iterator<Item = Route<'_>> {
    let address = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    table.lines().skip(1).filter_map(move |line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [interface, destination, gateway, _, _, _, _, mask, ..] = columns.as_slice() else {
            return None;
        };
        Some(Route {
            interface,
            destination: address(destination)?,
            gateway: address(gateway)?,
            mask: address(mask)?,
        })
    })
}

fn first_address(table: &str) -> Option<Ipv4Addr> {
    let default = routes(table).find(|route| route.destination == 0 && route.mask == 0);
    let own = |route: &Route<'_>| {
        let local = Ipv4Addr::from(route.destination);
        route.gateway == 0
            && (1..=LONGEST_PREFIX).contains(&route.mask.leading_ones())
            && !local.is_link_local()
            && !local.is_loopback()
    };
    let preferred = default.and_then(|default| {
        routes(table).find(|route| own(route) && route.interface == default.interface)
    });
    let route = preferred.or_else(|| routes(table).find(own))?;
    Some(Ipv4Addr::from(route.destination + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn found(rows: &[&str]) -> Option<Ipv4Addr> {
        first_address(&format!("{HEAD}{}\n", rows.join("\n")))
    }

    #[test]
    fn the_network_of_the_default_route_comes_first() {
        // default via 10.150.0.254 dev net0; 10.2.0.0/24 dev eth9; 10.150.0.0/24 dev net0
        let rows = [
            "net0\t00000000\tFE00960A\t0003\t0\t0\t0\t00000000\t0\t0\t0",
            "eth9\t0000020A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
            "net0\t0000960A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
        ];
        assert_eq!(found(&rows), Some(Ipv4Addr::new(10, 150, 0, 1)));
        assert_eq!(found(&rows[1..]), Some(Ipv4Addr::new(10, 2, 0, 1)));
    }

    #[test]
    fn what_is_no_network_of_ones_own_is_passed_over() {
        let rows = [
            // 169.254.0.0/16, a /32, a route through a router
            "net0\t0000FEA9\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0",
            "net0\t0100000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0",
            "net0\t0000030A\t0100020A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0",
            "short",
            "net0\tXX\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0",
        ];
        assert_eq!(found(&rows), None);
        assert_eq!(found(&[]), None);
    }
}
