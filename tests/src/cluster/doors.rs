//! A controller that agents reach over TLS, from its own host or from others.

use std::process::Command;

use weir_lab::Lab;

use super::Cluster;
use crate::binary;

/// Ports of a controller that has addresses for itself, as in docs/guide.md.
const AGENTS_PORT: u16 = 7901;
const ENROL_PORT: u16 = 7902;

/// Where agents come in over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// The endpoint of those who have a certificate.
    pub agents: String,
    /// The endpoint of those who have a token.
    pub enrol: String,
}

impl Doors {
    /// Those of a controller in a node of a lab, for agents that know its `host`:
    /// `tcp://10.162.0.71`, or `gateway`.
    pub fn of(host: &str) -> Self {
        Self {
            agents: format!("{host}:{AGENTS_PORT}"),
            enrol: format!("{host}:{ENROL_PORT}"),
        }
    }
}

impl Cluster {
    /// A controller which agents reach over TLS on loopback.
    pub fn over_tls() -> Self {
        let any_port = "tls://127.0.0.1:0".to_owned();
        let mut cluster = Self::empty();
        cluster.doors = Some(Doors {
            agents: any_port.clone(),
            enrol: any_port,
        });
        cluster.start_controller();
        cluster
    }

    /// A controller in a node of a lab, at all addresses of the node.
    ///
    /// # Panics
    /// When it cannot be started there.
    pub fn in_node(lab: Lab, node: &str) -> Self {
        let mut cluster = Self::empty();
        cluster.lab = Some(lab);
        cluster.home = Some(node.to_owned());
        cluster.doors = Some(Doors::of("tcp://0.0.0.0"));
        cluster.start_controller();
        cluster
    }

    /// Where agents of this host come in.
    ///
    /// # Panics
    /// When the controller has no TLS.
    pub fn doors(&self) -> &Doors {
        self.doors.as_ref().expect("the controller has TLS")
    }

    /// Whether agents come in over TLS.
    pub fn has_tls(&self) -> bool {
        self.doors.is_some()
    }

    /// A token for so many agents.
    ///
    /// # Panics
    /// When there is none.
    pub fn token(&self, uses: usize) -> String {
        let made = self.weir(&["token", "create", "--uses", &uses.to_string()]);
        assert_eq!(made.code, 0, "{}", made.stderr);
        made.stdout.trim().to_owned()
    }

    /// As [`launch`](Self::launch), for an agent that comes in at `doors`, at its first
    /// start with a token.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch_at(&mut self, doors: &Doors, token: &str, name: &str, mut command: Command) {
        command
            .args(["--enrol", &doors.enrol])
            .env("WEIR_TOKEN", token);
        self.launch_to(&doors.agents, name, command);
    }

    /// `weir serve` as this cluster needs it. The unix socket of agents is always there.
    pub(super) fn serve_command(&self) -> Command {
        let mut command = match &self.home {
            Some(node) => self
                .lab()
                .command(node, binary("weir"))
                .unwrap_or_else(|error| panic!("{error}")),
            None => Command::new(binary("weir")),
        };
        command
            .arg("serve")
            .arg("--data")
            .arg(self.controller_data());
        if let Some(doors) = &self.doors {
            command
                .args(["--agents", &self.join_endpoint(), &doors.agents])
                .args(["--enrol", &doors.enrol]);
        }
        command
    }

    /// Keeps the ports that a controller has chosen: it gets them again.
    pub(super) fn learn_doors(&mut self, output: &str) {
        let Some(doors) = &mut self.doors else {
            return;
        };
        let said = |word: &str| {
            let lines = output.lines().rev();
            let mut endpoints = lines.filter_map(|line| line.strip_prefix(word));
            let found = endpoints.find(|line| !line.contains("unix:"));
            found.expect("the controller says where").trim().to_owned()
        };
        *doors = Doors {
            agents: said("agents "),
            enrol: said("enrol "),
        };
    }
}
