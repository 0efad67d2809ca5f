//! Before T0: connecting every stream of a session, from either side.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_common::assignment::{Family, Marking, Peer, Rate, Transport};
use weir_common::record::End;
use weir_wire::handshake::{Answer, Preamble};
use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind};

use super::{Attached, Failure, Session, StreamSocket};
use crate::engine::FailureCode;
use crate::link::{LINK_TIMEOUT, attachment, greet};
use crate::run::Run;
use crate::socket::{
    ReceiveBatch, ReceiveDetails, SendOutcome, SocketError, StreamRequest, TcpConnection,
    TcpOptions, UdpRequest, UdpSocket,
};
use crate::wait::{Ready, wait_readable, wait_until};

/// Time between two hellos.
const HELLO_EVERY: Duration = Duration::from_millis(200);

/// Hellos to one address before the peer's next address is tried. A peer's only
/// address is asked from one socket to the end: the peer has given that socket its
/// child, and would not know another.
const HELLOS_PER_ADDRESS: u32 = 5;

/// Time for one TCP connect: two retransmissions of the SYN (RFC 6298: 1 s, 2 s).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Time between two attempts that were refused.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// How much longer than `settle` an end waits for what the controller brings (the
/// target's port) or the peer begins (its dialling).
const PEER_GRACE: Duration = Duration::from_secs(30);

/// Send buffer of a UDP generator, bytes (the kernel doubles it): with its own
/// accounting of some 2.3 KiB for a 1400-byte packet it holds 3,600 of them, more
/// than the queues of ordinary links (1,000 packets, or tbf's 50 to 400 ms).
const SEND_BUFFER: usize = 4 << 20;

/// Receive buffer of a UDP receiver, bytes: bridges 20 ms of a descheduled
/// receiver at 180,000 packets a second.
const RECEIVE_BUFFER: usize = 4 << 20;

impl Session {
    /// Connects all streams and the link, or says why not.
    pub(super) fn prepare(&self, run: &Arc<Run>) -> Result<Vec<Attached>, Failure> {
        let attached = if self.spec.dials {
            self.dial(run)?
        } else {
            self.await_dialler(run)?
        };
        let tuples = attached
            .iter()
            .map(|stream| stream.tuple(self.spec.end))
            .collect();
        self.lock().tuples = tuples;
        Ok(attached)
    }

    /// Refuses to go on when the run or the session was given up, or T0 has come.
    pub(super) fn check_wanted(&self, run: &Run) -> Result<(), Failure> {
        if let Some(reason) = run.stop_reason() {
            return Err(Failure::new(
                FailureCode::Stopped,
                format!("stopped before T0: {reason}"),
            ));
        }
        if self.is_excluded() {
            let reason = "given up before T0: the other end is not ready";
            return Err(Failure::new(FailureCode::Stopped, reason));
        }
        Ok(())
    }

    /// Waits for the listener to hand over every stream, then briefly for the link.
    fn await_dialler(&self, run: &Run) -> Result<Vec<Attached>, Failure> {
        let begun = Instant::now();
        let patience = settle(run) + PEER_GRACE;
        let mut complete: Option<Instant> = None;
        let mut state = self.lock();
        loop {
            let refused = state.refused.take().map_or(Ok(()), Err);
            if let Err(failure) = self.check_wanted(run).and(refused) {
                state.accepting = false;
                return Err(failure);
            }
            if complete.is_none() && state.streams.iter().all(Option::is_some) {
                complete = Some(Instant::now());
            }
            let linked = state.link.is_some();
            if complete.is_some_and(|at| linked || at.elapsed() > LINK_TIMEOUT) {
                state.accepting = false;
                return Ok(state.streams.iter_mut().filter_map(Option::take).collect());
            }
            if complete.is_none() && (begun.elapsed() > patience || run.is_past_t0()) {
                state.accepting = false;
                let reason = format!("nobody dialled within {} s", begun.elapsed().as_secs());
                return Err(Failure::new(FailureCode::Unreachable, reason));
            }
            // A dialler whose answer was lost says hello again, to the child socket.
            let end = self.spec.end;
            for (stream, tag) in state.streams.iter_mut().zip(&self.spec.tags) {
                if let Some(attached) = stream {
                    drain_control(run, attached, *tag, end);
                }
            }
            state = self.wait(state, Duration::from_millis(100));
        }
    }

    fn dial(&self, run: &Arc<Run>) -> Result<Vec<Attached>, Failure> {
        let port = self.await_target(run)?;
        let deadline = Instant::now() + settle(run);
        let addresses = self.allowed_addresses(run, port)?;
        let mut attached = Vec::with_capacity(self.spec.tags.len());
        for tag in &self.spec.tags {
            let stream = match self.traffic().transport {
                Transport::Udp => self.dial_udp(run, *tag, &addresses, deadline)?,
                Transport::Tcp => self.dial_tcp(run, *tag, &addresses, deadline)?,
            };
            attached.push(stream);
        }
        let Peer::Agent { name, .. } = &self.spec.peer else {
            return Ok(attached);
        };
        let link = attached.first().and_then(|first| {
            run.links
                .obtain(run, name.as_str(), first.peer, self.spec.source_address)
        });
        if let Some(link) = link {
            link.send(&attachment(run, self.spec.session));
            // The answer tells whether the clocks are one.
            let begun = Instant::now();
            let mut state = self.lock();
            while state.link.is_none() && !link.is_broken() && begun.elapsed() < LINK_TIMEOUT {
                state = self.wait(state, Duration::from_millis(50));
            }
        }
        Ok(attached)
    }

    fn await_target(&self, run: &Run) -> Result<u16, Failure> {
        let begun = Instant::now();
        let patience = settle(run) + PEER_GRACE;
        let mut state = self.lock();
        loop {
            self.check_wanted(run)?;
            if let Some(port) = state.target {
                return Ok(port);
            }
            if begun.elapsed() > patience || run.is_past_t0() {
                let reason = "the port of the peer did not become known";
                return Err(Failure::new(FailureCode::Unreachable, reason));
            }
            state = self.wait(state, Duration::from_millis(500));
        }
    }

    /// The peer's addresses of the asked family that the policy allows.
    fn allowed_addresses(&self, run: &Run, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let Peer::Agent { addresses, name } = &self.spec.peer else {
            return Err(Failure::new(FailureCode::Bind, "the peer is no agent"));
        };
        let source = self.spec.source_address;
        let of_family = |address: &&IpAddr| {
            let asked = match self.spec.family {
                Family::Any => true,
                Family::V4 => address.is_ipv4(),
                Family::V6 => address.is_ipv6(),
            };
            asked && source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
        };
        let candidates: Vec<IpAddr> = addresses.iter().filter(of_family).copied().collect();
        if candidates.is_empty() {
            let reason = format!("{name} has no address of the family asked for");
            return Err(Failure::new(FailureCode::Unreachable, reason));
        }
        let mut refusal = String::new();
        let mut allowed = Vec::new();
        for address in candidates {
            match run.config.policy.allows_destination(address) {
                Ok(()) => allowed.push(SocketAddr::new(address, port)),
                Err(rule) => refusal = format!("dial {address}: {rule}"),
            }
        }
        if allowed.is_empty() {
            return Err(Failure::new(FailureCode::Policy, refusal));
        }
        Ok(allowed)
    }

    fn dial_udp(
        &self,
        run: &Run,
        tag: u32,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Attached, Failure> {
        let begun = Instant::now();
        let mut last = Failure::new(FailureCode::Unreachable, String::new());
        let mut control = 0;
        for peer in addresses.iter().cycle() {
            let hellos = if addresses.len() == 1 {
                u32::MAX
            } else {
                HELLOS_PER_ADDRESS
            };
            match self.greet_udp(run, tag, *peer, (hellos, deadline), &mut control) {
                Ok(mut attached) => {
                    attached.setup_us = Some(begun.elapsed().as_micros() as u64);
                    attached.control_packets = control;
                    return Ok(attached);
                }
                Err(failure) if failure.code == FailureCode::Bind => return Err(failure),
                Err(failure) => last = failure,
            }
            self.check_wanted(run)?;
            if Instant::now() >= deadline || run.is_past_t0() {
                break;
            }
        }
        Err(last)
    }

    /// Says hello to one address until it answers or the next one is to be tried.
    fn greet_udp(
        &self,
        run: &Run,
        tag: u32,
        peer: SocketAddr,
        (hellos, deadline): (u32, Instant),
        control: &mut u64,
    ) -> Result<Attached, Failure> {
        let local = SocketAddr::new(self.spec.source_address.unwrap_or(unspecified(peer)), 0);
        let request = UdpRequest {
            local,
            reuse: false,
            interface: None,
        };
        let fd = run
            .config
            .sockets
            .udp(&request)
            .map_err(|error| failed(&error))?;
        let socket = UdpSocket::from_fd(fd).map_err(|error| failed(&error))?;
        let clock = &*run.config.clock;
        let unanswered = Failure::new(
            FailureCode::Unreachable,
            format!(
                "no answer from {peer}/udp within {} s",
                settle(run).as_secs_f64()
            ),
        );
        let mut problem = unanswered;
        if let Err(error) = socket.connect(peer) {
            let retry_ns = clock.now_ns() + HELLO_EVERY.as_nanos() as u64;
            wait_until(clock, &run.stop, retry_ns);
            return Err(failed(&error));
        }
        let mut attached = attach_udp(self, socket, peer).map_err(|error| failed(&error))?;
        for attempt in 0..hellos {
            self.check_wanted(run)?;
            let now_ns = clock.now_ns();
            let sent = send_control(&attached, tag, ProbeKind::Hello, u64::from(attempt), now_ns);
            *control += u64::from(sent && self.spec.end == End::Tx);
            let until_ns = now_ns + HELLO_EVERY.as_nanos() as u64;
            while let StreamSocket::Udp(socket) = &attached.socket {
                let ready = wait_readable(clock, socket, Some(&run.stop), until_ns);
                if ready == Ready::Socket && socket.take_errors().icmp > 0 {
                    problem = Failure::new(
                        FailureCode::Refused,
                        format!(
                            "{peer}/udp is answered by ICMP unreachable: nothing listens there, or a filter rejects it"
                        ),
                    );
                }
                attached.control_packets = 0;
                let answered = drain_control(run, &mut attached, tag, self.spec.end);
                *control += attached.control_packets;
                if answered {
                    return Ok(attached);
                }
                if clock.now_ns() >= until_ns || run.stop_reason().is_some() {
                    break;
                }
            }
            if Instant::now() >= deadline || run.is_past_t0() {
                break;
            }
        }
        Err(problem)
    }

    fn dial_tcp(
        &self,
        run: &Run,
        tag: u32,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Attached, Failure> {
        let clock = &*run.config.clock;
        let mut last = Failure::new(FailureCode::Unreachable, String::new());
        for peer in addresses.iter().cycle() {
            let left = deadline.saturating_duration_since(Instant::now());
            // With no settle at all there is still one attempt.
            let timeout = left.max(HELLO_EVERY).min(CONNECT_TIMEOUT);
            match self.greet_tcp(run, tag, *peer, timeout) {
                Ok(attached) => return Ok(attached),
                Err(failure) if matches!(failure.code, FailureCode::Bind | FailureCode::Policy) => {
                    return Err(failure);
                }
                Err(failure) => last = failure,
            }
            self.check_wanted(run)?;
            if Instant::now() >= deadline || run.is_past_t0() {
                break;
            }
            wait_until(
                clock,
                &run.stop,
                clock.now_ns() + RETRY_EVERY.as_nanos() as u64,
            );
        }
        Err(last)
    }

    fn greet_tcp(
        &self,
        run: &Run,
        tag: u32,
        peer: SocketAddr,
        timeout: Duration,
    ) -> Result<Attached, Failure> {
        let local = self
            .spec
            .source_address
            .map(|address| SocketAddr::new(address, 0));
        let request = StreamRequest {
            remote: peer,
            local,
            interface: None,
        };
        let fd = run
            .config
            .sockets
            .tcp_stream(&request)
            .map_err(|error| failed(&error))?;
        let begun = Instant::now();
        let connection =
            TcpConnection::connect(fd, peer, &self.tcp_options(), timeout, Some(&run.stop))
                .map_err(|error| failed(&error))?;
        let setup_us = begun.elapsed().as_micros() as u64;
        match greet(run, &connection, &Preamble::Data { tag }, timeout) {
            Some(Answer::Accepted) => Ok(Attached {
                local: connection.local_addr(),
                peer,
                control_packets: 0,
                setup_us: Some(setup_us),
                buffer: None,
                gro: false,
                socket: StreamSocket::Tcp(connection),
            }),
            Some(Answer::Policy) => {
                let reason = format!("{peer}/tcp: the peer's policy forbids this host");
                Err(Failure::new(FailureCode::Policy, reason))
            }
            Some(Answer::Options) => {
                let reason =
                    format!("{peer}/tcp: that host cannot give what the flow asks of the socket");
                Err(Failure::new(FailureCode::Bind, reason))
            }
            Some(answer) => {
                let reason = format!("{peer}/tcp turned the connection away: {answer:?}");
                Err(Failure::new(FailureCode::Refused, reason))
            }
            None => {
                let reason = format!("{peer}/tcp accepted the connection and did not answer");
                Err(Failure::new(FailureCode::Unreachable, reason))
            }
        }
    }

    /// What this session asks of its connections at this end. Buffers, segment size
    /// and marks are those of the connection, both ways.
    pub(crate) fn tcp_options(&self) -> TcpOptions {
        let traffic = self.traffic();
        let sends = self.spec.end == End::Tx;
        TcpOptions {
            congestion: traffic.congestion_control.clone().filter(|_| sends),
            mss: traffic.mss,
            // A schedule is kept write by write.
            nodelay: traffic.nodelay || traffic.rate != Rate::Max,
            window: traffic.window,
            marking: Marking {
                flow_label: traffic.marking.flow_label.filter(|_| sends),
                ..traffic.marking
            },
        }
    }
}

/// Makes a connected UDP socket ready for this end of the session.
pub(crate) fn attach_udp(
    session: &Session,
    socket: UdpSocket,
    peer: SocketAddr,
) -> Result<Attached, SocketError> {
    let mut gro = false;
    let buffer = match session.spec.end {
        End::Tx => socket.force_send_buffer(SEND_BUFFER)?,
        End::Rx => {
            let details = ReceiveDetails {
                stamps: true,
                ttl: true,
                tos: true,
                destination: false,
            };
            socket.set_receive_details(details)?;
            // Bundles serve unlimited traffic; paced packets keep a stamp each.
            gro = session.traffic().rate == Rate::Max && socket.enable_gro();
            socket.force_receive_buffer(RECEIVE_BUFFER)?
        }
    };
    Ok(Attached {
        local: socket.connected_addr()?,
        peer,
        control_packets: 0,
        setup_us: None,
        buffer: Some((buffer.bytes as u64, buffer.forced)),
        gro,
        socket: StreamSocket::Udp(socket),
    })
}

/// Takes in what waits at a UDP stream before T0: answers hellos at the end that
/// listens, and says whether an answer came at the end that dialled. Counts what
/// travelled in the direction of the data.
pub(crate) fn drain_control(run: &Run, attached: &mut Attached, tag: u32, end: End) -> bool {
    let StreamSocket::Udp(socket) = &attached.socket else {
        return false;
    };
    let mut batch = ReceiveBatch::new(4, LENGTH);
    let mut answered = false;
    let mut control = 0;
    while let Ok(count @ 1..) = batch.receive(socket) {
        for datagram in batch.datagrams() {
            let Ok(header) = ProbeHeader::decode(datagram.payload) else {
                continue;
            };
            let control_kind = matches!(header.kind, ProbeKind::Hello | ProbeKind::HelloAck);
            if header.tag != tag || !control_kind {
                continue;
            }
            control += u64::from(end == End::Rx);
            answered |= header.kind == ProbeKind::HelloAck;
            if header.kind == ProbeKind::Hello {
                let now_ns = run.config.clock.now_ns();
                let sent = answer_hello(socket, tag, header.sequence, now_ns);
                control += u64::from(sent && end == End::Tx);
            }
        }
        if count < 4 {
            break;
        }
    }
    attached.control_packets += control;
    answered
}

/// Answers a hello; whether the answer left.
pub(crate) fn answer_hello(socket: &UdpSocket, tag: u32, sequence: u64, now_ns: u64) -> bool {
    send_header(socket, tag, ProbeKind::HelloAck, sequence, now_ns)
}

fn send_control(
    attached: &Attached,
    tag: u32,
    kind: ProbeKind,
    sequence: u64,
    now_ns: u64,
) -> bool {
    match &attached.socket {
        StreamSocket::Udp(socket) => send_header(socket, tag, kind, sequence, now_ns),
        StreamSocket::Tcp(_) => false,
    }
}

fn send_header(socket: &UdpSocket, tag: u32, kind: ProbeKind, sequence: u64, now_ns: u64) -> bool {
    let mut payload = [0; LENGTH];
    let header = ProbeHeader {
        tag,
        kind,
        sequence,
        send_ns: Some(now_ns),
    };
    header.encode(&mut payload).is_ok()
        && matches!(
            socket.send(&payload),
            SendOutcome::Sent | SendOutcome::NoBufs
        )
}

fn settle(run: &Run) -> Duration {
    Duration::from_nanos(run.assignment.settle_ns)
}

/// The wildcard address of the same family.
pub(crate) fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A failed socket operation as the reason of a session: what the host refuses is
/// final, what the network says may change.
pub(crate) fn failed(error: &SocketError) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureCode::Refused,
        io::ErrorKind::AddrInUse
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::Unsupported => FailureCode::Bind,
        io::ErrorKind::Interrupted => FailureCode::Stopped,
        _ if error.errno() == Some(24) => FailureCode::Bind, // EMFILE: no descriptor left
        _ => FailureCode::Unreachable,
    };
    Failure::new(code, describe(error))
}

/// An error with its source, in one line.
pub(crate) fn describe(error: &SocketError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
