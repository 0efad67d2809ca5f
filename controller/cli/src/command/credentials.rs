//! `weir credentials`: a certificate for a person at another machine.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use weir_proto::controller::v1::IssueCertificateRequest;
use weir_runtime::tls::{Secret, certificate_pem, certificate_request, key_pem};

use super::Common;
use crate::failure::{Exit, Failure};
use crate::output::text::printable;

/// Arguments of `weir credentials`.
#[derive(Debug, Args)]
pub(crate) struct CredentialsArgs {
    #[command(flatten)]
    common: Common,
    /// Whom they are for
    #[arg(value_name = "NAME")]
    name: String,
    /// What they allow: everything, or only to read
    #[arg(long, value_name = "ROLE", default_value = "operator", value_parser = ["operator", "viewer"])]
    role: String,
    /// How long they are valid
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=366))]
    days: u64,
}

/// Makes a key, has it certified, and writes both with the authority.
pub(crate) async fn run(args: CredentialsArgs, outer: &Common) -> Result<Exit, Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::usage(
            "credentials hold a secret, and this is a terminal: write them into a file or a pipe",
        ));
    }
    let common = args.common.over(outer);
    if common.json {
        return Err(Failure::usage(
            "--json: `weir credentials` writes a file for `weir login`, not a document",
        ));
    }
    let none = |_| Failure::infrastructure("draw a key: the system gives no random numbers");
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(none)?;
    let secret = Secret::new(document.as_ref().to_vec());
    let key = Ed25519KeyPair::from_pkcs8(secret.expose())
        .map_err(|error| Failure::infrastructure(format!("read the key just made: {error}")))?;
    let life = Duration::from_secs(args.days * 24 * 3_600);
    let issued = common
        .connect()
        .await?
        .certificate(IssueCertificateRequest {
            role: args.role.clone(),
            name: args.name.clone(),
            request: certificate_request(&key),
            life_s: life.as_secs(),
        })
        .await?;
    let mut out = io::stdout().lock();
    out.write_all(certificate_pem(&issued.certificate).as_bytes())?;
    out.write_all(key_pem(&secret).expose())?;
    out.write_all(certificate_pem(&issued.authority).as_bytes())?;
    out.flush()?;
    eprintln!(
        "credentials of {} {} for {} days, serial {}: use them with weir login FILE --controller ENDPOINT",
        args.role,
        printable(&args.name),
        args.days,
        printable(&issued.serial)
    );
    Ok(Exit::Pass)
}
