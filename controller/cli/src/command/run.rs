//! `weir run`: a campaign from its file or flags to its result.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use weir_proto::controller::v1::RunRequest;

use super::campaign::{Purpose, Words, described};
use super::{Common, is_read, show, write_lines};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::follow::{Closed, Follow};
use crate::interrupt::{Action, Interrupts, Policy, Presses};
use crate::output::json;
use crate::output::screen::Screen;

/// Arguments of `weir run` and `weir plan`: the order of a campaign's flags matters, so they stay as they are.
#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    /// A campaign file, or flags
    #[arg(
        value_name = "FILE | FLAGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) words: Vec<String>,
}

/// The command line as typed, with the program's plain name.
pub(crate) fn argv() -> Vec<String> {
    let typed = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned());
    std::iter::once("weir".to_owned()).chain(typed).collect()
}

/// How the end of a run is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    /// As one document.
    pub(crate) json: bool,
    /// Every flow.
    pub(crate) flows: bool,
    /// With the commands that come next.
    pub(crate) next: bool,
}

/// Runs a campaign and shows its result.
pub(crate) async fn run(args: CampaignArgs, outer: &Common) -> Result<Exit, Failure> {
    let words = Words::read(Purpose::Run, &args.words)?;
    if words.help {
        let help = described(Purpose::Run).render_help().to_string();
        write_lines(&mut io::stdout().lock(), &[help])?;
        return Ok(Exit::Pass);
    }
    let campaign = words.source(Purpose::Run, argv())?;
    let common = words.common.clone().over(outer);
    let client = common.connect().await?;
    // Scripts wait for their turn; a person is told who is in the way.
    let queue = words.queue || (!words.share && !io::stdout().is_terminal());
    let request = RunRequest {
        campaign: Some(campaign),
        queue,
        share: words.share,
    };
    let report = Report {
        json: common.json,
        flows: words.flows,
        next: true,
    };
    let mut screen = Screen::fitting(common.json, words.quiet);
    let mut interrupts = Interrupts::listen()?;
    execute(
        client,
        request,
        report,
        &mut screen,
        &mut interrupts,
        &mut io::stdout(),
    )
    .await
}

/// Starts a run, follows it and tells its result on `out`. Ctrl-C stops it first.
///
/// # Errors
/// The run cannot be started or followed; a second Ctrl-C.
pub(crate) async fn execute(
    client: Client,
    request: RunRequest,
    report: Report,
    screen: &mut Screen,
    interrupts: &mut Interrupts,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let closed = execute_quietly(&client, request, screen, interrupts).await?;
    conclude(&client, &closed, report, out).await
}

/// Starts a run and follows it to its end, without telling its result.
///
/// # Errors
/// As [`execute`].
pub(crate) async fn execute_quietly(
    client: &Client,
    request: RunRequest,
    screen: &mut Screen,
    interrupts: &mut Interrupts,
) -> Result<Closed, Failure> {
    let (run, pressed) = start(client, request, interrupts).await?;
    screen.begin(&run);
    let mut follow = Follow::new(client.clone(), &run, Policy::Stop, screen, interrupts);
    if pressed {
        follow = follow.pressed()?;
    }
    let closed = follow.until_closed().await;
    screen.end()?;
    closed
}

/// The run's number, and whether Ctrl-C was pressed before it was known.
async fn start(
    client: &Client,
    request: RunRequest,
    interrupts: &mut Interrupts,
) -> Result<(String, bool), Failure> {
    let mut presses = Presses::new(Policy::Stop);
    let answer = client.run(request);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            biased;
            () = interrupts.next() => if presses.press(true) == Action::Leave {
                return Err(Failure::interrupted(
                    "left before the controller had answered: `weir runs` shows whether it started a run",
                ));
            },
            run = &mut answer => return Ok((run?, presses.any())),
        }
    }
}

/// Tells the result of a run that has ended; the exit code is its verdict.
pub(crate) async fn conclude(
    client: &Client,
    closed: &Closed,
    report: Report,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    if report.json {
        json::write_text(out, &closed.document, is_read())?;
        out.flush()?;
    } else {
        write_lines(
            out,
            &show::lines(client, &closed.document, report.flows, report.next).await?,
        )?;
    }
    if closed.interrupted {
        return Ok(Exit::Interrupted);
    }
    exit(&closed.document).map(Exit::Verdict)
}

/// The exit code that a result document names.
fn exit(document: &str) -> Result<u8, Failure> {
    #[derive(serde::Deserialize)]
    struct Verdict {
        exit: u8,
    }
    serde_json::from_str::<Verdict>(document)
        .map(|verdict| verdict.exit)
        .map_err(|error| {
            Failure::infrastructure(format!("the controller's result has no exit code: {error}"))
        })
}
