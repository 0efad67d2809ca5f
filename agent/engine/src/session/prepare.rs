//! Before T0: connecting every stream of a session, from either side.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_common::assignment::{Family, Marking, OnFull, Peer, Rate, Transport};
use weir_common::record::End;
use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind};

use super::life::Dialled;
use super::{Attached, Failure, Session, State, StreamSocket};
use crate::engine::FailureCode;
use crate::generator::udp::wants_bundles;
use crate::link::LINK_PATIENCE_NS;
use crate::run::Run;
use crate::socket::{
    ReceiveBatch, ReceiveDetails, SendOutcome, SocketError, TcpOptions, UdpSocket,
};

/// Send buffer of a UDP generator, bytes (the kernel doubles it): with its own
/// accounting of some 2.3 KiB for a 1400-byte packet it holds 3,600 of them, more
/// than the queues of ordinary links (1,000 packets, or tbf's 50 to 400 ms).
const SEND_BUFFER: usize = 4 << 20;

/// Send buffer of a UDP generator that waits for room, bytes (the kernel doubles
/// it): 14 packets of 1400 bytes. A buffer larger than the queue behind it would
/// never be full, and the queue would drop what is to be waited for.
const WAITING_SEND_BUFFER: u64 = 16 << 10;

/// Receive buffer of a UDP receiver, bytes: bridges 20 ms of a descheduled
/// receiver at 180,000 packets a second.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Receive buffer of a UDP receiver of bundles, bytes (the kernel doubles it): bridges
/// 40 ms at 55 Gbit/s, the longest that a kernel thread was seen to take the receiver's
/// core for (docs/performance.md). It is memory only while the receiver is behind, and
/// net.ipv4.udp_mem bounds it on small hosts.
const BUNDLES_RECEIVE_BUFFER: usize = 128 << 20;

impl Session {
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

    /// How far the peer has come: hands over every stream once all are there and the
    /// link is and has said where the peer's clock stands, or will not (`complete_ns`: when the last one came).
    pub(super) fn dialled(
        &self,
        run: &Run,
        complete_ns: &mut Option<u64>,
        now_ns: u64,
    ) -> Result<Dialled, Failure> {
        let mut state = self.lock();
        if let Some(failure) = state.refused.take() {
            return Err(failure);
        }
        if complete_ns.is_none() && state.streams.iter().all(Option::is_some) {
            *complete_ns = Some(now_ns);
        }
        let linked = state.link.is_some() && !Self::awaits_clock(&mut state);
        if complete_ns.is_some_and(|at_ns| linked || now_ns >= at_ns + LINK_PATIENCE_NS) {
            self.check_proven(&state)?;
            state.accepting = false;
            let streams = state.streams.iter_mut().filter_map(Option::take);
            return Ok(Dialled::All(streams.collect()));
        }
        // A dialler whose answer was lost says hello again, to the child socket.
        let mut some = false;
        for (stream, tag) in state.streams.iter_mut().zip(&self.spec.tags) {
            if let Some(attached) = stream {
                some = true;
                drain_control(run, self, attached, *tag);
            }
        }
        Ok(if some { Dialled::Some } else { Dialled::None })
    }

    /// A hello's source can be made up, a connection's cannot: who dials a UDP flow that this
    /// end sends on has to have brought its flow link from the same address.
    fn check_proven(&self, state: &State) -> Result<(), Failure> {
        let traffic = self.traffic();
        let sends = self.spec.end == End::Tx || traffic.echo;
        if !sends || traffic.transport != Transport::Udp {
            return Ok(());
        }
        let at = |address: SocketAddr| address.ip().to_canonical();
        let proven = state.link.as_ref().map(|link| at(link.peer()));
        let mut peers = state.streams.iter().flatten().map(|stream| stream.peer);
        let Some(peer) = peers.find(|peer| proven != Some(at(*peer))) else {
            return Ok(());
        };
        let reason = format!(
            "{peer}/udp said hello, and no flow link came from that address, which may be made up: let TCP pass to the same port"
        );
        Err(Failure::new(FailureCode::Unreachable, reason))
    }

    /// The source port of a stream at the end that dials; 0 = any.
    pub(super) fn source_port(&self, stream: u16) -> u16 {
        let first = self.spec.source_port;
        first.map_or(0, |first| first.saturating_add(stream))
    }

    /// The peer's addresses of the asked family that the policy allows.
    pub(super) fn allowed_addresses(
        &self,
        run: &Run,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Failure> {
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
            let service = Some((self.traffic().transport, port));
            match run.config.policy.allows_destination(address, service) {
                Ok(()) => allowed.push(SocketAddr::new(address, port)),
                Err(rule) => refusal = format!("dial {address}: {rule}"),
            }
        }
        if allowed.is_empty() {
            return Err(Failure::new(FailureCode::Policy, refusal));
        }
        Ok(allowed)
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
    let traffic = session.traffic();
    let mut gro = false;
    let buffer = match (session.spec.end, traffic.window) {
        (End::Tx, window) => {
            socket.mark(&traffic.marking)?;
            if let Some(label) = traffic.marking.flow_label {
                socket.label(peer, label)?;
            }
            if traffic.echo {
                let details = ReceiveDetails {
                    stamps: true,
                    ..ReceiveDetails::default()
                };
                socket.set_receive_details(details)?;
                socket.force_receive_buffer(RECEIVE_BUFFER)?;
            }
            match (window, traffic.on_full) {
                (Some(window), _) => socket.set_send_window(window)?,
                (None, OnFull::Drop) => socket.force_send_buffer(SEND_BUFFER)?,
                (None, OnFull::Wait) => socket.set_send_window(WAITING_SEND_BUFFER)?,
            }
        }
        (End::Rx, window) => {
            let details = ReceiveDetails {
                stamps: true,
                ttl: true,
                tos: true,
                destination: false,
            };
            socket.set_receive_details(details)?;
            if traffic.echo {
                socket.force_send_buffer(SEND_BUFFER)?;
            }
            // What comes in bundles is read in bundles; single packets keep a stamp each.
            let streams = session.spec.tags.len();
            gro = wants_bundles(traffic, streams, peer.is_ipv6()) && socket.enable_gro();
            match window {
                Some(window) => socket.set_receive_window(window)?,
                None if gro => socket.force_receive_buffer(BUNDLES_RECEIVE_BUFFER)?,
                None => socket.force_receive_buffer(RECEIVE_BUFFER)?,
            }
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
/// listens, and says whether an answer with the run's nonce came at the end that
/// dialled. Counts what travelled in the direction of the data.
pub(crate) fn drain_control(
    run: &Run,
    session: &Session,
    attached: &mut Attached,
    tag: u32,
) -> bool {
    let (end, nonce) = (session.spec.end, run.assignment.nonce);
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
            answered |= header.kind == ProbeKind::HelloAck && header.send_ns == Some(nonce);
            // The end that dials is asked by nobody: what comes is its own hello, sent back.
            if header.kind == ProbeKind::Hello && !session.spec.dials {
                let sent = answer_hello(socket, tag, header.sequence, nonce);
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

/// Answers a hello with the run's nonce; whether the answer left.
pub(crate) fn answer_hello(socket: &UdpSocket, tag: u32, sequence: u64, nonce: u64) -> bool {
    send_header(socket, tag, ProbeKind::HelloAck, sequence, nonce)
}

pub(super) fn send_control(
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

/// The addresses of each stream.
pub(super) fn tuples(streams: &[Attached], end: End) -> Vec<String> {
    streams.iter().map(|stream| stream.tuple(end)).collect()
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
        // EMFILE, no descriptor left; ENODEV, no such interface.
        _ if matches!(error.errno(), Some(24 | 19)) => FailureCode::Bind,
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
