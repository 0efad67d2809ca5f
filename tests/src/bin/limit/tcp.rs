//! One TCP connection: the fastest ways to fill it, and to empty it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::net::RecvFlags;
use rustix::pipe::SpliceFlags;
use weir_engine::socket::lend_to_pipe;

use crate::print_received;

/// Bytes of one write.
const WRITE: usize = 1 << 20;

/// Discards what comes on one connection; the time is from accept to the last byte.
pub(crate) fn receive(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).context("listen")?;
    println!("listening");
    let (stream, _) = listener.accept().context("accept")?;
    let begun = Instant::now();
    let mut nowhere = vec![0; WRITE];
    let mut bytes = 0;
    loop {
        let (_, count) = rustix::net::recv(&stream, &mut nowhere[..], RecvFlags::TRUNC)?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
    }
    print_received("bytes", bytes, begun.elapsed());
    Ok(())
}

/// Writes 1 MiB at a time.
pub(crate) fn write(to: SocketAddr, length: Duration) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to).context("connect")?;
    let block = vec![0x5a; WRITE];
    let begun = Instant::now();
    while begun.elapsed() < length {
        stream.write_all(&block)?;
    }
    Ok(())
}

/// Lends the same 1 MiB to a pipe again and again, and moves it on to the socket.
pub(crate) fn splice(to: SocketAddr, length: Duration) -> anyhow::Result<()> {
    let stream = TcpStream::connect(to).context("connect")?;
    let block: &'static [u8] = vec![0x5a; WRITE].leak();
    let (from_pipe, to_pipe) = rustix::pipe::pipe()?;
    rustix::pipe::fcntl_setpipe_size(&to_pipe, WRITE).context("size the pipe")?;
    let begun = Instant::now();
    while begun.elapsed() < length {
        let mut lent = lend_to_pipe(&to_pipe, block)?;
        while lent > 0 {
            let flags = SpliceFlags::MOVE | SpliceFlags::MORE;
            lent -= rustix::pipe::splice(&from_pipe, None, &stream, None, lent, flags)?;
        }
    }
    Ok(())
}
