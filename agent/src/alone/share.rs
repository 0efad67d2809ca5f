//! One side's share of a meeting: its assignment in an engine of its own, which
//! reaches nobody but the peer.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use weir_common::assignment::Assignment;
use weir_common::id::RunId;
use weir_common::record::Entry;
use weir_engine::clock::MonotonicClock;
use weir_engine::engine::{Engine, EngineConfig, Event, Policy, RunHandle, Sink};
use weir_engine::socket::DirectProvider;
use weir_proto::convert::{clip, limits};
use weir_proto::peer::v1 as pb;
use weir_proto::peer::v1::frame::Message;
use weir_proto::types::v1 as types;
use weir_runtime::HostClock;

use super::host::Host;
use crate::observe::{self, Observation};
use crate::policy::{LocalPolicy, Service};
use crate::supervisor::chain;

/// What a share tells: its engine, and its observation of this host.
#[derive(Debug)]
pub(super) enum Told {
    Engine(Event),
    Seen(Entry),
    /// The observation has ended.
    SeenAll,
}

impl Told {
    /// Whether nothing comes after it.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Engine(Event::Finished))
    }

    /// What the engine says.
    pub(super) fn engine(self) -> Option<Event> {
        match self {
            Self::Engine(event) => Some(event),
            Self::Seen(_) | Self::SeenAll => None,
        }
    }
}

/// A share that is being prepared or runs. What it tells has to be taken.
///
/// Invariant: `told` is open until [`Told::is_last`] was handed out.
#[derive(Debug)]
pub(super) struct Share {
    handle: RunHandle,
    told: mpsc::UnboundedReceiver<Told>,
    sender: mpsc::UnboundedSender<Told>,
    assignment: Arc<Assignment>,
    clock: HostClock,
    kernel_boot_id: String,
    observation: Option<Observation>,
    /// The engine has finished; the end of the observation is awaited.
    finished: bool,
}

impl Share {
    /// Begins to prepare.
    ///
    /// # Errors
    /// A sentence: why nothing of it can be prepared.
    pub(super) fn begin(host: &Host, peer: IpAddr, assignment: Assignment) -> Result<Self, String> {
        let engine = Engine::new(EngineConfig {
            clock: Arc::new(MonotonicClock::with_namespace_offset(
                host.clock.namespace_offset_ns(),
            )),
            sockets: Arc::new(DirectProvider),
            policy: Arc::new(OnlyPeer {
                peer: peer.to_canonical(),
                local: host.policy(peer),
            }),
            // Any port: the usual one is where generators are awaited.
            default_port: 0,
            clock_domain: host.clock.domain(),
            cpus: None,
        });
        let (sender, told) = mpsc::unbounded_channel();
        let assignment = Arc::new(assignment);
        let handle = engine
            .prepare(Arc::clone(&assignment), Arc::new(Queue(sender.clone())))
            .map_err(|error| chain(&error))?;
        Ok(Self {
            handle,
            told,
            sender,
            assignment,
            clock: host.clock,
            kernel_boot_id: host.inventory.kernel_boot_id.clone(),
            observation: None,
            finished: false,
        })
    }

    /// What the engine is told.
    pub(super) fn engine(&self) -> &RunHandle {
        &self.handle
    }

    /// T0 is known: traffic starts then, and this host is observed from then on.
    pub(super) fn start(&mut self, t0_ns: u64) {
        self.handle.start(t0_ns);
        if self.observation.is_some() || !self.assignment.observe.is_any() {
            return;
        }
        let witness = Witness(self.sender.clone());
        let take = move |entry| witness.tell(Told::Seen(entry));
        let (kernel, assignment) = (self.kernel_boot_id.clone(), Arc::clone(&self.assignment));
        match observe::begin(self.clock, kernel, assignment, t0_ns, take) {
            Ok(observation) => self.observation = Some(observation),
            Err(error) => tracing::warn!(%error, "the host is not observed: no thread"),
        }
    }

    /// Something told, or more of it, at most `most`: adds it to `into`. Cancel-safe.
    pub(super) async fn tell(&mut self, into: &mut Vec<Told>, most: usize) {
        let begun = into.len();
        while into.len() == begun {
            // This side keeps a sender: the channel never closes.
            self.told.recv_many(into, most).await;
            self.put_the_end_last(into, begun);
        }
    }

    /// The engine's last word waits for that of the observation.
    fn put_the_end_last(&mut self, told: &mut Vec<Told>, begun: usize) {
        for word in told.split_off(begun) {
            match word {
                Told::SeenAll => self.observation = None,
                word if word.is_last() => self.finished = true,
                word => told.push(word),
            }
        }
        match &mut self.observation {
            Some(observation) if self.finished => observation.end(),
            None if self.finished => told.push(Told::Engine(Event::Finished)),
            _ => {}
        }
    }
}

/// Tells of an observation, and of its end however it comes about.
struct Witness(mpsc::UnboundedSender<Told>);

impl Witness {
    fn tell(&self, told: Told) {
        // Nobody listens once the meeting has ended.
        let _ended = self.0.send(told).is_err();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.tell(Told::SeenAll);
    }
}

struct Queue(mpsc::UnboundedSender<Told>);

impl Sink for Queue {
    fn event(&self, _run: RunId, event: Event) {
        // Nobody listens once the meeting has ended; then nothing matters any more.
        let _ended = self.0.send(Told::Engine(event)).is_err();
    }
}

/// What this host allows, towards one address.
struct OnlyPeer {
    peer: IpAddr,
    local: LocalPolicy,
}

impl Policy for OnlyPeer {
    fn allows_destination(&self, address: IpAddr, service: Service) -> Result<(), String> {
        if address.to_canonical() != self.peer {
            return Err(format!(
                "{address} is not the peer {}: without a controller there is only one",
                self.peer
            ));
        }
        self.local.destination(address, service)
    }
}

/// A row or a manifest.
pub(super) fn entry(told: &Told) -> Option<Entry> {
    match told {
        Told::Engine(Event::Record(record)) => Some(Entry::Record(record.clone())),
        Told::Engine(Event::Closed(closed)) => Some(Entry::Closed(closed.clone())),
        Told::Engine(_) | Told::SeenAll => None,
        Told::Seen(entry) => Some(entry.clone()),
    }
}

/// Entries as a message.
pub(super) fn rows(entries: &[Entry]) -> Message {
    Message::Rows(pb::Rows {
        entries: entries.iter().map(types::Entry::from).collect(),
    })
}

/// How an end stands, as a message; `None` for what is nobody else's matter.
pub(super) fn news(event: &Event) -> Option<Message> {
    use pb::session_news::State;
    let (session, state) = match event {
        Event::Listening { session, port } => (session, State::ListeningPort((*port).into())),
        Event::Ready { session, .. } => (session, State::Ready(true)),
        Event::Failed {
            session,
            code,
            reason,
            ..
        } => (
            session,
            State::Failed(pb::SessionFailed {
                code: code.as_str().to_owned(),
                reason: clip(reason, limits::REASON),
            }),
        ),
        _ => return None,
    };
    Some(Message::Session(pb::SessionNews {
        session: session.0,
        state: Some(state),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_peer_is_reached() {
        let policy = OnlyPeer {
            peer: "10.0.0.2".parse().unwrap(),
            local: LocalPolicy {
                lab: false,
                connected: Vec::new(),
                max_sessions: 1,
                ..LocalPolicy::default()
            },
        };
        let allows = |text: &str| policy.allows_destination(text.parse().unwrap(), None);
        assert!(allows("10.0.0.2").is_ok());
        assert!(allows("::ffff:10.0.0.2").is_ok());
        assert!(allows("10.0.0.3").is_err_and(|why| why.contains("10.0.0.2")));
        assert!(allows("127.0.0.1").is_err());
    }
}
