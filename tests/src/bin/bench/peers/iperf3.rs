//! iperf3.

use anyhow::{Context as _, bail};
use serde_json::Value;
use weir_tests::Process;

use crate::network::{FROM, Network, number};

/// The name with its version, for the tables.
pub(crate) const NAME: &str = "iperf3";

/// A server for all that follows.
pub(crate) fn serve(network: &Network) -> anyhow::Result<Process> {
    network.serve("iperf3", &["-s", "--forceflush"], Some("listening"))
}

/// Received over TCP, Gbit/s.
pub(crate) fn tcp(network: &Network, seconds: f64, streams: u32) -> anyhow::Result<f64> {
    let streams = streams.to_string();
    let report = client(network, seconds, &["-C", "cubic", "-P", &streams])?;
    Ok(number(&report["end"]["sum_received"]["bits_per_second"])? / 1e9)
}

/// Received datagrams, thousands a second, sent as fast as it can.
pub(crate) fn udp(network: &Network, seconds: f64, size: u32) -> anyhow::Result<f64> {
    let size = size.to_string();
    let report = client(network, seconds, &["-u", "-b", "0", "-l", &size])?;
    let sum = &report["end"]["sum"];
    let received = number(&sum["packets"])? - number(&sum["lost_packets"])?;
    Ok(received / number(&sum["seconds"])? / 1e3)
}

/// Bytes that each second of a paced TCP flow carried.
pub(crate) fn tcp_seconds(network: &Network, seconds: f64, rate: &str) -> anyhow::Result<Vec<f64>> {
    let report = client(network, seconds, &["-C", "cubic", "-b", rate])?;
    let intervals = report["intervals"]
        .as_array()
        .context("iperf3 reports intervals")?;
    let bytes = intervals
        .iter()
        .map(|interval| number(&interval["sum"]["bytes"]));
    bytes.collect()
}

fn client(network: &Network, seconds: f64, options: &[&str]) -> anyhow::Result<Value> {
    let length = seconds.ceil().to_string();
    let mut arguments = vec!["-c", network.address(), "-t", &length, "-J"];
    arguments.extend(options);
    let said = network
        .start(FROM, "iperf3", &arguments, seconds)?
        .succeed()?;
    let report: Value = serde_json::from_str(&said).context("iperf3 prints JSON")?;
    match report["error"].as_str() {
        Some(error) => bail!("iperf3: {error}"),
        None => Ok(report),
    }
}
