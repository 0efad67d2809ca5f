//! One records stream. Reading and acknowledging are two loops joined by a
//! queue, so that a commit never holds up the next batch.

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use weir_common::id::{AgentName, BootId, RunId};
use weir_common::record::Entry as RecordEntry;
use weir_proto::agent::v1::{
    self as pb, RecordsRequest, RecordsResponse, records_request, records_response,
};
use weir_proto::convert::ConvertError;

use super::access::vouched;
use super::status::{denied, of_convert, of_store, refusal, unreadable};
use crate::audit::{Audit, Entry, Event, Who};
use crate::deny::Standing;
use crate::ingest::{Conflict, Ingest, Pending};
use crate::registry::Registry;
use crate::run::Runs;
use crate::store::{Batch, StoreError, Subject};

/// Entries of one batch.
const BATCH: usize = 256;
/// Batches whose commit is awaited; the credit keeps an honest agent below it.
const IN_FLIGHT: usize = 64;

/// What a records stream works with.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) ingest: Ingest,
    pub(super) registry: Arc<Registry>,
    pub(super) runs: Runs,
    pub(super) audit: Audit,
}

type Outbound = mpsc::Sender<Result<RecordsResponse, Status>>;

/// Whose records a stream carries.
#[derive(Debug, Clone)]
struct Sender {
    name: AgentName,
    boot: BootId,
}

impl Records {
    /// Serves one stream to its end.
    pub(super) async fn serve(
        self,
        mut who: Who,
        standing: Standing,
        inbound: Streaming<RecordsRequest>,
        outbound: Outbound,
    ) {
        let (pending, commits) = mpsc::channel(IN_FLIGHT);
        let acknowledge = acknowledge(commits, outbound.clone(), self.runs.clone());
        let (read, ()) = tokio::join!(
            self.read(&mut who, &standing, inbound, &outbound, pending),
            acknowledge
        );
        if let Err(status) = read {
            tracing::warn!(code = ?status.code(), reason = status.message(), "records stream refused");
            if let Some(entry) = refusal(Event::Records, who, &status) {
                self.audit.tell(entry.by("AgentService/Records"));
            }
            outbound.send(Err(status)).await.ok();
        }
    }

    async fn read(
        &self,
        who: &mut Who,
        standing: &Standing,
        mut inbound: Streaming<RecordsRequest>,
        outbound: &Outbound,
        pending: mpsc::Sender<Pending>,
    ) -> Result<(), Status> {
        let first = inbound.message().await;
        let first = first.map_err(|status| unreadable(&status).unwrap_or(status))?;
        let first = first.and_then(|first| first.message);
        let Some(records_request::Message::Open(open)) = first else {
            return Err(Status::failed_precondition(
                "records: open must be the first message",
            ));
        };
        vouched(who, &open.name)?;
        let sender = self.open(&open)?;
        let _claim = standing
            .claim(Subject::Agent(sender.name.clone()))
            .map_err(|denial| denied(&denial))?;
        *who = who.clone().named(&sender.name);
        self.look_back(who, RunId(open.last_run)).await?;
        let acked_seq = self
            .ingest
            .watermark(&sender.name, sender.boot)
            .await
            .map_err(|error| of_store(&error))?;
        outbound.send(Ok(ack(acked_seq))).await.ok();
        loop {
            let message = tokio::select! {
                biased;
                message = inbound.message() => message,
                denial = standing.until_denied() => return Err(denied(&denial)),
            };
            // Whoever always has another batch ready is told no later.
            if let Some(denial) = standing.denied() {
                return Err(denied(denial));
            }
            let request = match message {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(status) => return unreadable(&status).map_or(Ok(()), Err),
            };
            let Some(records_request::Message::Batch(batch)) = request.message else {
                return Err(Status::failed_precondition(
                    "records: only batches after open",
                ));
            };
            let batch = decode(&sender, batch)?;
            let submitted = self.ingest.submit(batch).await;
            if let Some(conflict) = submitted.conflict() {
                self.contradicted(who, conflict);
            }
            if pending.send(submitted).await.is_err() {
                // Acknowledging has ended: the agent has gone, or the store failed.
                return Ok(());
            }
        }
    }

    /// Notes that the agent has records of runs that this database does not know: it was
    /// put back. Their numbers are not given again, so that those records are nobody's.
    async fn look_back(&self, who: &Who, last_run: RunId) -> Result<(), Status> {
        let skipped = self.ingest.skip_runs(last_run).await;
        if skipped.map_err(|error| of_store(&error))? {
            let reason = format!("it has records of {last_run}, which this database does not know");
            tracing::error!(
                agent = who.name.as_deref(),
                reason,
                "the database is an older one"
            );
            let entry = Entry::new(Event::OldDatabase, who.clone());
            self.audit
                .tell(entry.by("AgentService/Records").because(reason));
        }
        Ok(())
    }

    /// Tells that an agent has said two things under the same numbers.
    fn contradicted(&self, who: &Who, conflict: Conflict) {
        let Conflict { boot, seq, run } = conflict;
        let (first, last) = seq;
        let reason = format!(
            "records {first} to {last} of boot {boot} came again with other content; what came first is kept"
        );
        tracing::error!(agent = who.name.as_deref(), %run, reason, "is another copy of this agent running?");
        let entry = Entry::new(Event::Conflict, who.clone()).to(run);
        let entry = entry.by("AgentService/Records").refused(reason);
        self.audit.tell(entry);
    }

    fn open(&self, open: &pb::RecordsOpen) -> Result<Sender, Status> {
        let bad = |field: &str, problem: String| {
            Status::invalid_argument(format!("open.{field}: {problem}"))
        };
        let name: AgentName = open
            .name
            .parse()
            .map_err(|error| bad("name", format!("{error}")))?;
        let boot: [u8; 16] = open.boot_id.as_slice().try_into().map_err(|_| {
            bad(
                "boot_id",
                format!("{} bytes instead of 16", open.boot_id.len()),
            )
        })?;
        if !self.registry.is_current(&name, open.session_epoch) {
            return Err(Status::failed_precondition(
                "open.session_epoch: not the agent's control session; open that first",
            ));
        }
        Ok(Sender {
            name,
            boot: BootId(boot),
        })
    }
}

fn decode(sender: &Sender, batch: pb::Batch) -> Result<Batch, Status> {
    if batch.entries.is_empty() || batch.entries.len() > BATCH {
        let n = batch.entries.len();
        return Err(Status::invalid_argument(format!(
            "batch.entries: {n} is outside 1 to {BATCH}"
        )));
    }
    let entries = batch
        .entries
        .iter()
        .enumerate()
        .map(|(i, entry)| {
            RecordEntry::try_from(entry).map_err(|error: ConvertError| {
                of_convert(&error.within(format!("batch.entries[{i}]")))
            })
        })
        .collect::<Result<_, Status>>()?;
    Ok(Batch {
        agent: sender.name.clone(),
        boot: sender.boot,
        first_seq: batch.first_seq,
        entries,
    })
}

/// Answers each batch in order, after its commit. Ends when the store failed:
/// no ack of what is not stored; the agent keeps its records and comes back.
async fn acknowledge(mut commits: mpsc::Receiver<Pending>, outbound: Outbound, runs: Runs) {
    while let Some(commit) = commits.recv().await {
        let agent = commit.agent().clone();
        let message = match commit.stored().await {
            Ok(appended) => {
                runs.stored(&agent, &appended.stored);
                Ok(ack(appended.acked_seq))
            }
            Err(StoreError::Expected(seq)) => Ok(RecordsResponse {
                message: Some(records_response::Message::Nack(pb::RecordsNack {
                    expected_seq: seq,
                })),
            }),
            Err(error) => {
                tracing::error!(error = %super::status::chain(&error), "records not stored");
                Err(of_store(&error))
            }
        };
        let failed = message.is_err();
        if outbound.send(message).await.is_err() || failed {
            return;
        }
    }
}

fn ack(acked_seq: u64) -> RecordsResponse {
    let ack = pb::RecordsAck {
        acked_seq,
        credit: crate::ingest::CREDIT,
    };
    RecordsResponse {
        message: Some(records_response::Message::Ack(ack)),
    }
}
