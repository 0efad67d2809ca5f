//! D-ITG. Each measurement has a receiver of its own: one that has served for a
//! while ends now and then.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Transport;
use crate::network::{FROM, Network, TO};
use crate::program::pause;

/// Its name, for the tables.
pub(crate) const NAME: &str = "D-ITG";

/// What its decoder says of a flow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Received {
    /// Packets in the log.
    pub(crate) packets: f64,
    /// Payload bytes of them.
    pub(crate) bytes: f64,
    /// From the first to the last, s.
    pub(crate) seconds: f64,
}

/// Sends `rate` packets of `size` bytes a second; what arrived.
pub(crate) fn constant(
    network: &Network,
    transport: Transport,
    rate: f64,
    size: u32,
    seconds: f64,
) -> anyhow::Result<Received> {
    let log = network.file("ditg.log").display().to_string();
    fs::remove_file(&log).ok();
    let receiver = network.serve("ITGRecv", &["-l", &log], Some("Press Ctrl-C"))?;
    let transport = match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    let (rate, size) = (rate.to_string(), size.to_string());
    let milliseconds = (seconds * 1e3).to_string();
    let arguments = [
        "-a",
        network.address(),
        "-T",
        transport,
        "-C",
        &rate,
        "-c",
        &size,
        "-t",
        &milliseconds,
    ];
    network
        .start(FROM, "ITGSend", &arguments, seconds)?
        .succeed()?;
    // The receiver writes the rest of its log within a second of the end.
    pause(Duration::from_millis(1500))?;
    receiver.kill();
    let said = network.start(TO, "ITGDec", &[&log], seconds)?.succeed()?;
    let total = |name: &str| total(&said, name);
    let received = Received {
        packets: total("Total packets")?,
        bytes: total("Bytes received")?,
        seconds: total("Total time")?,
    };
    if received.packets < 1.0 {
        bail!("D-ITG logged no packet");
    }
    Ok(received)
}

/// Received datagrams, thousands a second, sent as fast as it can.
pub(crate) fn udp(network: &Network, seconds: f64, size: u32) -> anyhow::Result<f64> {
    let received = constant(network, Transport::Udp, 1e6, size, seconds)?;
    Ok(received.packets / received.seconds / 1e3)
}

/// A figure of the totals, which stand last.
fn total(said: &str, name: &str) -> anyhow::Result<f64> {
    let line = said.lines().rfind(|line| line.contains(name));
    let value = line.and_then(|line| line.split('=').nth(1)?.split_whitespace().next());
    let value = value.and_then(|value| value.parse().ok());
    value.with_context(|| format!("ITGDec prints no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_as_it_prints_them() {
        let said = "Total packets            =           883\n\
                    ****************  TOTAL RESULTS   ******************\n\
                    Total time               =      0.999643 s\n\
                    Total packets            =           884\n";
        assert_eq!(total(said, "Total packets").unwrap(), 884.0);
        assert_eq!(total(said, "Total time").unwrap(), 0.999643);
        assert!(total(said, "Bytes received").is_err());
    }
}
