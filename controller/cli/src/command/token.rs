//! `weir token create`: what a host shows once for its certificate.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use weir_common::unit::Span;
use weir_proto::controller::v1::CreateTokenRequest;

use super::Common;
use crate::failure::{Exit, Failure};

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

/// Makes a token and prints it, alone on its line, so that it can go into a file.
pub(crate) async fn run(args: TokenArgs, outer: &Common) -> Result<Exit, Failure> {
    let What::Create(args) = args.what;
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
            "uses": args.uses,
            "expires_unix_s": made.expires_unix_s,
        })
    };
    common.print(document, || vec![made.token.clone()])
}
