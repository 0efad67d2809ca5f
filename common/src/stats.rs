//! What a meter computes from packets: delay histograms, jitter, loss.
//!
//! Everything here is arithmetic on events with the time passed in: no clock,
//! no I/O. Generators, receivers, the controller's aggregation and the tests
//! share these definitions, so that one figure means the same everywhere.

pub mod histogram;
pub mod jitter;
pub mod loss;

pub use histogram::{Histogram, HistogramError};
pub use jitter::{Jitter, JitterWindow};
pub use loss::{Arrival, Bursts, CohortSpan, CohortTotals, FinalCount, IntervalCounts, LossWindow};
