//! Loopback tests: two sockets of one process, waiting by `poll`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use weir_common::assignment::Marking;

use super::*;
use crate::clock::{Clock, MonotonicClock};

mod writer;

/// Far beyond any wait that succeeds.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn udp(local: SocketAddr, reuse: bool) -> UdpSocket {
    let request = UdpRequest {
        local,
        reuse,
        interface: None,
    };
    UdpSocket::from_fd(DirectProvider.udp(&request).unwrap()).unwrap()
}

/// A sender connected to a receiver, both on `address`.
fn udp_pair(address: IpAddr) -> (UdpSocket, UdpSocket) {
    let receiver = udp((address, 0).into(), false);
    let sender = udp((address, 0).into(), false);
    sender.connect(receiver.local_addr()).unwrap();
    (sender, receiver)
}

fn wait_readable(fd: &impl AsFd) {
    let mut fds = [PollFd::readable(fd)];
    assert_eq!(
        poll(&mut fds, Some(PATIENCE)).unwrap(),
        1,
        "nothing to read"
    );
}

/// Receives `count` datagrams and hands each to `check`.
fn receive(
    socket: &UdpSocket,
    batch: &mut ReceiveBatch,
    count: usize,
    mut check: impl FnMut(usize, Datagram<'_>),
) {
    let mut seen = 0;
    while seen < count {
        wait_readable(socket);
        batch.receive(socket).unwrap();
        for datagram in batch.datagrams() {
            check(seen, datagram);
            seen += 1;
        }
    }
    assert_eq!(seen, count);
}

const EVERYTHING: ReceiveDetails = ReceiveDetails {
    stamps: true,
    ttl: true,
    tos: true,
    destination: true,
};

fn datagrams_carry_their_details(address: IpAddr) {
    let (sender, receiver) = udp_pair(address);
    receiver.set_receive_details(EVERYTHING).unwrap();
    let marking = Marking {
        dscp: Some(46),
        ttl: Some(9),
        ..Marking::default()
    };
    sender.mark(&marking).unwrap();
    let clock = MonotonicClock::with_namespace_offset(0);
    let before_ns = clock.now_ns();
    for n in 0..10_u8 {
        assert_eq!(sender.send(&[n; 100]), SendOutcome::Sent);
    }
    let mut batch = ReceiveBatch::new(4, 2048);
    let offset = clock.realtime_offset();
    receive(&receiver, &mut batch, 10, |n, datagram| {
        assert_eq!(datagram.payload, [n as u8; 100]);
        assert_eq!(datagram.length, 100);
        assert_eq!(datagram.source, Some(sender.local_addr()));
        assert_eq!(datagram.destination, Some(address));
        assert_eq!(
            (datagram.ttl, datagram.tos, datagram.bundle),
            (Some(9), Some(0xb8), 1)
        );
        let came_ns = offset.to_monotonic_ns(datagram.realtime_ns.unwrap());
        assert!(came_ns + 1_000_000 >= before_ns && came_ns <= clock.now_ns() + 1_000_000);
    });
    assert_eq!(batch.receive(&receiver).unwrap(), 0);
    assert_eq!(batch.datagrams().count(), 0);
}

#[test]
fn datagrams_carry_their_details_v4() {
    datagrams_carry_their_details(Ipv4Addr::LOCALHOST.into());
}

#[test]
fn datagrams_carry_their_details_v6() {
    datagrams_carry_their_details(Ipv6Addr::LOCALHOST.into());
}

#[test]
fn a_small_slot_still_knows_the_length() {
    let (sender, receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
    let mut batch = ReceiveBatch::new(2, 20);
    assert_eq!(sender.send(&[7; 1448]), SendOutcome::Sent);
    assert_eq!(sender.send(&[]), SendOutcome::Sent);
    receive(&receiver, &mut batch, 2, |n, datagram| {
        let expected = [(20, 1448), (0, 0)][n];
        assert_eq!((datagram.payload.len(), datagram.length), expected);
    });
}

/// A bundle arrives as the same datagrams, in the same order, whether either end
/// has bundles or not.
#[test]
fn bundles_are_datagrams() {
    for (gso, gro) in [(true, true), (true, false), (false, true), (false, false)] {
        let (sender, receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
        let gso = gso && sender.enable_bundles();
        let gro = gro && receiver.enable_gro();
        let bytes: Vec<u8> = (0..1000_u32).map(|n| (n / 100) as u8).collect();
        let outcome = sender.send_bundle(&bytes[..950], 100);
        assert_eq!(outcome, gso.then_some(SendOutcome::Sent));
        for datagram in bytes[..950].chunks(100).filter(|_| !gso) {
            assert_eq!(sender.send(datagram), SendOutcome::Sent);
        }
        assert_eq!(sender.bundles(), gso);
        let mut batch = ReceiveBatch::new(4, BUNDLE_BYTES);
        receive(&receiver, &mut batch, 10, |n, datagram| {
            let length = if n == 9 { 50 } else { 100 };
            assert_eq!(datagram.payload, &vec![n as u8; length]);
            assert_eq!(datagram.length, length);
            if gso && gro {
                assert_eq!(datagram.bundle, 10);
            }
        });
    }
}

/// A bundle that the kernel refuses is not sent, and no other is tried.
#[test]
fn a_refused_bundle_is_told() {
    let (sender, receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
    assert!(sender.enable_bundles());
    let bytes = vec![1_u8; 3 * 65_507];
    assert_eq!(sender.send_bundle(&bytes, 65_507), None);
    assert!(!sender.bundles());
    assert_eq!(sender.send_bundle(&bytes[..200], 100), None);
    assert_eq!(ReceiveBatch::new(1, 20).receive(&receiver).unwrap(), 0);
}

#[test]
fn bundle_limits() {
    assert_eq!(max_bundle(0), 1);
    assert_eq!(max_bundle(64), 64);
    assert_eq!(max_bundle(1448), 45);
    assert_eq!(max_bundle(65_507), 1);
}

/// An ICMP error answers an earlier datagram: later ones are still sent, and the
/// error is counted.
#[test]
fn port_unreachable_is_counted_and_does_not_refuse_the_next() {
    let (sender, receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
    let address = receiver.local_addr();
    drop(receiver);
    assert_eq!(sender.send(b"to nobody"), SendOutcome::Sent);
    let mut fds = [PollFd::writable(&sender)];
    while !fds[0].has_error() {
        poll(&mut fds, Some(PATIENCE)).unwrap();
    }
    let receiver = udp(address, false);
    assert_eq!(sender.send(b"to somebody"), SendOutcome::Sent);
    let mut batch = ReceiveBatch::new(1, 64);
    receive(&receiver, &mut batch, 1, |_, datagram| {
        assert_eq!(datagram.payload, b"to somebody");
    });
    let errors = sender.take_errors();
    assert_eq!(
        (errors.icmp, errors.last_errno),
        (1, Some(libc::ECONNREFUSED))
    );
    assert_eq!(sender.take_errors(), QueuedErrors::default());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (sender, _receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
    assert_eq!(
        sender.send(&vec![0; 65_508]),
        SendOutcome::Refused(Refusal::TooLarge)
    );
    assert_eq!(
        sender.send_to(&[0; 10], (Ipv4Addr::BROADCAST, 9).into()),
        SendOutcome::Refused(Refusal::NotPermitted)
    );
    assert_eq!(sender.send(&[0; 10]), SendOutcome::Sent);
}

/// Every datagram is either received or counted as dropped by its socket.
#[test]
fn overflow_is_counted_to_the_packet() {
    const COUNT: u32 = 500;
    let (sender, receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
    receiver.force_receive_buffer(20_000).unwrap();
    for _ in 0..COUNT {
        assert_eq!(sender.send(&[0; 1000]), SendOutcome::Sent);
    }
    let mut batch = ReceiveBatch::new(16, 20);
    let mut received = 0;
    loop {
        match batch.receive(&receiver).unwrap() {
            0 => break,
            count => received += count as u32,
        }
    }
    let drops = receiver.drops().unwrap();
    assert!(drops > 0);
    assert_eq!(received + drops, COUNT);
}

#[test]
fn buffers_say_what_they_got() {
    let (sender, receiver) = udp_pair(Ipv4Addr::LOCALHOST.into());
    for size in [
        sender.force_send_buffer(4 << 20),
        receiver.force_receive_buffer(4 << 20),
    ] {
        let size = size.unwrap();
        assert_eq!(size.forced, size.bytes >= 8 << 20);
    }
    // A buffer that is large enough already stays as it is.
    let before = sender.force_send_buffer(0).unwrap();
    assert_eq!(sender.force_send_buffer(1).unwrap(), before);
    assert!(before.forced);
}

/// A receiver's child socket shares the port and takes its own peer's datagrams.
#[test]
fn connected_children_share_a_port() {
    let parent = udp(loopback(0), true);
    let port = parent.local_addr();
    let senders = [udp(loopback(0), false), udp(loopback(0), false)];
    let children: Vec<UdpSocket> = senders
        .iter()
        .map(|sender| {
            let child = udp(port, true);
            child.connect(sender.local_addr()).unwrap();
            child
        })
        .collect();
    let mut batch = ReceiveBatch::new(4, 64);
    for (n, (sender, child)) in senders.iter().zip(&children).enumerate() {
        sender.connect(port).unwrap();
        assert_eq!(sender.send(&[n as u8]), SendOutcome::Sent);
        receive(child, &mut batch, 1, |_, datagram| {
            assert_eq!(datagram.payload, [n as u8]);
        });
    }
    assert_eq!(batch.receive(&parent).unwrap(), 0);
}

fn listen(local: SocketAddr, options: &TcpOptions) -> TcpListener {
    let request = ListenRequest {
        local,
        interface: None,
    };
    let fd = DirectProvider.tcp_listener(&request).unwrap();
    TcpListener::from_fd(fd, options).unwrap()
}

fn tcp_pair(options: &TcpOptions) -> (TcpConnection, TcpConnection) {
    tcp_pair_of(options, options)
}

/// The end that dialled, and the one that accepted.
fn tcp_pair_of(dials: &TcpOptions, accepts: &TcpOptions) -> (TcpConnection, TcpConnection) {
    let listener = listen(loopback(0), accepts);
    assert!(listener.accept().unwrap().is_none());
    let dialled = dial(listener.local_addr(), dials, None).unwrap();
    wait_readable(&listener);
    let accepted = listener.accept().unwrap().unwrap();
    assert_eq!(accepted.peer_addr(), dialled.local_addr());
    (dialled, accepted)
}

fn dial(
    remote: SocketAddr,
    options: &TcpOptions,
    stop: Option<&Waker>,
) -> Result<TcpConnection, SocketError> {
    let request = StreamRequest {
        remote,
        local: None,
        interface: None,
    };
    let fd = DirectProvider.tcp_stream(&request).unwrap();
    TcpConnection::connect(fd, remote, options, PATIENCE, stop)
}

#[test]
fn tcp_accounts_for_every_byte() {
    let options = TcpOptions {
        congestion: Some("reno".to_owned()),
        nodelay: true,
        marking: Marking {
            dscp: Some(8),
            ttl: Some(7),
            ..Marking::default()
        },
        ..TcpOptions::default()
    };
    let (sender, receiver) = tcp_pair(&options);
    assert_eq!(sender.congestion_control().unwrap(), "reno");
    assert_eq!(receiver.congestion_control().unwrap(), "reno");
    assert_eq!(receiver.discard(1 << 20).unwrap(), Transfer::WouldBlock);
    let block = vec![3_u8; 128 << 10];
    let mut written = 0;
    while let Transfer::Moved(count) = sender.write(&block).unwrap() {
        written += count as u64;
    }
    assert!(written > 0);
    wait_readable(&receiver);
    let mut buffer = [0; 10];
    assert_eq!(receiver.read(&mut buffer).unwrap(), Transfer::Moved(10));
    assert_eq!(buffer, [3; 10]);
    assert!(receiver.unread_bytes().unwrap() > 0);
    sender.finish().unwrap();
    let mut read = 10;
    loop {
        wait_readable(&receiver);
        match receiver.discard(1 << 20).unwrap() {
            Transfer::Moved(count) => read += count as u64,
            Transfer::WouldBlock => {}
            Transfer::Closed => break,
        }
    }
    assert_eq!(read, written);
    let info = receiver.info().unwrap();
    assert_eq!(info.bytes_received.map(|bytes| bytes - 1), Some(written)); // and the FIN
}

#[test]
fn the_segment_size_holds_both_ways_whoever_asks() {
    let options = TcpOptions {
        mss: Some(1000),
        ..TcpOptions::default()
    };
    let (dialled, accepted) = tcp_pair_of(&options, &TcpOptions::default());
    for end in [&dialled, &accepted] {
        assert_eq!(end.info().unwrap().mss_with_options(), 1000);
    }
    accepted.set_options(&options).unwrap();
    let larger = TcpOptions {
        mss: Some(1001),
        ..TcpOptions::default()
    };
    let error = accepted.set_options(&larger).unwrap_err().to_string();
    assert!(error.starts_with("set the MSS to 1001 bytes: ") && error.ends_with("allows 1000"));
}

#[test]
fn a_window_is_the_one_asked_for_or_refused() {
    let asked = |window| TcpOptions {
        window: Some(window),
        ..TcpOptions::default()
    };
    let (dialled, accepted) = tcp_pair(&asked(40_000));
    for end in [&dialled, &accepted] {
        assert_eq!(end.buffer_bytes().unwrap(), (80_000, 80_000));
    }
    // Buffers that a privilege forces are as large as asked for.
    match dialled.set_options(&asked(1 << 30)) {
        Ok(()) => assert!(dialled.buffer_bytes().unwrap().0 >= (1 << 31) - 2),
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("set the send buffer to 1073741824 bytes: this host"));
            assert!(error.ends_with("(raise net.core.wmem_max)"), "{error}");
        }
    }
}

#[test]
fn a_flow_label_is_the_dialling_ends_to_set() {
    let label = |flow_label| TcpOptions {
        marking: Marking {
            flow_label,
            ..Marking::default()
        },
        ..TcpOptions::default()
    };
    let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let listener = listen(any, &TcpOptions::default());
    for asked in [0, 1, 0xf_ffff] {
        // The second use of a label shares it.
        for _ in 0..2 {
            dial(listener.local_addr(), &label(Some(asked)), None).unwrap();
        }
    }
    let v4 = listen(loopback(0), &TcpOptions::default());
    let error = dial(v4.local_addr(), &label(Some(1)), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (_, accepted) = tcp_pair(&TcpOptions::default());
    let error = accepted.set_options(&label(Some(1))).unwrap_err();
    assert!(error.to_string().contains("must dial"), "{error}");
}

#[test]
fn tcp_info_is_filled_in() {
    let (sender, receiver) = tcp_pair(&TcpOptions::default());
    assert_eq!(sender.write(&[0; 1000]).unwrap(), Transfer::Moved(1000));
    wait_readable(&receiver);
    let mut fds = [PollFd::readable(&sender)];
    while sender.unacked_bytes().unwrap() > 0 {
        poll(&mut fds, Some(Duration::from_millis(1))).unwrap();
    }
    let info = sender.info().unwrap();
    assert!(info.snd_mss > 0 && info.cwnd_bytes() > 0 && info.rtt_us > 0);
    assert_eq!(info.bytes_acked, Some(1001)); // and the SYN
    assert_eq!((info.unacked_segments, info.bytes_retrans), (0, Some(0)));
    assert!(info.segs_out.unwrap() >= 2);
    let (send, receive) = sender.buffer_bytes().unwrap();
    assert!(send > 0 && receive > 0);
}

#[test]
fn a_reset_is_an_error_of_the_reader() {
    let (sender, receiver) = tcp_pair(&TcpOptions::default());
    sender.reset_on_drop().unwrap();
    drop(sender);
    wait_readable(&receiver);
    let error = receiver.discard(100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn errors_name_what_was_tried_and_what_helps() {
    let listener = udp(loopback(0), false);
    let taken = UdpRequest {
        local: listener.local_addr(),
        reuse: false,
        interface: None,
    };
    let error = DirectProvider.udp(&taken).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("bind {}", taken.local)),
        "{error}"
    );
    assert!(error.contains("choose another port"), "{error}");

    // Where nobody listens; to a free port of the ephemeral ones a socket may connect
    // to itself.
    let refused = dial(loopback(9), &TcpOptions::default(), None).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    let unknown = TcpOptions {
        congestion: Some("nonesuch".to_owned()),
        ..TcpOptions::default()
    };
    let error = dial(loopback(9), &unknown, None).unwrap_err();
    assert_eq!(error.to_string(), "use congestion control nonesuch");
}

/// A listener with a full backlog leaves a connect hanging; the waker ends it.
#[test]
fn a_connect_can_be_stopped() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&loopback(0).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waker = Waker::new().unwrap();
    let stop = waker.clone();
    let dialling = thread::spawn(move || {
        let mut kept = Vec::new();
        loop {
            match dial(address, &TcpOptions::default(), Some(&stop)) {
                Ok(connection) => kept.push(connection),
                Err(error) => return error.kind(),
            }
        }
    });
    waker.wake();
    assert_eq!(dialling.join().unwrap(), io::ErrorKind::Interrupted);
}
