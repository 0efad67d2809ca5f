//! The vocabulary of weir: ids, units, time, traffic, campaign, assignment,
//! record and statistics. No I/O, no clock reads, no async.
#![forbid(unsafe_code)]

pub mod assignment;
pub mod campaign;
pub mod id;
pub mod label;
pub mod nearest;
pub mod observation;
pub mod portable;
pub mod record;
pub mod selector;
pub mod stats;
pub mod text;
pub mod traffic;
pub mod unit;
