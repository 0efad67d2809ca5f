//! Where peers reach this end: for each port a TCP listener and a wildcard UDP
//! socket, IPv4 and IPv6, served by one thread.
//!
//! UDP: a hello with a known tag gives its stream a child socket, bound to the
//! same port and connected to the sender, which answers. TCP: a connection says by
//! its preamble which stream, or which run's link, it is.

mod hello;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_common::assignment::Transport;
use weir_common::record::End;
use weir_wire::handshake::{Answer, MAX_LENGTH, Preamble};
use weir_wire::probe_header::LENGTH;

use self::hello::{Heard, waiting_at};
use crate::engine::{Event, FailureCode};
use crate::link;
use crate::run::{Run, spawn};
use crate::session::{Attached, Failure, Session, StreamSocket, answer_hello, attach_udp, failed};
use crate::socket::{
    ListenRequest, PollFd, ReceiveBatch, ReceiveDetails, SocketError, TcpConnection, TcpListener,
    TcpOptions, Transfer, UdpRequest, UdpSocket, poll,
};

/// Connections that have not said yet what they are; more wait in the kernel.
const MAX_PENDING: usize = 256;

/// Time for a connection to say what it is.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Ports tried until one is free for both transports and both families.
const PORT_ATTEMPTS: u32 = 16;

/// What could be bound, and the sessions (by index) that could not listen.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) bound: Vec<Bound>,
    pub(crate) failures: Vec<(usize, Failure)>,
}

/// The sockets of one port.
#[derive(Debug)]
pub(crate) struct Bound {
    port: u16,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

/// Binds what the run's listening sessions need and tells their ports.
pub(crate) fn bind(run: &Arc<Run>) -> Listeners {
    let mut listeners = Listeners {
        bound: Vec::new(),
        failures: Vec::new(),
    };
    // The port asked for (0: the default one) -> the port got, or why none.
    let mut ports: HashMap<u16, Result<u16, (FailureCode, String)>> = HashMap::new();
    for (at, session) in run
        .sessions
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.spec.dials)
    {
        let asked = session.spec.port;
        let got = ports.entry(asked).or_insert_with(|| {
            let bound = if asked == 0 {
                bind_default(run)
            } else {
                bind_port(run, asked)
            };
            match bound {
                Ok(bound) => {
                    let port = bound.port;
                    listeners.bound.push(bound);
                    Ok(port)
                }
                Err(error) => {
                    let failure = failed(&error);
                    Err((FailureCode::Bind, failure.reason))
                }
            }
        });
        match got {
            Ok(port) => run.emit(Event::Listening {
                session: session.spec.session,
                port: *port,
            }),
            Err((code, reason)) => {
                listeners
                    .failures
                    .push((at, Failure::new(*code, reason.clone())));
            }
        }
    }
    listeners
}

fn bind_default(run: &Run) -> Result<Bound, SocketError> {
    let mut result = bind_port(run, run.config.default_port);
    for _ in 0..PORT_ATTEMPTS {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => result = bind_port(run, 0),
            _ => break,
        }
    }
    result
}

/// Binds a port (0: any) in both families; a host without IPv6 does without.
fn bind_port(run: &Run, port: u16) -> Result<Bound, SocketError> {
    let sockets = &*run.config.sockets;
    let options = TcpOptions::default();
    let listen = |address: IpAddr, port| {
        let request = ListenRequest {
            local: SocketAddr::new(address, port),
            interface: None,
        };
        sockets
            .tcp_listener(&request)
            .and_then(|fd| TcpListener::from_fd(fd, &options))
    };
    let datagrams = |address: IpAddr, port| -> Result<UdpSocket, SocketError> {
        let local = SocketAddr::new(address, port);
        let fd = sockets.udp(&UdpRequest {
            local,
            reuse: true,
            interface: None,
        })?;
        let socket = UdpSocket::from_fd(fd)?;
        let details = ReceiveDetails {
            destination: true,
            ..ReceiveDetails::default()
        };
        socket.set_receive_details(details)?;
        Ok(socket)
    };
    let first = listen(Ipv4Addr::UNSPECIFIED.into(), port)?;
    let port = first.local_addr().port();
    let mut bound = Bound {
        port,
        tcp: vec![first],
        udp: Vec::new(),
    };
    bound
        .udp
        .push(datagrams(Ipv4Addr::UNSPECIFIED.into(), port)?);
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    match listen(any, port).and_then(|tcp| Ok((tcp, datagrams(any, port)?))) {
        Ok((tcp, udp)) => {
            bound.tcp.push(tcp);
            bound.udp.push(udp);
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(error) => tracing::debug!(%error, "no IPv6 listener"),
    }
    Ok(bound)
}

/// Starts a thread for each bound port.
pub(crate) fn serve(run: &Arc<Run>, bound: Vec<Bound>) {
    for each in bound {
        let its_run = Arc::clone(run);
        let body = move || Listener::new(&its_run, each).serve();
        if let Err(error) = spawn(None, "weir-listen", body).map(|thread| run.keep(thread)) {
            tracing::error!(%error, "no thread for the listener; its sessions will not start");
        }
    }
}

/// A connection that has not said yet what it is.
struct Pending {
    connection: TcpConnection,
    bytes: Vec<u8>,
    since: Instant,
}

struct Listener {
    run: Arc<Run>,
    bound: Bound,
    pending: Vec<Pending>,
    /// Listening sessions by the tags of their streams.
    tags: HashMap<u32, (Arc<Session>, u16)>,
}

impl Listener {
    fn new(run: &Arc<Run>, bound: Bound) -> Self {
        let listening = run.sessions.iter().filter(|session| !session.spec.dials);
        let tags = listening.flat_map(|session| {
            let tags = session.spec.tags.iter().enumerate();
            tags.map(|(stream, tag)| (*tag, (Arc::clone(session), stream as u16)))
        });
        Self {
            run: Arc::clone(run),
            tags: tags.collect(),
            bound,
            pending: Vec::new(),
        }
    }

    /// Serves until the run has ended.
    fn serve(mut self) {
        let mut batch = ReceiveBatch::new(16, LENGTH);
        loop {
            let room = self.pending.len() < MAX_PENDING;
            let mut fds = vec![PollFd::readable(&self.run.end)];
            fds.extend(self.bound.udp.iter().map(PollFd::readable));
            fds.extend(
                self.pending
                    .iter()
                    .map(|each| PollFd::readable(&each.connection)),
            );
            if room {
                fds.extend(self.bound.tcp.iter().map(PollFd::readable));
            }
            let timeout = (!self.pending.is_empty()).then_some(Duration::from_millis(500));
            if poll(&mut fds, timeout).is_err() || fds[0].is_readable() {
                return;
            }
            let udp_end = 1 + self.bound.udp.len();
            let pending_end = udp_end + self.pending.len();
            let ready = |fds: &[PollFd<'_>]| fds.iter().map(PollFd::is_readable).collect();
            let udp: Vec<bool> = ready(&fds[1..udp_end]);
            let mut said: Vec<bool> = ready(&fds[udp_end..pending_end]);
            let tcp: Vec<bool> = ready(&fds[pending_end..]);
            drop(fds);
            for (at, _) in udp.iter().enumerate().filter(|(_, ready)| **ready) {
                self.hear_hellos(at, &mut batch);
            }
            for at in (0..self.pending.len()).rev() {
                let ready = std::mem::take(&mut said[at]);
                if ready || self.pending[at].since.elapsed() > PREAMBLE_TIMEOUT {
                    let pending = self.pending.swap_remove(at);
                    self.hear_preamble(pending);
                }
            }
            for (at, _) in tcp.iter().enumerate().filter(|(_, ready)| **ready) {
                self.accept(at);
            }
        }
    }

    fn accept(&mut self, at: usize) {
        while self.pending.len() < MAX_PENDING {
            match self.bound.tcp[at].accept() {
                Ok(Some(connection)) => {
                    let since = Instant::now();
                    self.pending.push(Pending {
                        connection,
                        bytes: Vec::new(),
                        since,
                    });
                }
                Ok(None) => return,
                Err(error) => {
                    // No descriptor left: the connection waits; look again later
                    // rather than at once.
                    tracing::warn!(%error, "connection not accepted");
                    std::thread::sleep(Duration::from_millis(20));
                    return;
                }
            }
        }
    }

    fn hear_preamble(&mut self, mut pending: Pending) {
        if pending.since.elapsed() > PREAMBLE_TIMEOUT {
            return;
        }
        let mut buffer = [0; MAX_LENGTH];
        let room = MAX_LENGTH - pending.bytes.len();
        match pending.connection.read(&mut buffer[..room]) {
            Ok(Transfer::Moved(count)) => pending.bytes.extend(&buffer[..count]),
            Ok(Transfer::WouldBlock) => {}
            Ok(Transfer::Closed) | Err(_) => return,
        }
        match Preamble::decode(&pending.bytes) {
            Ok(None) => self.pending.push(pending),
            Ok(Some((preamble, _))) => self.welcome(pending.connection, preamble),
            Err(error) => {
                tracing::debug!(%error, peer = %pending.connection.peer_addr(), "connection refused");
            }
        }
    }

    fn welcome(&self, connection: TcpConnection, preamble: Preamble) {
        let answer = |answer: Answer| connection.write(&[answer.encode()]);
        let peer = connection.peer_addr();
        if let Err(rule) = self
            .run
            .config
            .policy
            .allows_destination(canonical(peer.ip()), None)
        {
            tracing::warn!(%peer, rule, "connection refused by policy");
            let _told = answer(Answer::Policy);
            return;
        }
        match preamble {
            Preamble::Link { nonce } if nonce == self.run.assignment.nonce => {
                if answer(Answer::Accepted).is_ok() {
                    link::serve(&self.run, connection);
                }
            }
            Preamble::Link { .. } => {
                let _told = answer(Answer::UnknownNonce);
            }
            // A run's port; `weir-agent receive` listens at one of its own.
            Preamble::Meeting { .. } => {
                let _told = answer(Answer::NotServed);
            }
            Preamble::Data { tag } => self.welcome_data(connection, tag),
        }
    }

    fn welcome_data(&self, connection: TcpConnection, tag: u32) {
        let known = self.tags.get(&tag).filter(|(session, _)| {
            session.is_accepting() && session.traffic().transport == Transport::Tcp
        });
        let Some((session, stream)) = known else {
            let _told = connection.write(&[Answer::UnknownTag.encode()]);
            return;
        };
        if let Err(rule) = self.allows(session, connection.peer_addr()) {
            tracing::warn!(peer = %connection.peer_addr(), rule, "connection refused by policy");
            let _told = connection.write(&[Answer::Policy.encode()]);
            return;
        }
        if let Err(error) = connection.set_options(&session.tcp_options()) {
            session.refuse(failed(&error));
            let _told = connection.write(&[Answer::Options.encode()]);
            return;
        }
        let consent = Answer::consent(self.run.assignment.nonce);
        if connection.write(&consent).is_ok() {
            let attached = Attached {
                local: connection.local_addr(),
                peer: connection.peer_addr(),
                control_packets: 0,
                setup_us: None,
                buffer: None,
                gro: false,
                socket: StreamSocket::Tcp(connection),
            };
            session.attach_stream(*stream, attached);
        }
    }

    fn hear_hellos(&self, at: usize, batch: &mut ReceiveBatch) {
        let socket = &self.bound.udp[at];
        let mut waiting: Vec<Heard> = match batch.receive(socket) {
            Ok(0) => return,
            Ok(_) => batch
                .datagrams()
                .filter_map(|datagram| Heard::of(&datagram, datagram.destination?))
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "hellos not read");
                return;
            }
        };
        while let Some(heard) = waiting.pop() {
            waiting.extend(self.hear_hello(&heard));
        }
    }

    /// Gives a new stream its socket. Returns what had come to that socket before
    /// it was connected: until then the kernel prefers it to the listening one.
    fn hear_hello(&self, heard: &Heard) -> Vec<Heard> {
        let Some((session, stream)) = self.tags.get(&heard.tag) else {
            return Vec::new();
        };
        let nonce = self.run.assignment.nonce;
        if session.repeat_hello(*stream, heard.source, heard.sequence, nonce) {
            return Vec::new();
        }
        if !session.is_accepting() || session.traffic().transport != Transport::Udp {
            return Vec::new();
        }
        let source = heard.source;
        if let Err(rule) = self.allows(session, source) {
            tracing::warn!(%source, rule, "hello not answered by policy");
            return Vec::new();
        }
        let mut strays = Vec::new();
        match self.child(session, source, SocketAddr::new(heard.to, self.bound.port)) {
            Ok(mut attached) => {
                if let StreamSocket::Udp(child) = &attached.socket {
                    strays = waiting_at(child, heard.to);
                    let sent = answer_hello(child, heard.tag, heard.sequence, nonce);
                    attached.control_packets = if session.spec.end == End::Rx {
                        1
                    } else {
                        u64::from(sent)
                    };
                }
                session.attach_stream(*stream, attached);
            }
            Err(error) => {
                tracing::warn!(%error, %source, "no socket for a stream");
                let failure = failed(&error);
                // What this host cannot give, it will not give to the next hello.
                if failure.code == FailureCode::Bind {
                    session.refuse(failure);
                }
            }
        }
        strays
    }

    /// Whether this end may send what the session has it send to a peer.
    fn allows(&self, session: &Session, peer: SocketAddr) -> Result<(), String> {
        let traffic = session.traffic();
        let sends = session.spec.end == End::Tx || traffic.echo;
        let service = sends.then_some((traffic.transport, peer.port()));
        let policy = &self.run.config.policy;
        policy.allows_destination(canonical(peer.ip()), service)
    }

    /// A socket of a stream's own on the shared port.
    fn child(
        &self,
        session: &Session,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<Attached, SocketError> {
        let fd = self.run.config.sockets.udp(&UdpRequest {
            local,
            reuse: true,
            interface: None,
        })?;
        let socket = UdpSocket::from_fd(fd)?;
        socket.connect(peer)?;
        attach_udp(session, socket, peer)
    }
}

/// An IPv4 address that an IPv6 socket shows is asked for as what it is.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
