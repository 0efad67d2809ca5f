//! Agents as the store keeps them.

use std::collections::BTreeMap;

use weir_common::id::{AgentName, BootId};

/// What an agent has proven and told when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHello {
    /// Name.
    pub name: AgentName,
    /// Labels, folded already.
    pub labels: BTreeMap<String, String>,
    /// Ed25519 public key whose possession was proven.
    pub public_key: Vec<u8>,
    /// Counter of starts in the agent's data directory.
    pub generation: u64,
    /// This start.
    pub boot: BootId,
    /// Encoded `weir.types.v1.Inventory`.
    pub inventory: Vec<u8>,
    /// When, ns since the Unix epoch.
    pub seen_unix_ns: i64,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Name.
    pub name: AgentName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The key that owns the name.
    pub public_key: Vec<u8>,
    /// Highest generation seen.
    pub generation: u64,
    /// Boot of that generation.
    pub boot: BootId,
    /// Encoded `weir.types.v1.Inventory` of that boot.
    pub inventory: Vec<u8>,
    /// When the name was first registered, ns since the Unix epoch.
    pub first_seen_unix_ns: i64,
    /// When it was last heard, ns since the Unix epoch.
    pub last_seen_unix_ns: i64,
    /// Version of the snapshot drawn last; 0 = none.
    pub snapshot_version: u64,
}
