//! What weir's own traffic looks like on the wire: codecs over bytes.
//!
//! Nothing here touches a socket or a clock. All numbers are big-endian. Bytes
//! from the network may be anything: decoding answers with a small error, never
//! with a panic, and never needs more memory than its documented bound.
//!
//! - [`probe_header`]: the head of every UDP payload.
//! - [`handshake`]: the first bytes of every TCP connection, and the answer.
//! - [`link`]: the messages the two ends of a flow exchange over their link.
#![forbid(unsafe_code)]

mod bytes;
pub mod handshake;
pub mod link;
pub mod probe_header;

pub use handshake::{Answer, HandshakeError, Preamble};
pub use link::{CohortSpan, LinkDecoder, LinkError, LinkMessage, SegmentFinal, SegmentTotals};
pub use probe_header::{ProbeHeader, ProbeHeaderError, ProbeKind};
