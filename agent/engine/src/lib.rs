//! Placeholder module documentation.

pub mod arrival;
pub mod clock;
pub mod pacer;
pub mod socket;
