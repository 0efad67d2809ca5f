//! The traffic: generators, receivers, pacing, meters, sockets.
//!
//! [`engine`] is the face. Behind it a run is a few threads, however many sessions
//! it has:
//!
//! ```text
//!  run ──┬─ listener (one per bound port): accepts, answers hellos
//!        ├─ crew (at most four): tasks, each a state machine
//!        │    ├─ session (one per end of a pair): dials or waits, sees flows closed
//!        │    ├─ link (one per peer): the closing exchange
//!        │    └─ slow stream (generator or receiver)
//!        └─ one for each fast stream
//! ```
//!
//! Pure cores take instants and events ([`pacer`], [`arrival`], `meter`); the
//! threads around them do the waiting. No packet allocates, locks or logs.

pub mod arrival;
pub mod cgroup;
pub mod clock;
mod consent;
pub mod cpus;
mod drive;
pub mod engine;
mod generator;
mod link;
mod listener;
mod meter;
mod offset;
pub mod pacer;
mod payload;
mod receiver;
mod run;
mod session;
pub mod socket;
mod stamps;
mod throttling;
mod wait;
