//! What people read: figures, tables, and the closing table of a run.

pub mod figure;
pub mod result;
pub mod table;
pub mod text;

/// Whether the code of a failed session says that its target did not answer: routes may still converge.
pub fn is_unreachable(code: &str) -> bool {
    matches!(code, "unreachable" | "refused")
}
