//! MGEN.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

use super::Transport;
use crate::network::{FROM, Network};
use crate::program::pause;

/// Its name, for the tables.
pub(crate) const NAME: &str = "MGEN";

/// Where it listens.
const PORT: u16 = 5600;

/// Sends `rate` messages of `size` bytes a second; how many its receiver logged.
pub(crate) fn constant(
    network: &Network,
    transport: Transport,
    rate: f64,
    size: u32,
    seconds: f64,
) -> anyhow::Result<f64> {
    let transport = match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    let log = network.file("mgen.log");
    fs::remove_file(&log).ok();
    let listen = format!("LISTEN {transport} {PORT}");
    let to_log = log.display().to_string();
    let mut receiver = network.serve("mgen", &["event", &listen, "output", &to_log], None)?;
    let to = network.address();
    let on = format!("0.0 ON 1 {transport} DST {to}/{PORT} PERIODIC [{rate} {size}]");
    let off = format!("{seconds} OFF 1");
    let arguments = ["event", &on, "event", &off, "nolog"];
    network
        .start(FROM, "mgen", &arguments, seconds)?
        .succeed()?;
    pause(Duration::from_millis(500))?;
    // At this signal it writes the rest of its log.
    receiver.signal("INT");
    receiver.wait(Duration::from_secs(20));
    let text = fs::read_to_string(&log).context("the log of MGEN")?;
    let messages = text.lines().filter(|line| line.contains(" RECV ")).count();
    Ok(messages as f64)
}
