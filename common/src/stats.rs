//! What a meter computes from packets: delay histograms, jitter, loss, outages.
//!
//! Everything here is arithmetic on events with the time passed in: no clock,
//! no I/O. Generators, receivers, the controller's aggregation and the tests
//! share these definitions, so that one figure means the same everywhere.

pub mod histogram;
pub mod jitter;
pub mod lengths;
pub mod loss;
pub mod outage;

pub use histogram::{Histogram, HistogramError};
pub use jitter::{Jitter, JitterWindow};
pub use lengths::Lengths;
pub use loss::{Arrival, CohortSpan, CohortTotals, FinalCount, IntervalCounts, LossWindow};
pub use outage::{Outage, OutageDetector};
