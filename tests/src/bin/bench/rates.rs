//! Mean rates: what was asked for, and what came.

use serde_json::Value;
use weir_engine::pacer::write_quantum;
use weir_tests::report::{Figure, Spread, Target};

use crate::Settings;
use crate::capture::Capture;
use crate::network::{FROM, Network, TO, invalidity, number, result, result_as_it_is};
use crate::peers::{Transport, ditg, iperf3, mgen};

/// One rate, in packets of a fixed size as the peers are asked for it.
struct Asked {
    name: &'static str,
    transport: Transport,
    packets_per_second: f64,
    size: u32,
}

impl Asked {
    /// In the unit of its name: packets/s, or bit/s.
    fn rate(&self) -> f64 {
        match self.transport {
            Transport::Udp => self.packets_per_second,
            Transport::Tcp => self.packets_per_second * f64::from(self.size) * 8.0,
        }
    }

    /// How far off it may be over so many seconds: 0.1 %, or a packet or write.
    fn slack(&self, seconds: f64) -> f64 {
        let one = match self.transport {
            Transport::Udp => 1.0,
            Transport::Tcp => f64::from(write_quantum(self.rate() as u64)) * 8.0,
        };
        (self.rate() / 1e3).max(one / seconds)
    }
}

const UDP_SIZE: u32 = 100;

const ASKED: [Asked; 8] = [
    udp("100 pkt/s", 100.0),
    udp("1000 pkt/s", 1e3),
    udp("3000 pkt/s", 3e3),
    udp("10000 pkt/s", 1e4),
    udp("100000 pkt/s", 1e5),
    tcp("3 kbit/s", 1.0, 375),
    tcp("1 Mbit/s", 125.0, 1000),
    tcp("100 Mbit/s", 12_500.0, 1000),
];

const fn udp(name: &'static str, packets_per_second: f64) -> Asked {
    Asked {
        name,
        transport: Transport::Udp,
        packets_per_second,
        size: UDP_SIZE,
    }
}

const fn tcp(name: &'static str, packets_per_second: f64, size: u32) -> Asked {
    Asked {
        name,
        transport: Transport::Tcp,
        packets_per_second,
        size,
    }
}

/// Every rate: ours in one run of a phase each, then the peers one by one.
pub(crate) fn rates(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let seconds = settings.rate_seconds;
    let network = Network::up()?;
    let flows = ours(&network, seconds)?;
    let figures = ASKED.iter().zip(flows).map(|(asked, flow)| {
        eprintln!("rates: {}", asked.name);
        let (what, got) = match asked.transport {
            Transport::Udp => (
                format!("UDP, {}, received over {seconds} s, pkt/s", asked.name),
                number(&flow["received"]["packets"]).map(|packets| packets / seconds),
            ),
            Transport::Tcp => (
                format!("TCP, {}, received over {seconds} s, bit/s", asked.name),
                number(&flow["received"]["bytes"]).map(|bytes| bytes * 8.0 / seconds),
            ),
        };
        let got = match got {
            Ok(got) => got,
            Err(error) => return Figure::failed(what, &error),
        };
        let target = Target::Near {
            asked: asked.rate(),
            slack: asked.slack(seconds),
        };
        let mut figure = Figure::new(what)
            .ours(Some(Spread::one(got)))
            .target(target);
        if let Some(why) = invalidity(&flow) {
            figure = figure.note(format!("invalid: {why}"));
        }
        let figure = beside(
            figure,
            ditg::NAME,
            asked,
            seconds,
            by_ditg(&network, asked, seconds),
        );
        beside(
            figure,
            mgen::NAME,
            asked,
            seconds,
            by_mgen(&network, asked, seconds),
        )
    });
    Ok(figures.collect())
}

/// A run with one phase for each rate; the flows in this order.
fn ours(network: &Network, seconds: f64) -> anyhow::Result<Vec<Value>> {
    let mut campaign = format!("linger = \"500ms\"\n[pairs]\nfrom = \"{FROM}\"\nto = \"{TO}\"\n");
    campaign.extend(ASKED.iter().enumerate().map(|(number, asked)| {
        let traffic = match asked.transport {
            Transport::Udp => format!("udp = \"{}\", size = {}", asked.name, asked.size),
            Transport::Tcp => format!("tcp = \"{}\", cc = \"cubic\"", asked.name),
        };
        format!(
            "[[phase]]\nname = \"r{number}\"\nfor = \"{seconds}s\"\ntraffic = {{ {traffic} }}\n"
        )
    }));
    let file = network.campaign("rates.toml", &campaign)?;
    let length = (seconds + 1.0) * ASKED.len() as f64;
    let mut result = result_as_it_is(network.start_run(&[&file], length)?)?;
    let flows = (0..ASKED.len()).map(|number| result["flows"][number].take());
    Ok(flows.collect())
}

/// What a peer got, beside ours.
fn beside(
    figure: Figure,
    name: &str,
    asked: &Asked,
    seconds: f64,
    packets: anyhow::Result<f64>,
) -> Figure {
    match packets {
        Ok(packets) => {
            let got = packets / seconds / asked.packets_per_second * asked.rate();
            figure.other(name, Some(Spread::one(got)))
        }
        Err(error) => figure
            .other(name, None)
            .note(format!("{name}: {}", weir_tests::report::one_line(&error))),
    }
}

fn by_ditg(network: &Network, asked: &Asked, seconds: f64) -> anyhow::Result<f64> {
    let (rate, size) = (asked.packets_per_second, asked.size);
    let received = ditg::constant(network, asked.transport, rate, size, seconds)?;
    Ok(match asked.transport {
        Transport::Udp => received.packets,
        Transport::Tcp => received.bytes / f64::from(size),
    })
}

fn by_mgen(network: &Network, asked: &Asked, seconds: f64) -> anyhow::Result<f64> {
    let (rate, size) = (asked.packets_per_second, asked.size);
    mgen::constant(network, asked.transport, rate, size, seconds)
}

/// TCP at 3 kbit/s: what each second carried, as the receiving interface saw it.
pub(crate) fn trickle(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    const PORT: u16 = 7902;
    const EACH: f64 = 375.0;
    let seconds = settings.trickle_seconds;
    let network = Network::up()?;
    let capture = Capture::start(&network, &format!("tcp dst port {PORT}"))?;
    let (length, port) = (format!("{seconds}s"), PORT.to_string());
    let traffic = [
        "--from", FROM, "--to", TO, "--for", &length, "--tcp", "3 kbit/s", "--cc", "cubic",
        "--port", &port,
    ];
    let mut run = network.start_run(&traffic, seconds)?;
    let (_, t0_ns) = network.await_t0(&mut run)?;
    result(run)?;
    let mut carried = vec![0.0; seconds as usize];
    let mut write = 0;
    for seen in capture.end()?.iter().filter(|seen| seen.at_ns >= t0_ns) {
        let second = (seen.at_ns - t0_ns) / 1_000_000_000;
        if let Some(sum) = carried.get_mut(second as usize) {
            *sum += f64::from(seen.payload);
            write = write.max(seen.payload);
        }
    }
    let furthest = carried
        .iter()
        .map(|bytes| (bytes - EACH).abs())
        .fold(0.0, f64::max);
    let figure = Figure::new(format!("TCP, 3 kbit/s, {seconds} s: bytes of each second"))
        .ours(Spread::of(carried));
    let ours = Figure::new("the second furthest from 375 B, B")
        .ours(Some(Spread::one(furthest)))
        .target(Target::AtMost(f64::from(write)))
        .note(format!("one write is {write} B"));
    let server = iperf3::serve(&network);
    let peer = server.and_then(|_server| iperf3::tcp_seconds(&network, 5.0_f64.min(seconds), "3k"));
    let figure = match peer {
        Ok(seconds) => figure.other(iperf3::NAME, Spread::of(seconds)),
        Err(error) => figure.note(format!(
            "{}: {}",
            iperf3::NAME,
            weir_tests::report::one_line(&error)
        )),
    };
    Ok(vec![figure, ours])
}
