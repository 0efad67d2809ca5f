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

/// Connections that say nothing: every second one stops in the middle of the
/// preface. They stay open as long as the value.
///
/// # Errors
/// This process has no more descriptors.
pub fn idle(endpoint: &Endpoint, count: usize) -> io::Result<Vec<Socket>> {
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
            socket.write_all(&PREFACE[..10]).ok();
        }
        sockets.push(socket);
    }
    Ok(sockets)
}
