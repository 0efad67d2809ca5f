//! Agents against a controller that the test plays.

mod controller;
mod link;
mod loopback;
mod spool;
mod traffic;
