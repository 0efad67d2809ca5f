//! One stream's way to its peer, from the end that dials.
//!
//! ```text
//!  UDP   socket ── hello every 200 ms ──► answer: attached
//!          ▲            └─ no answer to five of them, and there are other addresses ─┐
//!  TCP   socket ──► connecting ──► preamble ──► answer: attached                     │
//!          ▲            └── refused, time over ──► pause ───────────────────────────┤
//!          └─────────────── next address, until `settle` is over or T0 has come ◄────┘
//! ```

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use weir_common::assignment::Transport;
use weir_common::record::End;
use weir_wire::handshake::{Answer, CONSENT_LENGTH, Preamble};
use weir_wire::probe_header::ProbeKind;

use super::prepare::{attach_udp, drain_control, failed, send_control, unspecified};
use super::{Attached, Failure, Session, StreamSocket};
use crate::engine::FailureCode;
use crate::run::Run;
use crate::socket::{
    Connecting, Interest, StreamRequest, TcpConnection, Transfer, UdpRequest, UdpSocket,
};

/// Time between two hellos.
const HELLO_EVERY_NS: u64 = 200_000_000;

/// Hellos to one address before the peer's next address is tried. A peer's only
/// address is asked from one socket to the end: the peer has given that socket its
/// child, and would not know another.
const HELLOS_PER_ADDRESS: u64 = 5;

/// Time for one TCP connect: two retransmissions of the SYN (RFC 6298: 1 s, 2 s).
const CONNECT_TIMEOUT_NS: u64 = 4_000_000_000;

/// Time between two attempts that were refused.
const RETRY_EVERY_NS: u64 = 200_000_000;

/// See the module. Instants are host monotonic ns.
#[derive(Debug)]
pub(super) struct Dial {
    stream: u16,
    addresses: Arc<[SocketAddr]>,
    /// Address of the attempt under way.
    at: usize,
    begun_ns: u64,
    deadline_ns: u64,
    attempt: Attempt,
    /// Pre-flow datagrams in the direction of the data.
    control_packets: u64,
    /// Counts the sockets made.
    revision: u32,
}

#[derive(Debug)]
enum Attempt {
    /// Begins at this instant.
    Pause(u64),
    Hello {
        attached: Attached,
        hellos: u64,
        next_ns: u64,
        problem: Failure,
    },
    Connect {
        connecting: Connecting,
        since_ns: u64,
        until_ns: u64,
    },
    Greet {
        connection: TcpConnection,
        /// What has come of the answer.
        heard: Vec<u8>,
        setup_us: u64,
        until_ns: u64,
    },
    /// Over; the stream waits to be taken.
    Attached(Attached),
}

/// An attempt that failed.
enum Setback {
    /// Another address may do better.
    Next(Failure),
    /// Another address, later, may do better.
    Retry(Failure),
    /// Nothing will.
    Final(Failure),
}

impl Setback {
    fn of(failure: Failure) -> Self {
        match failure.code {
            FailureCode::Bind | FailureCode::Policy => Self::Final(failure),
            _ => Self::Retry(failure),
        }
    }
}

impl Dial {
    /// Dials `addresses` (at least one) in turn from now on, `settle_ns` long.
    pub(super) fn new(
        stream: u16,
        addresses: &Arc<[SocketAddr]>,
        now_ns: u64,
        settle_ns: u64,
    ) -> Self {
        Self {
            stream,
            addresses: Arc::clone(addresses),
            at: 0,
            begun_ns: now_ns,
            deadline_ns: now_ns.saturating_add(settle_ns),
            attempt: Attempt::Pause(now_ns),
            control_packets: 0,
            revision: 0,
        }
    }

    /// Goes on as far as it can; when to come again unless the socket is ready
    /// before, `None` when the stream is attached.
    pub(super) fn step(
        &mut self,
        run: &Run,
        session: &Session,
        now_ns: u64,
    ) -> Result<Option<u64>, Failure> {
        loop {
            let attempt = std::mem::replace(&mut self.attempt, Attempt::Pause(now_ns));
            match self.advance(run, session, now_ns, attempt) {
                Ok((attempt, wait)) => {
                    self.attempt = attempt;
                    match wait {
                        Wait::Not => {}
                        Wait::Until(until_ns) => return Ok(Some(until_ns)),
                        Wait::Over => return Ok(None),
                    }
                }
                Err(Setback::Final(failure)) => return Err(failure),
                Err(Setback::Next(failure)) => self.put_off(run, failure, now_ns, 0)?,
                Err(Setback::Retry(failure)) => {
                    self.put_off(run, failure, now_ns, RETRY_EVERY_NS)?;
                }
            }
        }
    }

    /// Tries the next address in a while, unless it is too late.
    fn put_off(
        &mut self,
        run: &Run,
        failure: Failure,
        now_ns: u64,
        pause_ns: u64,
    ) -> Result<(), Failure> {
        if now_ns >= self.deadline_ns || run.is_past_t0() {
            return Err(failure);
        }
        self.at = (self.at + 1) % self.addresses.len();
        self.attempt = Attempt::Pause(now_ns + pause_ns);
        Ok(())
    }

    /// The socket of the attempt, and what it is to be ready for.
    pub(super) fn socket(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        match &self.attempt {
            Attempt::Pause(_) => None,
            Attempt::Hello { attached, .. } | Attempt::Attached(attached) => {
                Some((attached.socket.as_fd(), Interest::Readable))
            }
            Attempt::Connect { connecting, .. } => Some((connecting.as_fd(), Interest::Writable)),
            Attempt::Greet { connection, .. } => Some((connection.as_fd(), Interest::Readable)),
        }
    }

    /// Changes when [`socket`](Self::socket) does.
    pub(super) fn revision(&self) -> u32 {
        self.revision
    }

    /// The stream, once it is attached.
    pub(super) fn take(self) -> Option<Attached> {
        match self.attempt {
            Attempt::Attached(attached) => Some(attached),
            _ => None,
        }
    }

    fn advance(
        &mut self,
        run: &Run,
        session: &Session,
        now_ns: u64,
        attempt: Attempt,
    ) -> Result<(Attempt, Wait), Setback> {
        match attempt {
            Attempt::Pause(until_ns) if now_ns < until_ns => {
                Ok((Attempt::Pause(until_ns), Wait::Until(until_ns)))
            }
            Attempt::Pause(_) => {
                self.revision += 1;
                let begun = match session.traffic().transport {
                    Transport::Udp => self.open_udp(run, session, now_ns),
                    Transport::Tcp => self.open_tcp(run, session, now_ns),
                };
                begun.map(|attempt| (attempt, Wait::Not))
            }
            Attempt::Hello {
                attached,
                hellos,
                next_ns,
                problem,
            } => self.greet_udp(run, session, now_ns, (attached, hellos, next_ns, problem)),
            Attempt::Connect {
                connecting,
                since_ns,
                until_ns,
            } => self.connect(session, now_ns, connecting, (since_ns, until_ns)),
            Attempt::Greet {
                connection,
                heard,
                setup_us,
                until_ns,
            } => self.greet_tcp(run, now_ns, (connection, heard), (setup_us, until_ns)),
            Attempt::Attached(attached) => Ok((Attempt::Attached(attached), Wait::Over)),
        }
    }

    fn peer(&self) -> SocketAddr {
        self.addresses[self.at]
    }

    fn open_udp(&self, run: &Run, session: &Session, now_ns: u64) -> Result<Attempt, Setback> {
        let peer = self.peer();
        let address = session.spec.source_address.unwrap_or(unspecified(peer));
        let request = UdpRequest {
            local: SocketAddr::new(address, session.source_port(self.stream)),
            reuse: false,
            interface: session.spec.source_interface.clone(),
        };
        let open = || {
            let socket = UdpSocket::from_fd(run.config.sockets.udp(&request)?)?;
            socket.connect(peer)?;
            attach_udp(session, socket, peer)
        };
        let attached = open().map_err(|error| Setback::of(failed(&error)))?;
        let settle_s = run.assignment.settle_ns as f64 / 1e9;
        let reason = format!("no answer from {peer}/udp within {settle_s} s");
        Ok(Attempt::Hello {
            attached,
            hellos: 0,
            next_ns: now_ns,
            problem: Failure::new(FailureCode::Unreachable, reason),
        })
    }

    /// Takes in what came; says hello again when it is time.
    fn greet_udp(
        &mut self,
        run: &Run,
        session: &Session,
        now_ns: u64,
        (mut attached, mut hellos, mut next_ns, mut problem): (Attached, u64, u64, Failure),
    ) -> Result<(Attempt, Wait), Setback> {
        let (tag, end) = (
            session.spec.tags[usize::from(self.stream)],
            session.spec.end,
        );
        if let StreamSocket::Udp(socket) = &attached.socket
            && socket.take_errors().icmp > 0
        {
            let peer = self.peer();
            problem = Failure::new(
                FailureCode::Refused,
                format!(
                    "{peer}/udp is answered by ICMP unreachable: nothing listens there, or a filter rejects it"
                ),
            );
        }
        attached.control_packets = 0;
        let answered = drain_control(run, session, &mut attached, tag);
        self.control_packets += attached.control_packets;
        if answered {
            run.consent.given(self.peer().ip());
            attached.control_packets = self.control_packets;
            attached.setup_us = Some(now_ns.saturating_sub(self.begun_ns) / 1000);
            return Ok((Attempt::Attached(attached), Wait::Over));
        }
        if now_ns >= next_ns {
            let enough = self.addresses.len() > 1 && hellos >= HELLOS_PER_ADDRESS;
            let late = hellos > 0 && (now_ns >= self.deadline_ns || run.is_past_t0());
            if enough || late {
                return Err(Setback::Next(problem));
            }
            match run.consent.ask(self.peer().ip(), now_ns) {
                Err(_) if now_ns >= self.deadline_ns => return Err(Setback::Next(problem)),
                Err(until_ns) => next_ns = until_ns,
                Ok(()) => {
                    let sent = send_control(&attached, tag, ProbeKind::Hello, hellos, now_ns);
                    self.control_packets += u64::from(sent && end == End::Tx);
                    hellos += 1;
                    next_ns = now_ns + HELLO_EVERY_NS;
                }
            }
        }
        let attempt = Attempt::Hello {
            attached,
            hellos,
            next_ns,
            problem,
        };
        Ok((attempt, Wait::Until(next_ns)))
    }

    fn open_tcp(&self, run: &Run, session: &Session, now_ns: u64) -> Result<Attempt, Setback> {
        let peer = self.peer();
        if let Err(until_ns) = run.consent.ask(peer.ip(), now_ns) {
            if now_ns < self.deadline_ns {
                return Ok(Attempt::Pause(until_ns));
            }
            let reason = format!("no time was left to ask {peer}/tcp, which has not answered yet");
            return Err(Setback::Retry(Failure::new(
                FailureCode::Unreachable,
                reason,
            )));
        }
        let port = session.source_port(self.stream);
        let address = session.spec.source_address;
        let address = address.or_else(|| (port != 0).then(|| unspecified(peer)));
        let request = StreamRequest {
            remote: peer,
            local: address.map(|address| SocketAddr::new(address, port)),
            interface: session.spec.source_interface.clone(),
        };
        let begin = || {
            let fd = run.config.sockets.tcp_stream(&request)?;
            TcpConnection::begin(fd, peer, &session.tcp_options())
        };
        let connecting = begin().map_err(|error| Setback::of(failed(&error)))?;
        Ok(Attempt::Connect {
            connecting,
            since_ns: now_ns,
            until_ns: now_ns + self.timeout_ns(now_ns),
        })
    }

    /// With no time left at all there is still one attempt.
    fn timeout_ns(&self, now_ns: u64) -> u64 {
        let left_ns = self.deadline_ns.saturating_sub(now_ns);
        left_ns.clamp(HELLO_EVERY_NS, CONNECT_TIMEOUT_NS)
    }

    fn connect(
        &mut self,
        session: &Session,
        now_ns: u64,
        connecting: Connecting,
        (since_ns, until_ns): (u64, u64),
    ) -> Result<(Attempt, Wait), Setback> {
        let peer = self.peer();
        let finished = connecting
            .finish()
            .map_err(|error| Setback::of(failed(&error)))?;
        let connection = match finished {
            Ok(connection) => connection,
            Err(connecting) if now_ns < until_ns => {
                let attempt = Attempt::Connect {
                    connecting,
                    since_ns,
                    until_ns,
                };
                return Ok((attempt, Wait::Until(until_ns)));
            }
            Err(_) => {
                let reason = format!("connect to {peer}: timed out");
                return Err(Setback::Retry(Failure::new(
                    FailureCode::Unreachable,
                    reason,
                )));
            }
        };
        let tag = session.spec.tags[usize::from(self.stream)];
        let preamble = Preamble::Data { tag }.encode();
        // A fresh connection's send buffer holds far more than a preamble.
        match connection.write(&preamble) {
            Ok(Transfer::Moved(count)) if count == preamble.len() => {}
            _ => {
                let reason = format!("{peer}/tcp took no preamble");
                return Err(Setback::Retry(Failure::new(
                    FailureCode::Unreachable,
                    reason,
                )));
            }
        }
        self.revision += 1; // it is now to be readable
        let attempt = Attempt::Greet {
            connection,
            heard: Vec::new(),
            setup_us: now_ns.saturating_sub(since_ns) / 1000,
            until_ns: now_ns + self.timeout_ns(now_ns),
        };
        Ok((attempt, Wait::Not))
    }

    fn greet_tcp(
        &self,
        run: &Run,
        now_ns: u64,
        (connection, mut heard): (TcpConnection, Vec<u8>),
        (setup_us, until_ns): (u64, u64),
    ) -> Result<(Attempt, Wait), Setback> {
        let peer = self.peer();
        let mut bytes = [0; CONSENT_LENGTH];
        // Payload may follow: not a byte more is read than the answer has.
        let room = CONSENT_LENGTH - heard.len();
        let answer = match connection.read(&mut bytes[..room]) {
            Ok(Transfer::Moved(count)) => {
                heard.extend(&bytes[..count]);
                Answer::decode_data(&heard, run.assignment.nonce)
            }
            Ok(Transfer::WouldBlock) if now_ns < until_ns => Ok(None),
            _ => {
                let reason = format!("{peer}/tcp accepted the connection and did not answer");
                return Err(Setback::of(Failure::new(FailureCode::Unreachable, reason)));
            }
        };
        if answer == Ok(None) {
            let attempt = Attempt::Greet {
                connection,
                heard,
                setup_us,
                until_ns,
            };
            return Ok((attempt, Wait::Until(until_ns)));
        }
        let (code, reason) = match answer {
            Ok(Some(Answer::Accepted)) => {
                run.consent.given(peer.ip());
                let attached = Attached {
                    local: connection.local_addr(),
                    peer,
                    control_packets: 0,
                    setup_us: Some(setup_us),
                    buffer: None,
                    gro: false,
                    socket: StreamSocket::Tcp(connection),
                };
                return Ok((Attempt::Attached(attached), Wait::Over));
            }
            Ok(Some(Answer::Policy)) => (
                FailureCode::Policy,
                format!("{peer}/tcp: the peer's policy forbids this host"),
            ),
            Ok(Some(Answer::Options)) => (
                FailureCode::Bind,
                format!("{peer}/tcp: that host cannot give what the flow asks of the socket"),
            ),
            Ok(answer) => (
                FailureCode::Refused,
                format!("{peer}/tcp turned the connection away: {answer:?}"),
            ),
            Err(error) => (FailureCode::Refused, format!("{peer}/tcp: {error}")),
        };
        Err(Setback::of(Failure::new(code, reason)))
    }
}

/// Whether a dial has more to do.
enum Wait {
    /// At once.
    Not,
    /// At this instant, or when the socket is ready.
    Until(u64),
    /// Never.
    Over,
}
