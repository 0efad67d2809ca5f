//! One agent's share of a plan: the assignment that is sent to it.

use std::net::IpAddr;

use weir_common::assignment::{
    Assignment, Family, Kind, Observe, OnControllerLoss, Peer, SessionSpec,
};
use weir_common::id::{AgentName, RunId};
use weir_common::record::End;

use super::{Plan, PlannedHost, PlannedSession, address};

impl Plan {
    /// The assignment of one agent; `None` if it takes no part. Always the same for the same arguments, so
    /// that a restarted controller sends what was accepted before.
    pub fn assignment(&self, agent: &AgentName, run: RunId, nonce: u64) -> Option<Assignment> {
        let observe = self.observe(agent);
        let Some(host) = self.host(agent) else {
            self.observer(agent)?;
            return Some(self.share(run, nonce, Vec::new(), observe));
        };
        let mut sessions = Vec::with_capacity(host.sessions as usize);
        for session in &self.sessions {
            if session.from == *agent {
                sessions.push(self.spec(session, End::Tx, host, &session.to)?);
            } else if session.to == *agent {
                sessions.push(self.spec(session, End::Rx, host, &session.from)?);
            }
        }
        if sessions.is_empty() {
            return None;
        }
        Some(self.share(run, nonce, sessions, observe))
    }

    /// What an agent watches: its interfaces, and its kernel if no other does.
    fn observe(&self, agent: &AgentName) -> Observe {
        let kernel = self.kernel_of(agent).unwrap_or_default();
        Observe {
            links: true,
            kernel: self.reporter(kernel) == Some(agent),
        }
    }

    fn share(
        &self,
        run: RunId,
        nonce: u64,
        sessions: Vec<SessionSpec>,
        observe: Observe,
    ) -> Assignment {
        // Receivers draw nothing.
        let traces = self.traces.iter().filter(|trace| {
            let mut generators = sessions.iter().filter(|spec| spec.end == End::Tx);
            generators.any(|spec| {
                let Kind::Socket(traffic) = &spec.kind;
                traffic.names(trace)
            })
        });
        let traces = traces.cloned().collect();
        Assignment {
            run,
            nonce,
            seed: self.seed,
            interval_ns: self.interval_ns,
            linger_ns: self.linger_ns,
            settle_ns: self.settle_ns,
            end_ns: self.end_ns,
            on_controller_loss: OnControllerLoss::RunToEnd,
            sessions,
            observe,
            traces,
        }
    }

    fn spec(
        &self,
        session: &PlannedSession,
        end: End,
        host: &PlannedHost,
        peer: &AgentName,
    ) -> Option<SessionSpec> {
        let dials = session.dials == end;
        // `bind` is where the data leaves: a dialling generator sends from it, a listening one is dialled at it.
        let mut addresses = address::reachable(host, self.host(peer)?);
        match (session.bind, end) {
            (Some(bind), End::Tx) => {
                addresses.retain(|address| address.is_ipv4() == bind.is_ipv4());
            }
            (Some(bind), End::Rx) => addresses = vec![bind],
            (None, _) => {}
        }
        Some(SessionSpec {
            session: session.id,
            end,
            dials,
            kind: Kind::Socket(session.traffic.clone()),
            peer: Peer::Agent {
                name: peer.clone(),
                addresses,
            },
            tags: session.tags.clone(),
            segments: session.segments.clone(),
            family: family(session.bind),
            source_address: session.bind.filter(|_| dials && end == End::Tx),
            source_interface: session
                .interface
                .clone()
                .filter(|_| dials && end == End::Tx),
            source_port: session.source_port.filter(|_| dials && end == End::Tx),
            port: session.port,
        })
    }
}

/// A bound source leaves one family.
fn family(bind: Option<IpAddr>) -> Family {
    match bind {
        None => Family::Any,
        Some(IpAddr::V4(_)) => Family::V4,
        Some(IpAddr::V6(_)) => Family::V6,
    }
}
