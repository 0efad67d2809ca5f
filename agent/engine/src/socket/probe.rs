//! What this kernel offers, for the inventory.

use std::fs;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::error::{Describe, SocketError};
use super::sys;

/// Whether UDP datagrams can cross the stack in bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleSupport {
    /// UDP_SEGMENT (Linux 4.18): one send, many datagrams.
    pub gso: bool,
    /// UDP_GRO (Linux 5.0): one receive, many datagrams.
    pub gro: bool,
}

/// Asks the kernel with a socket of its own, which sends nothing.
pub fn bundle_support() -> Result<BundleSupport, SocketError> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .describe("create", || "a UDP socket")?;
    let has = |name| sys::option(socket.as_fd(), libc::SOL_UDP, name).is_ok();
    Ok(BundleSupport {
        gso: has(libc::UDP_SEGMENT),
        gro: has(libc::UDP_GRO),
    })
}

/// The TCP congestion controls this host can use, sorted by name.
pub fn congestion_controls() -> Result<Vec<String>, SocketError> {
    const PATH: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let text = fs::read_to_string(PATH).describe("read", || PATH)?;
    Ok(parse_congestion_controls(&text))
}

fn parse_congestion_controls(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_controls_are_sorted_words() {
        assert_eq!(
            parse_congestion_controls("reno bbr cubic\n"),
            ["bbr", "cubic", "reno"]
        );
        assert!(parse_congestion_controls("\n").is_empty());
    }

    #[test]
    fn the_kernel_answers() {
        bundle_support().unwrap();
        assert!(congestion_controls().unwrap().contains(&"reno".to_owned()));
    }
}
