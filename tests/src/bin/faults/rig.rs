//! A controller and two agents, each behind a link of its own that can go wrong; what
//! they measure is followed beside it.

mod judge;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use weir_tests::ledger::{Boot, Tap};
use weir_tests::proxy::{Fault, Passed};
use weir_tests::{Background, Cluster, Doors, Process, Proxy, Ran, binary};

use crate::wires::{self, Wires};
use watch::Watch;

/// The agents: the first sends, the second receives.
pub(crate) const AGENTS: [&str; 2] = ["a1", "a2"];
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Within what a fresh record is to be stored after a fault.
pub(crate) const LIVE: Duration = Duration::from_secs(10);
/// What takes longer has not happened.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Rig {
    tap: Tap,
    watch: Watch,
    way: Way,
    run: Option<Background>,
    /// The last run, and whether it was told to stop before its end.
    number: u32,
    stopped: bool,
    pub(crate) cluster: Cluster,
}

/// How agents reach the controller.
enum Way {
    /// Over links of the harness, to its unix socket.
    Links(BTreeMap<&'static str, Proxy>),
    /// Over links of the harness, in TLS.
    TlsLinks(BTreeMap<&'static str, Proxy>, String),
    /// Through a network, in TLS; with a token.
    Wires(String),
}

impl Rig {
    /// Everything is up.
    pub(crate) fn up() -> anyhow::Result<Self> {
        Self::around(Cluster::new())
    }

    /// With a controller that is there.
    pub(crate) fn around(cluster: Cluster) -> anyhow::Result<Self> {
        let target = cluster.controller_data().join("join/agents.sock");
        let link = |name: &'static str| {
            let path = cluster.directory().join(format!("{name}.sock"));
            (name, Proxy::start(&path, &target))
        };
        let way = Way::Links(AGENTS.map(link).into());
        Self::of(cluster, way)
    }

    /// With TLS between agents and links.
    pub(crate) fn over_tls() -> anyhow::Result<Self> {
        let cluster = Cluster::over_tls();
        let target = cluster.doors().agents.parse()?;
        let token = cluster.token(AGENTS.len());
        let link = |name: &'static str| (name, Proxy::start_tls(&target));
        let way = Way::TlsLinks(AGENTS.map(link).into(), token);
        Self::of(cluster, way)
    }

    /// In namespaces: agents and controller have only a network in common.
    pub(crate) fn wired() -> anyhow::Result<Self> {
        let cluster = Cluster::in_node(Wires::up()?, wires::CONTROLLER);
        let token = cluster.token(AGENTS.len());
        Self::of(cluster, Way::Wires(token))
    }

    fn of(cluster: Cluster, way: Way) -> anyhow::Result<Self> {
        let kept = cluster.directory().join("kept");
        fs::create_dir_all(&kept)?;
        fs::create_dir_all(cluster.agents_data())?;
        let mut rig = Self {
            tap: Tap::start(&cluster.agents_data(), &kept),
            watch: Watch::start(),
            way,
            run: None,
            number: 0,
            stopped: false,
            cluster,
        };
        for name in AGENTS {
            rig.start_agent(name);
        }
        rig.cluster.await_agents(AGENTS.len());
        Ok(rig)
    }

    /// Starts an agent behind its link.
    pub(crate) fn start_agent(&mut self, name: &str) {
        let (program, asn) = (binary("weir-agent"), format!("asn=15{}", &name[1..]));
        let arguments = ["--lab", "--label", &asn];
        let mut command = Command::new(&program);
        match &self.way {
            Way::Links(links) => {
                let endpoint = links[name].endpoint();
                command.args(arguments);
                self.cluster.launch_to(&endpoint, name, command);
            }
            Way::TlsLinks(links, token) => {
                let doors = Doors {
                    agents: links[name].endpoint(),
                    enrol: self.cluster.doors().enrol.clone(),
                };
                command.args(arguments);
                self.cluster.launch_at(&doors, token, name, command);
            }
            Way::Wires(token) => {
                let lab = self.cluster.lab();
                command = lab
                    .command(wires::node(name), program)
                    .unwrap_or_else(|error| panic!("{error}"));
                command.args(arguments);
                let doors = Doors::of(&format!("tcp://{}", wires::address(lab)));
                self.cluster.launch_at(&doors, token, name, command);
            }
        }
    }

    /// The network of [`wired`](Self::wired).
    pub(crate) fn wires(&self) -> Wires<'_> {
        Wires(self.cluster.lab())
    }

    /// Begins a run of so many seconds, and waits until its records come. From here on
    /// memory is watched.
    pub(crate) fn begin(&mut self, length: Duration) -> anyhow::Result<u32> {
        let line = format!(
            "run --json --from a1 --to a2 --interval 100ms --linger 500ms --udp 400pkt/s \
             --size 100 --streams 4 --for {}s --with --tcp 1M --ignore behind,frozen",
            length.as_secs()
        );
        let run = self.start(&line)?;
        wait("the first records", || {
            let rows = self.try_ask(&format!(
                "SELECT count(*) FROM records JOIN flows ON flows.flow = records.flow
                 WHERE run = {run}"
            ));
            Ok(rows.is_some_and(|rows| rows >= 20).then_some(()))
        })?;
        self.watch.begin(&self.pids());
        Ok(run)
    }

    /// Begins a run that is not ready, as a receiver does not answer.
    pub(crate) fn prepare(&mut self) -> anyhow::Result<u32> {
        let line = "run --json --from a1 --to a2 --settle 60s --udp 400pkt/s --size 100 --for 600s";
        let run = self.start(line)?;
        let known = format!("SELECT count(*) FROM runs WHERE run = {run}");
        wait("a run", || {
            Ok((self.try_ask(&known) == Some(1)).then_some(()))
        })?;
        Ok(run)
    }

    fn start(&mut self, line: &str) -> anyhow::Result<u32> {
        self.number = self.last_run()?.unwrap_or(0) + 1;
        self.stopped = false;
        self.run = Some(Background::start(&self.cluster, line));
        Ok(self.number)
    }

    /// The run ends, and its result.
    pub(crate) fn end(&mut self) -> anyhow::Result<(Ran, Value)> {
        let run = self.run.take().context("a run in progress")?;
        let mut ran = run.finish();
        if ran.code == 3 && ran.stdout.is_empty() {
            // The controller was away for longer than it waits.
            ran = self.closed()?;
        }
        let document = serde_json::from_str(&ran.stdout)
            .with_context(|| format!("the result of the run: {ran:?}"))?;
        Ok((ran, document))
    }

    /// The result of a run that nobody follows, once it is closed.
    fn closed(&self) -> anyhow::Result<Ran> {
        let number = self.number;
        let closed = format!("SELECT count(*) FROM runs WHERE run = {number} AND state = 'closed'");
        wait("the end of the run", || {
            Ok((self.try_ask(&closed) == Some(1)).then_some(()))
        })?;
        Ok(self
            .cluster
            .weir(&["show", &format!("r-{number:04}"), "--json"]))
    }

    /// The run goes on for a moment and is stopped; its result.
    pub(crate) fn stop(&mut self) -> anyhow::Result<(Ran, Value)> {
        thread::sleep(Duration::from_secs(1));
        self.tell_to_stop()?;
        self.end()
    }

    /// The run is told to stop.
    pub(crate) fn tell_to_stop(&mut self) -> anyhow::Result<()> {
        let run = format!("r-{:04}", self.number);
        let stopped = self
            .cluster
            .weir(&["stop", &run, "--reason", "seen enough"]);
        ensure!(stopped.code == 0, "{stopped:?}");
        self.stopped = true;
        Ok(())
    }

    /// Nobody waits for the end of the run any more.
    pub(crate) fn give_up(&mut self) {
        self.run = None;
    }

    /// What each boot has measured.
    pub(crate) fn boots(&self) -> Vec<Boot> {
        self.tap.boots()
    }

    /// The gaps whose numbers are known: boot, first and last.
    pub(crate) fn gaps(&self) -> anyhow::Result<Vec<(String, u64, u64)>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(self.cluster.database(), flags)?;
        let mut select = database
            .prepare("SELECT boot, first_seq, last_seq FROM gaps WHERE first_seq IS NOT NULL")?;
        let rows = select.query_map([], |row| {
            Ok((
                row.get(0)?,
                row.get::<_, i64>(1)? as u64,
                row.get::<_, i64>(2)? as u64,
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn links(&self) -> &BTreeMap<&'static str, Proxy> {
        match &self.way {
            Way::Links(links) | Way::TlsLinks(links, _) => links,
            Way::Wires(_) => panic!("this network has no links of the harness"),
        }
    }

    /// Sets the fault of both links.
    pub(crate) fn break_links(&self, fault: Fault) {
        for link in self.links().values() {
            link.set(fault);
        }
    }

    /// The link of an agent.
    pub(crate) fn link(&self, agent: &str) -> &Proxy {
        &self.links()[agent]
    }

    /// What has passed over both links.
    pub(crate) fn passed(&self) -> Passed {
        let mut sum = Passed::default();
        for link in self.links().values() {
            let passed = link.passed();
            sum.connections += passed.connections;
            sum.refused += passed.refused;
            sum.up_bytes += passed.up_bytes;
            sum.down_bytes += passed.down_bytes;
            sum.cuts += passed.cuts;
            sum.flips += passed.flips;
        }
        sum
    }

    /// From now until each agent has stored a record that it measured after now.
    pub(crate) fn fresh(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let boots = self.tap.boots().into_iter();
        let marks: BTreeMap<String, u64> =
            boots.map(|boot| (boot.boot.clone(), boot.last())).collect();
        wait("a fresh record of each agent", || {
            let acked = self.watermarks().unwrap_or_default();
            let ahead = acked
                .into_iter()
                .filter(|((_, boot), seq)| *seq > marks.get(boot).copied().unwrap_or(0));
            let agents: BTreeSet<String> = ahead.map(|((agent, _), _)| agent).collect();
            // Others may deliver beside them.
            let all = AGENTS.iter().all(|name| agents.contains(*name));
            Ok(all.then_some(()))
        })?;
        Ok(begun.elapsed())
    }

    /// From now until the controller says so of an agent.
    pub(crate) fn until_state(&self, agent: &str, state: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        wait(&format!("{agent} {state}"), || {
            Ok((self.state(agent)? == state).then_some(()))
        })?;
        Ok(begun.elapsed())
    }

    /// What the controller says of an agent.
    pub(crate) fn state(&self, agent: &str) -> anyhow::Result<String> {
        let listed = self.cluster.weir(&["agents", "--json"]);
        let listed: Value = serde_json::from_str(&listed.stdout)
            .with_context(|| format!("weir agents: {listed:?}"))?;
        let agents = listed["agents"].as_array().context("a list of agents")?;
        let found = agents.iter().find(|known| known["agent"] == agent);
        let state = found.and_then(|known| known["state"].as_str());
        Ok(state.context("the agent is listed")?.to_owned())
    }

    /// Waits, and holds what the controller says of the agents against `alive` all along.
    pub(crate) fn pass_alive(&self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for agent in AGENTS {
                let state = self.state(agent)?;
                ensure!(state == "alive", "{agent} was called {state}");
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Entries that were measured and are not stored.
    pub(crate) fn unstored(&self) -> u64 {
        let acked = self.watermarks().unwrap_or_default();
        let boots = self.tap.boots().into_iter();
        boots
            .map(|boot| {
                let stored = acked.get(&(boot.agent.clone(), boot.boot.clone()));
                boot.last().saturating_sub(stored.copied().unwrap_or(0))
            })
            .sum()
    }

    /// A copy of the data directory of an agent that does not run.
    pub(crate) fn copy_agent(&self, agent: &str, number: usize) -> anyhow::Result<PathBuf> {
        let copy = self.cluster.directory().join(format!("copy-{number}"));
        let status = Command::new("cp")
            .arg("-a")
            .args([&self.cluster.agent_data(agent), &copy])
            .status()?;
        ensure!(status.success(), "copying {}", copy.display());
        Ok(copy)
    }

    /// Starts an agent on a copy of a data directory, in the controller's node.
    pub(crate) fn start_copy(&self, agent: &str, copy: &Path) -> anyhow::Result<Process> {
        let lab = self.cluster.lab();
        let mut command = lab.command(wires::CONTROLLER, binary("weir-agent"))?;
        let doors = Doors::of(&format!("tcp://{}", wires::address(lab)));
        command
            .args(["--controller", &doors.agents, "--name", agent, "--data"])
            .arg(copy);
        Ok(Process::start(agent, command, &copy.with_extension("log")))
    }

    /// How many refusals of the audit log tell of this.
    pub(crate) fn audited(&self, word: &str) -> anyhow::Result<usize> {
        let log = self.cluster.weir(&["audit", "--limit", "1000", "--json"]);
        let log: Value = serde_json::from_str(&log.stdout).with_context(|| format!("{log:?}"))?;
        let entries = log["last"].as_array().context("entries")?.iter();
        let refusals = entries.filter(|entry| entry["outcome"] == "refused");
        Ok(refusals
            .filter(|entry| entry.to_string().contains(word))
            .count())
    }

    /// How often the agents have said that a stream of theirs has no link.
    pub(crate) fn complaints(&self) -> usize {
        let said = AGENTS.map(|name| self.cluster.agent(name).output());
        said.iter()
            .map(|said| said.matches("no link").count())
            .sum()
    }

    /// One number from the database; `None` while it cannot be read.
    pub(crate) fn try_ask(&self, query: &str) -> Option<i64> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(self.cluster.database(), flags).ok()?;
        database.query_row(query, [], |row| row.get(0)).ok()
    }

    fn last_run(&self) -> anyhow::Result<Option<u32>> {
        let query = "SELECT coalesce(max(run), 0) FROM runs";
        let last = wait("the database", || Ok(self.try_ask(query)))?;
        Ok(u32::try_from(last).ok())
    }

    fn watermarks(&self) -> Option<BTreeMap<(String, String), u64>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(self.cluster.database(), flags).ok()?;
        let mut select = database
            .prepare("SELECT agent, boot, acked_seq FROM watermarks")
            .ok()?;
        let rows = select.query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)? as u64))
        });
        rows.ok()?.collect::<Result<_, _>>().ok()
    }

    /// The processes that run now.
    fn pids(&self) -> Vec<u32> {
        let agents = AGENTS.iter().map(|name| self.cluster.agent(name).id());
        agents.chain([self.cluster.controller().id()]).collect()
    }
}

/// Looks until there is something.
pub(crate) fn wait<T>(
    what: &str,
    look: impl Fn() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        thread::sleep(LOOK);
    }
}
