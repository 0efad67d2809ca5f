//! nuttcp.

use anyhow::Context as _;
use weir_tests::Process;

use crate::network::{FROM, Network};

/// Its name, for the tables.
pub(crate) const NAME: &str = "nuttcp";

/// A server for all that follows.
pub(crate) fn serve(network: &Network) -> anyhow::Result<Process> {
    network.serve("nuttcp", &["-S", "--nofork"], None)
}

/// Received over TCP, Gbit/s.
pub(crate) fn tcp(network: &Network, seconds: f64) -> anyhow::Result<f64> {
    let said = client(network, seconds, &[])?;
    Ok(value(&said, "rate_Mbps")? / 1e3)
}

/// Received datagrams, thousands a second, sent as fast as it can.
pub(crate) fn udp(network: &Network, seconds: f64, size: u32) -> anyhow::Result<f64> {
    let size = format!("-l{size}");
    let said = client(network, seconds, &["-u", "-R0", &size])?;
    let received = value(&said, "pkt")? - value(&said, "drop")?;
    Ok(received / value(&said, "real_seconds")? / 1e3)
}

fn client(network: &Network, seconds: f64, options: &[&str]) -> anyhow::Result<String> {
    let length = format!("-T{}", seconds.ceil());
    let mut arguments = vec!["-fparse", &length];
    arguments.extend(options);
    arguments.push(network.address());
    network
        .start(FROM, "nuttcp", &arguments, seconds)?
        .succeed()
}

/// One of the words `name=value` that `-fparse` prints.
fn value(said: &str, name: &str) -> anyhow::Result<f64> {
    let mut words = said
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    let found = words
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok());
    found.with_context(|| format!("nuttcp prints no {name}: {}", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_as_it_prints_it() {
        let said = "megabytes=97.1947 real_seconds=1.00 rate_Mbps=812.4271 drop=78696 pkt=149080\n";
        assert_eq!(value(said, "drop").unwrap(), 78696.0);
        assert!(value(said, "rtt_ms").is_err());
    }
}
