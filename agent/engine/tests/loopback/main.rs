//! Whole runs over loopback: two engines in one process, real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clocks;
mod consent;
mod ends;
mod laws;
mod many;
mod options;
mod pair;
mod scripted;
mod sending;
mod tcp;
mod udp;
mod way;
