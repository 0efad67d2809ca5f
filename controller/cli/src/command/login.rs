//! `weir login` and `weir logout`: which controller on another machine is meant
//! when nobody says, and with whose certificate.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use weir_runtime::tls::private;

use super::Common;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::login::Login;

/// Largest file of credentials, bytes.
const MOST: u64 = 64 * 1024;

/// Arguments of `weir login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    common: Common,
    /// File of `weir credentials` [default: standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Arguments of `weir logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    common: Common,
}

/// Stores credentials, and keeps them if the controller takes them.
pub(crate) async fn login(args: LoginArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let controller = common.named_endpoint()?.ok_or_else(|| {
        Failure::usage("name the controller with --controller tcp://HOST:PORT or WEIR_CONTROLLER")
    })?;
    if controller.is_plain() {
        return Err(Failure::usage(format!(
            "{controller} is on this machine, and needs no login"
        )));
    }
    let credentials = read(args.file)?;
    let login = user()?;
    let before = login.kept();
    login.store(&credentials, &controller)?;
    let info = match Client::connect(controller.clone()).await {
        Ok(client) => client.info().await,
        Err(failure) => Err(failure),
    };
    let info = match info {
        Ok(info) => info,
        Err(failure) => {
            login.restore(&before)?;
            return Err(failure);
        }
    };
    let text = format!("logged in to {controller}, weir {}", info.version);
    let document = || json!({ "schema": "weir.login/1", "controller": controller.to_string() });
    common.print(document, || vec![text])
}

/// Forgets them.
pub(crate) fn logout(args: LogoutArgs, outer: &Common) -> Result<Exit, Failure> {
    let common = args.common.over(outer);
    let was_there = user()?.remove()?;
    let text = if was_there {
        "logged out: commands go to this machine's controller again"
    } else {
        "there was no login"
    };
    let document = || json!({ "schema": "weir.logout/1", "was_logged_in": was_there });
    common.print(document, || vec![text.to_owned()])
}

fn user() -> Result<Login, Failure> {
    Login::of_user().ok_or_else(|| {
        Failure::usage("no directory for a login: neither HOME nor XDG_CONFIG_HOME is set")
    })
}

fn read(file: Option<PathBuf>) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match &file {
        Some(path) => {
            private(path).map_err(Failure::usage)?;
            fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text))
        }
        None => io::stdin().lock().take(MOST).read_to_string(&mut text),
    };
    let name = file.map_or("standard input".to_owned(), |path| {
        path.display().to_string()
    });
    read.map_err(|error| Failure::usage(format!("read credentials from {name}: {error}")))?;
    Ok(text)
}
