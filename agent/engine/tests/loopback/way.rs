//! A way between two engines that treats datagrams by script: what it loses,
//! doubles, holds back, alters and delays is known to the packet.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A datagram of a flow on its way.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    /// Sent back by the receiver.
    pub(crate) reply: bool,
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What leaves for a datagram that came: how much later, and what.
pub(crate) type Leaving = Vec<(Duration, Vec<u8>)>;

/// Passes on what comes at its port, both protocols, until dropped.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Way {
    /// To `target` of loopback, by `script`. What is no packet of a flow (the
    /// exchange before it, the flow link) passes as it came.
    pub(crate) fn to(target: u16, script: impl FnMut(Passing) -> Leaving + Send + 'static) -> Self {
        let (udp, tcp) = same_port();
        let port = udp.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
            let stream_stop = Arc::clone(&stopped);
            let streams = thread::spawn(move || forward_streams(&tcp, target, &stream_stop));
            Datagrams::new(udp, target, script).forward(&stopped);
            streams.join().unwrap();
        });
        Self {
            port,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the way broke");
        }
    }
}

/// A port that is free for both protocols.
fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both protocols");
}

/// How often a waiting loop looks around.
const LOOK: Duration = Duration::from_millis(1);

struct Datagrams<S> {
    /// Where generators send to.
    near: UdpSocket,
    target: SocketAddr,
    script: S,
    /// A socket towards the target for each generator.
    far: BTreeMap<SocketAddr, UdpSocket>,
    /// What leaves later: when, in which order, from whom or to whom.
    later: BTreeMap<(Instant, u64), (SocketAddr, bool, Vec<u8>)>,
    number: u64,
}

impl<S: FnMut(Passing) -> Leaving> Datagrams<S> {
    fn new(near: UdpSocket, target: SocketAddr, script: S) -> Self {
        near.set_nonblocking(true).unwrap();
        Self {
            near,
            target,
            script,
            far: BTreeMap::new(),
            later: BTreeMap::new(),
            number: 0,
        }
    }

    fn forward(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; 65_536];
        while !stop.load(Ordering::Acquire) {
            let mut idle = true;
            while let Ok((length, source)) = self.near.recv_from(&mut buffer) {
                idle = false;
                self.far.entry(source).or_insert_with(|| {
                    let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                    far.connect(self.target).unwrap();
                    far.set_nonblocking(true).unwrap();
                    far
                });
                self.pass(source, false, &buffer[..length]);
            }
            let generators: Vec<SocketAddr> = self.far.keys().copied().collect();
            for generator in generators {
                while let Ok(length) = self.far[&generator].recv(&mut buffer) {
                    idle = false;
                    self.pass(generator, true, &buffer[..length]);
                }
            }
            self.send_due();
            if idle {
                thread::sleep(LOOK);
            }
        }
    }

    fn pass(&mut self, generator: SocketAddr, back: bool, bytes: &[u8]) {
        let now = Instant::now();
        // The kind of a probe header: data below 0x80, an echo 0x82.
        let leaving = match bytes.get(4) {
            Some(kind) if *kind < 0x80 || *kind == 0x82 => {
                let mut number = [0; 8];
                number[1..].copy_from_slice(&bytes[5..12]);
                (self.script)(Passing {
                    reply: *kind == 0x82,
                    sequence: u64::from_be_bytes(number),
                    bytes: bytes.to_vec(),
                })
            }
            _ => vec![(Duration::ZERO, bytes.to_vec())],
        };
        for (delay, bytes) in leaving {
            self.number += 1;
            let place = (now + delay, self.number);
            self.later.insert(place, (generator, back, bytes));
        }
        self.send_due();
    }

    fn send_due(&mut self) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > Instant::now() {
                break;
            }
            let (generator, back, bytes) = entry.remove();
            // A socket that is gone by now has ended its flow.
            let _gone = if back {
                self.near.send_to(&bytes, generator)
            } else {
                self.far[&generator].send(&bytes)
            };
        }
    }
}

fn forward_streams(listener: &TcpListener, target: SocketAddr, stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    let mut copies = Vec::new();
    let mut open = Vec::new();
    while !stop.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((near, _)) => {
                near.set_nonblocking(false).unwrap();
                let far = TcpStream::connect(target).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    from.set_nodelay(true).unwrap();
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    copies.push(thread::spawn(move || copy(from, to)));
                }
                open.extend([near, far]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK),
            Err(error) => panic!("{error}"),
        }
    }
    for stream in open {
        let _closed_before = stream.shutdown(Shutdown::Both);
    }
    for copying in copies {
        copying.join().unwrap();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _closed_before = to.shutdown(Shutdown::Write);
}
