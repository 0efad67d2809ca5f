//! What is printed: tables for people, documents for programs, progress while waiting.

pub(crate) mod agents;
pub(crate) mod figure;
pub(crate) mod json;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod records;
pub(crate) mod result;
pub(crate) mod runs;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod text;
