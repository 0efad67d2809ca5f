//! Peers of an HTTP/2 server that keep to none of its rules: floods of frames,
//! written by hand, over connections that are opened again when they are closed.

mod attack;
mod honest;
pub mod wire;

pub use attack::{Attack, Flood, Limit};
pub use honest::Honest;

use std::io::{self, Write as _};
use std::time::Duration;

use weir_runtime::Endpoint;

use crate::Socket;
use wire::PREFACE;

/// Beginning of a TLS record with a ClientHello of 512 bytes (RFC 8446 sections 5.1
/// and 4.1.2): what is missing never comes.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

/// Connections that say nothing: every second one stops in the middle of the
/// preface, or of the TLS handshake. They stay open as long as the value.
///
/// # Errors
/// This process has no more descriptors.
pub fn idle(endpoint: &Endpoint, count: usize) -> io::Result<Vec<Socket>> {
    let half = if endpoint.is_plain() {
        &PREFACE[..10]
    } else {
        HALF_HELLO
    };
    let mut sockets = Vec::with_capacity(count);
    for n in 0..count {
        let mut socket = match Socket::connect(endpoint) {
            Ok(socket) => socket,
            // The backlog is full, or the other side has had enough of us.
            Err(error) if error.raw_os_error() != Some(24) => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            Err(error) => return Err(error),
        };
        if n % 2 == 0 {
            // It may have been closed meanwhile.
            socket.write_all(half).ok();
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A connection with a ClientHello of so many bytes, below 64 KiB, but for the last ones.
///
/// # Errors
/// The server does not take it.
pub fn long_hello(endpoint: &Endpoint, bytes: u16) -> io::Result<Socket> {
    /// Bytes of a record at most (RFC 8446 section 5.1).
    const RECORD: usize = 16_384;
    let [high, low] = bytes.to_be_bytes();
    let mut hello = vec![1, 0, high, low];
    hello.resize(bytes.into(), 0);
    let mut socket = Socket::connect(endpoint)?;
    for part in hello.chunks(RECORD) {
        let head = [22, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
        socket.write_all(&[&head, part].concat())?;
    }
    Ok(socket)
}
