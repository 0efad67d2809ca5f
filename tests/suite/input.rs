//! What people, agents and disks get wrong: refused with the place, what is
//! wrong with it, and the way out; never a panic.

mod campaign;
mod crowd;
mod database;
mod flood;
mod protobuf;
mod targets;
