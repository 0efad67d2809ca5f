//! A link as a task of the crew: dialled, greeted, served.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_wire::handshake::{Answer, Preamble};
use weir_wire::link::{LinkDecoder, LinkMessage};

use super::{BYE_TIMEOUT_NS, DIAL_TIMEOUT_NS, FlowLink, Key, READS, dispatch};
use crate::drive::{Alarm, Next, Scratch, Task};
use crate::run::{Part, Run};
use crate::socket::{Connecting, Interest, TcpConnection, Transfer};

/// A link's life:
///
/// ```text
///  dialled   Connecting ──► Greeting ──┬─► Up ──run over: Bye──► until the peer's
///  accepted ───────────────────────────┘    └─ broken, Bye ──►   Bye, or its time: over
/// ```
pub(super) struct LinkTask {
    pub(super) run: Arc<Run>,
    /// Where it stands in the table, if this end dials.
    pub(super) key: Option<Key>,
    pub(super) alarm: Alarm,
    pub(super) stage: Stage,
    pub(super) revision: u32,
    pub(super) _part: Part,
}

pub(super) enum Stage {
    Connecting(Connecting, u64),
    Greeting(TcpConnection, u64),
    Up(Up),
    Over,
}

pub(super) struct Up {
    link: Arc<FlowLink>,
    decoder: LinkDecoder,
    /// Until when the peer's `Bye` is waited for, once the run is over.
    bye_ns: Option<u64>,
    /// Waits for room to write.
    full: bool,
}

impl Up {
    pub(super) fn new(link: Arc<FlowLink>) -> Self {
        Self {
            link,
            decoder: LinkDecoder::new(),
            bye_ns: None,
            full: false,
        }
    }
}

impl LinkTask {
    fn connect(&mut self, connecting: Connecting, until_ns: u64, now_ns: u64) -> Option<Next> {
        let connection = match connecting.finish().ok()? {
            Ok(connection) => connection,
            Err(connecting) => {
                self.stage = Stage::Connecting(connecting, until_ns);
                return (now_ns < until_ns).then_some(Next::Sockets(until_ns));
            }
        };
        let preamble = Preamble::Link {
            nonce: self.run.assignment.nonce,
        };
        let bytes = preamble.encode();
        // A fresh connection's send buffer holds far more than a preamble.
        match connection.write(&bytes) {
            Ok(Transfer::Moved(count)) if count == bytes.len() => {}
            _ => return None,
        }
        self.revision += 1;
        self.stage = Stage::Greeting(connection, now_ns + DIAL_TIMEOUT_NS);
        Some(Next::Again)
    }

    fn greet(&mut self, connection: TcpConnection, until_ns: u64, now_ns: u64) -> Option<Next> {
        let mut byte = [0];
        match connection.read(&mut byte) {
            Ok(Transfer::Moved(_)) if Answer::decode(byte[0]) == Ok(Answer::Accepted) => {}
            Ok(Transfer::WouldBlock) => {
                self.stage = Stage::Greeting(connection, until_ns);
                return (now_ns < until_ns).then_some(Next::Sockets(until_ns));
            }
            _ => return None,
        }
        let link = Arc::new(FlowLink::new(connection));
        let _first = link.alarm.set(self.alarm.clone());
        if let Some(key) = self.key.take() {
            self.run.links.settle(&self.run, &key, Some(&link));
        }
        self.stage = Stage::Up(Up::new(link));
        Some(Next::Again)
    }

    fn serve(&mut self, mut up: Up, now_ns: u64) -> Option<Next> {
        if self.run.is_over() && up.bye_ns.is_none() {
            up.bye_ns = Some(now_ns + BYE_TIMEOUT_NS);
            up.link.send(&LinkMessage::Bye);
        }
        if !self.read(&mut up) || up.bye_ns.is_some_and(|bye_ns| now_ns >= bye_ns) {
            up.link.broken.store(true, Ordering::Release);
        }
        let unsent_ns = up.link.flush(now_ns);
        if up.link.is_broken() {
            self.run.notify();
            return None;
        }
        if up.link.expire_survey(now_ns) {
            self.run.notify();
        }
        if up.full != unsent_ns.is_some() {
            up.full = unsent_ns.is_some();
            self.revision = self.revision.wrapping_add(1);
        }
        let instants = [unsent_ns, up.bye_ns, up.link.survey_until_ns()];
        let until_ns = instants.into_iter().flatten().min();
        self.stage = Stage::Up(up);
        Some(Next::Sockets(until_ns.unwrap_or(u64::MAX)))
    }

    /// Reads what is there; whether more may come.
    fn read(&self, up: &mut Up) -> bool {
        let mut buffer = [0_u8; 4096];
        for _ in 0..READS {
            match up.link.connection.read(&mut buffer) {
                Ok(Transfer::Moved(count)) => up.decoder.push(&buffer[..count]),
                Ok(Transfer::WouldBlock) => return true,
                Ok(Transfer::Closed) | Err(_) => return false,
            }
            loop {
                match up.decoder.next_message() {
                    Ok(Some(LinkMessage::Bye)) => return false,
                    Ok(Some(message)) => dispatch(&self.run, &up.link, message),
                    Ok(None) => break,
                    Err(error) => {
                        let peer = up.link.connection.peer_addr();
                        tracing::warn!(%error, %peer, "flow link given up");
                        return false;
                    }
                }
            }
        }
        true
    }
}

impl Task for LinkTask {
    fn step(&mut self, now_ns: u64, _scratch: &mut Scratch) -> Next {
        let next = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Connecting(..) | Stage::Greeting(..) if self.run.is_over() => None,
            Stage::Connecting(connecting, until_ns) => self.connect(connecting, until_ns, now_ns),
            Stage::Greeting(connection, until_ns) => self.greet(connection, until_ns, now_ns),
            Stage::Up(up) => self.serve(up, now_ns),
            Stage::Over => None,
        };
        next.unwrap_or_else(|| {
            if let Some(key) = self.key.take() {
                self.run.links.settle(&self.run, &key, None);
            }
            Next::Done
        })
    }

    fn sockets(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        match &self.stage {
            Stage::Connecting(connecting, _) => each(connecting.as_fd(), Interest::Writable),
            Stage::Greeting(connection, _) => each(connection.as_fd(), Interest::Readable),
            Stage::Up(up) if up.full => each(up.link.connection.as_fd(), Interest::Both),
            Stage::Up(up) => each(up.link.connection.as_fd(), Interest::Readable),
            Stage::Over => {}
        }
    }

    fn revision(&self) -> u32 {
        self.revision
    }
}
