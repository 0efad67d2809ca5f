//! Programs started by tests: found beside the test binary, their output kept,
//! ended with the value that holds them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::eventually;

/// How long a program has to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Path of a program of this workspace, built with the same profile.
///
/// # Panics
/// When it is not built; says how to.
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a process knows its program");
    // target/TARGET/PROFILE/deps/suite-HASH, or target/TARGET/PROFILE/bench
    let found = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: cargo build --release -p weir -p weir-agent",
            this.display()
        )
    })
}

/// A program that runs until it is stopped or this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; its output goes to `log`, which is appended to.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file");
        let copy = file.try_clone().expect("a second handle of the log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Sends a signal by its name, such as `INT`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.id().to_string()])
            .status()
            .expect("kill is there");
        assert!(status.success(), "signalling {}", self.name);
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(END_LIMIT)
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, limit, || {
            self.child.try_wait().expect("our own child")
        })
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(mut self) {
        self.end().expect("our own child");
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end().ok();
        }
    }
}
