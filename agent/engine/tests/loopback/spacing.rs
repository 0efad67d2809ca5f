//! How well departures keep their time, beside a bare sleeping loop: printed, not
//! judged. Run with
//! `cargo test --release -p weir-engine --test loopback spacing -- --ignored --nocapture`.
//!
//! Ours and the bare loop take turns, second by second, so that both meet the
//! same machine. Times of departure are those in the packets: read just before
//! the send.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use weir_common::assignment::{Pacing, Rate, Segment, SocketTraffic, Transport};
use weir_common::stats::Histogram;
use weir_common::traffic::Law;
use weir_engine::arrival::{Draws, Packet, schedule};
use weir_engine::socket::{set_timer_slack_ns, sleep_until_monotonic, thread_cpu_ns};
use weir_wire::probe_header::{LENGTH, ProbeHeader, ProbeKind};

use crate::pair::{
    Events, MS, TestPolicy, assert_whole, assignment, engine, now_ns, segment, session,
};

const SECOND: u64 = 1_000_000_000;
const SIZE: usize = 100;

/// A receiver that keeps the time of departure of every packet.
fn receive(socket: &UdpSocket, packets: &mut Vec<u64>) {
    let mut buffer = [0; 2048];
    while let Ok((length, source)) = socket.recv_from(&mut buffer) {
        let Ok(header) = ProbeHeader::decode(&buffer[..length]) else {
            continue;
        };
        match header.kind {
            ProbeKind::Hello => {
                let mut answer = [0; LENGTH];
                let header = ProbeHeader {
                    kind: ProbeKind::HelloAck,
                    ..header
                };
                header.encode(&mut answer).unwrap();
                socket.send_to(&answer, source).unwrap();
            }
            ProbeKind::Data { .. } => packets.push(header.send_ns.unwrap()),
            _ => {}
        }
    }
}

/// The bare loop: sleep to the absolute time, read the clock, send.
fn bare(socket: &UdpSocket, dues: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let payload = [0x57; SIZE];
    let mut left = Vec::new();
    for due_ns in dues {
        sleep_until_monotonic(due_ns);
        left.push((due_ns, now_ns()));
        let _sent = socket.send(&payload);
    }
    left
}

fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    values
        .get(values.len().saturating_sub(1) * percent / 100)
        .copied()
        .unwrap_or(0)
}

fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Median over the seconds of the p50 and the p90 of the gap error within each.
fn gap_error(seconds: &[Vec<u64>], spacing_ns: u64) -> (u64, u64) {
    let of = |percent| {
        let mut each: Vec<u64> = seconds
            .iter()
            .map(|times| {
                let mut errors: Vec<u64> = gaps(times)
                    .iter()
                    .map(|gap| gap.abs_diff(spacing_ns))
                    .collect();
                percentile(&mut errors, percent)
            })
            .collect();
        percentile(&mut each, 50)
    };
    (of(50), of(90))
}

/// Kolmogorov and Smirnov's distance of the gaps from an exponential law.
fn distance(seconds: &[Vec<u64>], mean_ns: f64) -> f64 {
    let mut all: Vec<u64> = seconds.iter().flat_map(|times| gaps(times)).collect();
    all.sort_unstable();
    let count = all.len() as f64;
    let off = all.iter().enumerate().map(|(rank, gap)| {
        let law = 1.0 - (-(*gap as f64) / mean_ns).exp();
        (law - rank as f64 / count)
            .abs()
            .max((law - (rank as f64 + 1.0) / count).abs())
    });
    off.fold(0.0, f64::max)
}

/// Runs ours in the even seconds and the bare loop in the odd ones.
fn compare(name: &str, traffic: SocketTraffic, rounds: u32) {
    let Rate::MilliPacketsPerSecond(rate) = traffic.rate else {
        panic!("a packet rate")
    };
    let spacing_ns = SECOND * 1_000 / rate;
    let poisson = traffic.arrival != Law::Constant;
    let listening = UdpSocket::bind("127.0.0.1:0").unwrap();
    listening
        .set_read_timeout(Some(Duration::from_millis(1_500)))
        .unwrap();
    let segments: Vec<Segment> = (0..rounds)
        .map(|n| segment(n + 1, u64::from(n) * 2_000, 1_000, 0))
        .collect();
    let asked = traffic.clone();
    let spec = session(1, traffic, segments);
    let events = Arc::new(Events::default());
    let run = engine(TestPolicy::default())
        .prepare(
            Arc::new(assignment(vec![spec.clone()])),
            Arc::clone(&events) as _,
        )
        .unwrap();
    run.set_target(spec.session, listening.local_addr().unwrap().port());
    let receiver = std::thread::spawn(move || {
        let mut packets = Vec::new();
        receive(&listening, &mut packets);
        packets
    });
    events.ready(1);
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(sink.local_addr().unwrap()).unwrap();
    let t0_ns = now_ns() + 100 * MS;
    run.start(t0_ns);
    set_timer_slack_ns(1).unwrap();
    let mut theirs = Vec::new();
    let before_ns = thread_cpu_ns();
    for n in 0..u64::from(rounds) {
        let start_ns = t0_ns + (2 * n + 1) * SECOND + 2 * MS;
        let length_ns = SECOND - 4 * MS;
        let draws = Draws {
            seed: n,
            session: 1,
            segment: 0,
            stream: 0,
        };
        let packet = Packet {
            bytes: SIZE as u32,
            overhead_bytes: 0,
        };
        let departures = schedule(&asked, packet, 1, draws, &[]).unwrap().unwrap();
        let offsets = departures
            .map(|departure| departure.offset_ns)
            .take_while(|offset| *offset < length_ns);
        theirs.push(bare(&sender, offsets.map(|offset| start_ns + offset)));
    }
    let bare_cpu_ns = thread_cpu_ns() - before_ns;
    events.finished();
    let packets = receiver.join().unwrap();
    let mut ours = vec![Vec::new(); rounds as usize];
    for sent_ns in packets {
        ours[(sent_ns.saturating_sub(t0_ns) / (2 * SECOND)) as usize].push(sent_ns);
    }
    let (mut lateness, mut cpu_us, mut sent, mut offered) = (Histogram::new(), 0, 0, 0);
    for flow in 1..=rounds {
        let closed = assert_whole(&events, flow);
        lateness.merge(closed.window.lateness.as_ref().unwrap());
        cpu_us += closed.window.cpu_us.unwrap_or(0);
        sent += closed.total.tx_packets.unwrap();
        offered += closed.total.offered_packets.unwrap();
    }
    let mut late: Vec<u64> = theirs
        .iter()
        .flatten()
        .map(|(due, sent)| sent.saturating_sub(*due))
        .collect();
    let bare: Vec<Vec<u64>> = theirs
        .iter()
        .map(|second| second.iter().map(|(_, sent)| *sent).collect())
        .collect();
    let at = |percent| lateness.percentile_ns(percent).unwrap_or(0);
    println!(
        "{name}: offered {offered} sent {sent}, lateness p50 {} p90 {} p99 {} ns (bare {} {} {}), cpu {:.1} % (bare {:.1})",
        at(50.0),
        at(90.0),
        at(99.0),
        percentile(&mut late, 50),
        percentile(&mut late, 90),
        percentile(&mut late, 99),
        cpu_us as f64 / 1e4 / f64::from(rounds),
        bare_cpu_ns as f64 / 1e7 / f64::from(rounds),
    );
    if poisson {
        println!(
            "    distance {:.4} (bare {:.4})",
            distance(&ours, spacing_ns as f64),
            distance(&bare, spacing_ns as f64)
        );
    } else {
        println!(
            "    gap error p50, p90 {:?} ns (bare {:?})",
            gap_error(&ours, spacing_ns),
            gap_error(&bare, spacing_ns)
        );
    }
}

#[test]
#[ignore = "prints figures; a quiet machine decides them"]
fn spacing_beside_a_bare_loop() {
    let rounds = std::env::var("ROUNDS").map_or(10, |text| text.parse().unwrap());
    for (rate, poisson, spin_ns, pacing) in [
        (1_000, false, 0, Pacing::KeepMean),
        (10_000, false, 0, Pacing::KeepMean),
        (1_000, false, 200_000, Pacing::KeepMean),
        (10_000, false, 200_000, Pacing::KeepMean),
        (1_000, true, 0, Pacing::KeepMean),
        (1_000, true, 200_000, Pacing::KeepMean),
        (100_000, false, 0, Pacing::KeepMean),
    ] {
        let mut traffic = SocketTraffic::new(
            Transport::Udp,
            Rate::MilliPacketsPerSecond(rate * 1_000),
            SIZE as u32,
        );
        traffic.spin_ns = spin_ns;
        traffic.pacing = pacing;
        if poisson {
            traffic.arrival = Law::Exponential { mean: None };
        }
        let law = if poisson { "poisson" } else { "constant" };
        let name = format!("{rate} pkt/s {law}, spin {} us", spin_ns / 1_000);
        compare(&name, traffic, rounds);
    }
}
