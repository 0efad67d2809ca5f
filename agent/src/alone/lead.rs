//! Leading a test: both shares get ready, start at one instant, and tell what
//! they measured.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};
use weir_common::assignment::Assignment;
use weir_common::id::{AgentName, SessionId};
use weir_common::record::{End, Entry};
use weir_engine::engine::Event;
use weir_experiment::analysis::{Failure, Surroundings};
use weir_experiment::output::text::printable;
use weir_experiment::plan::Plan;
use weir_proto::convert::{clip, limits};
use weir_proto::peer::v1 as pb;
use weir_proto::peer::v1::frame::Message;
use weir_proto::peer::v1::session_news::State;
use weir_proto::types::v1 as types;

use super::Error;
use super::agreement::{Agreement, Side};
use super::channel::Channel;
use super::clock::Relation;
use super::connect::{broken, unexpected};
use super::evidence::{Evidence, RUN};
use super::host::Host;
use super::lines::Lines;
use super::share::{self, Share, Told};

/// Time for the receiver to answer an offer.
const OFFER_LIMIT: Duration = Duration::from_secs(10);
/// What a share told that is taken in before the peer has its turn.
const TOLD_AT_ONCE: usize = 64;
/// How much longer than `settle` both sides may take to get ready.
const SETTLE_GRACE: Duration = Duration::from_secs(10);
/// From the decision to T0: the order has to arrive before it, and is repeated by
/// TCP after some 200 ms when it is lost once.
const LEAD_NS: u64 = 300_000_000;
/// How much longer than `linger` the receiver's last words are waited for.
const LAST_WORDS_GRACE: Duration = Duration::from_secs(30);
/// The same after a stop.
const STOP_GRACE: Duration = Duration::from_secs(6);

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Listens from now on.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Something that an interrupt ends at once.
    pub(super) async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            () = self.next() => Err(Error::interrupted("interrupted before the test had begun")),
        }
    }
}

/// One test, from the offer to the last record.
pub(super) struct Lead<'a> {
    pub(super) host: &'a Host,
    pub(super) plan: &'a Plan,
    /// Our name and the receiver's in the plan.
    pub(super) names: (AgentName, AgentName),
    pub(super) clock: Relation,
    pub(super) channel: &'a mut Channel,
    pub(super) interrupts: &'a mut Interrupts,
    /// Where lines for people go.
    pub(super) say: &'a dyn Fn(&str),
    /// Lines of intervals, if they are wanted.
    pub(super) lines: Option<Lines>,
}

/// What a test left.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) evidence: Evidence,
    /// What both saw beside the flows.
    pub(super) surroundings: Surroundings,
    /// T0, ns since the Unix epoch; `None` when nothing could start.
    pub(super) t0_unix_ns: Option<i64>,
    /// Why it was ended early.
    pub(super) stopped: Option<String>,
    pub(super) interrupted: bool,
}

/// How far both sides are.
struct Course {
    share: Share,
    agreement: Agreement,
    measured: Measured,
    here_done: bool,
    there_done: bool,
}

impl Lead<'_> {
    /// Offers the receiver its share.
    ///
    /// # Errors
    /// It does not take it.
    pub(super) async fn offer(&mut self, theirs: &Assignment, title: &str) -> Result<(), Error> {
        let offer = Message::Offer(pb::Offer {
            assignment: Some(types::Assignment::from(theirs)),
            title: clip(title, limits::WORD),
        });
        let channel = &mut *self.channel;
        let answered = async {
            channel
                .send(offer)
                .map_err(|error| Error::infrastructure(broken(&error)))?;
            match timeout(OFFER_LIMIT, channel.receive()).await {
                Ok(Ok(Message::Accepted(_))) => Ok(()),
                Ok(Ok(other)) => Err(Error::infrastructure(format!(
                    "the receiver refuses: {}",
                    unexpected(other)
                ))),
                Ok(Err(error)) => Err(Error::infrastructure(broken(&error))),
                Err(_) => Err(Error::infrastructure(
                    "the receiver did not answer the offer",
                )),
            }
        };
        self.interrupts.or(answered).await
    }

    /// Prepares, starts, measures.
    ///
    /// # Errors
    /// Our own share cannot be prepared; a second interrupt.
    pub(super) async fn measure(&mut self, ours: Assignment) -> Result<Measured, Error> {
        let peer = match &ours.sessions[0].peer {
            weir_common::assignment::Peer::Agent { addresses, .. } => addresses[0],
            weir_common::assignment::Peer::Address { address, .. } => address.ip(),
        };
        let sessions: Vec<SessionId> = ours.sessions.iter().map(|each| each.session).collect();
        let settle = Duration::from_nanos(ours.settle_ns);
        let mut course = Course {
            share: Share::begin(self.host, peer, ours).map_err(Error::infrastructure)?,
            agreement: Agreement::new(sessions),
            measured: Measured {
                evidence: Evidence::new(self.plan),
                surroundings: Surroundings::new(self.plan),
                t0_unix_ns: None,
                stopped: None,
                interrupted: false,
            },
            here_done: false,
            there_done: false,
        };
        self.prepare(&mut course, settle).await?;
        if course.measured.stopped.is_none() && course.agreement.ready_count() > 0 {
            self.start(&mut course);
        } else {
            let why = course.measured.stopped.clone();
            self.stop(
                &mut course,
                why.unwrap_or_else(|| "nothing is ready".to_owned()),
            );
            // The failures are the reason, not the stop that follows from them.
            course.measured.stopped = course
                .measured
                .stopped
                .filter(|why| why != "nothing is ready");
        }
        self.collect(&mut course).await?;
        if let Some(lines) = &mut self.lines {
            lines.rest().iter().for_each(|line| (self.say)(line));
        }
        Ok(course.measured)
    }

    /// Until every session is ready or failed at both ends.
    async fn prepare(&mut self, course: &mut Course, settle: Duration) -> Result<(), Error> {
        let until = Instant::now() + settle + SETTLE_GRACE;
        let mut told = Vec::new();
        while !course.agreement.is_decided() && course.measured.stopped.is_none() {
            tokio::select! {
                () = course.share.tell(&mut told, TOLD_AT_ONCE) => self.told(course, &mut told),
                message = self.channel.receive() => self.message(course, message),
                () = self.interrupts.next() => self.interrupted(course)?,
                () = sleep_until(until) => {
                    self.stop(course, "the two ends did not get ready in time".to_owned());
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, course: &mut Course) {
        let (now_ns, unix_ns) = (self.host.clock.now_ns(), self.host.clock.unix_ns());
        let t0_ns = now_ns + LEAD_NS;
        course.share.start(t0_ns);
        let start = Message::Start(pb::Start {
            mono_ns: self.clock.at_peer(t0_ns),
        });
        if let Err(error) = self.channel.send(start) {
            self.lost(course, &broken(&error));
        }
        course.measured.t0_unix_ns = Some(unix_ns.saturating_add(LEAD_NS as i64));
    }

    /// Until both sides have told everything, or one will not.
    async fn collect(&mut self, course: &mut Course) -> Result<(), Error> {
        let mut last_words: Option<Instant> = None;
        let mut told = Vec::new();
        while !(course.here_done && course.there_done) {
            if course.here_done && last_words.is_none() {
                let grace = if course.measured.stopped.is_some() {
                    STOP_GRACE
                } else {
                    Duration::from_nanos(self.plan.linger_ns) + LAST_WORDS_GRACE
                };
                last_words = Some(Instant::now() + grace);
            }
            tokio::select! {
                () = course.share.tell(&mut told, TOLD_AT_ONCE), if !course.here_done => self.told(course, &mut told),
                message = self.channel.receive(), if !course.there_done => self.message(course, message),
                () = self.interrupts.next() => self.interrupted(course)?,
                () = at(last_words) => {
                    let why = "the receiver did not say that it has ended";
                    course.measured.evidence.silent(self.plan, &self.names.1, why);
                    course.there_done = true;
                }
            }
        }
        Ok(())
    }

    /// Our own share says something.
    fn told(&mut self, course: &mut Course, told: &mut Vec<Told>) {
        for told in told.drain(..) {
            if let Some(entry) = share::entry(&told) {
                let own = self.names.0.clone();
                self.entry(course, &own, entry)
                    .expect("a share tells of its own assignment only");
            }
            if let Some(event) = told.engine() {
                self.event(course, event);
            }
        }
    }

    fn event(&mut self, course: &mut Course, event: Event) {
        match event {
            Event::Ready { session, .. } => course.agreement.ready(Side::Here, session),
            Event::Failed {
                session,
                end,
                code,
                reason,
            } => {
                let failure = Failure {
                    end,
                    code: code.as_str().to_owned(),
                    reason,
                };
                self.failed(course, Side::Here, session, &failure);
            }
            Event::Finished => course.here_done = true,
            _ => {}
        }
    }

    /// The receiver says something, or nothing any more.
    fn message(
        &mut self,
        course: &mut Course,
        message: Result<Message, super::channel::ChannelError>,
    ) {
        let why = match message {
            Err(error) => broken(&error),
            Ok(Message::Session(news)) => {
                self.news(course, &news);
                return;
            }
            Ok(Message::Rows(rows)) => match self.rows(course, &rows) {
                Ok(()) => return,
                Err(why) => format!("the receiver sent what cannot be used: {why}"),
            },
            Ok(Message::Finished(_)) => {
                course.there_done = true;
                return;
            }
            Ok(Message::Stop(stop)) => {
                let why = format!(
                    "by the receiver: {}",
                    printable(&clip(&stop.reason, limits::REASON))
                );
                self.stop(course, why);
                return;
            }
            Ok(other) => unexpected(other),
        };
        self.lost(course, &why);
    }

    fn news(&mut self, course: &mut Course, news: &pb::SessionNews) {
        let session = SessionId(news.session);
        match &news.state {
            Some(State::ListeningPort(port)) => {
                if let Ok(port) = u16::try_from(*port) {
                    course.share.engine().set_target(session, port);
                }
            }
            Some(State::Ready(_)) => course.agreement.ready(Side::There, session),
            Some(State::Failed(failed)) => {
                let generates = self
                    .plan
                    .session(session)
                    .is_some_and(|planned| planned.from == self.names.1);
                let failure = Failure {
                    end: if generates { End::Tx } else { End::Rx },
                    code: printable(&clip(&failed.code, limits::WORD)),
                    reason: printable(&clip(&failed.reason, limits::REASON)),
                };
                self.failed(course, Side::There, session, &failure);
            }
            None => {}
        }
    }

    fn rows(&mut self, course: &mut Course, rows: &pb::Rows) -> Result<(), String> {
        let theirs = self.names.1.clone();
        for entry in &rows.entries {
            let entry = Entry::try_from(entry).map_err(|error| error.to_string())?;
            self.entry(course, &theirs, entry)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        course: &mut Course,
        agent: &AgentName,
        entry: Entry,
    ) -> Result<(), String> {
        let measured = &mut course.measured;
        let Some(entry) = surround(&mut measured.surroundings, agent, entry)? else {
            return Ok(());
        };
        let row = measured.evidence.take(self.plan, agent, entry)?;
        if let (Some(row), Some(lines)) = (row, &mut self.lines) {
            lines.take(&row).iter().for_each(|line| (self.say)(line));
        }
        Ok(())
    }

    /// One end cannot start: the other is not to.
    fn failed(&mut self, course: &mut Course, side: Side, session: SessionId, failure: &Failure) {
        course.measured.evidence.failed(self.plan, session, failure);
        if !course.agreement.failed(side, session) {
            return;
        }
        match side {
            Side::Here => {
                let excluded = Message::Excluded(pb::Excluded { session: session.0 });
                if let Err(error) = self.channel.send(excluded) {
                    self.lost(course, &broken(&error));
                }
            }
            Side::There => course.share.engine().exclude(session),
        }
    }

    /// Nothing more comes from the receiver.
    fn lost(&mut self, course: &mut Course, why: &str) {
        course
            .measured
            .evidence
            .silent(self.plan, &self.names.1, why);
        course.there_done = true;
        self.stop(course, why.to_owned());
    }

    /// Ends both shares; the first reason counts.
    fn stop(&mut self, course: &mut Course, why: String) {
        course.share.engine().stop(&why);
        if !course.there_done {
            let reason = clip(&why, limits::REASON);
            // A connection that is gone is noticed by reading.
            let _gone = self.channel.send(Message::Stop(pb::Stop { reason }));
        }
        course.measured.stopped.get_or_insert(why);
    }

    fn interrupted(&mut self, course: &mut Course) -> Result<(), Error> {
        if course.measured.interrupted {
            return Err(Error::interrupted("left the test before its result"));
        }
        course.measured.interrupted = true;
        (self.say)("stopping; the result follows (Ctrl-C again leaves at once)");
        self.stop(course, "interrupted".to_owned());
        Ok(())
    }
}

/// Takes what an agent saw beside the flows; gives back what is of a flow.
///
/// # Errors
/// It is of another run.
fn surround(
    surroundings: &mut Surroundings,
    agent: &AgentName,
    entry: Entry,
) -> Result<Option<Entry>, String> {
    if entry.run() != RUN {
        return Err(format!("{} is not this test", entry.run()));
    }
    match entry {
        Entry::Link(row) => surroundings.link_row(agent, &row),
        Entry::Kernel(row) => surroundings.kernel_row(&row),
        Entry::Observed(observed) => surroundings.observed(agent.clone(), *observed),
        Entry::Record(_) | Entry::Closed(_) => return Ok(Some(entry)),
        // An agent alone keeps nothing on disk that could be missing or fetched.
        Entry::Gap(_) | Entry::Artifact(_) => {}
    }
    Ok(None)
}

/// Sleeps until an instant; for ever without one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
