//! The measured parts of docs/performance.md, between marks that carry the name of
//! the part; what people wrote around them stays.

use anyhow::Context as _;

/// The document, from the root of the tree.
pub(crate) const PATH: &str = "docs/performance.md";

/// The document with the text of one part replaced.
pub(crate) fn with_part(document: &str, part: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (
        format!("<!-- bench {part} -->\n"),
        format!("<!-- end {part} -->"),
    );
    let missing = || format!("{PATH} has no place for {part}: put {begin}{end} there");
    let (before, rest) = document.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_is_replaced() {
        let document = "# Figures\n<!-- bench tcp -->\nold\n<!-- end tcp -->\nWhy: a note.\n";
        let new = with_part(document, "tcp", "| new |\n").unwrap();
        assert_eq!(
            new,
            "# Figures\n<!-- bench tcp -->\n| new |\n<!-- end tcp -->\nWhy: a note.\n"
        );
        assert!(with_part(document, "udp", "").is_err());
    }
}
