//! The controller: from a campaign to a verdict.
//!
//! [`grpc`] decodes, calls and encodes; [`planner`], [`analysis`] and
//! [`run::machine`] are pure; [`ingest`] takes records in, [`store`] keeps
//! them, [`export`] gives them out; [`app`] alone names a concrete store and
//! binds the listeners.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod app;
pub mod export;
pub mod grpc;
pub mod ingest;
pub mod listener;
pub mod plan;
pub mod planner;
pub mod registry;
pub mod run;
pub mod store;
