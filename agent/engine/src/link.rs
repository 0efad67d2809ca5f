//! The flow link: one TCP connection per run and peer, opened before T0 by the end
//! that dials, for the closing exchange of all their sessions, and for asking where
//! the peer's clock stands.

mod clock;
mod task;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use weir_common::id::SessionId;
use weir_wire::link::{Attach, LinkMessage};

use self::clock::LinkClock;
pub(crate) use self::clock::{Finding, Inquiry};
use self::task::{LinkTask, Stage, Up};
use crate::drive::Alarm;
use crate::run::{Part, Run};
use crate::session::Session;
use crate::socket::{SocketError, StreamRequest, TcpConnection, TcpOptions, Transfer};

/// How long messages may wait for room in the socket; they are small and few, so a
/// link that takes none for so long is dead.
const SEND_TIMEOUT_NS: u64 = 10_000_000_000;

/// How long a link may take to connect once the data path is there, and again to
/// be answered.
const DIAL_TIMEOUT_NS: u64 = 2_000_000_000;

/// How long a session whose streams are connected waits for the link. Without it the
/// flow runs and says `link = none`.
pub(crate) const LINK_PATIENCE_NS: u64 = 3 * DIAL_TIMEOUT_NS;

/// How long the end of a run waits for the peer's `Bye`, so that closing does not
/// reset what it still has to read.
const BYE_TIMEOUT_NS: u64 = 300_000_000;

/// Reads of a link in one step.
const READS: usize = 16;

/// What may wait for room in the socket before questions of the peer's go unanswered.
const UNSENT_BYTES_MAX: usize = 64 << 10;

/// The two clocks agree if they read the same within this; two boots of different
/// hosts do not share a boot id, but copies of one virtual machine may.
const SAME_CLOCK_WITHIN_NS: u64 = 2_000_000_000;

/// A link that is up.
#[derive(Debug)]
pub(crate) struct FlowLink {
    connection: TcpConnection,
    unsent: Mutex<Unsent>,
    broken: AtomicBool,
    clock: LinkClock,
    /// Rouses the link's task.
    alarm: OnceLock<Alarm>,
}

/// What waits for room in the socket.
#[derive(Debug, Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// Since when the socket takes nothing, host monotonic ns; 0 = it does.
    stuck_ns: u64,
}

impl FlowLink {
    fn new(connection: TcpConnection) -> Self {
        Self {
            connection,
            unsent: Mutex::default(),
            broken: AtomicBool::new(false),
            clock: LinkClock::default(),
            alarm: OnceLock::new(),
        }
    }

    /// Whether nothing more can come over it.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Where its other end is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.connection.peer_addr()
    }

    fn is_full(&self) -> bool {
        self.lock().bytes.len() > UNSENT_BYTES_MAX
    }

    /// Sends a message, now or as soon as there is room; never waits.
    pub(crate) fn send(&self, message: &LinkMessage) {
        let mut unsent = self.lock();
        let waits = !unsent.bytes.is_empty();
        if let Err(error) = message.encode(&mut unsent.bytes) {
            tracing::warn!(%error, "flow link message not sent");
            return;
        }
        if waits || self.is_broken() {
            return;
        }
        let sent = self.write(&mut unsent);
        // The link's task waits for room, or sees that the link is broken.
        if (!sent || !unsent.bytes.is_empty())
            && let Some(alarm) = self.alarm.get()
        {
            alarm.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the socket takes; whether the link is whole.
    fn write(&self, unsent: &mut Unsent) -> bool {
        let mut done = 0;
        while done < unsent.bytes.len() {
            match self.connection.write(&unsent.bytes[done..]) {
                Ok(Transfer::Moved(count)) => done += count,
                Ok(_) => break,
                Err(_) => {
                    self.broken.store(true, Ordering::Release);
                    return false;
                }
            }
        }
        unsent.bytes.drain(..done);
        if done > 0 {
            unsent.stuck_ns = 0;
        }
        true
    }

    /// Writes what waits; until when the rest may wait, `None` without a rest.
    fn flush(&self, now_ns: u64) -> Option<u64> {
        let mut unsent = self.lock();
        if !self.write(&mut unsent) || unsent.bytes.is_empty() {
            return None;
        }
        if unsent.stuck_ns == 0 {
            unsent.stuck_ns = now_ns;
        }
        let until_ns = unsent.stuck_ns + SEND_TIMEOUT_NS;
        if now_ns >= until_ns {
            self.broken.store(true, Ordering::Release);
        }
        Some(until_ns)
    }
}

/// The links that this end dialled, by peer.
#[derive(Debug, Default)]
pub(crate) struct LinkTable {
    slots: Mutex<HashMap<Key, Slot>>,
}

/// The peer's agent and the address at which its data path answered.
type Key = (String, IpAddr);

/// One peer's link: the first session that needs it has it dialled. What could not
/// be had is not tried again, since every session would wait for it anew.
#[derive(Debug)]
enum Slot {
    /// These sessions wait for it.
    Dialled(Vec<Arc<Session>>),
    Up(Arc<FlowLink>),
    Failed,
}

/// What a session may expect of the link that it asked for.
pub(crate) enum Hope {
    /// It is there.
    Up(Arc<FlowLink>),
    /// It is being dialled; the session is attached to it, or told that it is lost.
    Dialled,
    /// There is none.
    None,
}

impl LinkTable {
    /// The link to an agent whose data path just answered at `peer`; dialled now if
    /// this is the first session with it.
    pub(crate) fn ask(
        &self,
        run: &Arc<Run>,
        session: &Arc<Session>,
        agent: &str,
        peer: SocketAddr,
    ) -> Hope {
        let key = (agent.to_owned(), peer.ip());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.entry(key) {
            Entry::Occupied(mut slot) => match slot.get_mut() {
                Slot::Dialled(waiting) => {
                    waiting.push(Arc::clone(session));
                    Hope::Dialled
                }
                Slot::Up(link) if !link.is_broken() => Hope::Up(Arc::clone(link)),
                Slot::Up(_) | Slot::Failed => Hope::None,
            },
            Entry::Vacant(slot) => match dial(run, session, slot.key(), peer) {
                Ok(()) => {
                    slot.insert(Slot::Dialled(vec![Arc::clone(session)]));
                    Hope::Dialled
                }
                Err(error) => {
                    tracing::debug!(%error, "no flow link");
                    slot.insert(Slot::Failed);
                    Hope::None
                }
            },
        }
    }

    /// A dialled link is up, or lost: tells the sessions that wait for it.
    fn settle(&self, run: &Run, key: &Key, link: Option<&Arc<FlowLink>>) {
        let slot = link.map_or(Slot::Failed, |link| Slot::Up(Arc::clone(link)));
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let before = slots.insert(key.clone(), slot);
        drop(slots);
        let Some(Slot::Dialled(waiting)) = before else {
            return;
        };
        for session in waiting {
            match link {
                Some(link) => link.send(&attachment(run, session.spec.session)),
                None => session.link_lost(),
            }
        }
    }
}

/// Begins to dial a link, as the session dialled its streams.
fn dial(run: &Arc<Run>, session: &Session, key: &Key, peer: SocketAddr) -> Result<(), SocketError> {
    let address = session.spec.source_address;
    let request = StreamRequest {
        remote: peer,
        local: address.map(|address| SocketAddr::new(address, 0)),
        interface: session.spec.source_interface.clone(),
    };
    let fd = run.config.sockets.tcp_stream(&request)?;
    let options = TcpOptions {
        nodelay: true,
        ..TcpOptions::default()
    };
    let connecting = TcpConnection::begin(fd, peer, &options)?;
    let until_ns = run.config.clock.now_ns() + DIAL_TIMEOUT_NS;
    run.crew.add(|alarm, _| {
        Box::new(LinkTask {
            run: Arc::clone(run),
            key: Some(key.clone()),
            alarm: alarm.clone(),
            stage: Stage::Connecting(connecting, until_ns),
            revision: 0,
            _part: Part::link(run),
        })
    });
    Ok(())
}

/// Serves a link that the peer dialled and was welcomed on.
pub(crate) fn serve(run: &Arc<Run>, connection: TcpConnection) {
    run.crew.add(|alarm, _| {
        let link = Arc::new(FlowLink::new(connection));
        let _first = link.alarm.set(alarm.clone());
        Box::new(LinkTask {
            run: Arc::clone(run),
            key: None,
            alarm: alarm.clone(),
            stage: Stage::Up(Up::new(link)),
            revision: 0,
            _part: Part::link(run),
        })
    });
}

fn dispatch(run: &Arc<Run>, link: &Arc<FlowLink>, message: LinkMessage) {
    match message {
        LinkMessage::Attach(attach) => {
            let now_ns = run.config.clock.now_ns();
            let same_clock = !attach.domain.is_empty()
                && attach.domain == run.config.clock_domain
                && now_ns.abs_diff(attach.clock_ns) < SAME_CLOCK_WITHIN_NS;
            let Some(session) = run.session(SessionId(attach.session)) else {
                return;
            };
            if !session.spec.dials {
                link.send(&attachment(run, session.spec.session));
            }
            session.attach_link(run, link, same_clock);
        }
        LinkMessage::ClockQuestion { asked_ns } => {
            let now = || run.config.clock.now_ns();
            link.answer_clock(asked_ns, now(), now);
        }
        LinkMessage::ClockAnswer(answer) => {
            if link.clock_answered(&answer, run.config.clock.now_ns()) {
                run.notify();
            }
        }
        LinkMessage::Final(last) => {
            if let Some(session) = run.session(SessionId(last.session)) {
                session.final_arrived(last);
            }
        }
        LinkMessage::Totals(totals) => {
            if let Some(session) = run.session(SessionId(totals.session)) {
                session.totals_arrived(run, &totals);
            }
        }
        LinkMessage::Bye => {}
    }
}

/// This end's word that the link carries a session.
pub(crate) fn attachment(run: &Run, session: SessionId) -> LinkMessage {
    LinkMessage::Attach(Attach {
        session: session.0,
        clock_ns: run.config.clock.now_ns(),
        domain: run.config.clock_domain.clone(),
    })
}
