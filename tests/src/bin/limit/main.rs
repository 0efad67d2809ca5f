//! What the kernel gives when the program costs nothing: bare loops of one system
//! call, the yardstick that `tests/bench` holds generators and receivers against.
//!
//! Each command is one end of one loop. A receiver prints a line of JSON with what
//! came and in what time, and ends by itself.

mod departures;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "limit", about = "Bare loops of one system call")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accepts one connection and discards what comes in the kernel (MSG_TRUNC)
    TcpReceive { listen: SocketAddr },
    /// write() of 1 MiB
    TcpWrite { to: SocketAddr, seconds: f64 },
    /// vmsplice() and splice() of 1 MiB
    TcpSplice { to: SocketAddr, seconds: f64 },
    /// recvmmsg() of bundles (UDP_GRO), until nothing came for half a second
    UdpReceive { listen: SocketAddr, size: u32 },
    /// sendmsg() of bundles (UDP_SEGMENT), as fast as the socket takes them
    UdpBundles {
        to: SocketAddr,
        size: u32,
        seconds: f64,
    },
    /// send() of one datagram each, as fast as the socket takes them
    UdpSingles {
        to: SocketAddr,
        size: u32,
        seconds: f64,
    },
    /// recv() of one datagram each, until it is killed
    Sink { listen: SocketAddr },
    /// clock_nanosleep() to each departure, then send() of one datagram
    Depart(departures::Windows),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::TcpReceive { listen } => tcp::receive(listen),
        Command::TcpWrite { to, seconds } => tcp::write(to, Duration::from_secs_f64(seconds)),
        Command::TcpSplice { to, seconds } => tcp::splice(to, Duration::from_secs_f64(seconds)),
        Command::UdpReceive { listen, size } => udp::receive(listen, size),
        Command::UdpBundles { to, size, seconds } => {
            udp::bundles(to, size, Duration::from_secs_f64(seconds))
        }
        Command::UdpSingles { to, size, seconds } => {
            udp::singles(to, size, Duration::from_secs_f64(seconds))
        }
        Command::Sink { listen } => udp::sink(listen),
        Command::Depart(windows) => departures::depart(&windows),
    }
}

/// The line that a receiver ends with.
fn print_received(what: &str, count: u64, elapsed: Duration) {
    println!(
        "{}",
        serde_json::json!({ what: count, "seconds": elapsed.as_secs_f64() })
    );
}
