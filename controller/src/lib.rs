//! The controller: from a campaign to a verdict.
//!
//! [`grpc`] decodes, calls and encodes; planning and analysis are those of
//! `weir-experiment` and pure, as is [`run::machine`]; [`ingest`] takes records in, [`store`] keeps
//! them, [`export`] gives them out; [`audit`] tells who did what; [`deny`] ends the
//! connections of who is let in no more; [`app`] alone names a concrete store and
//! binds the listeners.
#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod authority;
pub mod deny;
pub mod export;
pub mod grpc;
pub mod ingest;
pub mod listener;
pub mod registry;
pub mod run;
pub mod store;
pub mod uploads;
