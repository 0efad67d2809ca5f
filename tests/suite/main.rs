//! The suites that look at the whole: rules of the tree, and end-to-end runs.
//! One binary, so that everything is linked once.

mod alone;
mod artifacts;
mod demo;
mod docs;
mod faults;
mod fidelity;
mod house;
mod input;
mod scale;
mod services;
mod simulation;
mod trust;
