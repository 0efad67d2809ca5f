//! Up to which rate sessions send their datagrams one by one when the campaign
//! leaves it to weir (`gso = "auto"`).

use std::collections::{BTreeMap, BTreeSet};

use weir_common::assignment::{Bundles, Transport};
use weir_common::id::SessionId;

use crate::plan::Plan;

/// Shares what each kernel sends singly among the sessions that leave it to weir
/// and are active at once: what a check measured for it (packets a second by boot
/// id), else [`Bundles::SINGLE_PPS`].
pub(super) fn share(plan: &mut Plan, measured: &BTreeMap<String, u64>) {
    let auto: BTreeSet<SessionId> = plan
        .sessions
        .iter()
        .filter(|session| {
            session.traffic.transport == Transport::Udp
                && matches!(session.traffic.bundles, Bundles::Auto { .. })
        })
        .map(|session| session.id)
        .collect();
    let kernel = |plan: &Plan, session: SessionId| {
        let from = &plan.session(session)?.from;
        Some(plan.host(from)?.kernel.clone())
    };
    // Sessions at once, by kernel and phase.
    let mut active: BTreeMap<(String, u16), u64> = BTreeMap::new();
    let mut most: BTreeMap<SessionId, (String, Vec<u16>)> = BTreeMap::new();
    for flow in plan
        .flows
        .iter()
        .filter(|flow| auto.contains(&flow.session))
    {
        let Some(kernel) = kernel(plan, flow.session) else {
            continue;
        };
        *active.entry((kernel.clone(), flow.phase)).or_default() += 1;
        let of_session = most.entry(flow.session);
        of_session
            .or_insert_with(|| (kernel, Vec::new()))
            .1
            .push(flow.phase);
    }
    for session in &mut plan.sessions {
        let Some((kernel, phases)) = most.remove(&session.id) else {
            continue;
        };
        let at_once = phases
            .into_iter()
            .filter_map(|phase| active.get(&(kernel.clone(), phase)))
            .max()
            .map_or(1, |count| (*count).max(1));
        let pps = measured
            .get(&kernel)
            .copied()
            .unwrap_or(Bundles::SINGLE_PPS);
        session.traffic.bundles = Bundles::Auto {
            single_below_milli_pps: pps.saturating_mul(1_000) / at_once,
        };
    }
}
