//! The controller: the registry and the watermark's rule are real; the table is a map.

use std::collections::{BTreeMap, VecDeque};

use weir_common::id::{AgentName, BootId};
use weir_common::record::Entry;
use weir_controller::ingest::CREDIT;
use weir_controller::registry::Registry;
use weir_controller::store::{AgentRow, Batch, StoreError};
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::records_response::Message as Response;

/// What is durable. A clone of it is a backup.
#[derive(Debug, Clone, Default)]
pub(super) struct Database {
    pub(super) watermarks: BTreeMap<(AgentName, BootId), u64>,
    /// By boot and sequence. Storing twice is a failure at once.
    pub(super) entries: BTreeMap<(AgentName, BootId), BTreeMap<u64, Entry>>,
    session_epoch: u64,
}

impl Database {
    /// Sequence up to which a boot is stored.
    pub(super) fn watermark(&self, agent: &AgentName, boot: BootId) -> u64 {
        let key = (agent.clone(), boot);
        self.watermarks.get(&key).copied().unwrap_or(0)
    }

    /// Stores what of a batch is new; gives the watermark and how many entries were known.
    fn append(&mut self, batch: Batch) -> Result<(u64, usize), StoreError> {
        let key = (batch.agent.clone(), batch.boot);
        let acked = self.watermark(&batch.agent, batch.boot);
        let known = batch.known(acked)?;
        let table = self.entries.entry(key.clone()).or_default();
        for (seq, entry) in (batch.first_seq..).zip(batch.entries).skip(known) {
            let before = table.insert(seq, entry);
            assert!(before.is_none(), "{seq} of {} is stored twice", batch.boot);
        }
        let acked = table.keys().next_back().copied().unwrap_or(0).max(acked);
        self.watermarks.insert(key, acked);
        Ok((acked, known))
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Stored,
    /// Nothing of it is.
    Failed,
}

/// What a stream is told: an answer, or that it ends.
pub(super) type Answer = (usize, Option<pb::RecordsResponse>);

/// A process of it.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) registry: Registry,
    /// Batches that wait for their commit, with their connection.
    queue: VecDeque<(usize, Batch)>,
    sessions: Vec<weir_controller::registry::Session>,
}

impl Controller {
    pub(super) fn start() -> Self {
        Self {
            registry: Registry::default(),
            queue: VecDeque::new(),
            sessions: Vec::new(),
        }
    }

    /// A control session: its epoch, and how far the boot is stored.
    pub(super) fn hello(
        &mut self,
        database: &mut Database,
        row: AgentRow,
        now_ns: u64,
    ) -> (u64, u64) {
        let acked = database.watermark(&row.name, row.boot);
        database.session_epoch += 1;
        let epoch = database.session_epoch;
        self.sessions.push(self.registry.admit(row, epoch, now_ns));
        (epoch, acked)
    }

    /// A batch has arrived.
    pub(super) fn submit(&mut self, connection: usize, batch: Batch) {
        self.queue.push_back((connection, batch));
    }

    /// One transaction of at most so many batches: what their streams are told.
    pub(super) fn commit(
        &mut self,
        database: &mut Database,
        most: usize,
        commit: Commit,
    ) -> (Vec<Answer>, usize) {
        let group = self.queue.drain(..most.min(self.queue.len()));
        let mut known = 0;
        let answers = group.map(|(connection, batch)| {
            if commit == Commit::Failed {
                return (connection, None);
            }
            let answer = match database.append(batch) {
                Ok((acked, before)) => {
                    known += before;
                    ack(acked)
                }
                Err(StoreError::Expected(expected_seq)) => {
                    response(Response::Nack(pb::RecordsNack { expected_seq }))
                }
                Err(error) => panic!("{error}"),
            };
            (connection, Some(answer))
        });
        (answers.collect(), known)
    }

    /// Batches that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

pub(super) fn ack(acked_seq: u64) -> pb::RecordsResponse {
    response(Response::Ack(pb::RecordsAck {
        acked_seq,
        credit: CREDIT,
    }))
}

fn response(message: Response) -> pb::RecordsResponse {
    pb::RecordsResponse {
        message: Some(message),
    }
}
