//! Placeholder module documentation.

pub mod plan;
pub mod store;
