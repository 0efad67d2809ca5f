//! One control stream, from challenge to end. States and order are those of
//! the service's contract in agent.proto.
//!
//! Every wake-up becomes one [`Wake`]; the loop matches on it. Cancel-safe:
//! dropping the task closes the session, and the registry keeps what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::{Status, Streaming};
use weir_common::assignment::{Desired, Order, Snapshot};
use weir_common::id::{AgentName, RunId, SessionId};
use weir_proto::agent::v1::{
    self as pb, ControlRequest, ControlResponse, control_request, control_response,
};
use weir_proto::convert::{self, clip, limits};
use weir_runtime::HostClock;

use super::access::vouched;
use super::hello;
use super::status::{denied, of_convert, of_store, refusal, unreadable};
use crate::audit::{Audit, Entry, Event, Who};
use crate::deny::{Claim, Standing};
use crate::registry::{Registry, Session, Wanted};
use crate::run::{AgentNews, Runs};
use crate::store::{AgentRow, AssignmentState, Denial, SessionState, Store, StoreError, Subject};

/// How long an agent has for its Hello.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// How long an agent that has to go has for stopping: well below
/// [`crate::deny::CUT_AFTER`], for the reason comes behind it.
const STOP_WAIT: Duration = Duration::from_millis(300);
/// Silence after which the stream is ended: the agent is lost by then.
const SILENCE: Duration = Duration::from_secs(15);
/// Snapshots whose answer is awaited; older ones are superseded anyway.
const UNANSWERED: usize = 64;
/// Messages that an agent may be ahead of the director.
const AHEAD: u64 = 64;
/// Most reasons of a refused snapshot: one for each item, with room.
const REASONS: usize = 1_024;
/// How long an agent's answer holds back the next snapshot. Each is the whole of what
/// is wanted: what changes while an agent writes one to its disk goes into the next,
/// and neither side holds a queue of them.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// What a control stream works with.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Arc<Registry>,
    pub(super) runs: Runs,
    pub(super) audit: Audit,
    pub(super) clock: HostClock,
}

type Outbound = mpsc::Sender<Result<ControlResponse, Status>>;

/// Why the loop woke up.
enum Wake {
    Message(Box<control_request::Message>),
    Wanted(Wanted),
    Wish(pb::ArtifactWanted),
    Denied(Denial),
    Superseded,
    Ended,
    Silent,
}

impl Control {
    /// Serves one stream to its end. A refusal is the stream's last message.
    pub(super) async fn serve(
        self,
        mut who: Who,
        standing: Standing,
        mut inbound: Streaming<ControlRequest>,
        outbound: Outbound,
    ) {
        if let Err(status) = self
            .session(&mut who, &standing, &mut inbound, &outbound)
            .await
        {
            tracing::info!(code = ?status.code(), reason = status.message(), "control stream refused");
            if let Some(entry) = refusal(Event::Session, who, &status) {
                self.audit.tell(entry.by("AgentService/Control"));
            }
            outbound.send(Err(status)).await.ok();
        }
    }

    async fn session(
        &self,
        who: &mut Who,
        standing: &Standing,
        inbound: &mut Streaming<ControlRequest>,
        outbound: &Outbound,
    ) -> Result<(), Status> {
        let (hello, row, _claim) = self.introduce(who, standing, inbound, outbound).await?;
        let boot = row.boot;
        let name = row.name.clone();
        *who = who.clone().named(&name);
        let known = hello.controller_id == self.store.identity().controller_id;
        if known && hello.accepted_version > row.snapshot_version {
            self.look_back(who, &name, hello.accepted_version).await?;
        }
        let (epoch, acked_seq) = {
            let name = name.clone();
            self.store(move |store| {
                Ok((store.next_session_epoch()?, store.watermark(&name, boot)?))
            })
            .await?
        };
        let mut session = self.registry.admit(row, epoch, self.clock.now_ns());
        tracing::info!(agent = %name, epoch, generation = hello.generation, "agent is here");
        let identity = self.store.identity();
        let ack = pb::HelloAck {
            protocol: hello::PROTOCOL,
            controller_id: identity.controller_id.clone(),
            session_epoch: epoch,
            acked_seq,
        };
        let sent = send(outbound, control_response::Message::HelloAck(ack)).await;
        if sent && known {
            for status in hello.assignments {
                self.assignment(&session, status)?;
            }
        }
        let result = self
            .converse(&mut session, standing, inbound, outbound)
            .await;
        self.registry.release(&name, epoch);
        if standing.denied().is_some() {
            self.registry.expel(&name);
        }
        tracing::info!(agent = %name, epoch, "agent's control stream ended");
        let seen_unix_ns = self.clock.unix_ns();
        self.store(move |store| store.touch_agent(&name, seen_unix_ns))
            .await?;
        result
    }

    /// The agent has accepted a snapshot that this database has not drawn yet: it was put
    /// back. Without higher versions the agent would refuse all that is wanted of it.
    async fn look_back(&self, who: &Who, name: &AgentName, accepted: u64) -> Result<(), Status> {
        let of = name.clone();
        let skip = move |store: &dyn Store| store.skip_snapshot_versions(&of, accepted);
        if self.store(skip).await? {
            let reason = format!("it has accepted snapshot {accepted}, which was not drawn yet");
            tracing::error!(agent = %name, reason, "the database is an older one");
            let entry = Entry::new(Event::OldDatabase, who.clone());
            let entry = entry.by("AgentService/Control").because(reason);
            self.audit.tell(entry);
        }
        Ok(())
    }

    /// Challenge, Hello, registration.
    async fn introduce(
        &self,
        who: &Who,
        standing: &Standing,
        inbound: &mut Streaming<ControlRequest>,
        outbound: &Outbound,
    ) -> Result<(pb::Hello, AgentRow, Claim), Status> {
        let mut nonce = [0; 32];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut nonce)
            .map_err(|_| Status::internal("drawing a challenge: the system's source failed"))?;
        let challenge = pb::Challenge {
            nonce: nonce.to_vec(),
        };
        send(outbound, control_response::Message::Challenge(challenge)).await;
        let first = tokio::time::timeout(HELLO_WAIT, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("hello: none came within 5 s"))?
            .map_err(|status| unreadable(&status).unwrap_or(status))?;
        let Some(control_request::Message::Hello(hello)) = first.and_then(|first| first.message)
        else {
            return Err(Status::failed_precondition(
                "hello: must be the first message",
            ));
        };
        vouched(who, &hello.name)?;
        let checked = hello::check(&hello, &nonce, self.clock.unix_ns())?;
        let claim = standing
            .claim(Subject::Agent(checked.name.clone()))
            .map_err(|denial| denied(&denial))?;
        let row = self
            .store(move |store| store.register_agent(&checked))
            .await?;
        Ok((hello, row, claim))
    }

    async fn converse(
        &self,
        session: &mut Session,
        standing: &Standing,
        inbound: &mut Streaming<ControlRequest>,
        outbound: &Outbound,
    ) -> Result<(), Status> {
        let mut sent: Option<Wanted> = None;
        let mut messages = 0_u64;
        let mut unanswered: BTreeMap<u64, Wanted> = BTreeMap::new();
        let mut sent_at = Instant::now();
        session.wanted.mark_changed();
        loop {
            let next = (!unanswered.is_empty()).then(|| sent_at + ANSWER_PATIENCE);
            match self.wake(session, standing, inbound, next).await? {
                Wake::Message(message) => {
                    if !self
                        .registry
                        .heard(&session.name, session.epoch, self.clock.now_ns())
                    {
                        return Err(superseded());
                    }
                    self.message(session, *message, &mut unanswered, outbound)
                        .await?;
                    messages += 1;
                    if messages.is_multiple_of(AHEAD) {
                        self.runs.heard().await;
                    }
                }
                Wake::Wanted(wanted) => {
                    if sent.as_ref().is_some_and(|sent| *sent == wanted) {
                        continue;
                    }
                    let version = self.snapshot(session, &wanted, outbound).await?;
                    sent_at = Instant::now();
                    unanswered.insert(version, Arc::clone(&wanted));
                    if unanswered.len() > UNANSWERED {
                        unanswered.pop_first();
                    }
                    sent = Some(wanted);
                }
                Wake::Wish(wish) => {
                    send(outbound, control_response::Message::ArtifactWanted(wish)).await;
                }
                Wake::Denied(denial) => {
                    let stopping = self.stop_all(session, &denial, inbound, outbound);
                    // Whoever does not answer is cut all the same.
                    tokio::time::timeout(STOP_WAIT, stopping).await.ok();
                    return Err(denied(&denial));
                }
                Wake::Superseded => return Err(superseded()),
                Wake::Ended => return Ok(()),
                Wake::Silent => {
                    return Err(Status::deadline_exceeded("no heartbeat for 15 s"));
                }
            }
        }
    }

    /// Waits for whatever comes first; for what is wanted not before `next`.
    async fn wake(
        &self,
        session: &mut Session,
        standing: &Standing,
        inbound: &mut Streaming<ControlRequest>,
        next: Option<Instant>,
    ) -> Result<Wake, Status> {
        tokio::select! {
            biased;
            () = session.superseded.cancelled() => Ok(Wake::Superseded),
            denial = standing.until_denied() => Ok(Wake::Denied(denial)),
            wanted = changed(&mut session.wanted, next) => {
                Ok(wanted.map_or(Wake::Ended, Wake::Wanted))
            }
            Some(wish) = session.wishes.recv() => Ok(Wake::Wish(wish)),
            message = inbound.message() => match message {
                Ok(Some(ControlRequest { message: Some(message) })) => {
                    Ok(Wake::Message(Box::new(message)))
                }
                // A kind of message of a later version.
                Ok(Some(_)) => Err(Status::unimplemented("control: unknown kind of message")),
                Ok(None) => Ok(Wake::Ended),
                Err(status) => unreadable(&status).map_or(Ok(Wake::Ended), Err),
            },
            () = tokio::time::sleep(SILENCE) => Ok(Wake::Silent),
        }
    }

    /// Orders an agent that has to go to stop all it does, and hears what it says to
    /// that: the order is the last thing it is told but for the reason.
    async fn stop_all(
        &self,
        session: &Session,
        denial: &Denial,
        inbound: &mut Streaming<ControlRequest>,
        outbound: &Outbound,
    ) -> Result<(), Status> {
        let stopped = all_stopped(&session.wanted.borrow(), denial);
        let mut running: BTreeSet<u32> = stopped.iter().map(|item| item.assignment.run.0).collect();
        if running.is_empty() {
            return Ok(());
        }
        self.snapshot(session, &stopped, outbound).await?;
        while !running.is_empty() {
            let Some(message) = inbound.message().await?.and_then(|next| next.message) else {
                break;
            };
            if let control_request::Message::AssignmentStatus(status) = &message
                && is_over(status.state())
            {
                running.remove(&status.run);
            }
            self.message(session, message, &mut BTreeMap::new(), outbound)
                .await?;
        }
        Ok(())
    }

    async fn snapshot(
        &self,
        session: &Session,
        wanted: &[Desired],
        outbound: &Outbound,
    ) -> Result<u64, Status> {
        let name = session.name.clone();
        let version = self
            .store(move |store| store.next_snapshot_version(&name))
            .await?;
        let snapshot = Snapshot {
            epoch: session.epoch,
            version,
            items: wanted.to_vec(),
        };
        send(
            outbound,
            control_response::Message::Snapshot((&snapshot).into()),
        )
        .await;
        Ok(version)
    }

    async fn message(
        &self,
        session: &Session,
        message: control_request::Message,
        unanswered: &mut BTreeMap<u64, Wanted>,
        outbound: &Outbound,
    ) -> Result<(), Status> {
        match message {
            control_request::Message::Hello(_) => {
                return Err(Status::failed_precondition("hello: only once per stream"));
            }
            control_request::Message::Heartbeat(beat) => {
                if beat.session_epoch != session.epoch {
                    return Err(Status::failed_precondition(
                        "heartbeat.session_epoch: stale",
                    ));
                }
                if !beat.interfaces.is_empty() {
                    hello::check_interfaces(&beat.interfaces)?;
                    self.registry
                        .interfaces(&session.name, session.epoch, beat.interfaces);
                }
                let ack = pb::HeartbeatAck {
                    mono_ns: beat.mono_ns,
                };
                send(outbound, control_response::Message::HeartbeatAck(ack)).await;
            }
            control_request::Message::SnapshotAck(ack) => {
                unanswered.retain(|version, _| *version > ack.version);
            }
            control_request::Message::SnapshotNack(nack) => {
                if nack.reasons.len() > REASONS {
                    let n = nack.reasons.len();
                    return Err(Status::invalid_argument(format!(
                        "snapshot_nack.reasons: {n}, at most {REASONS}"
                    )));
                }
                let wanted = unanswered.remove(&nack.version);
                self.nack(session, &nack, wanted.as_deref().map_or(&[], Vec::as_slice));
            }
            control_request::Message::SessionStatus(status) => {
                self.session_status(session, status)?;
            }
            control_request::Message::AssignmentStatus(status) => {
                self.assignment(session, status)?;
            }
        }
        Ok(())
    }

    /// A refused snapshot: each reason concerns one run; without a run, all of it.
    fn nack(&self, session: &Session, nack: &pb::SnapshotNack, wanted: &[Desired]) {
        tracing::warn!(agent = %session.name, version = nack.version, "agent refused a snapshot");
        let refuse = |run, sessions, reason| {
            self.runs.agent(
                session.name.clone(),
                AgentNews::Refused {
                    run,
                    sessions,
                    reason,
                },
            );
        };
        if nack.reasons.is_empty() {
            for item in wanted {
                let reason = "refused without a reason".to_owned();
                refuse(item.assignment.run, Vec::new(), reason);
            }
        }
        for reason in &nack.reasons {
            let sessions = reason.sessions.iter().copied().map(SessionId).collect();
            let text = format!("{}: {}", reason.field, reason.problem);
            let who = Who::agent(&session.name);
            let entry = Entry::new(Event::Policy, who).to(RunId(reason.run));
            self.audit.tell(entry.refused(&text));
            refuse(RunId(reason.run), sessions, clip(&text, limits::REASON));
        }
    }

    fn session_status(&self, session: &Session, status: pb::SessionStatus) -> Result<(), Status> {
        let end = convert::end(status.end).map_err(|error| of_convert(&error))?;
        let state = match status.state {
            Some(pb::session_status::State::ListeningPort(port)) => SessionState::Listening {
                port: u16::try_from(port)
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| {
                        Status::invalid_argument(format!(
                            "session_status.listening_port: {port} is outside 1 to 65535"
                        ))
                    })?,
            },
            Some(pb::session_status::State::Ready(ready)) => {
                let tuples = ready.tuples.iter().take(limits::TUPLES);
                let tuples = tuples.map(|tuple| clip(tuple, limits::WORD)).collect();
                SessionState::Ready {
                    tuples,
                    link: ready.link,
                }
            }
            Some(pb::session_status::State::Failed(failed)) => SessionState::Failed {
                code: clip(&failed.code, limits::WORD),
                reason: clip(&failed.reason, limits::REASON),
            },
            None => return Err(Status::invalid_argument("session_status.state: not set")),
        };
        let (run, id) = (RunId(status.run), SessionId(status.session));
        self.runs.agent(
            session.name.clone(),
            AgentNews::Session {
                run,
                session: id,
                end,
                state,
            },
        );
        Ok(())
    }

    fn assignment(&self, session: &Session, status: pb::AssignmentStatus) -> Result<(), Status> {
        use pb::assignment_status::State as Pb;
        let state = match status.state() {
            Pb::Unspecified => {
                return Err(Status::invalid_argument("assignment_status.state: not set"));
            }
            Pb::Accepted => AssignmentState::Accepted,
            Pb::Prepared => AssignmentState::Prepared,
            Pb::Armed => AssignmentState::Armed,
            Pb::Running => AssignmentState::Running,
            Pb::Finished => AssignmentState::Finished,
            Pb::Stopped => AssignmentState::Stopped,
            Pb::Aborted => AssignmentState::Aborted,
        };
        let news = AgentNews::Assignment {
            run: RunId(status.run),
            state,
            reason: clip(&status.reason, limits::REASON),
            late_by_ns: status.late_by_ns,
        };
        self.runs.agent(session.name.clone(), news);
        Ok(())
    }

    /// Calls the store off the async threads.
    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(store.as_ref()))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| of_store(&error))
    }
}

/// What is wanted, with an order to stop in place of every other.
fn all_stopped(wanted: &[Desired], denial: &Denial) -> Vec<Desired> {
    let stop = |item: &Desired| match &item.order {
        Order::Stop { .. } => item.clone(),
        _ => Desired {
            order: Order::Stop {
                reason: format!("{} is on the deny list", denial.subject.described()),
            },
            ..item.clone()
        },
    };
    wanted.iter().map(stop).collect()
}

fn is_over(state: pb::assignment_status::State) -> bool {
    use pb::assignment_status::State as Pb;
    matches!(state, Pb::Finished | Pb::Stopped | Pb::Aborted)
}

fn superseded() -> Status {
    Status::aborted("a newer control session of this agent has come")
}

/// Sends one message; `false` when the agent has gone, which the next read tells.
async fn send(outbound: &Outbound, message: control_response::Message) -> bool {
    outbound
        .send(Ok(ControlResponse {
            message: Some(message),
        }))
        .await
        .is_ok()
}

/// What is wanted, once it has changed, as it is not before `next`; `None` when nothing
/// is any more. Cancel-safe.
async fn changed(wanted: &mut watch::Receiver<Wanted>, next: Option<Instant>) -> Option<Wanted> {
    if let Some(next) = next {
        tokio::time::sleep_until(next).await;
    }
    wanted.changed().await.ok()?;
    Some(Arc::clone(&wanted.borrow_and_update()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHILE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn what_changes_while_an_answer_is_awaited_is_sent_as_one() {
        let nothing: Wanted = Arc::new(Vec::new());
        let (publish, mut wanted) = watch::channel(Arc::clone(&nothing));
        let next = Instant::now() + WHILE;
        publish.send_replace(Arc::new(Vec::new()));
        let last: Wanted = Arc::new(Vec::new());
        let later = async {
            // The other waits by now.
            tokio::task::yield_now().await;
            publish.send_replace(Arc::clone(&last));
        };
        let (got, ()) = tokio::join!(changed(&mut wanted, Some(next)), later);
        assert!(Instant::now() >= next);
        assert!(Arc::ptr_eq(&got.expect("it changed"), &last));
        assert!(!wanted.has_changed().expect("it may still change"));
        // Answered: nothing is waited for.
        publish.send_replace(nothing);
        assert!(changed(&mut wanted, None).await.is_some());
        drop(publish);
        assert!(changed(&mut wanted, None).await.is_none());
    }
}
