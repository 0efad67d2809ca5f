//! `weir agent` and `weir-agent`: flags, environment and files become a
//! configuration.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use weir_common::label::{LabelError, Labels};
use weir_common::unit::ByteCount;
use weir_engine::cpus::CpuList;
use weir_engine::socket::raise_descriptor_limit;
use weir_runtime::directory::{DirectoryError, create_private, default_data_dir};
use weir_runtime::privilege::{CapabilitySet, Confined, Keep, PrivilegeError, confine};
use weir_runtime::tls::Secret;
use weir_runtime::{Endpoint, Shutdown, log};

use crate::agent::{Agent, AgentConfig, AgentError, PolicyFile};
use crate::alone::{self, args::Alone};
use crate::credentials::{EnrolConfig, TokenSource};
use crate::inventory;
use crate::name::{Candidates, NameError};
use crate::outbox::Limits;
use crate::policy::{INSTALLED, PolicyFileError, Rules};
use crate::supervisor::chain;

/// Environment variables of this prefix are labels: `WEIR_LABEL_ASN=150`.
const LABEL_PREFIX: &str = "WEIR_LABEL_";
/// Exit code of a usage error.
const USAGE: u8 = 2;
/// Exit code of an agent that cannot run.
const INFRASTRUCTURE: u8 = 3;

/// Runs an agent on this host.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AgentArgs {
    /// Without a controller.
    #[command(subcommand)]
    pub alone: Option<Alone>,
    /// Where the controller listens: unix:/path, tcp://host:port, or gateway:port
    /// for the first address of this host's own network
    /// [default: unix:DATA/join/agents.sock of a controller on this host]
    #[arg(long, env = "WEIR_CONTROLLER", value_name = "ENDPOINT")]
    pub controller: Option<Endpoint>,
    /// Name of the agent [default: WEIR_NAME, labels asn and node,
    /// CONTAINER_NAME, or the hostname]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A label; may be repeated. WEIR_LABEL_ASN=150 in the environment is the
    /// same as --label asn=150
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// A file of labels, one KEY=VALUE a line; # begins a comment
    #[arg(long, env = "WEIR_LABEL_FILE", value_name = "FILE")]
    pub label_file: Option<PathBuf>,
    /// Directory for the agent's key, journal and local log
    #[arg(long, env = "WEIR_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Allow traffic to loopback addresses
    #[arg(long)]
    pub lab: bool,
    /// Port at which receivers listen if it is free
    #[arg(long, default_value_t = AgentConfig::DEFAULT_PORT, value_name = "PORT")]
    pub port: u16,
    /// CPUs that the threads of streams are spread over, each kept to one:
    /// 0-3,6 [default: any]
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// Most bytes of records that wait on this host's disk for the controller, from
    /// 2 MiB; at 95 % rows are merged, at 100 % runs stop [default: 256 MiB]
    #[arg(long, value_name = "SIZE", value_parser = spool_disk)]
    pub spool_disk: Option<ByteCount>,
    /// What this host allows, for the controller to keep to
    /// [default: /etc/weir/policy.toml if there is one]
    #[arg(long, env = "WEIR_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Keep CAP_SYS_PTRACE, and write anywhere that the user may: names the programs
    /// that capture packets on this host
    #[arg(long)]
    pub name_captures: bool,
    /// Where the controller listens for agents that have no certificate yet:
    /// tcp://host:port or gateway:port. The token of `weir token create` is read
    /// from WEIR_TOKEN or --token-file
    #[arg(long, env = "WEIR_ENROL", value_name = "ENDPOINT")]
    pub enrol: Option<Endpoint>,
    /// File of a token that nobody else can read; used while there is no certificate
    #[arg(long, env = "WEIR_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What to log: error, warn, info, debug or trace [env: WEIR_LOG]
    #[arg(long = "log", value_name = "LEVEL")]
    pub log: Option<String>,
}

/// Why arguments do not make an agent.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// A label is malformed.
    #[error("{origin}")]
    Label {
        /// Where it stands.
        origin: String,
        /// What is wrong with it.
        #[source]
        source: LabelError,
    },
    /// The file of labels cannot be read.
    #[error("read {}", path.display())]
    LabelFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The policy file cannot be followed.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// There is a token and no place for it.
    #[error(
        "a token is given and no place to use it: add --enrol ENDPOINT, what `weir serve --enrol` prints"
    )]
    NoEnrol,
    /// A secret would go over it as it is.
    #[error(
        "--enrol {0}: enrolment needs TLS; name another address of the controller, or write tls:// for loopback"
    )]
    Enrol(Endpoint),
    /// There is no data directory.
    #[error(transparent)]
    Data(#[from] DirectoryError),
}

/// What is read of the process's environment, once.
#[derive(Debug, Clone, Default)]
struct Environment {
    name: Option<String>,
    container: Option<String>,
    hostname: Option<String>,
    token: Option<Secret>,
    labels: BTreeMap<String, String>,
}

impl Environment {
    fn of_process() -> Self {
        let labels = std::env::vars_os().filter_map(|(key, value)| {
            let key = key.to_str()?.strip_prefix(LABEL_PREFIX)?.to_owned();
            Some((key, value.to_str()?.to_owned()))
        });
        Self {
            name: std::env::var("WEIR_NAME").ok(),
            container: std::env::var("CONTAINER_NAME").ok(),
            hostname: inventory::hostname(),
            token: std::env::var("WEIR_TOKEN")
                .ok()
                .filter(|token| !token.is_empty())
                .map(|token| Secret::new(token.into_bytes())),
            // The variable that names a file of labels is not itself a label.
            labels: labels.collect(),
        }
    }
}

fn spool_disk(text: &str) -> Result<ByteCount, String> {
    let size: ByteCount = text.parse().map_err(|error| format!("{error}"))?;
    if size.bytes() < 2 << 20 {
        return Err("less than 2 MiB: a run would stop within seconds".to_owned());
    }
    Ok(size)
}

impl AgentArgs {
    /// The configuration that the arguments, the environment and the file of
    /// labels mean together.
    ///
    /// # Errors
    /// A label or a name is malformed, or there is no place for data.
    pub fn config(&self) -> Result<AgentConfig, ArgsError> {
        self.config_in(&Environment::of_process())
    }

    fn config_in(&self, environment: &Environment) -> Result<AgentConfig, ArgsError> {
        let labels = self.labels_in(environment)?;
        let name = Candidates {
            flag: self.name.as_deref(),
            environment: environment.name.as_deref(),
            labels: Some(&labels),
            container: environment.container.as_deref(),
            hostname: environment.hostname.as_deref(),
        }
        .choose()?;
        let controller = match &self.controller {
            Some(endpoint) => endpoint.clone(),
            None => Endpoint::Unix(default_data_dir()?.join("join/agents.sock")),
        };
        let data = match &self.data {
            Some(data) => data.clone(),
            // By name: several agents of one file system do not meet.
            None => default_data_dir()?.join("agents").join(name.as_str()),
        };
        Ok(AgentConfig {
            controller,
            name,
            labels,
            data,
            lab: self.lab,
            port: self.port,
            cpus: self.cpus.clone(),
            spool: self
                .spool_disk
                .map_or_else(Limits::default, |disk| Limits::of_disk(disk.bytes())),
            policy: self.policy_file()?,
            enrol: self.enrol_in(environment)?,
        })
    }

    /// Gives up every privilege that an agent does not need, before there is another
    /// thread. What is left for single calls: large socket buffers and congestion
    /// controls, ports below 1024.
    fn confine(&self, config: &AgentConfig) -> Result<Confined, RunError> {
        create_private(&config.data)?;
        let effective = if self.name_captures {
            CapabilitySet::SYS_PTRACE
        } else {
            CapabilitySet::empty()
        };
        let confined = confine(Keep {
            effective,
            raisable: CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE,
            // A process that Landlock bounds sees no other one's descriptors.
            writes: (!self.name_captures).then_some(&config.data),
        })?;
        Ok(confined)
    }

    /// Where and with what to enrol, if both are given.
    fn enrol_in(&self, environment: &Environment) -> Result<Option<EnrolConfig>, ArgsError> {
        let token = match (&self.token_file, &environment.token) {
            (Some(path), _) => TokenSource::File(path.clone()),
            (None, Some(text)) => TokenSource::Text(text.clone()),
            (None, None) => return Ok(None),
        };
        match &self.enrol {
            Some(endpoint) if endpoint.is_plain() => Err(ArgsError::Enrol(endpoint.clone())),
            Some(endpoint) => Ok(Some(EnrolConfig {
                endpoint: endpoint.clone(),
                token,
            })),
            None => Err(ArgsError::NoEnrol),
        }
    }

    fn policy_file(&self) -> Result<Option<PolicyFile>, PolicyFileError> {
        let path = match &self.policy {
            Some(path) => path.clone(),
            None if Path::new(INSTALLED).exists() => PathBuf::from(INSTALLED),
            None => return Ok(None),
        };
        let rules = Rules::read(&path)?;
        Ok(Some(PolicyFile { path, rules }))
    }

    /// Labels of the file, then of the environment, then of the flags: a later
    /// one replaces an earlier one of its key.
    fn labels_in(&self, environment: &Environment) -> Result<Labels, ArgsError> {
        let mut labels = Labels::new();
        if let Some(path) = &self.label_file {
            let text = std::fs::read_to_string(path).map_err(|source| ArgsError::LabelFile {
                path: path.clone(),
                source,
            })?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let origin = format!("{}:{}", path.display(), number + 1);
                labels
                    .insert_text(line)
                    .map_err(|source| ArgsError::Label { origin, source })?;
            }
        }
        for (key, value) in &environment.labels {
            let origin = format!("{LABEL_PREFIX}{key}");
            labels
                .insert(key, value)
                .map_err(|source| ArgsError::Label { origin, source })?;
        }
        for label in &self.labels {
            let origin = "--label".to_owned();
            labels
                .insert_text(label)
                .map_err(|source| ArgsError::Label { origin, source })?;
        }
        Ok(labels)
    }
}

/// Runs an agent until SIGINT or SIGTERM, in a runtime of its own: call it
/// outside of any other. Without a controller: what [`Alone`] says. `program` is
/// what a person types, for messages. Exit codes: 0 ended by a signal, 2 wrong
/// arguments, 3 the agent cannot run; a test without a controller has its own.
pub fn run_command(args: &AgentArgs, program: &str) -> ExitCode {
    if let Some(alone) = &args.alone {
        return alone::args::run(alone, program);
    }
    if let Err(error) = log::start(args.log.as_deref()) {
        return fail(USAGE, &error);
    }
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    // A stream needs a descriptor, and many hosts allow 1,024 at first.
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of open descriptors stays as it is");
    }
    let confined = match args.confine(&config) {
        Ok(confined) => confined,
        Err(error) => return fail(INFRASTRUCTURE, &error),
    };
    // One thread: an agent mostly waits; traffic has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(INFRASTRUCTURE, &error),
    };
    let result: Result<(), RunError> = runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(RunError::Signals)?;
        let agent = Agent::build(config)?;
        confined.log();
        agent.run(shutdown.token()).await;
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(INFRASTRUCTURE, &error),
    }
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Data(#[from] DirectoryError),
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error("install signal handlers")]
    Signals(#[source] io::Error),
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("weir agent: {}", chain(error));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: AgentArgs,
    }

    fn args(words: &[&str]) -> AgentArgs {
        let words = std::iter::once("weir-agent").chain(words.iter().copied());
        Command::try_parse_from(words)
            .unwrap_or_else(|error| panic!("{error}"))
            .args
    }

    fn environment(labels: &[(&str, &str)]) -> Environment {
        let pairs = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Environment {
            hostname: Some("h".into()),
            labels: pairs.collect(),
            ..Environment::default()
        }
    }

    #[test]
    fn flags_win_over_environment_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("labels");
        std::fs::write(
            &file,
            "# of the host\nasn = 1\nnode = one\n role=Web Server\n",
        )
        .unwrap();
        let path = file.to_str().unwrap();
        let args = args(&[
            "--label-file",
            path,
            "--label",
            "node=three",
            "--data",
            "/d",
            "--controller",
            "unix:/s",
        ]);
        let config = args
            .config_in(&environment(&[("ASN", "150"), ("NODE", "two")]))
            .unwrap();
        assert_eq!(
            config.labels.to_string(),
            "asn=150 node=three role=web-server"
        );
        assert_eq!(config.name.as_str(), "150-three");
        assert_eq!(config.port, 7900);
    }

    #[test]
    fn cpus_are_a_list() {
        let base = ["--data", "/d", "--controller", "unix:/s"];
        let config =
            |words: &[&str]| args(&[&base[..], words].concat()).config_in(&environment(&[]));
        assert_eq!(config(&[]).unwrap().cpus, None);
        let cpus = config(&["--cpus", "0-1,3"]).unwrap().cpus.unwrap();
        assert_eq!(cpus.as_slice(), [0, 1, 3]);
        assert!(Command::try_parse_from(["weir-agent", "--cpus", "3-1"]).is_err());
    }

    #[test]
    fn a_cpu_that_the_host_has_not_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().to_str().unwrap();
        let words = ["--data", data, "--controller", "unix:/s", "--cpus", "8191"];
        let config = args(&words).config_in(&environment(&[])).unwrap();
        let error = Agent::build(config).unwrap_err();
        let text = chain(&error);
        assert!(text.contains("--cpus") && text.contains("8191"), "{text}");
    }

    #[test]
    fn errors_name_their_place() {
        let environment = environment(&[("A.B", "1")]);
        let error = args(&[]).config_in(&environment).unwrap_err();
        assert_eq!(error.to_string(), "WEIR_LABEL_A.B");
        let error = args(&["--label", "x"])
            .config_in(&Environment::default())
            .unwrap_err();
        assert!(matches!(error, ArgsError::Label { .. }));
        let refused = Command::try_parse_from(["weir-agent", "--controller", "tcp://10.0.0.1"]);
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("host and port"), "{text}");
    }
}
