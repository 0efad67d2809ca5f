//! An agent as a value.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use weir_common::id::{AgentName, BootId, RunId};
use weir_common::label::Labels;
use weir_common::record::Entry;
use weir_engine::clock::MonotonicClock;
use weir_engine::cpus::CpuList;
use weir_engine::engine::{Engine, EngineConfig, Event, Sink};
use weir_engine::socket::{DirectProvider, SocketError};
use weir_proto::agent::v1 as pb;
use weir_runtime::{Endpoint, HostClock};

use crate::artifacts::{Artifacts, RunLog};
use crate::credentials::{self, Credentials, CredentialsError, EnrolConfig, EnrolError};
use crate::inventory;
use crate::link::{control, records};
use crate::outbox::{Level, Limits, Sequence, Spool, SpoolError};
use crate::policy::{self, LivePolicy, LocalPolicy, Rules};
use crate::runs::Runs;
use crate::state::{ARTIFACTS, Accepted, Identity, SPOOL, State, StateError};
use crate::supervisor::{Message, Supervisor};
use crate::traffic::Traffic;

/// What makes one agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where its controller listens.
    pub controller: Endpoint,
    /// Its name.
    pub name: AgentName,
    /// Its labels.
    pub labels: Labels,
    /// Its data directory; no other agent may use it.
    pub data: PathBuf,
    /// Whether loopback destinations are allowed.
    pub lab: bool,
    /// Port at which receivers listen if it is free.
    pub port: u16,
    /// The CPUs that the threads of streams are spread over; `None` = any.
    pub cpus: Option<CpuList>,
    /// How many records it keeps for the controller before generators are stopped.
    pub spool: Limits,
    /// What the policy file says, and where that is; `None` = there is none.
    pub policy: Option<PolicyFile>,
    /// How it gets a certificate if it needs one and has none.
    pub enrol: Option<EnrolConfig>,
}

/// A policy file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Where it is; it is followed while the agent runs.
    pub path: PathBuf,
    /// What it said.
    pub rules: Rules,
}

impl AgentConfig {
    /// Port at which receivers listen unless told otherwise.
    pub const DEFAULT_PORT: u16 = 7900;

    /// An agent without labels, not in a lab, with the usual limits.
    pub fn new(controller: Endpoint, name: AgentName, data: impl Into<PathBuf>) -> Self {
        Self {
            controller,
            name,
            labels: Labels::new(),
            data: data.into(),
            lab: false,
            port: Self::DEFAULT_PORT,
            cpus: None,
            spool: Limits::default(),
            policy: None,
            enrol: None,
        }
    }
}

/// Why an agent cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its data directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What earlier starts left for the controller cannot be taken up.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Its certificate cannot be used, or it has none and needs one.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The host refuses a CPU that its streams are to run on.
    #[error("use the CPUs of --cpus")]
    Cpus(#[source] SocketError),
}

/// What the tasks of one agent share.
pub(crate) struct Shared {
    pub(crate) controller: Endpoint,
    pub(crate) credentials: Credentials,
    pub(crate) labels: Labels,
    pub(crate) identity: Identity,
    pub(crate) kernel_boot_id: String,
    /// The CPUs that its streams are kept to.
    pub(crate) cpus: Option<CpuList>,
    pub(crate) clock: HostClock,
    /// Name of that clock; empty = no other process is known to read it.
    pub(crate) clock_domain: String,
    pub(crate) policy: Arc<LivePolicy>,
    pub(crate) policy_file: Option<PathBuf>,
    pub(crate) state: State,
    pub(crate) core: Mutex<Core>,
    pub(crate) spool: Spool,
    /// Files that flows wrote.
    pub(crate) artifacts: Arc<Artifacts>,
    /// One file at a time goes up.
    pub(crate) uploading: Semaphore,
    /// Entries were acknowledged; a supervisor that ends waits for it.
    pub(crate) outbox_shrank: Notify,
    /// The control session while there is one.
    pub(crate) session: watch::Sender<Option<Session>>,
    pub(crate) inbox: mpsc::UnboundedSender<Message>,
}

/// A control session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// Identity of the controller.
    pub(crate) controller: String,
    /// Its epoch.
    pub(crate) epoch: u64,
}

/// The core and where its reports go.
///
/// Invariant: what goes up is sent under the lock, so that reports and the
/// replay at the begin of a session keep their order.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) runs: Runs,
    pub(crate) accepted: Accepted,
    /// The control stream while there is one.
    pub(crate) uplink: Option<mpsc::UnboundedSender<pb::ControlRequest>>,
}

impl Core {
    /// Sends a message up, if there is a session.
    pub(crate) fn send(&self, message: pb::control_request::Message) {
        if let Some(uplink) = &self.uplink {
            // A session that has just ended: the next one begins with a replay.
            let _ended = uplink
                .send(pb::ControlRequest {
                    message: Some(message),
                })
                .is_err();
        }
    }
}

impl Shared {
    /// Opens a connection to the controller.
    pub(crate) async fn connect(&self) -> Result<Channel, EnrolError> {
        // What cannot be looked up cannot be connected to either, which tells why.
        if let Ok(addresses) = self.controller.addresses().await {
            self.policy.set_controller(addresses);
        }
        self.credentials
            .connect(&self.controller, &self.identity)
            .await
    }

    /// The core, locked. Never across an await.
    pub(crate) fn core(&self) -> std::sync::MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of a sequence up to `seq` are stored by the controller.
    pub(crate) fn acknowledged(&self, sequence: &Arc<Sequence>, seq: u64) {
        sequence.ack(seq);
        self.outbox_shrank.notify_one();
    }

    /// Entries that wait for the controller that this agent works for.
    pub(crate) fn waiting(&self) -> u64 {
        let controller = self.core().accepted.controller_id.clone();
        self.spool.waiting(&controller)
    }

    /// Whether traffic runs or records wait: a reason to hurry back to the controller.
    pub(crate) fn is_busy(&self) -> bool {
        self.core().runs.is_busy() || self.waiting() > 0
    }

    /// The sequence for what is measured for the controller that was accepted last.
    pub(crate) fn sequence(&self) -> Arc<Sequence> {
        let controller = self.core().accepted.controller_id.clone();
        self.spool.live(&controller)
    }

    pub(crate) fn append(&self, sequence: &Arc<Sequence>, entry: Entry) {
        if let Some(level) = self.spool.append(sequence, entry) {
            self.tell(Message::SpoolLevel(level));
        }
    }

    /// Whether the spool takes no new run.
    pub(crate) fn is_full(&self) -> bool {
        self.spool.level() == Level::Full
    }

    /// Tells the supervisor.
    pub(crate) fn tell(&self, message: Message) {
        // Nobody listens once the agent has ended; then nothing matters any more.
        let _ended = self.inbox.send(message).is_err();
    }
}

/// Where the engine's events of a run go: rows into its controller's sequence
/// at once, the rest to the supervisor.
pub(crate) struct AgentSink {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sequence: Arc<Sequence>,
    /// The files of flows that have one.
    pub(crate) log: Option<RunLog>,
}

impl Sink for AgentSink {
    fn event(&self, run: RunId, event: Event) {
        let Self {
            shared,
            sequence,
            log,
        } = self;
        match (&event, log) {
            (Event::Record(record), Some(log)) => log.record(record),
            (Event::Closed(closed), Some(log)) => log.closed(closed),
            _ => {}
        }
        match event {
            Event::Record(record) => shared.append(sequence, Entry::Record(record)),
            Event::Closed(closed) => {
                shared.append(sequence, Entry::Closed(closed.clone()));
                shared.tell(Message::Event(run, Event::Closed(closed)));
            }
            event => shared.tell(Message::Event(run, event)),
        }
    }
}

/// One agent, ready to run. Its data directory is locked while it lives.
pub struct Agent {
    shared: Arc<Shared>,
    supervisor: Supervisor,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("identity", &self.shared.identity)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Opens the data directory, counts the start, and makes the engine. Does
    /// blocking reads of some milliseconds.
    ///
    /// # Errors
    /// The data directory is in use, unreadable or damaged, or the host refuses one
    /// of the CPUs.
    pub fn build(config: AgentConfig) -> Result<Self, AgentError> {
        if let Some(cpus) = &config.cpus {
            cpus.check().map_err(AgentError::Cpus)?;
        }
        let (port, cpus) = (config.port, config.cpus.clone());
        Self::with_traffic(config, |policy, clock| {
            let offset_ns = clock.namespace_offset_ns();
            Arc::new(Engine::new(EngineConfig {
                clock: Arc::new(MonotonicClock::with_namespace_offset(offset_ns)),
                sockets: Arc::new(DirectProvider),
                policy,
                default_port: port,
                clock_domain: clock.domain(),
                cpus,
            }))
        })
    }

    /// As [`build`](Self::build), with something else in the engine's place.
    /// `make` gets the local policy and the host's clock.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn with_traffic(
        config: AgentConfig,
        make: impl FnOnce(Arc<dyn weir_engine::engine::Policy>, &HostClock) -> Arc<dyn Traffic>,
    ) -> Result<Self, AgentError> {
        let state = State::open(config.data)?;
        let identity = state.identity(config.name)?;
        let credentials = Credentials::open(
            &state,
            &config.controller,
            config.enrol,
            credentials::unix_now(),
        )?;
        let (accepted, journal) = state.load()?;
        let start = (identity.boot, identity.generation);
        let spool = Spool::open(state.file(SPOOL), start, config.spool)?;
        for (controller, bytes) in spool.left() {
            tracing::info!(
                controller,
                bytes,
                "records of an earlier start wait for their controller"
            );
        }
        let artifacts = Arc::new(Artifacts::at(state.file(ARTIFACTS)));
        artifacts.recover(|controller, artifact| {
            let entry = Entry::Artifact(Box::new(artifact));
            // The level is looked at again with the first row.
            spool.append(&spool.live(controller), entry);
        });
        // How these runs ended is told after what they measured.
        let waits = !spool.backlog(&accepted.controller_id).is_empty();
        let runs = Runs::after_restart(journal, waits);
        // What ended with the last process is over, whatever happens to this one.
        state.keep_journal(&runs.journal())?;
        let clock = HostClock::from_host();
        if clock.domain().is_empty() {
            tracing::warn!(
                "what the time namespace adds to the clock is not known (/proc/self/timens_offsets): \
                 T0 comes by the wall clock, and no delay is exact"
            );
        }
        // Without /proc no other process is known to share the kernel.
        let kernel_boot_id = weir_runtime::host::kernel_boot_id()
            .unwrap_or_else(|_| format!("unknown-{}", identity.boot));
        let host = inventory::read();
        let policy = Arc::new(LivePolicy::new(LocalPolicy {
            lab: config.lab,
            connected: host.connected,
            max_sessions: host.inventory.max_sessions as usize,
            // Learnt with each connection: names and gateways change.
            controller: Vec::new(),
            rules: config
                .policy
                .as_ref()
                .map_or_else(Rules::default, |file| file.rules.clone()),
        }));
        let traffic = make(policy.clone(), &clock);
        let (inbox, messages) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            controller: config.controller,
            credentials,
            labels: config.labels,
            identity,
            kernel_boot_id,
            cpus: config.cpus,
            clock_domain: clock.domain(),
            clock,
            policy,
            state,
            core: Mutex::new(Core {
                runs,
                accepted,
                uplink: None,
            }),
            spool,
            artifacts,
            uploading: Semaphore::new(1),
            outbox_shrank: Notify::new(),
            session: watch::Sender::new(None),
            inbox,
            policy_file: config.policy.map(|file| file.path),
        });
        let supervisor = Supervisor::new(shared.clone(), messages, traffic);
        Ok(Self { shared, supervisor })
    }

    /// Its name.
    pub fn name(&self) -> &AgentName {
        &self.shared.identity.name
    }

    /// This start's identity.
    pub fn boot(&self) -> BootId {
        self.shared.identity.boot
    }

    /// Counter of starts in its data directory.
    pub fn generation(&self) -> u64 {
        self.shared.identity.generation
    }

    /// Runs until the token is cancelled; then stops its runs, delivers what it
    /// can within a grace of 3 s, and ends. A receiver takes 2 s of that when its
    /// generator is at another host: nobody tells that one to stop, and what it has sent
    /// until then counts. Losing the controller ends nothing.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { shared, supervisor } = self;
        let identity = &shared.identity;
        tracing::info!(
            agent = %identity.name,
            controller = %shared.controller,
            boot = %identity.boot,
            generation = identity.generation,
            "started"
        );
        let links = CancellationToken::new();
        // One task for all of an agent: these futures mostly wait.
        let supervised = async {
            supervisor.run(shutdown).await;
            links.cancel();
        };
        let followed = async {
            if let Some(path) = &shared.policy_file {
                policy::watch(&shared, path, &links).await;
            }
        };
        tokio::join!(
            Box::pin(supervised),
            Box::pin(followed),
            Box::pin(control::keep(&shared, &links)),
            Box::pin(credentials::keep(&shared, &links)),
            Box::pin(records::keep(&shared, &links)),
            Box::pin(records::keep_backlog(&shared, &links)),
        );
        // What was not delivered is on disk when this returns.
        let spooled = Arc::clone(&shared);
        let closed = tokio::task::spawn_blocking(move || spooled.spool.close()).await;
        closed.expect("closing the spool neither panics nor is aborted");
        tracing::info!(agent = %shared.identity.name, "ended");
    }
}
