//! The bare loops of the program `limit`, in the same two namespaces.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::network::{FROM, Network, limit, number};

/// Where they receive.
const PORT: u16 = 5900;
/// How long a receiver has after its sender.
const END: Duration = Duration::from_secs(10);

/// Goodput of a way to send over TCP, Gbit/s: `tcp-write` or `tcp-splice`.
pub(crate) fn tcp(network: &Network, way: &str, seconds: f64) -> anyhow::Result<f64> {
    let received = measure(network, &["tcp-receive"], &[way], None, seconds)?;
    Ok(number(&received["bytes"])? * 8.0 / number(&received["seconds"])? / 1e9)
}

/// Received datagrams of a way to send, thousands a second: `udp-bundles` or
/// `udp-singles`.
pub(crate) fn udp(network: &Network, way: &str, size: u32, seconds: f64) -> anyhow::Result<f64> {
    let received = measure(network, &["udp-receive"], &[way], Some(size), seconds)?;
    Ok(number(&received["packets"])? / number(&received["seconds"])? / 1e3)
}

fn measure(
    network: &Network,
    receive: &[&str],
    send: &[&str],
    size: Option<u32>,
    seconds: f64,
) -> anyhow::Result<Value> {
    let to = format!("{}:{PORT}", network.address());
    let size = size.map(|size| size.to_string());
    let length = seconds.to_string();
    let receive: Vec<&str> = receive
        .iter()
        .copied()
        .chain([to.as_str()])
        .chain(size.as_deref())
        .collect();
    let send: Vec<&str> = send
        .iter()
        .copied()
        .chain([to.as_str()])
        .chain(size.as_deref())
        .chain([length.as_str()])
        .collect();
    let mut receiver = network.serve(limit(), &receive, Some("listening"))?;
    network.start(FROM, limit(), &send, seconds)?.succeed()?;
    receiver.wait(END);
    let said = receiver.output();
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the bare receiver said {said:?}"))
}
