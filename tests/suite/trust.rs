//! Who is believed: names and their keys, copies of data directories; and the
//! agent as one static file; what a host allows; agents of other hosts.

mod agent_file;
mod audit;
mod deny;
mod enrol;
mod login;
mod names;
mod policy;
mod privileges;
mod remote;
mod secrets;
