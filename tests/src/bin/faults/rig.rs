//! A controller and two agents, each behind a link of its own that can go wrong; what
//! they measure is followed beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use weir_tests::account::{self, KeptRow};
use weir_tests::ledger::{Boot, Key, Tap};
use weir_tests::proxy::{Fault, Passed};
use weir_tests::{Background, Cluster, Proxy, Ran, Usage, binary};

use crate::outcome::Outcome;

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
    links: BTreeMap<&'static str, Proxy>,
    run: Option<Background>,
    pub(crate) cluster: Cluster,
}

impl Rig {
    /// Everything is up.
    pub(crate) fn up() -> anyhow::Result<Self> {
        Self::around(Cluster::new())
    }

    /// With a controller that is there.
    pub(crate) fn around(cluster: Cluster) -> anyhow::Result<Self> {
        let kept = cluster.directory().join("kept");
        fs::create_dir_all(&kept)?;
        fs::create_dir_all(cluster.agents_data())?;
        let target = cluster.controller_data().join("join/agents.sock");
        let link = |name: &'static str| {
            let path = cluster.directory().join(format!("{name}.sock"));
            (name, Proxy::start(&path, &target))
        };
        let mut rig = Self {
            tap: Tap::start(&cluster.agents_data(), &kept),
            watch: Watch::start(),
            links: AGENTS.map(link).into(),
            run: None,
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
        let mut command = Command::new(binary("weir-agent"));
        let asn = format!("asn=15{}", &name[1..]);
        command.args(["--lab", "--label", &asn]);
        let endpoint = self.links[name].endpoint();
        self.cluster.launch_to(&endpoint, name, command);
    }

    /// Begins a run of so many seconds, and waits until its records come. From here on
    /// memory is watched.
    pub(crate) fn begin(&mut self, length: Duration) -> anyhow::Result<u32> {
        let line = format!(
            "run --json --from a1 --to a2 --interval 100ms --linger 500ms --udp 400pkt/s \
             --size 100 --streams 4 --for {}s --with --tcp 1M --ignore behind,frozen",
            length.as_secs()
        );
        let before = self.last_run()?.unwrap_or(0);
        self.run = Some(Background::start(&self.cluster, &line));
        let run = before + 1;
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

    /// The run ends, and its result.
    pub(crate) fn end(&mut self) -> anyhow::Result<(Ran, Value)> {
        let run = self.run.take().context("a run in progress")?;
        let ran = run.finish();
        let document = serde_json::from_str(&ran.stdout)
            .with_context(|| format!("the result of the run: {ran:?}"))?;
        Ok((ran, document))
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

    /// Sets the fault of both links.
    pub(crate) fn break_links(&self, fault: Fault) {
        for link in self.links.values() {
            link.set(fault);
        }
    }

    /// The link of an agent.
    pub(crate) fn link(&self, agent: &str) -> &Proxy {
        &self.links[agent]
    }

    /// What has passed over both links.
    pub(crate) fn passed(&self) -> Passed {
        let mut sum = Passed::default();
        for link in self.links.values() {
            let passed = link.passed();
            sum.connections += passed.connections;
            sum.refused += passed.refused;
            sum.up_bytes += passed.up_bytes;
            sum.down_bytes += passed.down_bytes;
            sum.cuts += passed.cuts;
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
            Ok((agents.len() == AGENTS.len()).then_some(()))
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

    /// Holds what is stored of a run against what was measured, and looks whether
    /// everybody is well.
    pub(crate) fn judge(&self, outcome: &mut Outcome, run: u32, document: &Value) {
        self.compare(outcome, run);
        self.conserve(outcome, run, document);
        self.be_contiguous(outcome);
        self.be_well(outcome);
        outcome.grew_kib = outcome.grew_kib.max(self.watch.grew_kib());
    }

    /// As [`judge`](Self::judge), of a run that lacks the end of an agent.
    pub(crate) fn judge_part(&self, outcome: &mut Outcome, run: u32) {
        self.compare(outcome, run);
        self.be_contiguous(outcome);
        self.be_well(outcome);
        outcome.grew_kib = outcome.grew_kib.max(self.watch.grew_kib());
    }

    /// As [`judge`](Self::judge), where no second names of segments can be had: what was
    /// measured is what the ends say at their end.
    pub(crate) fn judge_by_totals(&self, outcome: &mut Outcome, run: u32, document: &Value) {
        self.conserve(outcome, run, document);
        let ledger = |key: &str| document["ledger"][key].as_u64().unwrap_or(0) as usize;
        outcome.expected += ledger("expected");
        outcome.lost += ledger("expected").saturating_sub(ledger("stored"));
        let twice = "SELECT count(*) FROM (SELECT 1 FROM records
                     GROUP BY flow, end, stream, k HAVING count(*) > 1)";
        let twice = self.try_ask(twice);
        outcome.check(twice == Some(0), || {
            format!("{twice:?} rows are stored twice")
        });
        outcome.doubled += twice.unwrap_or(0) as usize;
        self.be_well(outcome);
        outcome.grew_kib = outcome.grew_kib.max(self.watch.grew_kib());
    }

    /// Missing, altered, doubled and invented rows, by the ledger.
    pub(crate) fn compare(&self, outcome: &mut Outcome, run: u32) {
        let measured = self.tap.rows(run);
        let mut stored: BTreeMap<Key, Vec<KeptRow>> = BTreeMap::new();
        for row in account::stored_rows(&self.cluster.database(), run) {
            stored.entry(row.key()).or_default().push(row);
        }
        let (mut lost, mut altered, mut doubled) = (0, 0, 0);
        for (key, row) in &measured {
            match stored.remove(key).as_deref() {
                None => lost += 1,
                Some(rows) => {
                    altered += usize::from(rows[0] != *row);
                    doubled += rows.len() - 1;
                }
            }
        }
        let invented = stored.values().map(Vec::len).sum::<usize>();
        outcome.check(!measured.is_empty(), || "nothing was measured".into());
        outcome.check(lost == 0, || format!("{lost} rows are not stored"));
        outcome.check(altered == 0, || {
            format!("{altered} rows are not what was measured")
        });
        outcome.check(doubled == 0, || format!("{doubled} rows are stored twice"));
        outcome.check(invented == 0, || {
            format!("{invented} rows were never measured")
        });
        outcome.expected += measured.len();
        outcome.lost += lost + altered;
        outcome.doubled += doubled + invented;
    }

    /// The sum of the rows is what each end said at its end.
    pub(crate) fn conserve(&self, outcome: &mut Outcome, run: u32, document: &Value) {
        let whole = document["checks"]["complete"] == true;
        outcome.check(whole, || {
            format!("the result lacks something: {}", document["ledger"])
        });
        if !whole {
            return;
        }
        let account = account::stored(&self.cluster, &format!("r-{run:04}"));
        for (key, kept) in &account {
            let holds = kept.rows.len() == kept.closed.rows as usize
                && kept.sum(false) == kept.closed.total;
            outcome.check(holds, || format!("{key:?}: the rows are not its total"));
        }
        let flows = document["flows"].as_array().map_or(0, Vec::len);
        outcome.check(account.len() == 2 * flows, || {
            format!("{} manifests of {flows} flows", account.len())
        });
    }

    /// Of each boot as much is stored as it has measured, without a hole.
    fn be_contiguous(&self, outcome: &mut Outcome) {
        let Some(acked) = self.watermarks() else {
            outcome
                .problems
                .push("the watermarks cannot be read".into());
            return;
        };
        for boot in self.tap.boots() {
            let (count, last) = (boot.entries.len() as u64, boot.last());
            let stored = acked.get(&(boot.agent.clone(), boot.boot.clone()));
            // What the last boot of an agent adds of gaps has no file.
            let holds = count == last && stored.is_some_and(|stored| *stored >= last);
            outcome.check(holds, || {
                format!(
                    "{} measured {count} entries up to {last}, stored up to {stored:?}",
                    boot.agent
                )
            });
        }
    }

    fn be_well(&self, outcome: &mut Outcome) {
        let logs = AGENTS.map(|name| self.cluster.agent(name).output());
        let controller = self.cluster.controller().output();
        for log in logs.iter().chain([&controller]) {
            outcome.check(!log.contains("panicked"), || "a process panicked".into());
        }
        let begun = Instant::now();
        // Connections of former sessions end on their own.
        while self.watch.files_above() > 8 && begun.elapsed() < PATIENCE / 3 {
            thread::sleep(LOOK);
        }
        let above = self.watch.files_above();
        outcome.check(above <= 8, || {
            format!("{above} files more are open than before")
        });
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

/// Watches memory and open files of processes.
struct Watch {
    seen: Arc<Mutex<BTreeMap<u32, Seen>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Usage,
    most_kib: u64,
}

impl Watch {
    fn start() -> Self {
        Self {
            seen: Arc::default(),
            thread: None,
        }
    }

    /// Looks at these from now on, until this value is dropped.
    fn begin(&mut self, pids: &[u32]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for pid in pids {
            if let Some(first) = Usage::of(*pid) {
                let most_kib = first.anonymous_kib;
                seen.entry(*pid).or_insert(Seen { first, most_kib });
            }
        }
        drop(seen);
        if self.thread.is_none() {
            let watched = Arc::downgrade(&self.seen);
            self.thread = Some(thread::spawn(move || {
                while let Some(watched) = watched.upgrade() {
                    let mut seen = watched.lock().unwrap_or_else(PoisonError::into_inner);
                    for (pid, seen) in seen.iter_mut() {
                        if let Some(now) = Usage::of(*pid) {
                            seen.most_kib = seen.most_kib.max(now.anonymous_kib);
                        }
                    }
                    drop(seen);
                    drop(watched);
                    thread::sleep(Duration::from_millis(100));
                }
            }));
        }
    }

    fn of_all(&self, figure: impl Fn(u32, &Seen) -> u64) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = seen.iter().map(|(pid, seen)| figure(*pid, seen));
        figures.max().unwrap_or(0)
    }

    /// The most that one process has grown.
    fn grew_kib(&self) -> u64 {
        self.of_all(|_, seen| seen.most_kib - seen.first.anonymous_kib)
    }

    /// How many files more than at first one process has open now.
    fn files_above(&self) -> u64 {
        self.of_all(|pid, seen| {
            let now = Usage::of(pid).map_or(0, |now| now.files);
            now.saturating_sub(seen.first.files) as u64
        })
    }
}
