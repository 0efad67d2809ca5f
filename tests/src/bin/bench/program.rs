//! Programs that are run to their end within a time, and an end on request.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Ctrl-C or SIGTERM came: what runs is ended, what waits is not begun.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long after its last output a program may still be seen to run.
const GLANCE: Duration = Duration::from_millis(250);

/// Lets signals set a flag instead of ending this process, so that programs and
/// namespaces are always removed.
pub(crate) fn mind_signals() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime of one thread");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
    });
}

/// Whether the measurements are to end.
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Waits, unless the measurements are to end.
pub(crate) fn pause(length: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + length;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if is_interrupted() {
            bail!("interrupted");
        }
        thread::sleep(left.min(GLANCE));
    }
    Ok(())
}

/// A program whose output is collected.
pub(crate) struct Running {
    name: String,
    child: Child,
    output: mpsc::Receiver<(bool, String)>,
    deadline: Instant,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code, if it was not killed.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Running {
    /// Starts a program that has so long to end.
    pub(crate) fn start(name: &str, mut command: Command, limit: Duration) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let (say, output) = mpsc::channel();
        let stdout = child.stdout.take().expect("it was piped");
        let stderr = child.stderr.take().expect("it was piped");
        let say_errors = say.clone();
        thread::spawn(move || collect(stdout, |text| say.send((true, text))));
        thread::spawn(move || collect(stderr, |text| say_errors.send((false, text))));
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            deadline: Instant::now() + limit,
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> anyhow::Result<Ended> {
        let (mut stdout, mut stderr) = (None, None);
        while stdout.is_none() || stderr.is_none() {
            match self.output.recv_timeout(GLANCE) {
                Ok((true, text)) => stdout = Some(text),
                Ok((false, text)) => stderr = Some(text),
                Err(RecvTimeoutError::Timeout) if is_interrupted() => bail!("interrupted"),
                Err(RecvTimeoutError::Timeout) if Instant::now() < self.deadline => {}
                Err(RecvTimeoutError::Timeout) => bail!("{} did not end in time", self.name),
                Err(RecvTimeoutError::Disconnected) => bail!("{} cannot be read", self.name),
            }
        }
        let status = self.child.wait()?;
        Ok(Ended {
            code: status.code(),
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
        })
    }

    /// Waits for its end; its standard output, if all went well.
    pub(crate) fn succeed(self) -> anyhow::Result<String> {
        let name = self.name.clone();
        let ended = self.end()?;
        if ended.code != Some(0) {
            let said = if ended.stderr.trim().is_empty() {
                &ended.stdout
            } else {
                &ended.stderr
            };
            let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            bail!("{name} failed: {}", last.join("; "));
        }
        Ok(ended.stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Reads to the end; what is not UTF-8 is replaced.
fn collect<E>(mut from: impl Read, say: impl FnOnce(String) -> Result<(), E>) {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).ok();
    say(String::from_utf8_lossy(&bytes).into_owned()).ok();
}
