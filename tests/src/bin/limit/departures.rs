//! Departures of a bare loop: sleep to an absolute instant, send, and again.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use weir_engine::socket::{set_timer_slack_ns, sleep_until_monotonic};

/// When to send: `count` windows of `on` seconds, one every `every` seconds.
#[derive(Debug, Args)]
pub(crate) struct Windows {
    /// Where to
    to: SocketAddr,
    /// Packets a second
    #[arg(long)]
    rate: f64,
    /// Law of the gaps
    #[arg(long, value_enum)]
    law: Law,
    /// Payload, bytes
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// CLOCK_MONOTONIC of the first window, ns
    #[arg(long)]
    start_ns: u64,
    /// Length of a window, s
    #[arg(long)]
    on: f64,
    /// From one window to the next, s
    #[arg(long)]
    every: f64,
    /// Windows
    #[arg(long)]
    count: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Law {
    Constant,
    Poisson,
}

/// Sleeps to each departure and sends.
pub(crate) fn depart(windows: &Windows) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("bind")?;
    socket.connect(windows.to).context("connect")?;
    // The least there is: the loop is to be as good as sleeping gets.
    set_timer_slack_ns(1)?;
    let datagram = vec![0x5a; windows.size];
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    for window in 0..windows.count {
        let begin_ns = windows.start_ns + ns(f64::from(window) * windows.every);
        // Drawn before it begins, so that the loop does nothing but wait and send.
        let schedule = schedule(windows, &mut random);
        for offset_ns in schedule {
            sleep_until_monotonic(begin_ns + offset_ns);
            // A receiver that is gone says so on a later send; the loop goes on.
            socket.send(&datagram).ok();
        }
    }
    Ok(())
}

/// Offsets of the departures of one window, ns.
fn schedule(windows: &Windows, random: &mut Xorshift) -> Vec<u64> {
    let mean = 1.0 / windows.rate;
    let mut offsets = Vec::new();
    match windows.law {
        Law::Constant => {
            let departures = (windows.on * windows.rate) as u64;
            offsets.extend((0..departures).map(|n| ns(n as f64 * mean)));
        }
        Law::Poisson => {
            let mut at = 0.0;
            loop {
                at -= mean * random.unit().ln();
                if at >= windows.on {
                    break;
                }
                offsets.push(ns(at));
            }
        }
    }
    offsets
}

fn ns(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_nanos() as u64
}

/// George Marsaglia's generator of 2003: enough for a yardstick.
struct Xorshift(u64);

impl Xorshift {
    /// Uniform on (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}
