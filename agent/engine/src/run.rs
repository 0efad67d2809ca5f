//! A run: what its threads share, and the thread that starts and ends them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_common::assignment::Assignment;
use weir_common::id::SessionId;

use crate::consent::{Consent, Questions};
use crate::cpus::CpuList;
use crate::drive::Crew;
use crate::engine::{EngineConfig, EngineError, Event, Sink};
use crate::link::LinkTable;
use crate::listener::{self, Listeners};
use crate::session::{Life, Session};
use crate::socket::{Waker, pin_thread};
use crate::throttling::Throttling;

/// A traffic thread keeps its buffers on the heap; 256 KiB is several times what
/// it uses, and lets thousands of them fit a small host.
const STACK_BYTES: usize = 256 << 10;

/// Streams for which one more thread of the crew is worth its memory.
const STREAMS_A_WORKER: u64 = 32;

/// Threads of the crew at most: what is left of the CPUs is for fast streams.
const WORKERS_MAX: usize = 4;

/// How often the run looks whether its control group was throttled.
const READ_EVERY: Duration = Duration::from_millis(200);

/// What the threads of a run share.
pub(crate) struct Run {
    pub(crate) config: EngineConfig,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) sink: Arc<dyn Sink>,
    /// The same, by its own name.
    throttling: Arc<Throttling>,
    pub(crate) sessions: Vec<Arc<Session>>,
    /// Where a session is in `sessions`.
    by_number: HashMap<SessionId, usize>,
    pub(crate) links: LinkTable,
    /// The threads that drive sessions, links and slow streams.
    pub(crate) crew: Crew,
    /// Woken by a stop.
    pub(crate) stop: Waker,
    /// Woken when every session has ended.
    pub(crate) end: Waker,
    /// Who may be sent to.
    pub(crate) consent: Consent,
    cpus: Cpus,
    t0_ns: OnceLock<u64>,
    stopped: OnceLock<(u64, String)>,
    over: AtomicBool,
    finished: AtomicBool,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// What the run's own thread waits for.
#[derive(Debug, Default)]
struct Progress {
    /// Sessions and streams that are not over.
    traffic: usize,
    /// Links that are not over.
    links: usize,
    /// Listeners, and streams with a thread of their own.
    threads: Vec<JoinHandle<()>>,
}

/// The CPUs that threads are kept to, in turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpus {
    list: Option<CpuList>,
    next: Arc<AtomicUsize>,
}

impl Cpus {
    pub(crate) fn new(list: Option<CpuList>) -> Self {
        Self {
            list,
            next: Arc::default(),
        }
    }

    /// The CPU of the next thread; `None` where threads run on any.
    fn next(&self) -> Option<usize> {
        let list = self.list.as_ref()?.as_slice();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        list.get(turn % list.len().max(1)).copied()
    }

    fn count(&self) -> usize {
        match &self.list {
            Some(list) => list.as_slice().len(),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Something of a run that is not over while this lives.
#[derive(Debug)]
pub(crate) struct Part {
    run: Arc<Run>,
    of: fn(&mut Progress) -> &mut usize,
}

impl Part {
    /// A session, or a stream of one.
    pub(crate) fn traffic(run: &Arc<Run>) -> Self {
        Self::new(run, |progress| &mut progress.traffic)
    }

    /// A link.
    pub(crate) fn link(run: &Arc<Run>) -> Self {
        Self::new(run, |progress| &mut progress.links)
    }

    fn new(run: &Arc<Run>, of: fn(&mut Progress) -> &mut usize) -> Self {
        *of(&mut run.lock()) += 1;
        Self {
            run: Arc::clone(run),
            of,
        }
    }
}

impl Clone for Part {
    fn clone(&self) -> Self {
        Self::new(&self.run, self.of)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        *(self.of)(&mut self.run.lock()) -= 1;
        self.run.changed.notify_all();
    }
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
        (cpus, questions): (&Cpus, &Questions),
        assignment: Arc<Assignment>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, EngineError> {
        let throttling = Arc::new(Throttling::around(sink, Arc::clone(&config.clock)));
        let sink: Arc<dyn Sink> = Arc::clone(&throttling) as _;
        let session = |spec: &_| Arc::new(Session::new(&assignment, Clone::clone(spec), &sink));
        let (stop, end) = (Waker::new()?, Waker::new()?);
        let workers = (streams(&assignment) / STREAMS_A_WORKER + 1) as usize;
        let workers = workers.min(WORKERS_MAX).min(cpus.count()).max(1);
        let of_workers: Vec<_> = (0..workers).map(|_| cpus.next()).collect();
        let (crew, workers) = Crew::start(&of_workers, &config.clock)?;
        let numbers = assignment.sessions.iter().map(|spec| spec.session);
        let run = Arc::new(Run {
            config: config.clone(),
            sessions: assignment.sessions.iter().map(session).collect(),
            by_number: numbers.zip(0..).collect(),
            links: LinkTable::default(),
            crew,
            stop,
            end,
            consent: Consent::new(questions),
            cpus: cpus.clone(),
            t0_ns: OnceLock::new(),
            stopped: OnceLock::new(),
            over: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            progress: Mutex::default(),
            changed: Condvar::new(),
            assignment,
            sink,
            throttling,
        });
        let of_thread = Arc::clone(&run);
        let conductor = spawn(None, "weir-run", move || conduct(&of_thread, workers));
        if let Err(error) = conductor {
            run.crew.close();
            return Err(EngineError::Thread(error));
        }
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
        self.run.throttling.start(t0_mono_ns);
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

    /// Whether every session has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// A session by the number that both ends have for it.
    pub(crate) fn session(&self, number: SessionId) -> Option<&Arc<Session>> {
        self.by_number.get(&number).map(|at| &self.sessions[*at])
    }

    /// Streams of all its sessions.
    pub(crate) fn streams(&self) -> u64 {
        streams(&self.assignment)
    }

    /// The CPU of the next stream with a thread of its own.
    pub(crate) fn next_cpu(&self) -> Option<usize> {
        self.cpus.next()
    }

    pub(crate) fn emit(&self, event: Event) {
        self.sink.event(self.assignment.run, event);
    }

    /// Lets every task look again.
    pub(crate) fn notify(&self) {
        self.crew.look_all();
    }

    /// Keeps a thread, to be joined at the end.
    pub(crate) fn keep(&self, thread: JoinHandle<()>) {
        self.lock().threads.push(thread);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`.
    fn wait(&self, done: impl Fn(&Progress) -> bool) {
        let mut progress = self.lock();
        while !done(&progress) {
            let waited = self.changed.wait_timeout(progress, READ_EVERY);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
            self.throttling.read();
        }
    }
}

/// Streams of all sessions.
fn streams(assignment: &Assignment) -> u64 {
    let of_sessions = assignment.sessions.iter();
    of_sessions.map(|session| session.tags.len() as u64).sum()
}

/// Starts a thread with a small stack, kept to a CPU or to none.
pub(crate) fn spawn(
    cpu: Option<usize>,
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES);
    thread.spawn(move || {
        // The list was tried when the engine was made; a host that takes CPUs away
        // later lets the thread run where it still may.
        if let Some(Err(error)) = cpu.map(|cpu| pin_thread(&[cpu])) {
            tracing::warn!(%error, "a thread runs on any CPU");
        }
        body();
    })
}

/// The life of a run.
fn conduct(run: &Arc<Run>, workers: Vec<JoinHandle<()>>) {
    let Listeners { bound, failures } = listener::bind(run);
    let mut failed = vec![false; run.sessions.len()];
    for (at, failure) in failures {
        let spec = &run.sessions[at].spec;
        run.emit(Event::Failed {
            session: spec.session,
            end: spec.end,
            code: failure.code,
            reason: failure.reason,
        });
        failed[at] = true;
    }
    listener::serve(run, bound);
    let sessions = run.sessions.iter().zip(failed);
    for (session, _) in sessions.filter(|(_, failed)| !failed) {
        let part = Part::traffic(run);
        run.crew.add(|alarm, _| {
            session.set_alarm(alarm.clone());
            Box::new(Life::new(run, session, part))
        });
    }
    run.wait(|progress| progress.traffic == 0);
    run.over.store(true, Ordering::Release);
    run.end.wake();
    let threads = std::mem::take(&mut run.lock().threads);
    join(threads);
    // Only now can no listener bring another link.
    run.notify();
    run.wait(|progress| progress.links == 0);
    run.crew.close();
    join(workers);
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
