//! From packets and bytes to rows and manifests.
//!
//! - [`interval`]: where the rows of a segment are cut.
//! - [`flow`]: one flow at one end: collects the rows of its streams, makes the
//!   sum rows, and the manifest at the end.
//! - [`datagrams`]: the account of a receiving UDP stream.
//! - [`bytes`]: the account of a receiving TCP stream.
//! - [`sending`]: the account of a sending stream, UDP or TCP.
//! - [`host`]: CPU time and waiting of the calling thread.
//!
//! All but the last are pure: instants are passed in, in nanoseconds from T0.

pub(crate) mod bytes;
pub(crate) mod datagrams;
pub(crate) mod flow;
pub(crate) mod host;
pub(crate) mod interval;
pub(crate) mod sending;
