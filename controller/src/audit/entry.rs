//! What an audit entry says.

use std::fmt;
use std::net::SocketAddr;

use serde_json::{Map, Value};
use weir_experiment::output::text::{cut, printable};

use crate::listener::{Peer, Transport};

/// Most characters of one text of an entry.
const TEXT: usize = 400;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The first entry of a file.
    ChainBegan,
    /// The controller serves.
    ControllerStarted,
    /// A join token was made.
    TokenCreated,
    /// A join token was taken back.
    TokenRevoked,
    /// A token was turned into a certificate, or was refused.
    Enrolment,
    /// A certificate was renewed, or that was refused.
    Renewal,
    /// A peer was put on the deny list.
    Denied,
    /// A peer was taken off the deny list.
    Allowed,
    /// A connection was refused before its first call.
    Connection,
    /// A call was refused by the table of methods and roles.
    Call,
    /// An agent's control session: refused at its Hello or for what it said.
    Session,
    /// An agent's records stream was refused.
    Records,
    /// An agent sent other content under numbers that it had used.
    Conflict,
    /// An agent knows more than the database: an older one was put back.
    OldDatabase,
    /// A name was asked for with another key than the one that owns it.
    NameKey,
    /// A run was started, or refused.
    RunStarted,
    /// A run was stopped.
    RunStopped,
    /// A run was deleted.
    RunDeleted,
    /// An agent's own policy refused what it was assigned.
    Policy,
    /// So many refusals were not written one by one.
    Omitted,
    /// So many entries are missing: the disk or the queue was full.
    Lost,
}

impl Event {
    /// The word of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChainBegan => "chain-began",
            Self::ControllerStarted => "controller-started",
            Self::TokenCreated => "token-created",
            Self::TokenRevoked => "token-revoked",
            Self::Enrolment => "enrolment",
            Self::Renewal => "renewal",
            Self::Denied => "denied",
            Self::Allowed => "allowed",
            Self::Connection => "connection",
            Self::Call => "call",
            Self::Session => "session",
            Self::Records => "records",
            Self::Conflict => "conflict",
            Self::OldDatabase => "old-database",
            Self::NameKey => "name-key",
            Self::RunStarted => "run-started",
            Self::RunStopped => "run-stopped",
            Self::RunDeleted => "run-deleted",
            Self::Policy => "policy",
            Self::Omitted => "omitted",
            Self::Lost => "lost",
        }
    }
}

/// Who did it, as far as the transport or a proof vouches for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// agent, operator, viewer, controller; empty = not known.
    pub role: &'static str,
    /// The name that is vouched for, or was claimed when the entry is a refusal.
    pub name: Option<String>,
    /// User id, on a unix socket.
    pub uid: Option<u32>,
    /// Serial of the certificate, hexadecimal.
    pub serial: Option<String>,
    /// Where from, on TCP.
    pub address: Option<SocketAddr>,
}

impl Who {
    /// The controller itself.
    pub fn controller() -> Self {
        Self {
            role: "controller",
            ..Self::default()
        }
    }

    /// An agent that has proved its name.
    pub fn agent(name: impl fmt::Display) -> Self {
        let who = Self {
            role: "agent",
            ..Self::default()
        };
        who.named(name)
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, name: impl fmt::Display) -> Self {
        self.name = Some(text(&name.to_string()));
        self
    }

    /// What of it counts as the same peer: one host has many ports, and names are free to claim.
    pub(super) fn origin(&self) -> String {
        match (&self.serial, self.address, self.uid) {
            (Some(serial), ..) => format!("serial {serial}"),
            (None, Some(address), _) => format!("address {}", address.ip()),
            (None, None, Some(uid)) => format!("uid {uid}"),
            (None, None, None) => self.role.to_owned(),
        }
    }
}

impl From<&Peer> for Who {
    fn from(peer: &Peer) -> Self {
        let mut who = Self {
            role: peer.role.as_str(),
            name: peer.name.as_ref().map(ToString::to_string),
            ..Self::default()
        };
        match &peer.transport {
            Transport::Unix { uid } => who.uid = *uid,
            Transport::Tcp => {}
            Transport::Tls { address, serial } => {
                who.address = Some(*address);
                who.serial = Some(serial.clone()).filter(|serial| !serial.is_empty());
            }
        }
        who
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Done,
    Refused,
    Failed,
}

/// One thing that happened. Texts of others are escaped and cut here, once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    event: Event,
    who: Who,
    method: String,
    object: String,
    outcome: Outcome,
    reason: String,
}

impl Entry {
    /// Something that was done.
    pub fn new(event: Event, who: Who) -> Self {
        Self {
            event,
            who,
            method: String::new(),
            object: String::new(),
            outcome: Outcome::Done,
            reason: String::new(),
        }
    }

    /// The call with which it was asked for, such as `ControllerService/Stop`.
    #[must_use]
    pub fn by(mut self, method: &str) -> Self {
        self.method = text(method);
        self
    }

    /// What it was done to.
    #[must_use]
    pub fn to(mut self, object: impl fmt::Display) -> Self {
        self.object = text(&object.to_string());
        self
    }

    /// More about what was done.
    #[must_use]
    pub fn because(mut self, reason: impl fmt::Display) -> Self {
        self.reason = text(&reason.to_string());
        self
    }

    /// It was refused, and why.
    #[must_use]
    pub fn refused(mut self, reason: impl fmt::Display) -> Self {
        self.outcome = Outcome::Refused;
        self.because(reason)
    }

    /// It failed, and why.
    #[must_use]
    pub fn failed(mut self, reason: impl fmt::Display) -> Self {
        self.outcome = Outcome::Failed;
        self.because(reason)
    }

    /// Whether it may be coalesced.
    pub(super) fn is_refusal(&self) -> bool {
        self.outcome == Outcome::Refused
    }

    /// Whom it is about.
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// The same entry with the port left out: a peer that tries again has another one.
    pub(super) fn without_port(&self) -> Self {
        let mut entry = self.clone();
        if let Some(address) = &mut entry.who.address {
            address.set_port(0);
        }
        entry
    }

    /// Its fields in the order of the log; those that are empty are left out.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut put = |key: &str, value: Value| {
            if value.as_str() != Some("") && !value.is_null() {
                fields.insert(key.to_owned(), value);
            }
        };
        let outcome = match self.outcome {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        };
        put("event", self.event.as_str().into());
        put("outcome", outcome.into());
        put("reason", self.reason.as_str().into());
        put("role", self.who.role.into());
        put("name", self.who.name.as_deref().into());
        put("uid", self.who.uid.into());
        put("serial", self.who.serial.as_deref().into());
        let address = self.who.address.map(|address| match address.port() {
            0 => address.ip().to_string(),
            _ => address.to_string(),
        });
        put("address", address.into());
        put("method", self.method.as_str().into());
        put("object", self.object.as_str().into());
        fields
    }
}

/// A text of another, harmless and bounded.
fn text(text: &str) -> String {
    // Cut first: escaping makes it at most ten times as long.
    cut(&printable(&cut(text, TEXT)), TEXT)
}
