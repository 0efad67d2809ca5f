//! The command-line face: the arguments of `weir run` and `weir plan` to the same tree as the file.
//!
//! 1. Options before the first `--udp` or `--tcp` are campaign-wide: defaults of every flow set and phase.
//! 2. The first transport begins the first phase and its flow set; `--then` begins the next phase.
//! 3. `--with` adds a flow set to this phase, `--always` one to every phase; `--for` behind them is the flow set's.
//! 4. Options of the campaign (`--seed`, `--expect`, `[valid]`, `[limits]`, ...) may stand anywhere, once.
//! 5. Flow sets are named by `--name`, else by their transport; a phase is named like its own flow set.

mod assemble;
mod divide;
mod specs;
mod words;

pub use divide::{Divided, OwnFlag, divide};
pub use specs::{FLAGS, FlagSection, FlagSpec, spec};

use super::{Campaign, CampaignError, lower};

/// Name of a campaign that the command line does not name.
pub const NAME: &str = "command-line";

/// Reads the arguments behind `weir run`, those of the program itself (`--json`, `--save`, ...) taken out.
///
/// Never panics, whatever the arguments; the first error found is returned.
///
/// ```
/// use weir_common::campaign::flags;
/// let line = ["--from", "asn=150", "--to", "asn=162,171", "--udp", "10M", "--for", "60s"];
/// let campaign = flags::parse(&line.map(String::from))?;
/// assert_eq!(campaign.phases[0].name, "udp");
/// # Ok::<(), weir_common::campaign::CampaignError>(())
/// ```
pub fn parse(arguments: &[String]) -> Result<Campaign, CampaignError> {
    let line = words::read(arguments)?;
    let tree = assemble::tree(line)?;
    lower::campaign(&tree, NAME)
}
