//! The services: decode, call, encode. Who may call them is decided before, by
//! the peer's role ([`access`]); see also [`crate::app`].

mod access;
mod agent_service;
mod artifacts;
mod control;
mod controller_service;
mod denials;
mod enrol;
mod hello;
mod issue;
mod records;
mod status;
mod tokens;
mod upload;

pub use self::access::Access;
pub use self::agent_service::AgentGateway;
pub use self::controller_service::{Info, OperatorGateway};
pub use self::enrol::{ENROL_MESSAGE_BYTES, EnrolGateway};
