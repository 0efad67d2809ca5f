//! A session's life, as a task of the run's crew:
//!
//! ```text
//!  dials    Target ──port──► Dialling ──every stream──► Link ─┐
//!  listens  Dialler ──every stream, and the link─────────────►├─► Ready ──T0──► Running ──► over
//!               └──── stop, exclude, settle over, refused ──► failed
//! ```
//!
//! From T0 on its streams are tasks or threads of their own; the session sees their
//! flows closed.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use weir_common::assignment::Peer;

use super::dial::Dial;
use super::prepare::{describe, drain_control, tuples};
use super::start::launch;
use super::{Attached, Failure, Session, StreamSocket};
use crate::drive::{Next, Scratch, Task};
use crate::engine::{Event, FailureCode};
use crate::link::{Hope, LINK_PATIENCE_NS, attachment};
use crate::run::{Part, Run};
use crate::socket::{Interest, TcpConnection, Transfer};

/// How much longer than `settle` an end waits for what the controller brings (the
/// target's port) or the peer begins (its dialling).
const PEER_GRACE_NS: u64 = 30_000_000_000;

/// A dialler whose answer was lost says hello again, to the socket of its own that
/// it was given; that socket is looked at so often until the session is ready.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// What is left of the wait for T0 when the streams begin to wait themselves: time
/// to make a stream ready, for each stream of the run.
const AHEAD_NS: u64 = 20_000_000;
const AHEAD_EACH_NS: u64 = 100_000;

/// See the module.
pub(crate) struct Life {
    run: Arc<Run>,
    session: Arc<Session>,
    stage: Stage,
    /// Counts changes of the sockets that are waited for.
    revision: u32,
    part: Part,
}

enum Stage {
    /// The peer's port is not known, at most until the instant.
    Target(u64),
    Dialling(Vec<Dial>),
    /// The peer dials, at most until the instant; when its last stream came.
    Dialler(u64, Option<u64>),
    /// The link is not there, at most until the instant.
    Link(Vec<Attached>, u64),
    Ready(Vec<Attached>),
    Running,
}

impl Life {
    /// The life of a session that begins now.
    pub(crate) fn new(run: &Arc<Run>, session: &Arc<Session>, part: Part) -> Self {
        let patience_ns = run.assignment.settle_ns.saturating_add(PEER_GRACE_NS);
        let until_ns = run.config.clock.now_ns().saturating_add(patience_ns);
        let stage = if session.spec.dials {
            Stage::Target(until_ns)
        } else {
            Stage::Dialler(until_ns, None)
        };
        Self {
            run: Arc::clone(run),
            session: Arc::clone(session),
            stage,
            revision: 0,
            part,
        }
    }

    /// Goes on to another stage (`None`) or says what it waits for.
    fn go_on(&mut self, now_ns: u64) -> Result<Option<Next>, Failure> {
        let (run, session) = (&self.run, &self.session);
        if !matches!(self.stage, Stage::Running) {
            session.check_wanted(run)?;
        }
        match &mut self.stage {
            Stage::Target(until_ns) => {
                let Some(port) = session.target() else {
                    if now_ns < *until_ns && !run.is_past_t0() {
                        return Ok(Some(Next::At(before_t0(run, *until_ns))));
                    }
                    let reason = "the port of the peer did not become known";
                    return Err(Failure::new(FailureCode::Unreachable, reason));
                };
                let addresses = session.allowed_addresses(run, port)?.into();
                let streams = 0..session.spec.tags.len() as u16;
                let settle_ns = run.assignment.settle_ns;
                let dials = streams.map(|stream| Dial::new(stream, &addresses, now_ns, settle_ns));
                self.stage = Stage::Dialling(dials.collect());
                Ok(None)
            }
            Stage::Dialling(dials) => {
                let mut wake_ns = u64::MAX;
                let mut all = true;
                for dial in &mut *dials {
                    if let Some(until_ns) = dial.step(run, session, now_ns)? {
                        wake_ns = wake_ns.min(until_ns);
                        all = false;
                    }
                }
                if !all {
                    return Ok(Some(Next::Sockets(before_t0(run, wake_ns))));
                }
                let dials = std::mem::take(dials);
                self.linking(dials.into_iter().filter_map(Dial::take).collect(), now_ns);
                Ok(None)
            }
            Stage::Dialler(until_ns, complete_ns) => {
                let until_ns = *until_ns;
                match session.dialled(run, complete_ns, now_ns)? {
                    Dialled::All(streams) => {
                        self.ready(streams);
                        Ok(None)
                    }
                    _ if complete_ns.is_none() && (now_ns >= until_ns || run.is_past_t0()) => {
                        let waited_ns = run.assignment.settle_ns + PEER_GRACE_NS
                            - until_ns.saturating_sub(now_ns);
                        let reason =
                            format!("nobody dialled within {} s", waited_ns / 1_000_000_000);
                        Err(Failure::new(FailureCode::Unreachable, reason))
                    }
                    Dialled::Some => Ok(Some(Next::At(now_ns + LOOK_EVERY_NS))),
                    Dialled::None => Ok(Some(Next::At(before_t0(run, until_ns)))),
                }
            }
            Stage::Link(streams, until_ns) => {
                if session.awaits_link() && now_ns < *until_ns {
                    return Ok(Some(Next::At(*until_ns)));
                }
                let streams = std::mem::take(streams);
                self.ready(streams);
                Ok(None)
            }
            Stage::Ready(_) => self.await_t0(now_ns),
            Stage::Running => Ok(Some(self.see_closed())),
        }
    }

    /// Every stream is connected: asks for the link to the peer's agent.
    fn linking(&mut self, streams: Vec<Attached>, now_ns: u64) {
        let (run, session) = (&self.run, &self.session);
        if let (Peer::Agent { name, .. }, Some(first)) = (&session.spec.peer, streams.first()) {
            match run.links.ask(run, session, name.as_str(), first.peer) {
                Hope::Up(link) => link.send(&attachment(run, session.spec.session)),
                Hope::Dialled => {}
                Hope::None => session.link_lost(),
            }
        }
        // The answer over the link tells whether the clocks are one.
        self.stage = Stage::Link(streams, now_ns + LINK_PATIENCE_NS);
    }

    fn ready(&mut self, streams: Vec<Attached>) {
        let (run, session) = (&self.run, &self.session);
        let tuples = tuples(&streams, session.spec.end);
        session.set_tuples(tuples.clone());
        run.emit(Event::Ready {
            session: session.spec.session,
            end: session.spec.end,
            tuples,
            link: session.link().is_some(),
        });
        self.revision = self.revision.wrapping_add(1);
        self.stage = Stage::Ready(streams);
    }

    /// Waits for T0, answering late hellos and watching the connections; makes the
    /// streams ready shortly before it comes.
    fn await_t0(&mut self, now_ns: u64) -> Result<Option<Next>, Failure> {
        let Stage::Ready(streams) = &mut self.stage else {
            return Ok(None);
        };
        let (run, session) = (&self.run, &self.session);
        let Some(t0_ns) = run.t0_ns() else {
            for (stream, tag) in streams.iter_mut().zip(&session.spec.tags) {
                serve_early(run, session, stream, *tag)?;
            }
            return Ok(Some(Next::Sockets(u64::MAX)));
        };
        // All ends were ready before T0 was named, so no hello is under way; a
        // datagram now may be payload of a generator whose clock is ahead.
        let ahead_ns = AHEAD_NS + AHEAD_EACH_NS * run.streams();
        let at_ns = t0_ns.saturating_sub(ahead_ns);
        if now_ns < at_ns {
            return Ok(Some(Next::At(at_ns)));
        }
        let streams = std::mem::take(streams);
        self.stage = Stage::Running;
        launch(run, session, streams, t0_ns, &self.part);
        Ok(None)
    }

    fn see_closed(&self) -> Next {
        let (run, session) = (&self.run, &self.session);
        if session.streams_left() == 0 {
            session.close_unclosed(run);
        }
        match session.settle(run) {
            None if session.streams_left() == 0 => Next::Done,
            until_ns => Next::At(until_ns.unwrap_or(u64::MAX)),
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.session.give_up();
        let Failure { code, reason } = failure;
        self.run.emit(Event::Failed {
            session: self.session.spec.session,
            end: self.session.spec.end,
            code,
            reason,
        });
    }
}

impl Task for Life {
    fn step(&mut self, now_ns: u64, _scratch: &mut Scratch) -> Next {
        loop {
            match self.go_on(now_ns) {
                Ok(Some(next)) => return next,
                Ok(None) => {}
                Err(failure) => {
                    self.fail(failure);
                    return Next::Done;
                }
            }
        }
    }

    fn sockets(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        match &self.stage {
            Stage::Dialling(dials) => {
                for (fd, interest) in dials.iter().filter_map(Dial::socket) {
                    each(fd, interest);
                }
            }
            Stage::Link(streams, _) | Stage::Ready(streams) => {
                for stream in streams {
                    each(stream.socket.as_fd(), Interest::Readable);
                }
            }
            Stage::Target(_) | Stage::Dialler(..) | Stage::Running => {}
        }
    }

    fn revision(&self) -> u32 {
        match &self.stage {
            Stage::Dialling(dials) => {
                let revisions = dials.iter().map(Dial::revision);
                revisions.fold(self.revision, u32::wrapping_add)
            }
            // Never that of dials, whose sockets are others.
            _ => self.revision.wrapping_add(1 << 31),
        }
    }
}

/// How far the peer has come with its dialling.
pub(super) enum Dialled {
    None,
    Some,
    All(Vec<Attached>),
}

/// Sessions that are not ready by T0 fail then.
fn before_t0(run: &Run, until_ns: u64) -> u64 {
    run.t0_ns().map_or(until_ns, |t0_ns| t0_ns.min(until_ns))
}

/// Something came before T0 was named: a repeated hello, or the end of a connection.
fn serve_early(
    run: &Run,
    session: &Session,
    stream: &mut Attached,
    tag: u32,
) -> Result<(), Failure> {
    match &stream.socket {
        StreamSocket::Udp(socket) => {
            // What others say of our hellos would keep the socket ready.
            socket.take_errors();
            drain_control(run, session, stream, tag);
            Ok(())
        }
        StreamSocket::Tcp(connection) => match peek_end(connection) {
            None => Ok(()),
            Some(reason) => Err(Failure::new(
                FailureCode::Broken,
                format!("{}/tcp before T0: {reason}", stream.peer),
            )),
        },
    }
}

/// Why a connection over which nothing may come yet is readable.
fn peek_end(connection: &TcpConnection) -> Option<String> {
    match connection.read(&mut [0]) {
        Ok(Transfer::WouldBlock) => None,
        Ok(Transfer::Closed) => Some("closed by the peer".to_owned()),
        Ok(Transfer::Moved(_)) => Some("the peer sent data too early".to_owned()),
        Err(error) => Some(describe(&error)),
    }
}
