//! The traffic: generators, receivers, pacing, meters, sockets.
//!
//! [`engine`] is the face. Behind it a run is a few kinds of threads:
//!
//! ```text
//!  run ──┬─ listener (one per bound port): accepts, answers hellos
//!        ├─ session (one per end of a pair): dials or waits, then is stream 0
//!        │    └─ stream 1.. (generator or receiver)
//!        └─ link (one per peer): the closing exchange
//! ```
//!
//! A stream is a state machine (`generator`, `receiver`) that `drive` calls when
//! there is something to do.
//!
//! Pure cores take instants and events ([`pacer`], [`arrival`], `meter`); the
//! threads around them do the waiting. No packet allocates, locks or logs.

pub mod arrival;
pub mod clock;
mod drive;
pub mod engine;
mod generator;
mod link;
mod listener;
mod meter;
pub mod pacer;
mod receiver;
mod run;
mod session;
pub mod socket;
mod wait;
