//! `weir deny`, `weir allow` and `weir denied`: who is let in no more.

use clap::Args;
use serde_json::json;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::denied;

/// Whom a denial can concern.
const WHO: &str = "\
WHO is the NAME of an agent, however it is connected; operator:NAME or viewer:NAME for
whoever has such a certificate; or serial:HEX for one certificate alone, of which the
next one is another: `weir audit` shows serials.

What is cut off: its connections end within a second, what it runs is stopped before
if it still listens, and it is refused until `weir allow WHO`.";

/// Arguments of `weir deny`.
#[derive(Debug, Args)]
#[command(after_help = WHO)]
pub(crate) struct DenyArgs {
    #[command(flatten)]
    common: Common,
    /// Agent, operator:NAME, viewer:NAME or serial:HEX
    #[arg(value_name = "WHO", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    who: String,
    /// Why, for the record and for whom it concerns
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

/// Arguments of `weir allow`.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    #[command(flatten)]
    common: Common,
    /// As it was denied: agent, operator:NAME, viewer:NAME or serial:HEX
    #[arg(value_name = "WHO", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    who: String,
}

/// Arguments of `weir denied`.
#[derive(Debug, Args)]
pub(crate) struct DeniedArgs {
    #[command(flatten)]
    common: Common,
}

/// Puts somebody on the deny list.
pub(crate) async fn deny(args: DenyArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let answer = common
        .connect()
        .await?
        .deny(&args.who, &args.reason)
        .await?;
    let document = || {
        json!({
            "schema": "weir.deny/1",
            "subject": answer.subject,
            "connections": answer.connections,
            "known": answer.known,
        })
    };
    common.print(document, || denied::done(&answer))
}

/// Takes somebody off it.
pub(crate) async fn allow(args: AllowArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let answer = common.connect().await?.allow(&args.who).await?;
    let document = || {
        json!({
            "schema": "weir.allow/1",
            "subject": answer.subject,
            "was_denied": answer.was_denied,
        })
    };
    common.print(document, || vec![denied::undone(&answer)])
}

/// Shows it.
pub(crate) async fn list(args: DeniedArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let all = common.connect().await?.denied().await?;
    common.print(|| denied::document(&all), || denied::lines(&all))
}
