//! The outbox in memory: what it holds is lost with the process.

use std::collections::VecDeque;

use prost::Message;
use weir_common::record::Entry;
use weir_proto::types::v1 as pb;

use super::{Batch, BatchLimit, Outbox};

/// Entries, encoded: a row takes 60 to 200 bytes so, and over 1 KiB decoded.
///
/// Invariant: `entries[i]` has the sequence `acked + 1 + i`; `bytes` is the sum
/// of their lengths.
#[derive(Debug)]
pub struct MemoryOutbox {
    entries: VecDeque<Box<[u8]>>,
    acked: u64,
    bytes: usize,
    limit_bytes: usize,
}

impl MemoryOutbox {
    /// 64 MiB: some 500,000 rows, which is 100 flows at one row a second and
    /// end for over 40 minutes without a controller.
    pub const LIMIT_BYTES: usize = 64 << 20;

    /// An empty outbox that is full at `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            acked: 0,
            bytes: 0,
            limit_bytes,
        }
    }
}

impl Default for MemoryOutbox {
    fn default() -> Self {
        Self::new(Self::LIMIT_BYTES)
    }
}

impl Outbox for MemoryOutbox {
    fn append(&mut self, entry: &Entry) -> u64 {
        let bytes = pb::Entry::from(entry).encode_to_vec().into_boxed_slice();
        self.bytes += bytes.len();
        self.entries.push_back(bytes);
        self.last_seq()
    }

    fn unacked_from(&self, seq: u64, most: BatchLimit) -> Batch {
        let first_seq = seq.max(self.acked + 1);
        let skip = usize::try_from(first_seq - self.acked - 1).unwrap_or(usize::MAX);
        let mut batch = Batch {
            first_seq,
            entries: Vec::new(),
        };
        let mut bytes = 0;
        for entry in self.entries.iter().skip(skip).take(most.entries) {
            bytes += entry.len();
            if bytes > most.bytes && !batch.entries.is_empty() {
                break;
            }
            let entry = pb::Entry::decode(&entry[..]).expect("what this outbox encoded decodes");
            batch.entries.push(entry);
        }
        batch
    }

    fn ack(&mut self, seq: u64) {
        while self.acked < seq {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= entry.len();
            self.acked += 1;
        }
        if self.entries.is_empty() {
            // A backlog that has gone leaves no memory behind.
            self.entries.shrink_to(256);
        }
    }

    fn last_seq(&self) -> u64 {
        self.acked + self.entries.len() as u64
    }

    fn acked_seq(&self) -> u64 {
        self.acked
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limit_bytes
    }
}
