//! The flow link: one TCP connection per run and peer, opened before T0 by the end
//! that dials, for the closing exchange of all their sessions.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_common::id::SessionId;
use weir_wire::handshake::{Answer, Preamble};
use weir_wire::link::{Attach, LinkDecoder, LinkMessage};

use crate::run::Run;
use crate::socket::{PollFd, StreamRequest, TcpConnection, TcpOptions, Transfer, poll};
use crate::wait::{Ready, wait_readable};

/// How long one message may wait for room in the socket; messages are small and
/// few, so a link that takes none for so long is dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a link may take to come up once the data path is there. Without it the
/// flow runs and says `link = none`.
pub(crate) const LINK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the end of a run waits for the peer's `Bye`, so that closing does not
/// reset what it still has to read.
const BYE_TIMEOUT: Duration = Duration::from_millis(300);

/// The two clocks agree if they read the same within this; two boots of different
/// hosts do not share a boot id, but copies of one virtual machine may.
const SAME_CLOCK_WITHIN_NS: u64 = 2_000_000_000;

/// A link that is up.
#[derive(Debug)]
pub(crate) struct FlowLink {
    connection: TcpConnection,
    sending: Mutex<()>,
    broken: AtomicBool,
}

impl FlowLink {
    pub(crate) fn new(connection: TcpConnection) -> Self {
        Self {
            connection,
            sending: Mutex::new(()),
            broken: AtomicBool::new(false),
        }
    }

    /// Whether nothing more can come over it.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Sends a message. One that does not leave breaks the link.
    pub(crate) fn send(&self, message: &LinkMessage) {
        let mut bytes = Vec::new();
        if let Err(error) = message.encode(&mut bytes) {
            tracing::warn!(%error, "flow link message not sent");
            return;
        }
        let _order = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match self.connection.write(rest) {
                Ok(Transfer::Moved(count)) => rest = &rest[count..],
                Ok(_) if begun.elapsed() < SEND_TIMEOUT => {
                    let mut fds = [PollFd::writable(&self.connection)];
                    let left = SEND_TIMEOUT.saturating_sub(begun.elapsed());
                    let _ready = poll(&mut fds, Some(left));
                }
                Ok(_) | Err(_) => {
                    self.broken.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }
}

/// The links that this end dialled, by peer.
#[derive(Debug, Default)]
pub(crate) struct LinkTable {
    slots: Mutex<HashMap<(String, IpAddr), Arc<LinkSlot>>>,
}

/// One peer's link: the first session that needs it dials, the others wait.
#[derive(Debug, Default)]
struct LinkSlot {
    link: Mutex<Dialled>,
}

/// What could not be had is not tried again, since every session would wait for
/// it anew.
#[derive(Debug, Default)]
enum Dialled {
    #[default]
    NotYet,
    Failed,
    Up(Arc<FlowLink>),
}

impl LinkTable {
    /// The link to an agent whose data path just answered at `peer`; dialled now if
    /// this is the first session with it. `None` if it cannot be had in time.
    pub(crate) fn obtain(
        &self,
        run: &Arc<Run>,
        agent: &str,
        peer: SocketAddr,
        source: Option<IpAddr>,
    ) -> Option<Arc<FlowLink>> {
        let key = (agent.to_owned(), peer.ip());
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut link = slot.link.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*link, Dialled::NotYet) {
            *link = dial(run, peer, source).map_or(Dialled::Failed, Dialled::Up);
        }
        match &*link {
            Dialled::Up(link) if !link.is_broken() => Some(Arc::clone(link)),
            _ => None,
        }
    }
}

/// Opens a link and starts its thread.
fn dial(run: &Arc<Run>, peer: SocketAddr, source: Option<IpAddr>) -> Option<Arc<FlowLink>> {
    let local = source.map(|address| SocketAddr::new(address, 0));
    let request = StreamRequest {
        remote: peer,
        local,
        interface: None,
    };
    let fd = run.config.sockets.tcp_stream(&request).ok()?;
    let options = TcpOptions {
        nodelay: true,
        ..TcpOptions::default()
    };
    let connection =
        TcpConnection::connect(fd, peer, &options, LINK_TIMEOUT, Some(&run.stop)).ok()?;
    let preamble = Preamble::Link {
        nonce: run.assignment.nonce,
    };
    match greet(run, &connection, &preamble, LINK_TIMEOUT) {
        Some(Answer::Accepted) => serve(run, connection),
        _ => None,
    }
}

/// Sends a preamble and reads the answer.
pub(crate) fn greet(
    run: &Run,
    connection: &TcpConnection,
    preamble: &Preamble,
    timeout: Duration,
) -> Option<Answer> {
    let bytes = preamble.encode();
    // A fresh connection's send buffer holds far more than a preamble.
    match connection.write(&bytes) {
        Ok(Transfer::Moved(count)) if count == bytes.len() => {}
        _ => return None,
    }
    let clock = &*run.config.clock;
    let deadline_ns = clock.now_ns() + timeout.as_nanos() as u64;
    if wait_readable(clock, connection, Some(&run.stop), deadline_ns) == Ready::Time {
        return None;
    }
    let mut byte = [0];
    match connection.read(&mut byte) {
        Ok(Transfer::Moved(_)) => Answer::decode(byte[0]).ok(),
        _ => None,
    }
}

/// Starts the thread that reads a link. `None` if the host gives none.
pub(crate) fn serve(run: &Arc<Run>, connection: TcpConnection) -> Option<Arc<FlowLink>> {
    let link = Arc::new(FlowLink::new(connection));
    let (of_thread, its_run) = (Arc::clone(&link), Arc::clone(run));
    run.spawn_helper("weir-link", move || read(&its_run, &of_thread))
        .ok()?;
    Some(link)
}

/// Reads a link until its peer says `Bye` or closes it, or the run has ended.
fn read(run: &Arc<Run>, link: &Arc<FlowLink>) {
    let mut decoder = LinkDecoder::new();
    let mut buffer = [0_u8; 4096];
    let mut ended: Option<Instant> = None;
    'link: loop {
        let timeout = ended.map(|at| BYE_TIMEOUT.saturating_sub(at.elapsed()));
        let mut fds = vec![PollFd::readable(&link.connection)];
        if ended.is_none() {
            fds.push(PollFd::readable(&run.end));
        }
        if poll(&mut fds, timeout).is_err() {
            break;
        }
        if fds.get(1).is_some_and(PollFd::is_readable) {
            ended = Some(Instant::now());
            link.send(&LinkMessage::Bye);
        }
        if fds[0].is_readable() {
            match link.connection.read(&mut buffer) {
                Ok(Transfer::Moved(count)) => decoder.push(&buffer[..count]),
                Ok(Transfer::WouldBlock) => {}
                Ok(Transfer::Closed) | Err(_) => break,
            }
            loop {
                match decoder.next_message() {
                    Ok(Some(LinkMessage::Bye)) => break 'link,
                    Ok(Some(message)) => dispatch(run, link, message),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, peer = %link.connection.peer_addr(), "flow link given up");
                        break 'link;
                    }
                }
            }
        } else if ended.is_some_and(|at| at.elapsed() >= BYE_TIMEOUT) {
            break;
        }
    }
    link.broken.store(true, Ordering::Release);
    run.notify();
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
            session.attach_link(link, same_clock);
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
