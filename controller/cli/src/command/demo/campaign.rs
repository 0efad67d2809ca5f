//! What the demo runs: the example in the documentation, with phases of the length asked for.

use weir_common::campaign::{self, Campaign};
use weir_common::unit::Span;

use crate::failure::Failure;

/// The campaign as its readers find it; compiled in, so that the two never differ.
const FILE: &str = include_str!("../../../../../docs/examples/demo.toml");

/// The name of that file.
pub(super) const NAME: &str = "demo.toml";

/// Longest phase: agents send no flow for longer than an hour.
const LENGTH_MOST: Span = Span::from_secs(3_600);

/// The campaign, with every phase so long; `None` leaves them as the file says.
pub(super) fn read(length: Option<Span>) -> Result<Campaign, Failure> {
    let mut campaign = campaign::file::parse(FILE, NAME).map_err(Failure::usage)?;
    let Some(length) = length else {
        return Ok(campaign);
    };
    if length < campaign.interval || length > LENGTH_MOST {
        let least = campaign.interval;
        return Err(Failure::usage(format!(
            "--for {length}: a phase of the demo lasts {least} to {LENGTH_MOST}"
        )));
    }
    for phase in &mut campaign.phases {
        phase.duration = length;
    }
    Ok(campaign)
}

/// The text that the controller gets.
pub(super) fn text(campaign: &Campaign, changed: bool) -> String {
    if changed {
        campaign::render(campaign)
    } else {
        FILE.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_what_runs() {
        let campaign = read(None).unwrap();
        assert_eq!(campaign.name, "demo");
        let phases: Vec<&str> = campaign
            .phases
            .iter()
            .map(|phase| phase.name.as_str())
            .collect();
        assert_eq!(phases, ["tcp", "udp"]);
        assert_eq!(text(&campaign, false), FILE);
    }

    #[test]
    fn a_length_changes_every_phase_and_nothing_else() {
        let mut expected = read(None).unwrap();
        let short = read(Some(Span::from_secs(5))).unwrap();
        for phase in &mut expected.phases {
            phase.duration = Span::from_secs(5);
        }
        assert_eq!(short, expected);
        assert_eq!(
            campaign::file::parse(&text(&short, true), "demo").unwrap(),
            short
        );
    }

    #[test]
    fn lengths_that_give_no_rows_or_that_agents_refuse_are_refused() {
        for length in [Span::ZERO, Span::from_millis(999), Span::from_secs(3_601)] {
            let failure = read(Some(length)).unwrap_err();
            assert_eq!(failure.exit().code(), 2);
            assert!(failure.to_string().contains("1 s to 1 h"), "{failure}");
        }
    }
}
