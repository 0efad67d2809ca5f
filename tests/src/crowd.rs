//! Many agents in one process.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use weir_agent::{Agent, AgentConfig};
use weir_runtime::Shutdown;

use crate::Cluster;

/// Agents of one process, on loopback.
#[derive(Debug)]
pub struct Crowd {
    runtime: Option<tokio::runtime::Runtime>,
    shutdown: Shutdown,
    _data: TempDir,
}

impl Crowd {
    /// So many agents, once all of them are there.
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
        let data = tempfile::tempdir().expect("a directory");
        let shutdown = Shutdown::new();
        for i in 0..count {
            let name = format!("h{i:03}").parse().expect("a name");
            let endpoint = cluster.join_endpoint().parse().expect("an endpoint");
            let mut config = AgentConfig::new(endpoint, name, data.path().join(i.to_string()));
            config.lab = true;
            config
                .labels
                .insert("asn", &(150 + i % 10).to_string())
                .expect("a label");
            let role = if i == 0 { "sink" } else { "source" };
            config.labels.insert("role", role).expect("a label");
            let agent = Agent::build(config).unwrap_or_else(|error| panic!("{error}"));
            runtime.spawn(agent.run(shutdown.token()));
        }
        cluster.await_agents(count);
        Self {
            runtime: Some(runtime),
            shutdown,
            _data: data,
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}
