//! Who is connected: what it may do, how it is connected, who vouches for its name.

use std::fmt;
use std::net::SocketAddr;

use weir_common::id::AgentName;

use super::gate::Called;
use crate::deny::Standing;
use crate::store::Subject;

/// What a connection may do; set by the listener it came to, over TLS within
/// what its certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Register, take assignments, deliver records.
    Agent,
    /// Everything an experimenter does.
    Operator,
    /// What an experimenter reads.
    Viewer,
    /// Nothing but to enrol: it has no certificate yet.
    Newcomer,
}

impl Role {
    /// The word for it in certificates, messages and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Newcomer => "newcomer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a peer is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// A unix socket; the user id that the kernel vouches for, if it does.
    Unix {
        /// User id.
        uid: Option<u32>,
    },
    /// A loopback TCP connection.
    Tcp,
    /// A TLS connection.
    Tls {
        /// Where it comes from.
        address: SocketAddr,
        /// Serial number of its certificate, hexadecimal; empty for a newcomer.
        serial: String,
    },
}

/// Who speaks: put into each request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it may do.
    pub role: Role,
    /// The name that the transport vouches for: that in its certificate. A plain
    /// socket vouches for none: an agent proves its name in Hello.
    pub name: Option<AgentName>,
    /// How it is connected.
    pub transport: Transport,
}

impl Peer {
    /// What of it a denial may concern: the name and the number of its certificate.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let name = self.name.clone().and_then(|name| match self.role {
            Role::Agent => Some(Subject::Agent(name)),
            Role::Operator => Some(Subject::Operator(name)),
            Role::Viewer => Some(Subject::Viewer(name)),
            Role::Newcomer => None,
        });
        let serial = match &self.transport {
            Transport::Tls { serial, .. } if !serial.is_empty() => {
                Some(Subject::Serial(serial.clone()))
            }
            _ => None,
        };
        name.into_iter().chain(serial).collect()
    }
}

/// What a connection is, before its calls are looked at: put into each
/// request's extensions.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who speaks.
    pub peer: Peer,
    /// To be set by the first call.
    pub called: Called,
    /// Whether it is let in still.
    pub standing: Standing,
}
