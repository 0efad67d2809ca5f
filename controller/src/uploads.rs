//! Files on their way from an agent to whoever asked for them. The controller keeps
//! none: it passes the parts on as they are taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use weir_common::id::AgentName;

/// Parts that wait for a slow reader.
const WAITING: usize = 2;

/// A part of a file, or the sentence with which its agent refuses it.
pub type Part = Result<Vec<u8>, String>;

#[derive(Debug)]
struct Waiting {
    agent: AgentName,
    parts: mpsc::Sender<Part>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
}

/// Who waits for which upload.
#[derive(Debug, Clone, Default)]
pub struct Uploads(Arc<Mutex<Table>>);

/// An upload that is awaited; forgotten when this is dropped.
#[derive(Debug)]
pub struct Awaited {
    uploads: Uploads,
    /// What the agent is to call it.
    pub ticket: u64,
    /// Its parts; ends with the file, or with the connection.
    pub parts: mpsc::Receiver<Part>,
}

impl Uploads {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change under the lock leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an upload of this agent.
    pub fn expect(&self, agent: AgentName) -> Awaited {
        let (sender, parts) = mpsc::channel(WAITING);
        let mut table = self.table();
        table.last += 1;
        let ticket = table.last;
        table.waiting.insert(
            ticket,
            Waiting {
                agent,
                parts: sender,
            },
        );
        Awaited {
            uploads: self.clone(),
            ticket,
            parts,
        }
    }

    /// Where the parts of an upload go; `None` when nobody waits for it, or for
    /// another agent's. A ticket serves once.
    pub fn begin(&self, ticket: u64, agent: &AgentName) -> Option<mpsc::Sender<Part>> {
        let mut table = self.table();
        let awaited = table.waiting.get(&ticket)?;
        if awaited.agent != *agent {
            return None;
        }
        table.waiting.remove(&ticket).map(|awaited| awaited.parts)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.uploads.table().waiting.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AgentName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn parts_reach_whoever_asked_and_a_ticket_serves_its_agent_once() {
        let uploads = Uploads::default();
        let mut first = uploads.expect(name("a"));
        let second = uploads.expect(name("a"));
        assert_ne!(first.ticket, second.ticket);
        assert!(uploads.begin(first.ticket, &name("b")).is_none());
        let parts = uploads.begin(first.ticket, &name("a")).unwrap();
        assert!(uploads.begin(first.ticket, &name("a")).is_none());
        parts.send(Ok(vec![1])).await.unwrap();
        drop(parts);
        assert_eq!(first.parts.recv().await, Some(Ok(vec![1])));
        assert_eq!(first.parts.recv().await, None);
        let ticket = second.ticket;
        drop(second);
        assert!(uploads.begin(ticket, &name("a")).is_none());
        drop(first);
        assert!(uploads.table().waiting.is_empty());
    }
}
