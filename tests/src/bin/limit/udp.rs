//! UDP as fast as the stack walks, with bundles and without.

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use weir_engine::socket::{
    BUNDLE_BYTES, PollFd, ReceiveBatch, SendOutcome, UdpSocket, max_bundle, poll,
};

use crate::print_received;

/// Bundles (or datagrams) of one recvmmsg(): the best of 1 to 16.
const SLOTS: usize = 8;
/// The best of 1 to 64 MiB.
const BUFFER_BYTES: usize = 64 << 20;
/// After such a silence the sender has ended.
const SILENCE: Duration = Duration::from_millis(500);

/// Counts what comes, by its length: nothing of it is looked at.
pub(crate) fn receive(listen: SocketAddr, size: u32) -> anyhow::Result<()> {
    let socket = UdpSocket::from_fd(StdSocket::bind(listen).context("bind")?.into())?;
    socket.force_receive_buffer(BUFFER_BYTES)?;
    if !socket.enable_gro() {
        bail!("this kernel has no UDP_GRO");
    }
    let mut batch = ReceiveBatch::new(SLOTS, BUNDLE_BYTES);
    println!("listening");
    let (mut bytes, mut first, mut last) = (0, None, Instant::now());
    loop {
        if batch.receive(&socket)? > 0 {
            bytes += batch.bytes();
            last = Instant::now();
            first.get_or_insert(last);
        } else {
            let patience = first.map(|_| SILENCE);
            if poll(&mut [PollFd::readable(&socket)], patience)? == 0 {
                break;
            }
        }
    }
    let elapsed = last.duration_since(first.unwrap_or(last));
    print_received("packets", bytes / u64::from(size), elapsed);
    Ok(())
}

/// Takes what comes, so that the sender is not told that nobody is there.
pub(crate) fn sink(listen: SocketAddr) -> anyhow::Result<()> {
    let socket = StdSocket::bind(listen).context("bind")?;
    println!("listening");
    let mut datagram = [0; 2048];
    loop {
        socket.recv(&mut datagram)?;
    }
}

/// Sends full bundles.
pub(crate) fn bundles(to: SocketAddr, size: u32, length: Duration) -> anyhow::Result<()> {
    let socket = connected(to)?;
    if !socket.enable_bundles() {
        bail!("this kernel has no UDP_SEGMENT");
    }
    let segment = u16::try_from(size).context("the size of a datagram")?;
    let datagrams = vec![0x5a; (max_bundle(size) * size) as usize];
    send(&socket, length, || {
        socket.send_bundle(&datagrams, segment) == Some(SendOutcome::WouldBlock)
    })
}

/// Sends datagrams one by one.
pub(crate) fn singles(to: SocketAddr, size: u32, length: Duration) -> anyhow::Result<()> {
    let socket = connected(to)?;
    let datagram = vec![0x5a; size as usize];
    send(&socket, length, || {
        socket.send(&datagram) == SendOutcome::WouldBlock
    })
}

fn connected(to: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = StdSocket::bind("0.0.0.0:0").context("bind")?;
    let socket = UdpSocket::from_fd(socket.into())?;
    socket.connect(to)?;
    Ok(socket)
}

/// Sends for so long; `send` says whether the socket was full.
fn send(
    socket: &UdpSocket,
    length: Duration,
    mut send: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < length {
        if send() {
            poll(&mut [PollFd::writable(socket)], Some(length))?;
        }
    }
    Ok(())
}
