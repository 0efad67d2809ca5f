//! The agent daemon: keeps the link with the controller, turns assignments into
//! traffic through the engine, and delivers records.
//!
//! An [`Agent`] is a value: nothing here is static, and any number of them run in
//! one runtime.
//!
//! ```text
//!  controller <── control stream ──> control ──┐              ┌── engine
//!                                              ├─ supervisor ─┤    │ events
//!  controller <── records stream ──> records ──┘     │        └────┘
//!                                       └── outbox ──┴─ data directory
//! ```
#![forbid(unsafe_code)]

mod agent;
mod alone;
mod args;
mod artifacts;
mod credentials;
pub mod inventory;
mod link;
pub mod name;
mod observe;
pub mod outbox;
pub mod policy;
mod runs;
pub mod simulation;
mod state;
mod supervisor;
pub mod traffic;

pub use agent::{Agent, AgentConfig, AgentError};
pub use alone::args::{Alone, GenerateArgs, Listen, ReceiveArgs};
pub use args::{AgentArgs, ArgsError, run_command};
pub use credentials::{CredentialsError, EnrolConfig, TokenSource};
