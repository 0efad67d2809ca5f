//! `weir demo`: a real experiment on this machine, from nothing to a verdict, and nothing left behind.
//!
//! 1. Before anything else the process finds out whether it may make network namespaces, and starts itself
//!    again inside a user namespace if that is the way ([`weir_lab::privilege`]).
//! 2. A lab is built; where that is refused, this host's loopback stands in for it, and the reason is told.
//! 3. `weir serve`, and one `weir agent` in each host: processes of this same program.
//! 4. The campaign of `docs/examples/demo.toml` runs as any other campaign does.
//! 5. Everything is ended in reverse order, however it came to the end.

mod campaign;
mod network;
mod place;
mod process;
mod tell;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weir_common::campaign::Campaign;
use weir_common::unit::Span;
use weir_lab::privilege::{self, Privilege};
use weir_proto::controller::v1::{CampaignSource, RunRequest};
use weir_runtime::Endpoint;

use self::network::{Ground, Host};
use self::place::Place;
use self::process::{Part, Processes};
use self::tell::{Teller, Typed};
use super::run::{Report, execute};
use super::{Common, block_on};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupts;
use crate::output::screen::Screen;

/// How long the controller and the agents may take to be there.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(50);

/// The command line of `weir demo`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// Print the result as one JSON document; all else goes to standard error
    #[arg(long)]
    json: bool,
    /// Length of each of the two phases [default: 10s]
    #[arg(long = "for", value_name = "TIME")]
    length: Option<Span>,
    /// Keep the controller and the agents running after the run, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Keep the data in DIR/demo [default DIR: ~/.local/share/weir, for root /var/lib/weir]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs the demo. Called before this process has threads: it may start itself again.
pub(crate) fn run(args: &DemoArgs, outer: &Common) -> Result<Exit, Failure> {
    let campaign = campaign::read(args.length)?;
    let data = place::data_directory(args.data.as_deref())?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::infrastructure(format!("find this program: {error}")))?;
    let refused = enter(args, &program, &data);
    let settings = Settings {
        json: args.json || outer.json,
        keep: args.keep,
        changed: args.length.is_some(),
        campaign,
        program,
    };
    block_on(settings.demo(&data, refused))
}

/// Comes back where namespaces can be made, or with the reason why they cannot.
fn enter(args: &DemoArgs, program: &Path, data: &Path) -> Option<String> {
    match privilege::probe() {
        Privilege::Root => None,
        Privilege::Refused { why } => Some(why),
        Privilege::UserNamespace if privilege::is_in_user_namespace() => {
            Some("the user namespace that was made gives no right to make them".to_owned())
        }
        Privilege::UserNamespace => {
            let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
            if args.data.is_none() {
                // Inside, the caller looks like root, whose default is another.
                arguments.extend(["--data".into(), data.into()]);
            }
            let again = privilege::in_user_namespace(program, &arguments);
            Some(match again {
                Ok(mut again) => format!("start again in a user namespace: {}", again.exec()),
                Err(error) => error.to_string(),
            })
        }
    }
}

/// What this demo is to do.
#[derive(Debug)]
struct Settings {
    json: bool,
    keep: bool,
    /// Whether the campaign differs from the file in the documentation.
    changed: bool,
    campaign: Campaign,
    program: PathBuf,
}

impl Settings {
    /// Everything between the first line and the last.
    async fn demo(self, data: &Path, refused: Option<String>) -> Result<Exit, Failure> {
        let mut interrupts = Interrupts::listen()?;
        let place = Place::open(data)?;
        let processes = Processes::take_over(place.driver()).await?;
        place.empty()?;
        let teller = Teller::new(self.json);
        teller.line(&tell::intent(&self.campaign))?;
        let topology = network::topology();
        let hosts = network::hosts(&topology).map_err(Failure::infrastructure)?;
        // On a thread of its own, so that Ctrl-C is seen meanwhile: the programs that build it see it too, and
        // what they then complain of is no reason to go on without them.
        let mut ground = tokio::task::spawn_blocking(move || Ground::build(&topology, refused));
        let (ground, interrupted) = tokio::select! {
            biased;
            () = interrupts.next() => (ground.await, true),
            ground = &mut ground => (ground, false),
        };
        let ground = ground
            .map_err(|error| Failure::infrastructure(format!("build the network: {error}")))?;
        let mut stage = Stage {
            settings: &self,
            teller,
            place: &place,
            processes,
            ground,
            hosts,
        };
        let outcome = if interrupted {
            Err(Failure::interrupted(EARLY))
        } else {
            stage.perform(&mut interrupts).await
        };
        let ran = matches!(outcome, Ok(Exit::Verdict(_)));
        stage.end(ran).await;
        outcome
    }
}

/// What is said of a demo that was ended before its run.
const EARLY: &str = "interrupted before the run";

/// Everything that has to be ended.
#[derive(Debug)]
struct Stage<'a> {
    settings: &'a Settings,
    teller: Teller,
    place: &'a Place,
    processes: Processes<'a>,
    ground: Ground,
    hosts: Vec<Host>,
}

impl Stage<'_> {
    async fn perform(&mut self, interrupts: &mut Interrupts) -> Result<Exit, Failure> {
        let client = tokio::select! {
            biased;
            () = interrupts.next() => return Err(Failure::interrupted(EARLY)),
            client = self.prepare() => client?,
        };
        let exit = self.experiment(client, interrupts).await?;
        if self.settings.keep && exit != Exit::Interrupted {
            self.stay(interrupts).await?;
        }
        Ok(exit)
    }

    /// The run, as `weir run` does it.
    async fn experiment(
        &self,
        client: Client,
        interrupts: &mut Interrupts,
    ) -> Result<Exit, Failure> {
        let Settings {
            json,
            changed,
            ref campaign,
            ..
        } = *self.settings;
        let campaign = CampaignSource {
            toml: campaign::text(campaign, changed),
            file: if changed {
                String::new()
            } else {
                campaign::NAME.to_owned()
            },
            argv: std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            files: Vec::new(),
        };
        let request = RunRequest {
            campaign: Some(campaign),
            queue: false,
            share: false,
        };
        let report = Report {
            json,
            flows: false,
            next: false,
        };
        let mut screen = Screen::fitting(json, false);
        execute(
            client,
            request,
            report,
            &mut screen,
            interrupts,
            &mut io::stdout(),
        )
        .await
    }

    /// Starts the controller and the agents; all are there on return.
    async fn prepare(&mut self) -> Result<Client, Failure> {
        for line in self.ground.lines() {
            self.teller.step(&line)?;
        }
        let operators = self.place.operators_endpoint()?;
        let agents = self.place.agents_endpoint()?;
        let command = serve_command(
            &self.settings.program,
            self.place.root(),
            &agents,
            &operators,
        );
        self.processes.start(
            Part::Controller,
            "controller",
            command,
            self.place.log("controller"),
        )?;
        let client = self.connect(&operators).await?;
        self.teller.step("controller ready")?;
        for host in &self.hosts {
            let mut command = self
                .ground
                .command(host, &self.settings.program)
                .map_err(Failure::infrastructure)?;
            let data = self.place.agent(&host.name);
            command.args(agent_arguments(
                host,
                &agents,
                &data,
                self.ground.is_loopback(),
            ));
            self.processes
                .start(Part::Agent, &host.name, command, self.place.log(&host.name))?;
        }
        self.await_agents(&client).await?;
        self.teller.step(&tell::agents(&self.hosts))?;
        Ok(client)
    }

    /// The controller, once it answers.
    async fn connect(&mut self, endpoint: &Endpoint) -> Result<Client, Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.processes.check()?;
            let answer = match Client::connect(endpoint.clone()).await {
                Ok(client) => client.info().await.map(|_| client),
                Err(failure) => Err(failure),
            };
            match answer {
                Err(_) if Instant::now() < deadline => sleep(LOOK).await,
                answer => return answer,
            }
        }
    }

    /// Returns when every host's agent is alive.
    async fn await_agents(&mut self, client: &Client) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.processes.check()?;
            let agents = client.agents(String::new()).await?;
            let lives = |host: &&Host| {
                agents
                    .iter()
                    .any(|agent| agent.name == host.name && agent.state == "alive")
            };
            let missing: Vec<&str> = self
                .hosts
                .iter()
                .filter(|host| !lives(host))
                .map(|host| host.name.as_str())
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Failure::infrastructure(format!(
                    "not registered within {} s: {}; their logs are in {}",
                    READY_WITHIN.as_secs(),
                    missing.join(", "),
                    self.place.root().join("logs").display()
                )));
            }
            sleep(LOOK).await;
        }
    }

    /// Keeps everything as it is until a signal, or until something ends by itself.
    async fn stay(&mut self, interrupts: &mut Interrupts) -> Result<(), Failure> {
        let operators = self.place.operators_endpoint()?;
        let typed = Typed::new(&self.settings.program, std::env::var_os("PATH").as_deref());
        for line in tell::kept(&operators, &typed) {
            self.teller.line(&line)?;
        }
        loop {
            self.processes.check()?;
            tokio::select! {
                () = interrupts.next() => return Ok(()),
                () = sleep(4 * LOOK) => {}
            }
        }
    }

    /// Ends everything, agents first. What cannot be ended is told; the outcome of the run stands.
    async fn end(mut self, ran: bool) {
        for name in self.processes.end().await {
            let line = format!("{name} did not end within its time and was killed");
            self.teller.step(&line).ok();
        }
        if let Err(error) = self.ground.end() {
            self.teller
                .step(&format!(
                    "the network is not wholly gone: {error}; the next demo tries again"
                ))
                .ok();
        }
        let home = std::env::var("HOME").ok();
        // A reader that has gone is no reason to stop.
        self.teller
            .line(&tell::ended(self.place.root(), home.as_deref()))
            .ok();
        if ran && !self.settings.keep {
            self.teller.line(tell::NEXT).ok();
        }
    }
}

fn serve_command(program: &Path, data: &Path, agents: &Endpoint, operators: &Endpoint) -> Command {
    let mut command = Command::new(program);
    command.arg("serve").arg("--data").arg(data);
    command.args([
        "--agents",
        &agents.to_string(),
        "--operators",
        &operators.to_string(),
    ]);
    command
}

fn agent_arguments(
    host: &Host,
    controller: &Endpoint,
    data: &Path,
    loopback: bool,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "agent",
        "--controller",
        &controller.to_string(),
        "--name",
        &host.name,
    ]
    .map(OsString::from)
    .into();
    for (key, value) in &host.labels {
        arguments.extend(["--label".into(), format!("{key}={value}").into()]);
    }
    arguments.extend(["--data".into(), data.into()]);
    if loopback {
        arguments.push("--lab".into());
    }
    arguments
}
