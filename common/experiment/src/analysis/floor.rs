//! The noise floor that `weir check` finds: what is measured between two hosts
//! when next to nothing, and then as much as single datagrams carry, is sent.
//!
//! A check is made of campaigns like any other. The first has a phase of few packets
//! and phases of rising packet rates, each datagram alone; then each has one rate
//! between the largest that held and the smallest that did not, until the two are
//! [`RESOLUTION`] apart ([`next_rate`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::document::{Distribution, Flow, Lost, ResultDocument};

/// Name of the campaigns of `weir check`.
pub const CAMPAIGN: &str = "check";

/// The phase of few packets.
const STILL: &str = "still";
/// Packets a second in it: an interval of 10 ms, far from any queue.
const STILL_PPS: u32 = 100;
/// What the phases of rising rates are called before their number.
const RATE: &str = "rate-";
/// Payload, bytes: the rate of small datagrams is the host's, not the link's.
const SIZE: u32 = 64;
/// The rates tried first, packets a second.
const RATES: [u32; 6] = [5_000, 10_000, 20_000, 40_000, 80_000, 160_000];
/// How close the two rates shall come that enclose the largest one without loss.
pub const RESOLUTION: f64 = 1.1;
/// Most rates that are tried between two: from [`STILL_PPS`] to the first of [`RATES`]
/// takes that many halvings.
pub const REFINEMENTS_MOST: usize = 6;

/// The noise floor of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The run that measured it.
    pub run: String,
    /// The generator.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// How the two clocks stand; null when there was no delay.
    pub clock: Option<String>,
    /// One-way delay of few packets.
    pub delay_us: Option<Figures>,
    /// Lateness of departures of few packets.
    pub lateness_us: Option<Figures>,
    /// The largest rate tried, packets a second, of which none was lost anywhere,
    /// as of every lower one; null when some of the lowest were.
    pub single_pps: Option<f64>,
    /// The next larger rate that was tried, which lost some; null when the highest
    /// one held. The largest rate without loss is between the two.
    pub beyond: Option<Beyond>,
    /// The largest rate tried of which neither host lost any, whatever the network
    /// did, as of every lower one: what their kernels carry one by one.
    #[serde(default)]
    pub hosts_pps: Option<f64>,
    /// The runs that tried rates between, in their order.
    #[serde(default)]
    pub refined_by: Vec<String>,
}

/// Two figures of a distribution, us.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// The first rate that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Beyond {
    /// Asked, packets a second.
    pub pps: f64,
    /// What was lost of it; null when the flow did not end as it should.
    pub lost: Option<Lost>,
}

/// The campaign that checks one pair, as a file. `seconds` is the length of each
/// phase; with 1 the whole takes some 9 s.
pub fn campaign(from: &str, to: &str, seconds: f64) -> String {
    let rates = RATES.iter().map(|pps| (format!("{RATE}{pps}"), *pps));
    let phases = std::iter::once((STILL.to_owned(), STILL_PPS)).chain(rates);
    with_phases(from, to, seconds, phases)
}

/// The campaign that tries one more rate of a pair.
pub fn refinement(from: &str, to: &str, seconds: f64, pps: u32) -> String {
    with_phases(from, to, seconds, [(format!("{RATE}{pps}"), pps)])
}

fn with_phases(
    from: &str,
    to: &str,
    seconds: f64,
    phases: impl IntoIterator<Item = (String, u32)>,
) -> String {
    let mut text = format!(
        "campaign = \"{CAMPAIGN}\"\ninterval = \"100ms\"\nlinger = \"200ms\"\n\n[pairs]\nfrom = \"{from}\"\nto = \"{to}\"\n"
    );
    for (name, pps) in phases {
        write!(
            text,
            "\n[[phase]]\nname = \"{name}\"\nfor = \"{}ms\"\npause = \"100ms\"\ntraffic = {{ udp = \"{pps} pkt/s\", size = {SIZE}, gso = \"off\" }}\n",
            (seconds * 1e3).round()
        )
        .expect("writing to a string cannot fail");
    }
    text
}

/// The rate to try next, packets a second: the geometric mean of the two that enclose
/// the largest one without loss. `None` when they are close enough, when the highest
/// held, and when the lowest did not.
pub fn next_rate(floor: &Floor) -> Option<u32> {
    let (low, high) = (floor.single_pps?, floor.beyond?.pps);
    if high <= low * RESOLUTION {
        return None;
    }
    let middle = three_digits((low * high).sqrt());
    (low < middle && middle < high).then_some(middle as u32)
}

/// Rounded to three significant digits: rates that can be read.
fn three_digits(value: f64) -> f64 {
    let unit = 10f64.powf(value.log10().floor() - 2.0).max(1.0);
    (value / unit).round() * unit
}

/// What was measured of a pair so far.
struct Found<'a> {
    run: &'a str,
    still: &'a Flow,
    rates: Vec<(f64, &'a Flow)>,
    refined_by: Vec<String>,
}

/// The floors in the results of checks, given oldest first: one for each pair, by
/// its newest first campaign and what refined it. Other campaigns say nothing.
pub fn of<'a>(documents: impl IntoIterator<Item = &'a ResultDocument>) -> Vec<Floor> {
    let mut pairs: BTreeMap<(&str, &str), Found<'a>> = BTreeMap::new();
    for document in documents {
        if document.campaign != CAMPAIGN {
            continue;
        }
        for flow in &document.flows {
            let pair = (flow.from.as_str(), flow.to.as_str());
            if flow.phase == STILL {
                let found = Found {
                    run: &document.run,
                    still: flow,
                    rates: vec![(f64::from(STILL_PPS), flow)],
                    refined_by: Vec::new(),
                };
                pairs.insert(pair, found);
            }
        }
        for flow in &document.flows {
            let pair = (flow.from.as_str(), flow.to.as_str());
            let rate = flow.phase.strip_prefix(RATE);
            if let Some(pps) = rate.and_then(|rate| rate.parse().ok())
                && let Some(found) = pairs.get_mut(&pair)
            {
                found.rates.push((pps, flow));
                if document.run != found.run && found.refined_by.last() != Some(&document.run) {
                    found.refined_by.push(document.run.clone());
                }
            }
        }
    }
    pairs
        .into_iter()
        .map(|((from, to), found)| floor(from, to, found))
        .collect()
}

fn floor(from: &str, to: &str, mut found: Found<'_>) -> Floor {
    found.rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rates = &found.rates;
    let largest = |held: fn(&Flow) -> bool| {
        let held = rates.iter().take_while(|(_, flow)| held(flow));
        held.last().map(|(pps, _)| *pps)
    };
    let beyond = rates.iter().find(|(_, flow)| !held(flow));
    let delay = found.still.delay_us.as_ref();
    Floor {
        run: found.run.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        clock: delay.and_then(|delay| delay.clock.clone()),
        delay_us: delay.map(figures),
        lateness_us: found.still.lateness_us.as_ref().map(figures),
        single_pps: largest(held),
        beyond: beyond.map(|(pps, flow)| Beyond {
            pps: *pps,
            lost: flow.lost.filter(|_| flow.complete),
        }),
        hosts_pps: largest(hosts_held),
        refined_by: found.refined_by,
    }
}

/// Whether every packet that was asked for arrived.
fn held(flow: &Flow) -> bool {
    let nothing = Some(0);
    flow.complete
        && flow.sent.is_some_and(|sent| sent.packets > nothing)
        && flow.lost.is_some_and(|lost| {
            (lost.sender, lost.network, lost.receiver) == (nothing, nothing, nothing)
        })
}

/// Whether the hosts lost none of it.
fn hosts_held(flow: &Flow) -> bool {
    let nothing = Some(0);
    flow.complete
        && flow.sent.is_some_and(|sent| sent.packets > nothing)
        && flow
            .lost
            .is_some_and(|lost| (lost.sender, lost.receiver) == (nothing, nothing))
}

fn figures(of: &Distribution) -> Figures {
    Figures {
        p50: of.p50,
        p99: of.p99,
    }
}

#[cfg(test)]
mod tests {
    use weir_common::campaign::file;

    use super::*;
    use crate::analysis::document::Verdict;
    use crate::output::result::parse;

    /// A flow of this phase that lost so much at each place.
    fn flow(phase: &str, lost: [u64; 3]) -> serde_json::Value {
        let [sender, network, receiver] = lost;
        serde_json::json!({
            "flow": 1, "set": phase, "key": "k", "phase": phase, "repeat": 1, "cell": {}, "round": null,
            "from": "a", "to": "b", "transport": "udp", "tuples": [], "valid": true, "complete": true,
            "reasons": [], "warnings": [], "window_s": [0.0, 1.0], "duration_s": 1.0,
            "sent": { "packets": 1000, "bytes": 64_000 }, "received": { "packets": 1000, "bytes": 64_000 },
            "lost": { "sender": sender, "network": network, "receiver": receiver },
            "rates_bps": { "sent": null, "received": null },
            "delay_us": { "clock": "same-kernel", "n": 100, "min": 5.0, "mean": 8.0, "p50": 7.0, "p90": 9.0,
                "p99": 20.0, "p999": 30.0, "max": 40.0, "sd": 1.0 },
            "path": { "tx": "send", "rx": "recvmmsg", "link": true },
            "cpu": { "tx_pct": 1.0, "rx_pct": 1.0, "runq_wait_pct": 0.0 }
        })
    }

    fn document(campaign: &str, flows: &[serde_json::Value]) -> ResultDocument {
        let text = serde_json::json!({
            "schema": "weir.result/1", "run": "r-0007", "campaign": campaign, "verdict": Verdict::Pass,
            "exit": 0, "checks": { "valid": true, "complete": true, "expectations": true },
            "reasons": [], "warnings": [],
            "time": { "t0": null, "t0_unix_ns": null, "linger_s": 0.2,
                "start_skew_us": { "max": null, "bound": null } },
            "ledger": { "expected": 1, "stored": 1, "coalesced": 0, "gaps": [], "unclosed": [] },
            "flows": flows, "sets": [], "expectations": [], "provenance": {}
        });
        parse(&text.to_string()).unwrap()
    }

    #[test]
    fn the_campaign_of_a_check_can_be_read() {
        let campaign = file::parse(&campaign("a", "b", 1.0), "check").unwrap();
        assert_eq!(campaign.name, CAMPAIGN);
        assert_eq!(campaign.phases.len(), 1 + RATES.len());
        assert!(campaign.length().as_secs_f64() < 10.0);
        assert_eq!(three_digits(113_137.1), 113_000.0);
        assert_eq!(three_digits(141.4), 141.0);
        assert_eq!(three_digits(7.6), 8.0);
    }

    #[test]
    fn the_largest_rate_without_loss_ends_at_the_first_loss() {
        let flows = [
            flow("still", [0; 3]),
            flow("rate-10000", [0; 3]),
            flow("rate-5000", [0; 3]),
            flow("rate-20000", [0, 0, 9]),
            // By chance: what is above a loss does not count.
            flow("rate-40000", [0; 3]),
        ];
        let floors = of([&document(CAMPAIGN, &flows)]);
        assert_eq!(floors.len(), 1);
        let floor = &floors[0];
        assert_eq!((floor.from.as_str(), floor.to.as_str()), ("a", "b"));
        assert_eq!(floor.single_pps, Some(10_000.0));
        assert_eq!(floor.hosts_pps, Some(10_000.0));
        let beyond = floor.beyond.unwrap();
        assert_eq!(beyond.pps, 20_000.0);
        assert_eq!(beyond.lost.unwrap().receiver, Some(9));
        assert_eq!(floor.delay_us.unwrap().p50, 7.0);
        assert_eq!(floor.lateness_us, None);
        assert_eq!(floor.refined_by, [""; 0]);
    }

    #[test]
    fn what_the_network_loses_says_nothing_of_the_hosts() {
        let flows = [
            flow("still", [0; 3]),
            flow("rate-5000", [0, 3, 0]),
            flow("rate-10000", [0, 9_000, 0]),
            flow("rate-20000", [1, 9_000, 0]),
        ];
        let floor = &of([&document(CAMPAIGN, &flows)])[0];
        assert_eq!(floor.single_pps, Some(100.0));
        assert_eq!(floor.hosts_pps, Some(10_000.0));
        let lossy = [flow("still", [0, 1, 0]), flow("rate-5000", [0; 3])];
        let floor = &of([&document(CAMPAIGN, &lossy)])[0];
        assert_eq!((floor.single_pps, next_rate(floor)), (None, None));
        assert!(of([&document("other", &flows)]).is_empty());
    }

    /// A pair that carries all up to some rate.
    fn carries(most: u32, phases: &[u32]) -> Vec<serde_json::Value> {
        phases
            .iter()
            .map(|pps| {
                let lost = u64::from(*pps > most);
                flow(&format!("{RATE}{pps}"), [0, 0, lost])
            })
            .collect()
    }

    #[test]
    fn rates_between_are_tried_until_they_are_close() {
        for most in [101, 700, 4_999, 5_000, 9_999, 83_700, 159_000] {
            let mut flows = carries(most, &RATES);
            flows.push(flow("still", [0; 3]));
            let mut documents = vec![document(CAMPAIGN, &flows)];
            let mut tried = 0;
            while let Some(pps) = next_rate(&of(&documents)[0]) {
                let text = refinement("a", "b", 0.1, pps);
                assert_eq!(file::parse(&text, "check").unwrap().phases.len(), 1);
                let mut more = document(CAMPAIGN, &carries(most, &[pps]));
                more.run = format!("r-1{tried:03}");
                documents.push(more);
                tried += 1;
            }
            let floor = &of(&documents)[0];
            let (low, high) = (floor.single_pps.unwrap(), floor.beyond.unwrap().pps);
            assert!(
                low <= f64::from(most) && f64::from(most) < high,
                "{floor:?}"
            );
            assert!(high <= low * RESOLUTION || high - low <= 1.0, "{floor:?}");
            assert!(tried <= REFINEMENTS_MOST, "{most}: {tried}");
            assert_eq!(floor.refined_by.len(), tried);
            assert_eq!(floor.run, "r-0007");
        }
    }

    #[test]
    fn a_new_check_forgets_the_old_one() {
        let first = |most| {
            let mut flows = carries(most, &RATES);
            flows.push(flow("still", [0; 3]));
            document(CAMPAIGN, &flows)
        };
        let refined = document(CAMPAIGN, &carries(50_000, &[56_600]));
        let floors = of(&[first(50_000), refined, first(10_000)]);
        assert_eq!(floors[0].single_pps, Some(10_000.0));
        assert_eq!(floors[0].beyond.unwrap().pps, 20_000.0);
        // A refinement without what it refines says nothing.
        assert!(of([&document(CAMPAIGN, &carries(1, &[2]))]).is_empty());
    }
}
