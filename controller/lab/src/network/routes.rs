//! Static routes by shortest path: every router reaches every subnet over the
//! fewest hops, ties go to the router declared first.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::Subnet;
use super::{Addresses, Route};

/// A subnet and the routers in it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) subnet: Subnet,
    /// What it belongs to, for errors.
    pub(super) owner: String,
    /// Routers as (index of the node, addresses in this subnet).
    pub(super) routers: Vec<(usize, Addresses)>,
}

/// The way from one router to another.
#[derive(Debug, Clone, Copy)]
struct Path {
    hops: usize,
    /// The address of the first router on the way.
    via: Addresses,
}

/// The default routes of a host behind this router.
pub(super) fn default_routes(router: Addresses) -> Vec<Route> {
    vec![
        Route {
            destination: Ipv4Addr::UNSPECIFIED.into(),
            length: 0,
            via: router.v4.into(),
        },
        Route {
            destination: Ipv6Addr::UNSPECIFIED.into(),
            length: 0,
            via: router.v6.into(),
        },
    ]
}

/// The routes of `router` (an index below `nodes`) to every segment that it
/// is not part of; segments without a path are left out.
pub(super) fn routes_of(router: usize, segments: &[Segment], nodes: usize) -> Vec<Route> {
    let paths = paths_from(router, segments, nodes);
    let mut routes = Vec::new();
    for segment in segments {
        if segment.routers.iter().any(|(member, _)| *member == router) {
            continue;
        }
        let nearest = segment
            .routers
            .iter()
            .filter_map(|(member, _)| paths[*member])
            .min_by_key(|path| path.hops);
        if let Some(path) = nearest {
            routes.push(route(segment.subnet.v4(), path.via.v4));
            routes.push(route(segment.subnet.v6(), path.via.v6));
        }
    }
    routes
}

/// Which of the nodes can be reached from this router, itself included.
pub(super) fn reachable_from(router: usize, segments: &[Segment], nodes: usize) -> Vec<bool> {
    let mut reached: Vec<bool> = paths_from(router, segments, nodes)
        .iter()
        .map(Option::is_some)
        .collect();
    reached[router] = true;
    reached
}

/// Breadth-first search over the segments; the start itself has no path.
fn paths_from(start: usize, segments: &[Segment], nodes: usize) -> Vec<Option<Path>> {
    let mut paths: Vec<Option<Path>> = vec![None; nodes];
    let mut open = VecDeque::from([start]);
    while let Some(router) = open.pop_front() {
        let so_far = paths[router];
        let joined = segments
            .iter()
            .filter(|segment| segment.routers.iter().any(|(member, _)| *member == router));
        for (next, address) in joined.flat_map(|segment| &segment.routers) {
            if *next == start || paths[*next].is_some() {
                continue;
            }
            paths[*next] = Some(Path {
                hops: so_far.map_or(1, |path| path.hops + 1),
                via: so_far.map_or(*address, |path| path.via),
            });
            open.push_back(*next);
        }
    }
    paths
}

fn route<A: Into<IpAddr>>(prefix: (A, u8), via: A) -> Route {
    Route {
        destination: prefix.0.into(),
        length: prefix.1,
        via: via.into(),
    }
}
