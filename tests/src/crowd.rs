//! Many agents in one process.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::task::JoinSet;
use weir_agent::{Agent, AgentConfig, EnrolConfig, TokenSource};
use weir_runtime::Shutdown;
use weir_runtime::tls::Secret;

use crate::Cluster;

/// How long some more agents have to be there.
const JOIN_LIMIT: Duration = Duration::from_secs(120);
/// How long they have to end.
const END_LIMIT: Duration = Duration::from_secs(20);
/// So many enrol at once: each has to be there within its own limits.
const AT_ONCE: usize = 100;

/// Agents of one process, on loopback.
#[derive(Debug)]
pub struct Crowd {
    runtime: Option<tokio::runtime::Runtime>,
    shutdown: Shutdown,
    agents: JoinSet<()>,
    data: TempDir,
}

impl Crowd {
    /// So many agents, once all of them are there. They come in over TLS where the
    /// controller has it.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn join(cluster: &Cluster, count: usize) -> Self {
        // As tests/run does: each agent has some sockets.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        )
        .expect("a limit may be raised to its maximum");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut crowd = Self {
            runtime: Some(runtime),
            shutdown: Shutdown::new(),
            agents: JoinSet::new(),
            data: tempfile::tempdir().expect("a directory"),
        };
        crowd.add(cluster, count);
        crowd
    }

    /// So many more.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn add(&mut self, cluster: &Cluster, count: usize) {
        let token = (cluster.has_tls() && count > 0).then(|| cluster.token(count));
        let last = self.agents.len() + count;
        while self.agents.len() < last {
            let next = last.min(self.agents.len() + AT_ONCE);
            for i in self.agents.len()..next {
                self.start(cluster, i, token.as_deref());
            }
            cluster.await_agents_within(next, JOIN_LIMIT);
        }
    }

    fn start(&mut self, cluster: &Cluster, i: usize, token: Option<&str>) {
        let name = format!("h{i:03}").parse().expect("a name");
        let endpoint = match token {
            Some(_) => cluster.doors().agents.clone(),
            None => cluster.join_endpoint(),
        };
        let endpoint = endpoint.parse().expect("an endpoint");
        let mut config = AgentConfig::new(endpoint, name, self.data.path().join(i.to_string()));
        config.enrol = token.map(|token| EnrolConfig {
            endpoint: cluster.doors().enrol.parse().expect("an endpoint"),
            token: TokenSource::Text(Secret::new(token.as_bytes().to_vec())),
        });
        config.lab = true;
        config
            .labels
            .insert("asn", &(150 + i % 10).to_string())
            .expect("a label");
        let role = if i == 0 { "sink" } else { "source" };
        config.labels.insert("role", role).expect("a label");
        let agent = Agent::build(config).unwrap_or_else(|error| panic!("{error}"));
        let runtime = self.runtime.as_ref().expect("it is there until the end");
        let agent = agent.run(self.shutdown.token());
        self.agents.spawn_on(agent, runtime.handle());
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(runtime) = self.runtime.take() {
            // A runtime that ends under them aborts what they wait for.
            let agents = std::mem::take(&mut self.agents).join_all();
            let limit = async { tokio::time::timeout(END_LIMIT, agents).await };
            let _late = runtime.block_on(limit).is_err();
            runtime.shutdown_background();
        }
    }
}
