//! The link with the controller: two streams on two connections, re-made for ever.

pub(crate) mod backoff;
pub(crate) mod control;
pub(crate) mod records;
mod upload;
