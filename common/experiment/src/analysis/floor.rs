//! The noise floor that `weir check` finds: what is measured between two hosts
//! when next to nothing, and then as much as single datagrams carry, is sent.
//!
//! A check is a campaign like any other: one phase of few packets, then phases
//! of rising packet rates, each datagram alone.

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
/// The rates tried, packets a second.
const RATES: [u32; 6] = [5_000, 10_000, 20_000, 40_000, 80_000, 160_000];

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
    /// What was lost at the next rate; null when the highest one held.
    pub beyond: Option<Beyond>,
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
    let mut text = format!(
        "campaign = \"{CAMPAIGN}\"\ninterval = \"100ms\"\nlinger = \"200ms\"\n\n[pairs]\nfrom = \"{from}\"\nto = \"{to}\"\n"
    );
    let rates = RATES.iter().map(|pps| (format!("{RATE}{pps}"), *pps));
    for (name, pps) in std::iter::once((STILL.to_owned(), STILL_PPS)).chain(rates) {
        write!(
            text,
            "\n[[phase]]\nname = \"{name}\"\nfor = \"{}ms\"\npause = \"100ms\"\ntraffic = {{ udp = \"{pps} pkt/s\", size = {SIZE}, gso = \"off\" }}\n",
            (seconds * 1e3).round()
        )
        .expect("writing to a string cannot fail");
    }
    text
}

/// The floors in the result of a check, one for each pair; none in that of
/// another campaign.
pub fn of(document: &ResultDocument) -> Vec<Floor> {
    let mut pairs: BTreeMap<(&str, &str), Vec<&Flow>> = BTreeMap::new();
    if document.campaign == CAMPAIGN {
        for flow in &document.flows {
            let pair = (flow.from.as_str(), flow.to.as_str());
            pairs.entry(pair).or_default().push(flow);
        }
    }
    pairs
        .into_iter()
        .filter_map(|((from, to), flows)| {
            let still = flows.iter().find(|flow| flow.phase == STILL)?;
            let mut floor = Floor {
                run: document.run.clone(),
                from: from.to_owned(),
                to: to.to_owned(),
                clock: still
                    .delay_us
                    .as_ref()
                    .and_then(|delay| delay.clock.clone()),
                delay_us: still.delay_us.as_ref().map(figures),
                lateness_us: still.lateness_us.as_ref().map(figures),
                single_pps: None,
                beyond: None,
            };
            let mut rates: Vec<(f64, &&Flow)> = flows
                .iter()
                .filter_map(|flow| Some((flow.phase.strip_prefix(RATE)?.parse().ok()?, flow)))
                .collect();
            rates.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (pps, flow) in rates {
                if !held(flow) {
                    let lost = flow.lost.filter(|_| flow.complete);
                    floor.beyond = Some(Beyond { pps, lost });
                    break;
                }
                floor.single_pps = Some(pps);
            }
            Some(floor)
        })
        .collect()
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
        let floors = of(&document(CAMPAIGN, &flows));
        assert_eq!(floors.len(), 1);
        let floor = &floors[0];
        assert_eq!((floor.from.as_str(), floor.to.as_str()), ("a", "b"));
        assert_eq!(floor.single_pps, Some(10_000.0));
        let beyond = floor.beyond.unwrap();
        assert_eq!(beyond.pps, 20_000.0);
        assert_eq!(beyond.lost.unwrap().receiver, Some(9));
        assert_eq!(floor.delay_us.unwrap().p50, 7.0);
        assert_eq!(floor.lateness_us, None);
    }

    #[test]
    fn what_lost_at_once_has_no_rate_and_other_campaigns_no_floor() {
        let flows = [flow("still", [0; 3]), flow("rate-5000", [1, 0, 0])];
        assert_eq!(of(&document(CAMPAIGN, &flows))[0].single_pps, None);
        assert!(of(&document("other", &flows)).is_empty());
    }
}
