//! `weir plan`: what a campaign would do.

use std::io;

use super::campaign::{Purpose, Words, described};
use super::run::{CampaignArgs, argv};
use super::{Common, is_read, write_lines};
use crate::failure::{Exit, Failure};
use crate::output::{json, plan};

/// Plans a campaign; starts nothing.
pub(crate) async fn run(args: CampaignArgs, outer: &Common) -> Result<Exit, Failure> {
    let words = Words::read(Purpose::Plan, &args.words)?;
    let mut out = io::stdout().lock();
    if words.help {
        write_lines(
            &mut out,
            &[described(Purpose::Plan).render_help().to_string()],
        )?;
        return Ok(Exit::Pass);
    }
    let source = words.source(Purpose::Plan, argv())?;
    let common = words.common.clone().over(outer);
    let document = common.connect().await?.plan(source).await?;
    if common.json {
        json::write_text(&mut out, &document, is_read())?;
    } else {
        let lines = plan::lines(&document, words.flows).map_err(Failure::infrastructure)?;
        write_lines(&mut out, &lines)?;
    }
    Ok(Exit::Pass)
}
