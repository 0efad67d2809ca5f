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

use super::host::Host;
use crate::policy::LocalPolicy;
use crate::supervisor::chain;

/// A share that is being prepared or runs. Its events have to be taken.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) handle: RunHandle,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
}

impl Share {
    /// Begins to prepare.
    ///
    /// # Errors
    /// A sentence: why nothing of it can be prepared.
    pub(super) fn begin(host: &Host, peer: IpAddr, assignment: Assignment) -> Result<Self, String> {
        let engine = Engine::new(EngineConfig {
            clock: Arc::new(MonotonicClock::from_host()),
            sockets: Arc::new(DirectProvider),
            policy: Arc::new(OnlyPeer {
                peer: peer.to_canonical(),
                local: host.policy(peer),
            }),
            // Any port: the usual one is where generators are awaited.
            default_port: 0,
            clock_domain: host.inventory.kernel_boot_id.clone(),
            cpus: None,
        });
        let (sender, events) = mpsc::unbounded_channel();
        let handle = engine
            .prepare(Arc::new(assignment), Arc::new(Queue(sender)))
            .map_err(|error| chain(&error))?;
        Ok(Self { handle, events })
    }
}

struct Queue(mpsc::UnboundedSender<Event>);

impl Sink for Queue {
    fn event(&self, _run: RunId, event: Event) {
        // Nobody listens once the meeting has ended; then nothing matters any more.
        let _ended = self.0.send(event).is_err();
    }
}

/// What this host allows, towards one address.
struct OnlyPeer {
    peer: IpAddr,
    local: LocalPolicy,
}

impl Policy for OnlyPeer {
    fn allows_destination(&self, address: IpAddr) -> Result<(), String> {
        if address.to_canonical() != self.peer {
            return Err(format!(
                "{address} is not the peer {}: without a controller there is only one",
                self.peer
            ));
        }
        self.local.destination(address)
    }
}

/// A row or a manifest.
pub(super) fn entry(event: &Event) -> Option<Entry> {
    match event {
        Event::Record(record) => Some(Entry::Record(record.clone())),
        Event::Closed(closed) => Some(Entry::Closed(closed.clone())),
        _ => None,
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
            },
        };
        let allows = |text: &str| policy.allows_destination(text.parse().unwrap());
        assert!(allows("10.0.0.2").is_ok());
        assert!(allows("::ffff:10.0.0.2").is_ok());
        assert!(allows("10.0.0.3").is_err_and(|why| why.contains("10.0.0.2")));
        assert!(allows("127.0.0.1").is_err());
    }
}
