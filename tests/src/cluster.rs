//! A controller and its agents, in a lab or on loopback.

mod doors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use weir_lab::{Lab, Topology};

use crate::{Process, binary, eventually};

pub use doors::Doors;

/// How long a controller or an agent has to be there.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A controller and its agents. Everything ends when it is dropped, and is
/// printed when the test has failed.
#[derive(Debug)]
pub struct Cluster {
    controller: Option<Process>,
    agents: BTreeMap<String, Process>,
    lab: Option<Lab>,
    /// The node of the lab in which the controller runs; `None`: in none.
    home: Option<String>,
    doors: Option<Doors>,
    data: TempDir,
}

/// What a command of the command line did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 128 + signal when it was killed.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(128),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// When it is not one.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Cluster {
    /// A controller without agents.
    pub fn new() -> Self {
        let mut cluster = Self::empty();
        cluster.start_controller();
        cluster
    }

    fn empty() -> Self {
        let data = tempfile::Builder::new()
            .prefix("weir-")
            .tempdir()
            .expect("a directory");
        Self {
            controller: None,
            agents: BTreeMap::new(),
            lab: None,
            home: None,
            doors: None,
            data,
        }
    }

    /// A controller and an agent in each of `hosts` of a lab.
    ///
    /// # Panics
    /// When the lab cannot be built; a test says first what it [`needs`](crate::needs).
    pub fn in_lab(topology: &Topology, hosts: &[&str]) -> Self {
        let mut cluster = Self::around(Lab::up(topology).unwrap_or_else(|error| panic!("{error}")));
        for host in hosts {
            cluster.start_agent(host);
        }
        cluster.await_agents(hosts.len());
        cluster
    }

    /// A controller beside a lab; its agents are still to be started.
    pub fn around(lab: Lab) -> Self {
        let mut cluster = Self::new();
        cluster.lab = Some(lab);
        cluster
    }

    /// A controller and agents on loopback: name and labels such as `asn=150`.
    pub fn on_loopback(agents: &[(&str, &[&str])]) -> Self {
        let mut cluster = Self::new();
        for (name, labels) in agents {
            cluster.start_loopback_agent(name, labels);
        }
        cluster.await_agents(agents.len());
        cluster
    }

    /// The lab.
    ///
    /// # Panics
    /// When there is none.
    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the cluster is in a lab")
    }

    /// The directory that holds everything of this cluster.
    pub fn directory(&self) -> &Path {
        self.data.path()
    }

    /// The controller's data directory.
    pub fn controller_data(&self) -> PathBuf {
        self.directory().join("c")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.controller_data().join("weir.db")
    }

    /// The endpoint of the agents' socket.
    pub fn join_endpoint(&self) -> String {
        format!(
            "unix:{}",
            self.controller_data().join("join/agents.sock").display()
        )
    }

    /// The endpoint of the operators' socket.
    pub fn operator_endpoint(&self) -> String {
        format!(
            "unix:{}",
            self.controller_data().join("operators.sock").display()
        )
    }

    /// Starts the controller and waits until it answers.
    ///
    /// # Panics
    /// When it ends, or does not answer.
    pub fn start_controller(&mut self) {
        let log = self.directory().join("controller.log");
        let mut controller = Process::start("weir serve", self.serve_command(), &log);
        eventually("the controller", START_LIMIT, || {
            if let Some(status) = controller.ended() {
                panic!("weir serve ended with {status}: {}", controller.output());
            }
            (self.weir(&["runs", "--json"]).code == 0).then_some(())
        });
        self.learn_doors(&controller.output());
        self.controller = Some(controller);
    }

    /// The controller's process.
    ///
    /// # Panics
    /// When it is not running.
    pub fn controller(&self) -> &Process {
        self.controller.as_ref().expect("the controller runs")
    }

    /// Ends the controller with SIGTERM.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.stop();
        }
    }

    /// Kills the controller with SIGKILL.
    pub fn kill_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.kill();
        }
    }

    /// Starts the agent of a host of the lab, which has the host's name.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_agent(&mut self, host: &str) {
        self.start_agent_as(host, host);
    }

    /// Starts the agent of a host of the lab under a name of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_agent_as(&mut self, host: &str, name: &str) {
        let lab = self.lab();
        let mut command = lab
            .command(host, binary("weir-agent"))
            .unwrap_or_else(|error| panic!("{error}"));
        let labels = lab.labels(host).unwrap_or_else(|error| panic!("{error}"));
        for (key, value) in labels {
            command.arg("--label").arg(format!("{key}={value}"));
        }
        self.launch(name, command);
    }

    /// Starts an agent that talks to others over loopback.
    pub fn start_loopback_agent(&mut self, name: &str, labels: &[&str]) {
        let mut command = Command::new(binary("weir-agent"));
        command.arg("--lab");
        for label in labels {
            command.args(["--label", label]);
        }
        self.launch(name, command);
    }

    /// Starts an agent with a command that ends with its program and its first flags.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(&mut self, name: &str, command: Command) {
        let endpoint = self.join_endpoint();
        self.launch_to(&endpoint, name, command);
    }

    /// As [`launch`](Self::launch), for an agent that finds its controller elsewhere:
    /// behind a [`Proxy`](crate::Proxy).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch_to(&mut self, endpoint: &str, name: &str, mut command: Command) {
        command
            .args(["--controller", endpoint, "--name", name, "--data"])
            .arg(self.agent_data(name));
        let log = self.directory().join(format!("{name}.log"));
        let process = Process::start(name, command, &log);
        self.agents.insert(name.to_owned(), process);
    }

    /// Where the data directories of the agents are.
    pub fn agents_data(&self) -> PathBuf {
        self.directory().join("a")
    }

    /// The data directory of an agent.
    pub fn agent_data(&self, name: &str) -> PathBuf {
        self.agents_data().join(name)
    }

    /// The process of an agent.
    ///
    /// # Panics
    /// When it was never started.
    pub fn agent(&self, name: &str) -> &Process {
        &self.agents[name]
    }

    /// Takes an agent's process out, to be stopped or killed.
    ///
    /// # Panics
    /// When it was never started.
    pub fn take_agent(&mut self, name: &str) -> Process {
        self.agents.remove(name).expect("the agent was started")
    }

    /// Waits until so many agents are alive.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn await_agents(&self, count: usize) {
        self.await_agents_within(count, START_LIMIT);
    }

    /// As [`await_agents`](Self::await_agents), with a limit of its own.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn await_agents_within(&self, count: usize, limit: Duration) {
        let what = format!("{count} agents");
        eventually(&what, limit, || {
            let listed = self.weir(&["agents", "--json"]);
            let agents = listed.json();
            let alive = agents["agents"]
                .as_array()?
                .iter()
                .filter(|agent| agent["state"] == "alive")
                .count();
            (alive >= count).then_some(())
        });
    }

    /// A command of the command line, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("weir"));
        command
            .env("WEIR_CONTROLLER", self.operator_endpoint())
            .args(arguments)
            .current_dir(self.directory())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the command line to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn weir(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("weir runs"))
    }

    /// `weir run --json` with these arguments: exit code and result document.
    pub fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let arguments: Vec<&str> = ["run", "--json"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let ran = self.weir(&arguments);
        (ran.code, ran.json())
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            print_logs(self.directory());
        }
        // Agents first: their hosts go with the lab.
        self.agents.clear();
        self.controller = None;
        self.lab = None;
    }
}

/// The logs of a failed test, so that its cause can be found from CI's output.
fn print_logs(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut logs: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    logs.sort();
    for log in logs {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let from = text.len().saturating_sub(8_000);
        let tail = text.get(from..).unwrap_or(&text);
        eprintln!("--- {}\n{tail}", log.display());
    }
}
