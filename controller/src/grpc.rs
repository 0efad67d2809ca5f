//! The services: decode, call, encode. What they serve is decided by the
//! listener's role; see [`crate::app`].

mod agent_service;
mod control;
mod controller_service;
mod hello;
mod records;
mod status;

pub use self::agent_service::AgentGateway;
pub use self::controller_service::{Info, OperatorGateway};
