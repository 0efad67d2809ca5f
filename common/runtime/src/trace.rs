//! Trace files of a campaign, read where the campaign lies.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use weir_common::campaign::Campaign;
use weir_common::traffic::{TRACE_BYTES_MOST, Trace, TraceError};

/// Why a trace file was not read.
#[derive(Debug, thiserror::Error)]
pub enum TraceFileError {
    /// The system refused it.
    #[error("cannot read trace file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a trace has to be.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// A trace file: its name as the campaign has it, and its text.
pub type TraceText = (String, String);

/// Reads every file that the campaign's laws name, relative to `folder`, into its [`traces`](Campaign::traces).
/// The texts, each once, are for whoever else is to have them.
///
/// # Errors
/// The first file that cannot be read, is too long, or has a line that is no value.
pub fn read_traces(
    campaign: &mut Campaign,
    folder: &Path,
) -> Result<Vec<TraceText>, TraceFileError> {
    let mut texts: Vec<TraceText> = Vec::new();
    for (file, of) in campaign.trace_files() {
        if texts.iter().all(|(name, _)| *name != file) {
            let text = text(&folder.join(&file))?;
            texts.push((file.clone(), text));
        }
        let known = texts.iter().find(|(name, _)| *name == file);
        if let Some((_, text)) = known {
            campaign.traces.push(Trace::parse(&file, of, text)?);
        }
    }
    Ok(texts)
}

fn text(path: &Path) -> Result<String, TraceFileError> {
    let failure = |source| TraceFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    // One byte more than allowed shows that it is too long, and a device that never ends does no harm.
    let most = TRACE_BYTES_MOST as u64 + 1;
    let file = File::open(path).map_err(failure)?;
    file.take(most).read_to_end(&mut bytes).map_err(failure)?;
    let not_text = |_| failure(std::io::Error::other("not text in UTF-8"));
    String::from_utf8(bytes).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use weir_common::campaign::file;

    use super::*;

    fn campaign(arrival: &str, size: &str) -> Campaign {
        let text = format!(
            "[pairs]\nfrom = \"a\"\nto = \"b\"\n[[phase]]\nfor = \"1 s\"\n[phase.traffic]\nudp = \"arrival\"\narrival = '{arrival}'\nsize = '{size}'\n"
        );
        file::parse(&text, "c.toml").unwrap()
    }

    #[test]
    fn files_are_read_beside_the_campaign() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gaps.txt"), "1 ms\n2 ms\n").unwrap();
        std::fs::write(folder.path().join("sizes.txt"), "100\nmany\n").unwrap();
        let mut both = campaign("trace(\"gaps.txt\")", "trace(\"gaps.txt\")");
        let error = read_traces(&mut both, folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`gaps.txt`, line 1: `1 ms` is not a number of bytes"),
            "{error}"
        );
        let mut one = campaign("trace(\"gaps.txt\")", "200");
        let texts = read_traces(&mut one, folder.path()).unwrap();
        assert_eq!(texts, [("gaps.txt".to_owned(), "1 ms\n2 ms\n".to_owned())]);
        assert_eq!(*one.traces[0].values, [1_000_000, 2_000_000]);
        let mut wrong = campaign("trace(\"gaps.txt\")", "trace(\"sizes.txt\")");
        let error = read_traces(&mut wrong, folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("`sizes.txt`, line 2"), "{error}");
        let mut missing = campaign("trace(\"none.txt\")", "200");
        let error = read_traces(&mut missing, folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot read trace file") && error.contains("none.txt"),
            "{error}"
        );
    }
}
