//! `weir serve`: parts built from their configuration, listeners bound, then
//! everything runs until a signal.

mod server;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use weir_proto::agent::v1::agent_service_server::AgentServiceServer;
use weir_proto::controller::v1::controller_service_server::ControllerServiceServer;
use weir_proto::enrol::v1::enrol_service_server::EnrolServiceServer;
use weir_runtime::endpoint::{CAMPAIGN_MESSAGE_BYTES, RECORDS_MESSAGE_BYTES};
use weir_runtime::tls::ServerTls;
use weir_runtime::{DataDir, Endpoint, HostClock, Shutdown, directory};

use crate::audit::{Audit, Entry, Event, Who};
use crate::authority::Authority;
use crate::deny::DenyList;
use crate::grpc::{AgentGateway, ENROL_MESSAGE_BYTES, EnrolGateway, Info, OperatorGateway};
use crate::ingest::Ingest;
use crate::listener::{Listener, Role, Tls};
use crate::registry::Registry;
use crate::run::Runs;
use crate::store::{SqliteStore, Store};
use crate::uploads::Uploads;

/// How often the controller looks at the age of its own certificate.
const RENEWAL_LOOK: Duration = Duration::from_secs(3_600);
/// How long open streams have to end.
const GRACE: Duration = Duration::from_secs(5);

/// What `weir serve` is given.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Data directory; `None` = the default one.
    pub data: Option<PathBuf>,
    /// Where agents join; empty = `join/agents.sock` in the data directory.
    pub agents: Vec<Endpoint>,
    /// Where experimenters' tools connect; empty = `operators.sock` in the data directory.
    pub operators: Vec<Endpoint>,
    /// Where agents get certificates for tokens; empty = nowhere.
    pub enrol: Vec<Endpoint>,
}

/// The command line of `weir serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Data directory: database and sockets [default: ~/.local/share/weir, for root /var/lib/weir]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where agents join: unix:/path or tcp://host:port, beyond loopback with
    /// certificates at both ends [default: unix:DIR/join/agents.sock]
    #[arg(long, value_name = "ENDPOINT", num_args = 1..)]
    pub agents: Vec<Endpoint>,
    /// Where experimenters connect [default: unix:DIR/operators.sock]
    #[arg(long, value_name = "ENDPOINT", num_args = 1..)]
    pub operators: Vec<Endpoint>,
    /// Where agents get their certificates for a token of weir token create:
    /// tcp://host:port, or tls://host:port on loopback [default: nowhere]
    #[arg(long, value_name = "ENDPOINT", num_args = 1..)]
    pub enrol: Vec<Endpoint>,
}

/// Serves until SIGINT or SIGTERM; says on standard output where agents join.
///
/// # Errors
/// What could not be built or started.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config {
        data: args.data,
        agents: args.agents,
        operators: args.operators,
        enrol: args.enrol,
    };
    run(config, |app| {
        println!("data       {}", app.database().display());
        for endpoint in app.endpoints(Role::Operator) {
            println!("operators  {endpoint}");
        }
        for endpoint in app.endpoints(Role::Newcomer) {
            println!("enrol      {endpoint}");
        }
        for endpoint in app.endpoints(Role::Agent) {
            println!("agents     {endpoint}");
            println!(
                "join with  {}",
                join_line(&endpoint, app.endpoints(Role::Newcomer).first())
            );
        }
    })
    .await
}

/// What starts an agent for a listener; with a certificate, where one is asked for.
fn join_line(agents: &Endpoint, enrol: Option<&Endpoint>) -> String {
    let line = format!("weir-agent --controller {agents}");
    match enrol {
        _ if agents.is_plain() => format!("{line} --name NAME"),
        Some(enrol) => format!(
            "{line} --enrol {enrol} --token-file FILE --name NAME  (FILE: weir token create)"
        ),
        None => format!("{line} --name NAME  (with its certificate; a new one needs --enrol here)"),
    }
}

/// A controller with everything bound and nothing served yet.
#[derive(Debug)]
pub struct App {
    store: Arc<dyn Store>,
    listeners: Vec<Listener>,
    authority: Arc<Authority>,
    database: PathBuf,
    audit: Audit,
    deny: Arc<DenyList>,
    /// Held so that no second controller uses the directory.
    _data: DataDir,
}

impl App {
    /// Opens the store and binds every listener.
    ///
    /// # Errors
    /// Names the directory, the database or the endpoint at fault.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let path = match config.data {
            Some(path) => std::path::absolute(path).context("finding the data directory")?,
            None => directory::default_data_dir()?,
        };
        let data = DataDir::open(&path)?;
        let database = data.file("weir.db");
        let opened = database.clone();
        let store = tokio::task::spawn_blocking(move || SqliteStore::open(&opened))
            .await
            .context("opening the store")??;
        let directory = path.clone();
        let audit = tokio::task::spawn_blocking(move || Audit::open(&directory))
            .await
            .context("opening the audit log")??;
        let store: Arc<dyn Store> = Arc::new(store);
        let kept = Arc::clone(&store);
        let denials = tokio::task::spawn_blocking(move || kept.denials())
            .await
            .context("reading the deny list")?
            .with_context(|| format!("database {}", database.display()))?;
        let join = data.file("join");
        let or = |given: Vec<Endpoint>, file: PathBuf| {
            if given.is_empty() {
                vec![Endpoint::Unix(file)]
            } else {
                given
            }
        };
        let agents = or(config.agents, join.join("agents.sock"));
        let operators = or(config.operators, data.file("operators.sock"));
        let authority = Authority::open(&path, unix_now())?;
        let server = ServerTls::mutual(authority.controller_files(), authority.certificate_file())?;
        let mutual = Tls {
            server: Arc::new(server),
            deployment: authority.deployment().to_owned(),
            audit: audit.clone(),
        };
        let mut listeners = Vec::new();
        for endpoint in &agents {
            // Every host that the directory is mounted into may join.
            listeners.push(listen(endpoint, Role::Agent, 0o666, &mutual).await?);
        }
        for endpoint in &operators {
            listeners.push(listen(endpoint, Role::Operator, 0o600, &mutual).await?);
        }
        let server = ServerTls::open_to_all(authority.controller_files())?;
        let open = Tls {
            server: Arc::new(server),
            ..mutual
        };
        for endpoint in &config.enrol {
            anyhow::ensure!(
                !endpoint.is_plain(),
                "--enrol {endpoint}: enrolment needs TLS; name another address of this machine, or write tls:// for loopback"
            );
            listeners.push(listen(endpoint, Role::Newcomer, 0o600, &open).await?);
        }
        Ok(Self {
            store,
            listeners,
            authority: Arc::new(authority),
            database,
            audit,
            deny: Arc::new(DenyList::new(denials)),
            _data: data,
        })
    }

    /// Endpoints of a role, as bound.
    pub fn endpoints(&self, role: Role) -> Vec<Endpoint> {
        self.listeners
            .iter()
            .filter(|listener| listener.role() == role)
            .map(|listener| listener.endpoint().clone())
            .collect()
    }

    /// Path of the database.
    pub fn database(&self) -> &std::path::Path {
        &self.database
    }

    /// Serves until the shutdown is requested, then lets streams end.
    ///
    /// # Errors
    /// A part that cannot start.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let store = Arc::clone(&self.store);
        let known = tokio::task::spawn_blocking(move || store.agents())
            .await
            .context("reading the agents")?
            .with_context(|| format!("database {}", self.database.display()))?;
        let registry = Arc::new(Registry::new(known, HostClock::from_host().now_ns()));
        let ingest = Ingest::new(Arc::clone(&self.store));
        let runs = Runs::start(
            Arc::clone(&self.store),
            Arc::clone(&registry),
            ingest.clone(),
            &shutdown,
        );
        let info = Info {
            database: self.database.display().to_string(),
            agents: self
                .endpoints(Role::Agent)
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        let uploads = Uploads::default();
        let newcomers = EnrolGateway::new(
            Arc::clone(&self.store),
            Arc::clone(&self.authority),
            self.audit.clone(),
            Arc::clone(&self.deny),
        );
        let agents = AgentGateway::new(
            Arc::clone(&registry),
            runs.clone(),
            ingest,
            uploads.clone(),
            newcomers.clone(),
            shutdown.clone(),
        );
        let operators =
            OperatorGateway::new(&newcomers, registry, uploads, runs, info, shutdown.clone());
        let started = Entry::new(Event::ControllerStarted, Who::controller());
        self.audit
            .tell(started.because(concat!("weir ", env!("CARGO_PKG_VERSION"))));
        let (token, authority) = (shutdown.token(), Arc::clone(&self.authority));
        shutdown.spawn(async move {
            tokio::select! {
                () = keep_certificate(authority) => {}
                () = token.cancelled() => {}
            }
        });
        for listener in self.listeners {
            let services = (&agents, &operators, &newcomers);
            let server = serve_on(
                listener,
                services,
                (self.audit.clone(), &self.deny),
                &shutdown,
            )
            .await?;
            shutdown.spawn(server);
        }
        shutdown.requested().await;
        if !shutdown.finish(GRACE).await {
            tracing::warn!("some streams did not end within {GRACE:?}");
        }
        let audit = self.audit;
        tokio::task::spawn_blocking(move || audit.flush())
            .await
            .context("writing the audit log")?;
        Ok(())
    }
}

/// Renews the controller's own certificate while it serves; whoever holds its
/// files reads them again.
async fn keep_certificate(authority: Arc<Authority>) {
    loop {
        tokio::time::sleep(RENEWAL_LOOK).await;
        let renewing = Arc::clone(&authority);
        let renewed =
            tokio::task::spawn_blocking(move || renewing.renew_controller(unix_now())).await;
        match renewed {
            Ok(Ok(true)) => tracing::info!("renewed the controller's certificate"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(%error, "renewing the controller's certificate"),
            Err(error) => tracing::error!(%error, "renewing the controller's certificate"),
        }
    }
}

/// Time since the Unix epoch.
fn unix_now() -> Duration {
    Duration::from_nanos(HostClock::from_host().unix_ns().unsigned_abs())
}

/// Binds in plain text where nobody else can listen, else over TLS.
async fn listen(endpoint: &Endpoint, role: Role, mode: u32, tls: &Tls) -> anyhow::Result<Listener> {
    if endpoint.is_plain() {
        make_parent(endpoint)?;
        return Ok(Listener::bind(endpoint, role, mode).await?);
    }
    Ok(Listener::bind_tls(endpoint, role, tls.clone()).await?)
}

fn make_parent(endpoint: &Endpoint) -> anyhow::Result<()> {
    if let Endpoint::Unix(path) = endpoint
        && let Some(parent) = path.parent()
        && !parent.exists()
    {
        directory::create_private(parent)?;
    }
    Ok(())
}

/// One server per listener: its role decides which service is there at all, and
/// the table of methods and roles what of it a peer may call.
async fn serve_on(
    listener: Listener,
    (agents, operators, newcomers): (&AgentGateway, &OperatorGateway, &EnrolGateway),
    (audit, deny): (Audit, &Arc<DenyList>),
    shutdown: &Shutdown,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let role = listener.role();
    let endpoint = listener.endpoint().clone();
    let (health, health_service) = tonic_health::server::health_reporter();
    let agent_service =
        AgentServiceServer::new(agents.clone()).max_decoding_message_size(RECORDS_MESSAGE_BYTES);
    let controller_service = ControllerServiceServer::new(operators.clone())
        .max_decoding_message_size(CAMPAIGN_MESSAGE_BYTES);
    let enrol_service =
        EnrolServiceServer::new(newcomers.clone()).max_decoding_message_size(ENROL_MESSAGE_BYTES);
    match role {
        Role::Agent => {
            health
                .set_serving::<AgentServiceServer<AgentGateway>>()
                .await;
        }
        Role::Operator | Role::Viewer => {
            health
                .set_serving::<ControllerServiceServer<OperatorGateway>>()
                .await;
        }
        Role::Newcomer => {}
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(weir_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("building the reflection service")?;
    let router = server::bounded(audit.clone())
        .add_optional_service((role == Role::Agent).then_some(agent_service))
        .add_optional_service((role == Role::Operator).then_some(controller_service))
        .add_optional_service((role == Role::Newcomer).then_some(enrol_service))
        .add_service(health_service)
        .add_service(reflection);
    let incoming = listener.accept(audit, deny, shutdown);
    let token = shutdown.token();
    Ok(async move {
        let ended = router
            .serve_with_incoming_shutdown(incoming, token.cancelled())
            .await;
        if let Err(error) = ended {
            tracing::error!(%endpoint, %error, "a listener ended");
        }
    })
}

/// Runs a controller as this process's life: build, say where, serve, end.
///
/// # Errors
/// What could not be built or started.
pub async fn run(config: Config, ready: impl FnOnce(&App)) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    shutdown
        .on_signals()
        .context("installing the signal handlers")?;
    let app = App::build(config).await?;
    ready(&app);
    let clock = HostClock::from_host();
    let began_ns = clock.now_ns();
    app.run(shutdown).await?;
    let served_s = (clock.now_ns() - began_ns) / 1_000_000_000;
    tracing::info!(served_s, "controller ended");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_joins_has_what_the_listener_asks_for() {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        let (plain, tls) = (endpoint("tcp://127.0.0.1:1"), endpoint("tcp://192.0.2.1:1"));
        let enrol = endpoint("tcp://192.0.2.1:2");
        assert_eq!(
            join_line(&plain, Some(&enrol)),
            "weir-agent --controller tcp://127.0.0.1:1 --name NAME"
        );
        let line = join_line(&tls, Some(&enrol));
        assert!(
            line.contains("--enrol tcp://192.0.2.1:2 --token-file FILE"),
            "{line}"
        );
        assert!(join_line(&tls, None).contains("needs --enrol"));
    }
}
