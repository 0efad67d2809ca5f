//! Figures, where and when they were made, and the documents that they are
//! written into.

pub mod document;
pub mod figure;
pub mod machine;
pub mod spread;

pub use document::{Document, PERFORMANCE, RELIABILITY};
pub use figure::{Figure, Target, as_markdown, as_text, one_line};
pub use spread::{Digits, Spread, quantile};

/// What a thread that gave up said.
pub fn what_panicked(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    anyhow::anyhow!("{}", text.unwrap_or_else(|| "it gave up".to_owned()))
}
