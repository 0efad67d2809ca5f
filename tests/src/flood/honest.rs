//! An agent that keeps to the protocol while others do not, and notes how long
//! its records wait for their acknowledgement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tonic::Status;
use weir_proto::agent::v1 as pb;
use weir_proto::agent::v1::control_request::Message as Up;
use weir_proto::agent::v1::records_request::Message as Batches;
use weir_proto::agent::v1::records_response::Message as Acks;
use weir_proto::types::v1 as types;

use crate::pretender::{Pretender, request};

/// Between two batches.
const PERIOD: Duration = Duration::from_millis(20);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(2);
/// Rows of a batch.
const ROWS: u32 = 16;

/// The agent, in a thread of its own.
#[derive(Debug)]
pub struct Honest {
    acks: Arc<Mutex<Vec<(Instant, Duration)>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Status>>>,
}

impl Honest {
    /// Starts it at an endpoint of agents; run 1 has been deleted there.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn start(endpoint: &str, name: &str) -> Self {
        let acks = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (endpoint, name) = (endpoint.to_owned(), name.to_owned());
        let (into, until) = (Arc::clone(&acks), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(deliver(&endpoint, &name, &into, &until))
        });
        Self {
            acks,
            ended,
            thread: Some(thread),
        }
    }

    /// Waits of the batches that were sent in a span of time, the shortest first.
    pub fn waits(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waits: Vec<Duration> = acks
            .iter()
            .filter(|(sent, _)| (from..to).contains(sent))
            .map(|(_, wait)| *wait)
            .collect();
        waits.sort();
        waits
    }

    /// Ends it; its session must have been one from beginning to end.
    ///
    /// # Errors
    /// The status that ended its session.
    pub fn stop(mut self) -> Result<(), Status> {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("an honest agent does not panic")
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

async fn deliver(
    endpoint: &str,
    name: &str,
    acks: &Mutex<Vec<(Instant, Duration)>>,
    ended: &AtomicBool,
) -> Result<(), Status> {
    let mut me = Pretender::at(endpoint, name).await;
    let (mut session, epoch) = me.joined().await;
    // Records have a connection of their own.
    me.reconnect(endpoint).await;
    let mut records = me.records().await;
    records.send(&pb::RecordsRequest {
        message: Some(Batches::Open(me.records_open(epoch))),
    });
    let _begin: pb::RecordsResponse = records.answer().await?;
    let mut beat = Instant::now();
    let mut first_seq = 1;
    while !ended.load(Ordering::Relaxed) {
        let sent = Instant::now();
        records.send(&pb::RecordsRequest {
            message: Some(Batches::Batch(batch(first_seq))),
        });
        let answer: pb::RecordsResponse = records.answer().await?;
        let Some(Acks::Ack(ack)) = answer.message else {
            return Err(Status::internal(format!("no ack: {answer:?}")));
        };
        first_seq += u64::from(ROWS);
        if ack.acked_seq + 1 != first_seq {
            return Err(Status::internal(format!("{ack:?} before {first_seq}")));
        }
        acks.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((sent, sent.elapsed()));
        if beat.elapsed() > BEAT {
            beat = Instant::now();
            session.send(&request(Up::Heartbeat(pb::Heartbeat {
                session_epoch: epoch,
                mono_ns: 1,
                interfaces: Vec::new(),
            })));
            let _answer: pb::ControlResponse = session.answer().await?;
        }
        tokio::time::sleep(PERIOD).await;
    }
    Ok(())
}

/// Rows of a run that was deleted: they are acknowledged after a commit, and not kept.
fn batch(first_seq: u64) -> pb::Batch {
    let row = |k| types::Entry {
        item: Some(types::entry::Item::Record(types::Record {
            run: 1,
            flow: 1,
            end: 1,
            source: 1,
            k,
            length_ns: 1,
            counters: Some(types::Counters::default()),
            ..types::Record::default()
        })),
    };
    pb::Batch {
        first_seq,
        entries: (0..ROWS).map(row).collect(),
    }
}
