//! As much as goes: TCP and UDP beside peers and bare loops.

use std::cell::RefCell;

use anyhow::{anyhow, ensure};
use serde_json::Value;
use weir_tests::Process;
use weir_tests::report::{Figure, Spread, Target};

use crate::Settings;
use crate::network::{Network, number};
use crate::peers::{ditg, iperf3, nuttcp};
use crate::rounds::{Contestant, in_turn};
use crate::{limits, program};

/// Payload of a full datagram of a veth link, less what tunnels take.
const FULL: u32 = 1448;
/// The smallest that other tools are asked for.
const SMALL: u32 = 64;

/// One stream beside iperf3, nuttcp and the bare loops.
pub(crate) fn tcp(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let (network, seconds) = (&Network::up()?, settings.seconds);
    let path = Path::default();
    let (iperf3, nuttcp) = (iperf3::serve(network), nuttcp::serve(network));
    let others = vec![
        Contestant::new(iperf3::NAME, Target::RatioAtLeast(1.25), || {
            with(&iperf3, || iperf3::tcp(network, seconds, 1))
        }),
        Contestant::new(nuttcp::NAME, None, || {
            with(&nuttcp, || nuttcp::tcp(network, seconds))
        }),
        Contestant::new(
            "bare vmsplice, splice / MSG_TRUNC",
            Target::RatioAtLeast(0.85),
            || limits::tcp(network, "tcp-splice", seconds),
        ),
        Contestant::new("bare write 1 MiB / MSG_TRUNC", None, || {
            limits::tcp(network, "tcp-write", seconds)
        }),
    ];
    let ours = Contestant::new("ours", None, || our_tcp(network, 1, seconds, &path));
    let figures = in_turn(
        "TCP, one stream, cubic, Gbit/s received",
        ours,
        others,
        settings.rounds,
    );
    Ok(path.told(figures))
}

/// Four streams beside iperf3.
pub(crate) fn tcp4(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let (network, seconds) = (&Network::up()?, settings.seconds);
    let path = Path::default();
    let iperf3 = iperf3::serve(network);
    let others = vec![Contestant::new(
        iperf3::NAME,
        Target::RatioAtLeast(1.1),
        || with(&iperf3, || iperf3::tcp(network, seconds, 4)),
    )];
    let ours = Contestant::new("ours", None, || our_tcp(network, 4, seconds, &path));
    let figures = in_turn(
        "TCP, 4 streams, cubic, Gbit/s received",
        ours,
        others,
        settings.rounds,
    );
    Ok(path.told(figures))
}

/// Full datagrams beside iperf3, nuttcp and the bare loop.
pub(crate) fn udp(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let (network, seconds) = (&Network::up()?, settings.seconds);
    let path = Path::default();
    let (iperf3, nuttcp) = (iperf3::serve(network), nuttcp::serve(network));
    let others = vec![
        Contestant::new("bare GSO / GRO", Target::RatioAtLeast(0.85), || {
            limits::udp(network, "udp-bundles", FULL, seconds)
        }),
        Contestant::new(iperf3::NAME, Target::RatioAtLeast(8.0), || {
            with(&iperf3, || iperf3::udp(network, seconds, FULL))
        }),
        Contestant::new(nuttcp::NAME, None, || {
            with(&nuttcp, || nuttcp::udp(network, seconds, FULL))
        }),
    ];
    let ours = Contestant::new("ours", None, || our_udp(network, FULL, &[], seconds, &path));
    let what = "UDP 1448 B, unlimited, thousand packets/s received";
    let figures = in_turn(what, ours, others, settings.rounds);
    Ok(path.told(figures))
}

/// Small datagrams beside D-ITG and the bare loops, with bundles and one by one.
pub(crate) fn udp64(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let (network, seconds) = (&Network::up()?, settings.seconds);
    let path = Path::default();
    let others = vec![
        Contestant::new("bare GSO / GRO", Target::RatioAtLeast(0.8), || {
            limits::udp(network, "udp-bundles", SMALL, seconds)
        }),
        Contestant::new(ditg::NAME, Target::RatioAtLeast(20.0), || {
            ditg::udp(network, seconds, SMALL)
        }),
    ];
    let ours = Contestant::new("ours", None, || {
        our_udp(network, SMALL, &[], seconds, &path)
    });
    let what = "UDP 64 B, unlimited, thousand packets/s received";
    let mut figures = path.told(in_turn(what, ours, others, settings.rounds));
    let singles = ["--gso", "off"];
    let others = vec![Contestant::new("bare send()", None, || {
        limits::udp(network, "udp-singles", SMALL, seconds)
    })];
    let ours = Contestant::new("ours", None, || {
        our_udp(network, SMALL, &singles, seconds, &path)
    });
    let what = "UDP 64 B, unlimited, one by one, thousand packets/s received";
    figures.extend(path.told(in_turn(what, ours, others, settings.rounds)));
    Ok(figures)
}

/// At 80 % of our own maximum nothing is lost, with bundles and without.
pub(crate) fn udp80(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let network = Network::up()?;
    let figures = [("on", "with bundles"), ("off", "one by one")].map(|(gso, how)| {
        let what = format!(
            "UDP 1448 B {how} at 80 % of our maximum: lost of {} s",
            settings.rate_seconds
        );
        match at_80_percent(&network, gso, settings) {
            Ok((lost, note)) => Figure::new(what)
                .ours(Some(Spread::one(lost)))
                .target(Target::AtMost(0.0))
                .note(note),
            Err(error) => Figure::failed(what, &error),
        }
    });
    Ok(figures.into())
}

/// Packets lost, and at which rate.
fn at_80_percent(
    network: &Network,
    gso: &str,
    settings: &Settings,
) -> anyhow::Result<(f64, String)> {
    let (path, options) = (Path::default(), ["--gso", gso]);
    let most = (0..settings.rounds.min(3))
        .map(|_| our_udp(network, FULL, &options, settings.seconds, &path))
        .collect::<anyhow::Result<Vec<f64>>>()?;
    let most = Spread::of(most)
        .ok_or_else(|| anyhow!("no round"))?
        .median();
    let rate = format!("{}pkt/s", (most * 1e3 * 0.8) as u64);
    let size = FULL.to_string();
    let traffic = ["--udp", &rate, "--size", &size, "--gso", gso];
    let flow = network.flow(&traffic, settings.rate_seconds)?;
    went_as_asked(&flow, &options)?;
    let lost = number(&flow["sent"]["packets"])? - number(&flow["received"]["packets"])?;
    let behind = number(&flow["lost"]["sender"])?;
    Ok((
        lost,
        format!(
            "at {rate}, sent {}, not sent {behind}",
            flow["sent"]["packets"]
        ),
    ))
}

/// How our traffic went in the latest round, by the record.
#[derive(Debug, Default)]
struct Path(RefCell<String>);

impl Path {
    fn keep(&self, flow: &Value) {
        let words = ["tx", "rx"].map(|end| {
            let word = flow["path"][end].as_str();
            format!("{end} {}", word.unwrap_or("unknown"))
        });
        self.0.replace(format!("ours by {}", words.join(", ")));
    }

    /// Says it behind the first figure.
    fn told(&self, mut figures: Vec<Figure>) -> Vec<Figure> {
        let path = self.0.take();
        if let Some(first) = figures.first_mut().filter(|_| !path.is_empty()) {
            *first = std::mem::take(first).note(path);
        }
        figures
    }
}

fn our_tcp(network: &Network, streams: u32, seconds: f64, path: &Path) -> anyhow::Result<f64> {
    let streams = streams.to_string();
    let traffic = ["--tcp", "max", "--cc", "cubic", "--streams", &streams];
    let flow = network.flow(&traffic, seconds)?;
    path.keep(&flow);
    Ok(number(&flow["rate_bps"])? / 1e9)
}

fn our_udp(
    network: &Network,
    size: u32,
    options: &[&str],
    seconds: f64,
    path: &Path,
) -> anyhow::Result<f64> {
    let size = size.to_string();
    let traffic: Vec<&str> = ["--udp", "max", "--size", &size]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    let flow = network.flow(&traffic, seconds)?;
    path.keep(&flow);
    went_as_asked(&flow, options)?;
    Ok(number(&flow["received"]["packets"])? / number(&flow["duration_s"])? / 1e3)
}

/// Whether the record says of bundles what was asked with `--gso`.
fn went_as_asked(flow: &Value, options: &[&str]) -> anyhow::Result<()> {
    let went = &flow["path"]["gso"];
    if let ["--gso", asked] = options {
        ensure!(went == asked, "asked for gso {asked}, went with {went}");
    }
    Ok(())
}

/// A measurement that needs a server, which may not have started.
fn with(
    server: &anyhow::Result<Process>,
    measure: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<f64> {
    if let Err(error) = server {
        return Err(anyhow!("{}", weir_tests::report::one_line(error)));
    }
    if program::is_interrupted() {
        return Err(anyhow!("interrupted"));
    }
    measure()
}
