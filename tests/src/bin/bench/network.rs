//! Two namespaces joined by one veth link, a controller beside them, an agent in
//! each, and programs that run there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use weir_lab::Topology;
use weir_tests::{Cluster, Process, binary, eventually};

use crate::program::{Running, pause};

/// Where traffic comes from. A router without hosts is a namespace like any other,
/// and the link between two routers is one veth pair.
pub(crate) const FROM: &str = "150-router";
/// Where it goes.
pub(crate) const TO: &str = "151-router";
/// The veth interface at both ends.
pub(crate) const INTERFACE: &str = "up0";

/// What a program has beyond the time it was told to run.
const GRACE: Duration = Duration::from_secs(30);

/// The two ends.
pub(crate) struct Network {
    cluster: Cluster,
    address: String,
}

impl Network {
    /// Builds it, with cubic at both ends.
    pub(crate) fn up() -> anyhow::Result<Self> {
        let topology = Topology::new("bench")
            .asn(150, |a| a)
            .asn(151, |a| a)
            .link(150, 151);
        let cluster = Cluster::in_lab(&topology, &[FROM, TO]);
        let address = far_address(&cluster).context("the veth has an address")?;
        let network = Self { cluster, address };
        // By the route: a namespace may not choose a default that its host does not
        // allow it, and not every peer has an option for it.
        let route = [
            "route",
            "replace",
            network.address(),
            "dev",
            INTERFACE,
            "congctl",
            "cubic",
        ];
        network
            .start(FROM, "ip", &route, 0.0)?
            .succeed()
            .context("use cubic")?;
        Ok(network)
    }

    /// The controller and the agents.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The receiving end of the veth pair. It has other addresses too, but answers
    /// from this one.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A file of this benchmark, gone with it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.cluster.directory().join(name)
    }

    /// A program at one end, not yet started.
    pub(crate) fn inside(&self, end: &str, program: impl AsRef<Path>) -> Command {
        let command = self.cluster.lab().command(end, program.as_ref());
        let mut command = command.expect("the lab has this end");
        command.current_dir(self.cluster.directory());
        command
    }

    /// Starts a program that runs for about `seconds` by itself.
    pub(crate) fn start(
        &self,
        end: &str,
        program: impl AsRef<Path>,
        arguments: &[&str],
        seconds: f64,
    ) -> anyhow::Result<Running> {
        let name = program.as_ref().display().to_string();
        let mut command = self.inside(end, program);
        command.args(arguments);
        Running::start(&name, command, Duration::from_secs_f64(seconds) + GRACE)
    }

    /// Starts a program at the receiving end that runs until it is dropped, and
    /// waits until it has printed `ready`, or a moment if it never says so.
    pub(crate) fn serve(
        &self,
        program: impl AsRef<Path>,
        arguments: &[&str],
        ready: Option<&str>,
    ) -> anyhow::Result<Process> {
        let name = program.as_ref().display().to_string();
        let mut command = self.inside(TO, program);
        command.args(arguments);
        let log = tempfile::NamedTempFile::new_in(self.cluster.directory())?;
        let (_, log) = log.keep()?;
        let mut process = Process::start(&name, command, &log);
        if let Some(ready) = ready {
            eventually(&name, Duration::from_secs(10), || {
                let is_ready = process.output().contains(ready);
                (is_ready || process.ended().is_some()).then_some(())
            });
        } else {
            pause(Duration::from_millis(300))?;
        }
        if let Some(status) = process.ended() {
            bail!("{name} ended with {status}: {}", process.output().trim());
        }
        Ok(process)
    }

    /// Starts `weir run` with these arguments, of which `seconds` are traffic.
    pub(crate) fn start_run(&self, arguments: &[&str], seconds: f64) -> anyhow::Result<Running> {
        let arguments = ["run", "--json"].iter().chain(arguments);
        let command = self
            .cluster
            .command(&arguments.copied().collect::<Vec<_>>());
        Running::start(
            "weir run",
            command,
            Duration::from_secs_f64(seconds) + GRACE,
        )
    }

    /// One flow between the two ends: the result document's part about it.
    pub(crate) fn flow(&self, traffic: &[&str], seconds: f64) -> anyhow::Result<Value> {
        let length = format!("{seconds}s");
        let mut arguments = vec!["--from", FROM, "--to", TO, "--for", &length];
        arguments.extend(["--linger", "500ms"]);
        arguments.extend(traffic);
        let mut result = result(self.start_run(&arguments, seconds)?)?;
        Ok(result["flows"][0].take())
    }

    /// Writes a campaign's file.
    pub(crate) fn campaign(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.file(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// T0 of the latest run as `CLOCK_MONOTONIC` and as Unix time, ns, as soon as it
    /// is decided, which is before any traffic.
    pub(crate) fn await_t0(&self, run: &mut Running) -> anyhow::Result<(u64, u64)> {
        let database =
            Connection::open_with_flags(self.cluster.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let newest = "SELECT t0_mono_ns, t0_unix_ns FROM runs WHERE state = 'started'
                      ORDER BY run DESC LIMIT 1";
        loop {
            let found = database.query_row(newest, [], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            });
            if let Ok((Some(monotonic), Some(unix))) = found {
                return Ok((monotonic as u64, unix as u64));
            }
            if !run.is_running() {
                bail!("the run ended before it began");
            }
            pause(Duration::from_millis(20))?;
        }
    }
}

/// The address at the receiving end of the veth pair.
fn far_address(cluster: &Cluster) -> Option<String> {
    let nodes = cluster.lab().network().nodes();
    let far = nodes.iter().find(|node| node.name == TO)?;
    let veth = far.interfaces.iter().find(|at| at.name == INTERFACE)?;
    Some(veth.addresses?.v4.to_string())
}

/// The result document of a run whose figures can be used.
pub(crate) fn result(run: Running) -> anyhow::Result<Value> {
    let document = result_as_it_is(run)?;
    let flows = document["flows"].as_array().map_or(&[][..], Vec::as_slice);
    match flows.iter().find_map(invalidity) {
        Some(why) => bail!("invalid: {why}"),
        None => Ok(document),
    }
}

/// The result document of a run, of which flows may be invalid.
pub(crate) fn result_as_it_is(run: Running) -> anyhow::Result<Value> {
    let ended = run.end()?;
    match (ended.code, serde_json::from_str(&ended.stdout)) {
        (Some(0 | 4), Ok(document)) => Ok(document),
        (code, _) => {
            let said = ended.stderr.trim();
            let last: Vec<&str> = said.lines().rev().take(2).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            bail!("weir run, exit {code:?}: {}", last.join("; "))
        }
    }
}

/// Why the figures of a flow are not to be used, if so.
pub(crate) fn invalidity(flow: &Value) -> Option<String> {
    let reasons = flow["reasons"]
        .as_array()
        .filter(|_| flow["valid"] == false)?;
    let texts = reasons.iter().filter_map(|reason| reason["text"].as_str());
    Some(texts.collect::<Vec<_>>().join("; "))
}

/// A number of a result document.
pub(crate) fn number(value: &Value) -> anyhow::Result<f64> {
    value.as_f64().context("a figure is missing in the result")
}

/// The program with the bare loops.
pub(crate) fn limit() -> PathBuf {
    binary("limit")
}
