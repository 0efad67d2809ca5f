//! A run: what its threads share, and the thread that starts and ends them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_common::assignment::Assignment;
use weir_common::id::SessionId;

use crate::engine::{EngineConfig, EngineError, Event, FailureCode, Sink};
use crate::link::LinkTable;
use crate::listener::{self, Listeners};
use crate::session::{self, Session};
use crate::socket::Waker;

/// A traffic thread keeps its buffers on the heap; 256 KiB is several times what
/// it uses, and lets thousands of them fit a small host.
const STACK_BYTES: usize = 256 << 10;

/// How often the run looks for manifests whose totals will not come any more.
const EXPIRE_EVERY: Duration = Duration::from_millis(200);

/// What the threads of a run share.
pub(crate) struct Run {
    pub(crate) config: EngineConfig,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) sessions: Vec<Arc<Session>>,
    pub(crate) links: LinkTable,
    /// Woken when T0 is known.
    pub(crate) start: Waker,
    /// Woken by a stop.
    pub(crate) stop: Waker,
    /// Woken when every session has ended.
    pub(crate) end: Waker,
    t0_ns: OnceLock<u64>,
    stopped: OnceLock<(u64, String)>,
    finished: AtomicBool,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// What the run's own thread waits for.
#[derive(Debug, Default)]
struct Progress {
    sessions_left: usize,
    helpers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("run", &self.assignment.run)
            .finish_non_exhaustive()
    }
}

/// The owner's hold on a run. Dropping it does not end the run.
#[derive(Debug, Clone)]
pub struct RunHandle {
    run: Arc<Run>,
}

impl RunHandle {
    /// Starts the run's threads.
    pub(crate) fn begin(
        config: &EngineConfig,
        assignment: Arc<Assignment>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, EngineError> {
        let session = |spec: &_| Arc::new(Session::new(&assignment, Clone::clone(spec), &sink));
        let run = Arc::new(Run {
            config: config.clone(),
            sessions: assignment.sessions.iter().map(session).collect(),
            links: LinkTable::default(),
            start: Waker::new()?,
            stop: Waker::new()?,
            end: Waker::new()?,
            t0_ns: OnceLock::new(),
            stopped: OnceLock::new(),
            finished: AtomicBool::new(false),
            progress: Mutex::new(Progress::default()),
            changed: Condvar::new(),
            assignment,
            sink,
        });
        let of_thread = Arc::clone(&run);
        spawn("weir-run", move || conduct(&of_thread)).map_err(EngineError::Thread)?;
        Ok(Self { run })
    }

    /// The peer of a session listens on `port`, so this end may dial. Idempotent;
    /// a session that is not known, or listens itself, ignores it.
    pub fn set_target(&self, session: SessionId, port: u16) {
        for each in self
            .run
            .sessions
            .iter()
            .filter(|each| each.spec.session == session)
        {
            each.set_target(port);
        }
    }

    /// The other end of a session failed: gives the session up, if T0 is not known
    /// yet. It then answers `Failed`. Idempotent.
    pub fn exclude(&self, session: SessionId) {
        for each in self
            .run
            .sessions
            .iter()
            .filter(|each| each.spec.session == session)
        {
            each.exclude();
        }
    }

    /// T0 by this host's monotonic clock, ns, as the engine's clock gives it. The
    /// first call counts. Sessions that are not ready by then fail.
    pub fn start(&self, t0_mono_ns: u64) {
        let _known = self.run.t0_ns.set(t0_mono_ns);
        self.run.start.wake();
        self.run.notify();
    }

    /// Ends the run: generators stop within 100 ms, receivers go on for at most 2 s
    /// to take in what is on its way; before T0 everything is closed. Idempotent:
    /// the first reason counts.
    pub fn stop(&self, reason: &str) {
        let now_ns = self.run.config.clock.now_ns();
        let _known = self.run.stopped.set((now_ns, reason.to_owned()));
        self.run.stop.wake();
        self.run.notify();
    }

    /// Whether `Finished` has been sent.
    pub fn is_finished(&self) -> bool {
        self.run.finished.load(Ordering::Acquire)
    }
}

impl Run {
    /// T0 on the host's monotonic clock, once known.
    pub(crate) fn t0_ns(&self) -> Option<u64> {
        self.t0_ns.get().copied()
    }

    /// Whether T0 is known and has come.
    pub(crate) fn is_past_t0(&self) -> bool {
        self.t0_ns()
            .is_some_and(|t0_ns| self.config.clock.now_ns() >= t0_ns)
    }

    /// When the run was stopped, on the host's monotonic clock.
    pub(crate) fn stopped_ns(&self) -> Option<u64> {
        self.stopped.get().map(|(at_ns, _)| *at_ns)
    }

    /// Whether the run was stopped; one load.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// Why the run was stopped.
    pub(crate) fn stop_reason(&self) -> Option<String> {
        self.stopped.get().map(|(_, reason)| reason.clone())
    }

    /// A session by the number that both ends have for it.
    pub(crate) fn session(&self, number: SessionId) -> Option<&Arc<Session>> {
        self.sessions
            .iter()
            .find(|session| session.spec.session == number)
    }

    pub(crate) fn emit(&self, event: Event) {
        self.sink.event(self.assignment.run, event);
    }

    /// Lets every waiting session look again.
    pub(crate) fn notify(&self) {
        for session in &self.sessions {
            session.notify();
        }
        self.changed.notify_all();
    }

    /// Starts a thread that the run joins at its end.
    pub(crate) fn spawn_helper(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let thread = spawn(name, body)?;
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.helpers.push(thread);
        Ok(())
    }

    fn session_ended(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.sessions_left = progress.sessions_left.saturating_sub(1);
        drop(progress);
        self.changed.notify_all();
    }
}

/// Starts a thread with a small stack.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(body)
}

/// The life of a run.
fn conduct(run: &Arc<Run>) {
    let Listeners { bound, failures } = listener::bind(run);
    let mut failed = Vec::new();
    for (at, failure) in failures {
        let spec = &run.sessions[at].spec;
        let (session, end) = (spec.session, spec.end);
        let (code, reason) = (failure.code, failure.reason);
        run.emit(Event::Failed {
            session,
            end,
            code,
            reason,
        });
        failed.push(at);
    }
    listener::serve(run, bound);
    let sessions = run.sessions.iter().enumerate();
    let live: Vec<_> = sessions
        .filter(|(at, _)| !failed.contains(at))
        .map(|(_, s)| s)
        .collect();
    run.progress
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .sessions_left = live.len();
    let mut threads = Vec::new();
    for session in live {
        let (its_run, of_thread) = (Arc::clone(run), Arc::clone(session));
        let body = move || {
            session::live(&its_run, &of_thread);
            its_run.session_ended();
        };
        match spawn(&format!("weir-{}", session.spec.session), body) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                let (session, end) = (session.spec.session, session.spec.end);
                let reason = format!("start a thread: {error} (raise `ulimit -u`)");
                run.emit(Event::Failed {
                    session,
                    end,
                    code: FailureCode::Bind,
                    reason,
                });
                run.session_ended();
            }
        }
    }
    let mut progress = run.progress.lock().unwrap_or_else(PoisonError::into_inner);
    while progress.sessions_left > 0 && !threads.iter().all(JoinHandle::is_finished) {
        let waited = run.changed.wait_timeout(progress, EXPIRE_EVERY);
        progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        for session in &run.sessions {
            session.expire(run);
        }
    }
    drop(progress);
    join(threads);
    run.end.wake();
    loop {
        let mut progress = run.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let helpers = std::mem::take(&mut progress.helpers);
        drop(progress);
        if helpers.is_empty() {
            break;
        }
        join(helpers);
    }
    run.finished.store(true, Ordering::Release);
    run.emit(Event::Finished);
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the run panicked");
        }
    }
}
