//! Placeholder module documentation.

pub mod plan;
pub mod planner;
pub mod store;
pub mod ingest;
