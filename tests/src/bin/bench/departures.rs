//! Departures on time: ours and a bare sleeping loop take turns, second by second,
//! towards the same interface, where one capture stamps both.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_common::assignment::{Rate, SocketTraffic, Transport};
use weir_common::traffic::Law;
use weir_engine::arrival::{Draws, Packet, schedule};
use weir_tests::report::{Figure, Spread, Target};

use crate::Settings;
use crate::capture::Capture;
use crate::network::{FROM, Network, TO, limit, number, result};
use crate::spacing::{distance_from_exponential, gap_errors, gaps_by_window};

/// Where our flow goes.
const OURS: u16 = 7900;
/// Where the bare loop sends; somebody must be there, or ICMP errors come back.
const BARE: u16 = 7901;
/// Payload of each datagram, bytes.
const SIZE: u32 = 100;
/// What `spin` is asked for: more than any ordinary wake-up takes.
const SPIN: &str = "150us";

/// Instants at which packets of both were seen, ns.
struct Departures {
    ours: Vec<u64>,
    bare: Vec<u64>,
    /// Packets of ours that were given up after a stall of more than the catch-up; the
    /// gap stays, and the bare loop has its own.
    given_up: u64,
}

impl Departures {
    /// For the note.
    fn stalls(&self) -> String {
        format!("{} packets given up in stalls", self.given_up)
    }
}

/// Gap errors of a constant rate: without and with `spin`.
pub(crate) fn gaps(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    let network = Network::up()?;
    let mut figures = Vec::new();
    for rate in [1_000_u32, 10_000] {
        let nominal_us = 1e6 / f64::from(rate);
        let what = |share: &str, how: &str| format!("gap error at {rate} pkt/s, {share}, us{how}");
        let shares = [("p50", 0.5), ("p90", 0.9)];
        match alternate(&network, rate, "constant", settings.gap_seconds) {
            Ok(departures) => {
                let ours = gaps_by_window(&departures.ours);
                let bare = gaps_by_window(&departures.bare);
                for (name, share) in shares {
                    let errors = |windows| Spread::of(gap_errors(windows, nominal_us, share));
                    let figure = Figure::new(what(name, "")).note(format!(
                        "{} and {} seconds, {}",
                        ours.len(),
                        bare.len(),
                        departures.stalls()
                    ));
                    figures.push(beside(figure, errors(&ours), errors(&bare), Some(1.2)));
                }
            }
            Err(error) => figures.push(Figure::failed(what("p50 and p90", ""), &error)),
        }
        match alone(&network, rate, "constant", settings.spin_seconds) {
            Ok(instants) => {
                let windows = gaps_by_window(&instants);
                for (name, share) in shares {
                    let errors = Spread::of(gap_errors(&windows, nominal_us, share));
                    let target = (name == "p50").then_some(Target::AtMost(1.0));
                    figures.push(
                        Figure::new(what(name, ", spin"))
                            .ours(errors)
                            .target(target),
                    );
                }
            }
            Err(error) => figures.push(Figure::failed(what("p50", ", spin"), &error)),
        }
    }
    Ok(figures)
}

/// How near a Poisson process of 1,000 packets a second is to one.
pub(crate) fn poisson(settings: &Settings) -> anyhow::Result<Vec<Figure>> {
    const RATE: u32 = 1_000;
    let seconds = settings.poisson_seconds;
    let mut figures = vec![drawn(RATE, seconds)?];
    let network = Network::up()?;
    let distance = |instants: &[u64]| {
        let gaps = gaps_by_window(instants).concat();
        distance_from_exponential(gaps, 1e6 / f64::from(RATE))
    };
    let what = format!("Poisson {RATE} pkt/s, KS D of sent gaps");
    match alternate(&network, RATE, "exponential", 2 * seconds) {
        Ok(departures) => {
            let (ours, bare) = (distance(&departures.ours), distance(&departures.bare));
            let (ours, bare) = (ours.map(Spread::one), bare.map(Spread::one));
            let figure = beside(Figure::new(&what), ours, bare, Some(0.7));
            figures.push(figure.note(departures.stalls()));
        }
        Err(error) => figures.push(Figure::failed(&what, &error)),
    }
    let what = format!("{what}, spin");
    figures.push(match alone(&network, RATE, "exponential", seconds) {
        Ok(instants) => Figure::new(&what)
            .ours(distance(&instants).map(Spread::one))
            .target(Target::AtMost(0.03)),
        Err(error) => Figure::failed(&what, &error),
    });
    Ok(figures)
}

/// The schedule itself, as the generator draws it from seed 1.
fn drawn(rate: u32, seconds: u32) -> anyhow::Result<Figure> {
    let offered = Rate::MilliPacketsPerSecond(u64::from(rate) * 1_000);
    let mut traffic = SocketTraffic::new(Transport::Udp, offered, 100);
    traffic.arrival = Law::Exponential { mean: None };
    let packet = Packet {
        bytes: 100,
        overhead_bytes: 0,
    };
    let draws = Draws {
        seed: 1,
        session: 0,
        segment: 0,
        stream: 0,
    };
    let departures = schedule(&traffic, packet, 1, draws, &[])?;
    let end_ns = u64::from(seconds) * 1_000_000_000;
    let offsets: Vec<u64> = departures
        .into_iter()
        .flatten()
        .map(|departure| departure.offset_ns)
        .take_while(|offset_ns| *offset_ns < end_ns)
        .collect();
    let gaps = gaps_by_window(&offsets).concat();
    let distance = distance_from_exponential(gaps, 1e6 / f64::from(rate));
    Ok(Figure::new(format!(
        "Poisson {rate} pkt/s, {seconds} s, KS D of the drawn schedule"
    ))
    .ours(distance.map(Spread::one))
    .target(Target::AtMost(0.01)))
}

fn beside(figure: Figure, ours: Option<Spread>, bare: Option<Spread>, most: Option<f64>) -> Figure {
    let ratio = ours.as_ref().zip(bare.as_ref());
    let ratio = ratio.map(|(ours, bare)| Spread::one(ours.median() / bare.median()));
    let figure = figure.ours(ours).other("bare loop", bare).ratio(ratio);
    figure.target(most.map(Target::RatioAtMost))
}

/// Even seconds ours, odd seconds the bare loop, for so many seconds in all.
fn alternate(network: &Network, rate: u32, law: &str, seconds: u32) -> anyhow::Result<Departures> {
    let turns = seconds / 2;
    let traffic =
        format!("udp = \"{rate} pkt/s\", size = {SIZE}, arrival = \"{law}\", port = {OURS}");
    let mut campaign = head(&traffic);
    campaign.extend((0..turns).map(|turn| {
        let pause = if turn == 0 { "" } else { "pause = \"1s\"\n" };
        format!("[[phase]]\nname = \"t{turn}\"\nfor = \"1s\"\n{pause}")
    }));
    let file = network.campaign("alternate.toml", &campaign)?;
    let target = format!("{}:{BARE}", network.address());
    let _sink = network.serve(limit(), &["sink", &target], Some("listening"))?;
    let capture = Capture::start(
        network,
        &format!("udp dst port {OURS} or udp dst port {BARE}"),
    )?;
    let mut run = network.start_run(&[&file], f64::from(seconds))?;
    let (t0_ns, _) = network.await_t0(&mut run)?;
    let law = if law == "constant" {
        "constant"
    } else {
        "poisson"
    };
    let (start_ns, rate, turns) = (
        (t0_ns + 1_000_000_000).to_string(),
        rate.to_string(),
        turns.to_string(),
    );
    let windows = [
        "depart",
        &target,
        "--rate",
        &rate,
        "--law",
        law,
        "--start-ns",
        &start_ns,
        "--on",
        "1",
        "--every",
        "2",
        "--count",
        &turns,
    ];
    let bare = network.start(FROM, limit(), &windows, f64::from(seconds))?;
    bare.succeed()?;
    let result = result(run)?;
    let given_up = |flow: &Value| number(&flow["lost"]["sender"]);
    let flows = result["flows"].as_array().context("a result has flows")?;
    let given_up = flows.iter().map(given_up).sum::<anyhow::Result<f64>>()?;
    let seen = capture.end()?;
    let of = |port: u16| {
        // The hellos before T0 are smaller.
        let packets = seen
            .iter()
            .filter(|seen| seen.port == port && seen.payload == SIZE);
        packets.map(|seen| seen.at_ns).collect::<Vec<_>>()
    };
    let departures = Departures {
        ours: of(OURS),
        bare: of(BARE),
        given_up: given_up as u64,
    };
    ensure!(
        !departures.ours.is_empty(),
        "the capture has no packet of ours"
    );
    Ok(departures)
}

/// Ours alone with `spin`, cut into seconds by the capture's reader as above.
fn alone(network: &Network, rate: u32, law: &str, seconds: u32) -> anyhow::Result<Vec<u64>> {
    let traffic = format!(
        "udp = \"{rate} pkt/s\", size = {SIZE}, arrival = \"{law}\", port = {OURS}, spin = \"{SPIN}\""
    );
    let phase = format!("[[phase]]\nname = \"spin\"\nfor = \"{seconds}s\"\n");
    let campaign = head(&traffic) + &phase;
    let file = network.campaign("spin.toml", &campaign)?;
    let capture = Capture::start(network, &format!("udp dst port {OURS}"))?;
    result(network.start_run(&[&file], f64::from(seconds))?)?;
    let seen = capture.end()?;
    let packets = seen.iter().filter(|seen| seen.payload == SIZE);
    Ok(packets.map(|seen| seen.at_ns).collect())
}

/// A campaign with one flow set that is active in every phase. A second in which the
/// machine stalled counts, as it does of the bare loop.
fn head(traffic: &str) -> String {
    format!(
        "linger = \"500ms\"\n[valid]\nignore = [\"behind\"]\n[pairs]\nfrom = \"{FROM}\"\nto = \"{TO}\"\n\
         [[flow]]\nname = \"paced\"\ntraffic = {{ {traffic} }}\n"
    )
}
