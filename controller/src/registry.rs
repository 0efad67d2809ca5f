//! Who is connected: agents by name, their control sessions, what each is to do.
//!
//! ```text
//!  (unknown) ──admit──▶ alive ──6 s silent──▶ suspect ──15 s silent──▶ lost
//!                         ▲───────heard──────────┘                      │
//!                         └──────────────────admit──────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use weir_common::assignment::Desired;
use weir_common::id::AgentName;
use weir_common::label::Labels;
use weir_experiment::distortion::TokenBucket;
use weir_experiment::planner::AgentFacts;
use weir_proto::agent::v1::ArtifactWanted;
use weir_proto::types::v1::{Interface, Inventory};

use crate::store::AgentRow;

/// Silence after which an agent is suspect: three missed heartbeats.
pub const SUSPECT_NS: u64 = 6_000_000_000;
/// Silence after which it is lost.
pub const LOST_NS: u64 = 15_000_000_000;

/// Files that may be asked of an agent before its stream takes the first.
const WISHES: usize = 16;

/// What an agent is to do: its share of every run, in the order of the runs.
pub type Wanted = Arc<Vec<Desired>>;

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Heard lately.
    Alive,
    /// Silent for 6 s.
    Suspect,
    /// Silent for 15 s, or not connected since the controller started.
    Lost,
}

impl Liveness {
    /// The word printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Lost => "lost",
        }
    }
}

/// One control session of an agent, as its stream holds it.
#[derive(Debug)]
pub struct Session {
    /// The agent.
    pub name: AgentName,
    /// Its epoch.
    pub epoch: u64,
    /// Ends the stream when a newer session has come.
    pub superseded: CancellationToken,
    /// What the agent is to do.
    pub wanted: watch::Receiver<Wanted>,
    /// Files that somebody wants of it.
    pub wishes: mpsc::Receiver<ArtifactWanted>,
}

/// One agent as a person sees it.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// The stored row.
    pub row: AgentRow,
    /// Its host.
    pub inventory: Inventory,
    /// How it is.
    pub liveness: Liveness,
    /// Silence so far, ns; 0 when it is alive.
    pub silent_ns: u64,
}

/// The newest session of an agent.
#[derive(Debug)]
struct Live {
    epoch: u64,
    superseded: CancellationToken,
    wishes: mpsc::Sender<ArtifactWanted>,
}

#[derive(Debug)]
struct Entry {
    row: AgentRow,
    inventory: Inventory,
    session: Option<Live>,
    heard_ns: u64,
    /// Turned out since its last session began.
    expelled: bool,
    lost: bool,
    wanted: watch::Sender<Wanted>,
}

impl Entry {
    fn new(row: AgentRow, heard_ns: u64) -> Self {
        let inventory = Inventory::decode(row.inventory.as_slice()).unwrap_or_default();
        let (wanted, _) = watch::channel(Wanted::default());
        Self {
            row,
            inventory,
            session: None,
            heard_ns,
            expelled: false,
            lost: true,
            wanted,
        }
    }

    fn liveness(&self, now_ns: u64) -> Liveness {
        let silent_ns = now_ns.saturating_sub(self.heard_ns);
        if self.lost || self.expelled || silent_ns >= LOST_NS {
            Liveness::Lost
        } else if self.session.is_none() || silent_ns >= SUSPECT_NS {
            Liveness::Suspect
        } else {
            Liveness::Alive
        }
    }
}

/// All agents.
///
/// Invariant: an agent has at most one session, and that is the newest.
#[derive(Debug, Default)]
pub struct Registry {
    agents: Mutex<BTreeMap<AgentName, Entry>>,
}

impl Registry {
    /// The agents known from before; all are lost until they come back, silent since now.
    pub fn new(known: Vec<AgentRow>, now_ns: u64) -> Self {
        let agents = known
            .into_iter()
            .map(|row| (row.name.clone(), Entry::new(row, now_ns)))
            .collect();
        Self {
            agents: Mutex::new(agents),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentName, Entry>> {
        // Every change under the lock leaves the map whole.
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session of an agent that the store has registered. The newest
    /// epoch wins, whichever comes first: the other session is told to end.
    pub fn admit(&self, row: AgentRow, epoch: u64, now_ns: u64) -> Session {
        let mut agents = self.lock();
        let name = row.name.clone();
        let entry = agents
            .entry(name.clone())
            .or_insert_with(|| Entry::new(row.clone(), now_ns));
        let superseded = CancellationToken::new();
        let wanted = entry.wanted.subscribe();
        let (wish, wishes) = mpsc::channel(WISHES);
        let session = Session {
            name,
            epoch,
            superseded: superseded.clone(),
            wanted,
            wishes,
        };
        if entry
            .session
            .as_ref()
            .is_some_and(|newest| newest.epoch > epoch)
        {
            superseded.cancel();
            return session;
        }
        entry.inventory = Inventory::decode(row.inventory.as_slice()).unwrap_or_default();
        entry.row = row;
        entry.heard_ns = now_ns;
        entry.lost = false;
        entry.expelled = false;
        let live = Live {
            epoch,
            superseded,
            wishes: wish,
        };
        if let Some(older) = entry.session.replace(live) {
            older.superseded.cancel();
        }
        session
    }

    /// Notes a sign of life; `false` when the session is not the newest, or its
    /// agent is lost: others were told so, and it has to say hello again.
    pub fn heard(&self, name: &AgentName, epoch: u64, now_ns: u64) -> bool {
        let mut agents = self.lock();
        let Some(entry) = agents.get_mut(name) else {
            return false;
        };
        let newest = entry
            .session
            .as_ref()
            .is_some_and(|newest| newest.epoch == epoch);
        let current = newest && !entry.lost;
        if current {
            entry.heard_ns = now_ns;
        }
        current
    }

    /// Takes the interfaces of an agent as they are now, if the session is the newest.
    pub fn interfaces(&self, name: &AgentName, epoch: u64, interfaces: Vec<Interface>) {
        if let Some(entry) = self.lock().get_mut(name)
            && matches!(&entry.session, Some(newest) if newest.epoch == epoch)
        {
            entry.inventory.interfaces = interfaces;
        }
    }

    /// Closes a session, if it is still the newest.
    pub fn release(&self, name: &AgentName, epoch: u64) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.session.take_if(|newest| newest.epoch == epoch);
        }
    }

    /// Holds an agent that was turned out for lost at once: nobody waits for it.
    pub fn expel(&self, name: &AgentName) {
        if let Some(entry) = self.lock().get_mut(name)
            && entry.session.is_none()
        {
            entry.expelled = true;
        }
    }

    /// Whether this is the newest session of the agent.
    pub fn is_current(&self, name: &AgentName, epoch: u64) -> bool {
        self.lock()
            .get(name)
            .and_then(|entry| entry.session.as_ref())
            .is_some_and(|newest| newest.epoch == epoch)
    }

    /// Asks an agent for a file; `false` when it has no session, or many wishes wait.
    pub fn wish(&self, name: &AgentName, wanted: ArtifactWanted) -> bool {
        let agents = self.lock();
        let session = agents.get(name).and_then(|entry| entry.session.as_ref());
        session.is_some_and(|session| session.wishes.try_send(wanted).is_ok())
    }

    /// Agents that have become lost since the last call.
    pub fn sweep(&self, now_ns: u64) -> Vec<AgentName> {
        let mut lost = Vec::new();
        for (name, entry) in self.lock().iter_mut() {
            if !entry.lost && entry.liveness(now_ns) == Liveness::Lost {
                entry.lost = true;
                lost.push(name.clone());
            }
        }
        lost
    }

    /// Hands an agent its new desired state; kept for it when it is away.
    pub fn publish(&self, name: &AgentName, items: Vec<Desired>) {
        if let Some(entry) = self.lock().get(name) {
            entry.wanted.send_replace(Arc::new(items));
        }
    }

    /// All agents, by name.
    pub fn view(&self, now_ns: u64) -> Vec<AgentView> {
        self.lock()
            .values()
            .map(|entry| {
                let liveness = entry.liveness(now_ns);
                let silent_ns = match liveness {
                    Liveness::Alive => 0,
                    _ => now_ns.saturating_sub(entry.heard_ns),
                };
                AgentView {
                    row: entry.row.clone(),
                    inventory: entry.inventory.clone(),
                    liveness,
                    silent_ns,
                }
            })
            .collect()
    }

    /// What the planner is told of the agents.
    pub fn facts(&self, now_ns: u64) -> Vec<AgentFacts> {
        self.view(now_ns)
            .into_iter()
            .map(|agent| facts(&agent))
            .collect()
    }
}

/// The planner's view of one agent.
fn facts(agent: &AgentView) -> AgentFacts {
    let inventory = &agent.inventory;
    let mut labels = Labels::default();
    for (key, value) in &agent.row.labels {
        // They were checked when the agent registered.
        labels.insert(key, value).ok();
    }
    let mut addresses = Vec::new();
    let mut mtu = None;
    let mut qdiscs = Vec::new();
    let mut buckets = Vec::new();
    for (interface, usable) in in_use(&inventory.interfaces) {
        // Only where traffic can go: ports of a bridge or idle tunnels limit nothing.
        if interface.mtu > 0 && usable.iter().any(|address| !address.is_loopback()) {
            mtu = Some(mtu.map_or(interface.mtu, |least: u32| least.min(interface.mtu)));
        }
        if usable.iter().any(|address| !address.is_loopback()) {
            // The first word of a line is the kind.
            let kind = |line: &String| line.split_whitespace().next().map(str::to_owned);
            let kinds = interface.qdiscs.iter().filter_map(kind);
            qdiscs.extend(kinds.map(|kind| (interface.name.clone(), kind)));
            buckets.extend(token_buckets(interface));
        }
        addresses.extend(usable);
    }
    addresses.sort_by_key(|address: &IpAddr| (address.is_loopback(), address.is_ipv6()));
    AgentFacts {
        name: agent.row.name.clone(),
        labels,
        addresses,
        mtu,
        kernel_boot_id: inventory.kernel_boot_id.clone(),
        clock_domain: inventory.clock_domain.clone(),
        cores: inventory.cores,
        max_sessions: inventory.max_sessions,
        qdiscs,
        buckets,
        congestion_controls: inventory.congestion_controls.clone(),
        alive: agent.liveness == Liveness::Alive,
    }
}

/// The interfaces that are up, with their addresses; also those that are down when no
/// other leads anywhere. A host that was cut off keeps its address: its flows fail by
/// themselves, and the others of the run go on.
fn in_use(interfaces: &[Interface]) -> Vec<(&Interface, Vec<IpAddr>)> {
    let all = interfaces.iter().map(|interface| {
        let parsed = interface
            .addresses
            .iter()
            .filter_map(|address| address.split('/').next()?.parse().ok());
        let usable = parsed.filter(|address| !is_link_local(address));
        (interface, usable.collect::<Vec<IpAddr>>())
    });
    let (mut up, down): (Vec<_>, Vec<_>) = all.partition(|(each, _)| each.state != "down");
    let leads_out = |(_, usable): &(_, Vec<IpAddr>)| usable.iter().any(|ip| !ip.is_loopback());
    if !up.iter().any(leads_out) {
        up.extend(down);
    }
    up
}

fn token_buckets(interface: &Interface) -> impl Iterator<Item = TokenBucket> {
    interface.token_buckets.iter().map(|bucket| TokenBucket {
        interface: interface.name.clone(),
        place: bucket.place.clone(),
        rate_bytes: bucket.rate_bytes,
        burst_bytes: bucket.burst_bytes,
        limit_bytes: bucket.limit_bytes,
    })
}

/// RFC 3927 and RFC 4291 section 2.5.6: good on one link only.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
