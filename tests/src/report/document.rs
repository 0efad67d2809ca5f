//! The measured parts of documents, between marks that carry the name of the part;
//! what people wrote around them stays.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A document with measured parts.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// From the root of the tree.
    path: &'static str,
    /// The command that measures, as it stands in the marks.
    mark: &'static str,
}

/// What `tests/bench` measures.
pub const PERFORMANCE: Document = Document {
    path: "docs/performance.md",
    mark: "bench",
};

/// What `tests/faults` measures.
pub const RELIABILITY: Document = Document {
    path: "docs/reliability.md",
    mark: "faults",
};

impl Document {
    /// Puts the text of one part into the file of the tree that this program was built from.
    ///
    /// # Errors
    /// The file cannot be read or written, or has no place for the part.
    pub fn write(self, part: &str, text: &str) -> anyhow::Result<()> {
        let document = self.with_part(&self.read()?, part, text)?;
        let file = self.file();
        fs::write(&file, document).with_context(|| file.display().to_string())
    }

    /// The whole text.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(self) -> anyhow::Result<String> {
        let file = self.file();
        fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    /// The text of one part of a document.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn part<'a>(self, document: &'a str, part: &str) -> anyhow::Result<&'a str> {
        Ok(self.split(document, part)?.1)
    }

    /// A document with the text of one part replaced.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn with_part(self, document: &str, part: &str, text: &str) -> anyhow::Result<String> {
        let (before, _, after) = self.split(document, part)?;
        Ok(format!("{before}{text}{after}"))
    }

    /// What stands before the text of a part, the text, and what follows, with the marks.
    fn split<'a>(
        self,
        document: &'a str,
        part: &str,
    ) -> anyhow::Result<(&'a str, &'a str, &'a str)> {
        let (begin, end) = (
            format!("<!-- {} {part} -->\n", self.mark),
            format!("<!-- end {part} -->"),
        );
        let missing = || {
            let path = self.path;
            format!("{path} has no place for {part}: put {begin}{end} there")
        };
        let text = document.find(&begin).with_context(missing)? + begin.len();
        let length = document[text..].find(&end).with_context(missing)?;
        let (before, rest) = document.split_at(text);
        let (text, after) = rest.split_at(length);
        Ok((before, text, after))
    }

    fn file(self) -> PathBuf {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        tests.join("..").join(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_is_replaced() {
        let document = "# Figures\n<!-- bench tcp -->\nold\n<!-- end tcp -->\nWhy: a note.\n";
        assert_eq!(PERFORMANCE.part(document, "tcp").unwrap(), "old\n");
        let new = PERFORMANCE.with_part(document, "tcp", "| new |\n").unwrap();
        assert_eq!(
            new,
            "# Figures\n<!-- bench tcp -->\n| new |\n<!-- end tcp -->\nWhy: a note.\n"
        );
        PERFORMANCE.with_part(document, "udp", "").unwrap_err();
        RELIABILITY.with_part(document, "tcp", "").unwrap_err();
    }
}
