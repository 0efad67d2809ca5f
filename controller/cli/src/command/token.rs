//! `weir token`: what a host shows once for its certificate, made, listed, taken back.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use weir_common::unit::Span;
use weir_proto::controller::v1::CreateTokenRequest;

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::tokens;

/// Arguments of `weir token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token, with which agents at other hosts get their certificates
    Create(CreateArgs),
    /// List tokens: what is left of them, never their secrets
    List(ListArgs),
    /// Take a token back: nobody gets a certificate for it any more
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    common: Common,
    /// Which one, as `weir token list` shows it: the third part of its text
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
}

/// A token itself has no place on a command line, which all users can read.
fn id(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("an id is hexadecimal, the third part of the token; the last part is secret");
    }
    Ok(text.to_ascii_lowercase())
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    common: Common,
    /// How many agents may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// How long it is valid, at most 30 days
    #[arg(long, value_name = "DURATION", default_value = "10min")]
    ttl: Span,
    /// Names of agents that it is good for, with * and ? [default: any]
    #[arg(long, value_name = "GLOB")]
    name_pattern: Option<String>,
}

/// Makes, lists or takes back.
pub(crate) async fn run(args: TokenArgs, outer: &Common) -> Result<Exit, Failure> {
    match args.what {
        What::Create(args) => create(args, outer).await,
        What::List(args) => {
            let common = args.common.over(outer);
            let all = common.connect().await?.tokens().await?;
            common.print(|| tokens::document(&all), || tokens::lines(&all))
        }
        What::Revoke(args) => {
            let common = args.common.over(outer);
            let before = common.connect().await?.revoke_token(&args.id).await?;
            let document = || {
                json!({
                    "schema": "weir.token-revoke/1",
                    "id": before.id,
                    "was": before.state,
                    "uses_left": before.uses_left,
                })
            };
            common.print(document, || vec![tokens::revoked(&before)])
        }
    }
}

/// Makes a token and prints it, alone on its line, so that it can go into a file.
async fn create(args: CreateArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let request = CreateTokenRequest {
        uses: args.uses,
        // A token of less than a second would be none.
        ttl_s: Duration::from(args.ttl).as_secs(),
        name_pattern: args.name_pattern.unwrap_or_default(),
    };
    let made = common.connect().await?.create_token(request).await?;
    let document = || {
        json!({
            "schema": "weir.token/1",
            "token": made.token,
            "id": made.token.split('.').nth(2),
            "uses": args.uses,
            "expires_unix_s": made.expires_unix_s,
        })
    };
    common.print(document, || vec![made.token.clone()])
}
