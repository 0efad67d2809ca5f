//! An experiment before and after its traffic: from a campaign to its plan and
//! each agent's assignment, and from what came back to figures, verdict, result
//! document and closing table.
//!
//! Pure: no clock, no store, no network. The controller uses it for runs, an
//! agent without a controller for its own: their figures are the same since
//! they are made here.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod distortion;
pub mod output;
pub mod plan;
pub mod planner;
