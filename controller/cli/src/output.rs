//! What is printed: tables for people, documents for programs, progress while waiting.

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod denied;
pub(crate) mod json;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod records;
pub(crate) mod runs;
pub(crate) mod screen;
pub(crate) mod tokens;

pub(crate) use weir_experiment::output::{figure, result, table, text};
