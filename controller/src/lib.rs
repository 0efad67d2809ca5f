//! Placeholder module documentation.

pub mod plan;
