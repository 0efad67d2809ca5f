//! The processes of the demo: started, watched, ended, and found again after a crash.

mod leftover;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use weir_runtime::DataDir;

use self::leftover::Trace;
use crate::failure::{Failure, innermost};
use crate::output::text::printable;

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of a process's log that are shown when it ended by itself.
const LOG_LINES: usize = 8;
/// The file that remembers what was started.
const MEMORY: &str = "processes";

/// What a process is for. Those declared first end first: agents say goodbye to a controller that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `weir agent`.
    Agent,
    /// `weir serve`.
    Controller,
}

/// Everything that was started.
#[derive(Debug)]
pub(super) struct Processes<'a> {
    memory: &'a DataDir,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    part: Part,
    name: String,
    log: PathBuf,
    child: Child,
}

impl<'a> Processes<'a> {
    /// Ends what a demo that was killed left running, and starts with nothing.
    pub(super) async fn take_over(memory: &'a DataDir) -> Result<Self, Failure> {
        let text = memory.read(MEMORY).map_err(failed)?.unwrap_or_default();
        leftover::end(&Trace::read_all(&String::from_utf8_lossy(&text)), GRACE).await;
        let processes = Self {
            memory,
            running: Vec::new(),
        };
        processes.remember()?;
        Ok(processes)
    }

    /// Starts a process whose output goes to a file. It is out of reach of the terminal's Ctrl-C: the demo ends
    /// it in its turn.
    pub(super) fn start(
        &mut self,
        part: Part,
        name: &str,
        mut command: Command,
        log: PathBuf,
    ) -> Result<(), Failure> {
        use std::os::unix::process::CommandExt as _;
        let cannot = |error: io::Error| Failure::infrastructure(format!("start {name}: {error}"));
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log)
            .map_err(cannot)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(cannot)?)
            .stderr(file)
            .process_group(0);
        // What the caller's shell says of its own agent or controller is not meant for these.
        for (key, _) in std::env::vars_os() {
            if key.to_str().is_some_and(is_ours) {
                command.env_remove(key);
            }
        }
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn().map_err(cannot)?;
        self.running.push(Running {
            part,
            name: name.to_owned(),
            log,
            child,
        });
        self.remember()
    }

    /// Fails when a process has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for process in &mut self.running {
            // A process that cannot be waited for is not there.
            let status = match process.child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let log = process.log.display();
            let said = last_lines(&process.log);
            return Err(Failure::infrastructure(format!(
                "{} ended by itself ({status}); {log} ends with: {said}",
                process.name
            )));
        }
        Ok(())
    }

    /// Ends everything: SIGTERM, and SIGKILL for what is still there after the grace. Returns the names of those.
    pub(super) async fn end(&mut self) -> Vec<String> {
        let mut stubborn = Vec::new();
        for part in [Part::Agent, Part::Controller] {
            for process in self.running.iter().filter(|process| process.part == part) {
                signal(process.child.id(), Signal::TERM);
            }
            let deadline = tokio::time::Instant::now() + GRACE;
            for process in self
                .running
                .iter_mut()
                .filter(|process| process.part == part)
            {
                if tokio::time::timeout_at(deadline, process.child.wait())
                    .await
                    .is_err()
                {
                    stubborn.push(process.name.clone());
                    // Fails only when it has ended meanwhile.
                    process.child.kill().await.ok();
                }
            }
        }
        self.running.clear();
        // A stale memory does no harm: a later process of the same id has another start time.
        self.remember().ok();
        stubborn
    }

    fn remember(&self) -> Result<(), Failure> {
        let ids = self.running.iter().filter_map(|process| process.child.id());
        let traces: Vec<Trace> = ids.filter_map(Trace::of).collect();
        self.memory
            .write(MEMORY, Trace::write_all(&traces).as_bytes())
            .map_err(failed)
    }
}

fn failed(error: weir_runtime::DirectoryError) -> Failure {
    Failure::infrastructure(format!("{error}: {}", innermost(&error)))
}

/// Whether a variable configures an agent or a client; the level of the log is left alone.
fn is_ours(key: &str) -> bool {
    let kept = key == weir_runtime::log::ENVIRONMENT || key.starts_with("WEIR_LAB_");
    (key.starts_with("WEIR_") && !kept) || key == "CONTAINER_NAME"
}

/// Sends a signal; a process that is gone needs none.
fn signal(id: Option<u32>, signal: Signal) {
    let pid = id.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        kill_process(pid, signal).ok();
    }
}

/// The end of a log, in one line.
fn last_lines(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> = text.lines().rev().take(LOG_LINES).map(printable).collect();
    lines.reverse();
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        lines.join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_that_ends_by_itself_is_named_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let memory = DataDir::open(directory.path()).unwrap();
        block_on(async {
            let mut processes = Processes::take_over(&memory).await.unwrap();
            let log = directory.path().join("a.log");
            let command = shell("echo no such luck >&2; exit 7");
            processes.start(Part::Agent, "150-a", command, log).unwrap();
            let failure = loop {
                if let Err(failure) = processes.check() {
                    break failure.to_string();
                }
                tokio::task::yield_now().await;
            };
            assert!(failure.starts_with("150-a ended by itself"), "{failure}");
            assert!(failure.contains("no such luck"), "{failure}");
            assert!(processes.end().await.is_empty());
        });
    }

    #[test]
    fn what_a_killed_demo_left_is_ended_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let memory = DataDir::open(directory.path()).unwrap();
        block_on(async {
            let mut processes = Processes::take_over(&memory).await.unwrap();
            let log = directory.path().join("a.log");
            processes
                .start(
                    Part::Controller,
                    "controller",
                    shell("exec sleep 1000"),
                    log,
                )
                .unwrap();
            // As if killed: nobody ends the process, and its memory stays.
            let mut left = processes.running.pop().unwrap().child;
            let waited = tokio::spawn(async move { left.wait().await });
            Processes::take_over(&memory).await.unwrap();
            let status = waited.await.unwrap().unwrap();
            assert!(!status.success(), "{status}");
        });
        assert_eq!(memory.read(MEMORY).unwrap().as_deref(), Some(&b""[..]));
    }

    #[test]
    fn the_callers_own_settings_are_kept_away() {
        assert!(
            is_ours("WEIR_CONTROLLER") && is_ours("WEIR_LABEL_ASN") && is_ours("CONTAINER_NAME")
        );
        assert!(!is_ours("WEIR_LOG") && !is_ours("WEIR_LAB_INSTANCE") && !is_ours("HOME"));
    }
}
